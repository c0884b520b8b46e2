//! Finds the bundled plugins, which are embedded in the binary.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-env-changed=WEIR_GUESTS");
    let guests = std::env::var("WEIR_GUESTS")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../target/guests").to_owned());
    for name in ["header-rewrite", "key-auth", "request-id"] {
        let file = Path::new(&guests).join(name).with_extension("wasm");
        println!("cargo::rerun-if-changed={}", file.display());
        if !file.is_file() {
            println!(
                "cargo::error=bundled plugin {} is not built: run `make guests` first (or set WEIR_GUESTS to the \
                 folder that holds it)",
                file.display()
            );
        }
    }
    println!("cargo::rustc-env=WEIR_GUESTS={guests}");
}
