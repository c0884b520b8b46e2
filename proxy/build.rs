//! Finds what is embedded in the binary: the bundled plugins, and the SDK for new ones.

use std::path::Path;

#[path = "build/sdk.rs"]
mod sdk;

fn main() {
    println!("cargo::rerun-if-env-changed=WEIR_GUESTS");
    // Of this run, not of this script's compilation: a build cache may serve several clones.
    let here = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let guests =
        std::env::var("WEIR_GUESTS").unwrap_or_else(|_| format!("{here}/../target/guests"));
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
    sdk::embed(&Path::new(&here).join(".."));
}
