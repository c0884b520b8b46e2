//! Which pages are embedded: those that were built, else one that says how to. What is delivered has the former.

use std::path::{Path, PathBuf};

/// The folder to embed, of those below `console`.
pub(crate) fn choose(console: &Path, release: bool) -> Result<PathBuf, String> {
    let built = console.join("dist");
    if built.join("index.html").is_file() {
        return Ok(built);
    }
    if release {
        return Err(format!(
            "the console's pages are not built, and a release without them serves none: run `make console` first \
             (Node 20 or later; it writes {})",
            built.display()
        ));
    }
    // Node is not needed for Rust.
    Ok(console.join("unbuilt"))
}
