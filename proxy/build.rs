//! Finds what is embedded in the binary: the bundled plugins, the console's pages, and the SDK for new plugins.

use std::path::Path;

#[path = "build/pages.rs"]
mod pages;
#[path = "build/sdk.rs"]
mod sdk;

fn main() {
    println!("cargo::rerun-if-env-changed=WEIR_GUESTS");
    // Of this run, not of this script's compilation: a build cache may serve several clones.
    let here = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let guests =
        std::env::var("WEIR_GUESTS").unwrap_or_else(|_| format!("{here}/../target/guests"));
    let mut table = String::from("&[\n");
    for name in [
        "basic-auth",
        "body-limit",
        "cors",
        "genai",
        "header-rewrite",
        "ip-restriction",
        "jwt-auth",
        "key-auth",
        "maintenance",
        "rate-limit",
        "redirect",
        "request-id",
        "response-transform",
    ] {
        let file = Path::new(&guests).join(name).with_extension("wasm");
        println!("cargo::rerun-if-changed={}", file.display());
        if !file.is_file() {
            println!(
                "cargo::error=bundled plugin {} is not built: run `make guests` first (or set WEIR_GUESTS to the \
                 folder that holds it)",
                file.display()
            );
        }
        embed(name, &file, &mut table);
    }
    write("plugins.rs", table);
    println!("cargo::rustc-env=WEIR_GUESTS={guests}");
    sdk::embed(&Path::new(&here).join(".."));

    let console = Path::new(&here).join("console");
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let pages = pages::choose(&console, release).unwrap_or_else(|problem| {
        println!("cargo::error={problem}");
        console.join("unbuilt")
    });
    // What is not there cannot be watched: `make console` touches the other page when it makes this.
    println!("cargo::rerun-if-changed={}", pages.display());
    let mut table = String::from("&[\n");
    list(&pages, &pages, &mut table);
    write("pages.rs", table);
}

/// Writes a table of (name, bytes) that the crate includes.
fn write(file: &str, mut table: String) {
    table.push(']');
    let out = std::env::var("OUT_DIR").expect("cargo sets it");
    std::fs::write(Path::new(&out).join(file), table).expect("write to OUT_DIR");
}

fn embed(name: &str, file: &Path, table: &mut String) {
    let file = file.display().to_string();
    *table += &format!("    ({name:?}, include_bytes!({file:?})),\n");
}

/// Adds every file of a folder: its name from `root` on, and its bytes.
fn list(root: &Path, folder: &Path, table: &mut String) {
    let entries = std::fs::read_dir(folder).expect("the console's pages can be read");
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            list(root, &path, table);
        } else if let Ok(name) = path.strip_prefix(root)
            && !name.starts_with(".made-of")
        {
            embed(&name.display().to_string(), &path, table);
        }
    }
}
