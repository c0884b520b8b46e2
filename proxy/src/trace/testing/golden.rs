//! Files that say what is sent, byte for byte, in a form a reviewer can read.
//!
//! After a wanted change, `WEIR_UPDATE_GOLDEN=1 cargo test --release -p weir golden` writes them
//! anew; look at the difference before you commit it.

use std::path::Path;

/// Stands for Weir's version, so that a release changes no file.
pub(in crate::trace) const VERSION: &str = "VERSION";

pub(in crate::trace) fn assert_matches(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/trace/golden")
        .join(name);
    if std::env::var_os("WEIR_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).expect("a golden file can be written");
    }
    let expected = std::fs::read_to_string(&path).expect("a golden file");
    assert!(
        actual == expected,
        "{name} differs; WEIR_UPDATE_GOLDEN=1 writes it anew. Now it is:\n{actual}"
    );
}

/// Asserts that compact JSON is what the file shows in lines.
pub(in crate::trace) fn assert_json_matches(name: &str, actual: &[u8]) {
    let actual = std::str::from_utf8(actual).expect("JSON is UTF-8");
    let actual = &actual.replace(
        concat!('"', env!("CARGO_PKG_VERSION"), '"'),
        &format!("\"{VERSION}\""),
    );
    let value: serde_json::Value = serde_json::from_str(actual).expect("JSON");
    assert_eq!(
        &value.to_string(),
        actual,
        "{name} is compact, each key once"
    );
    assert_matches(name, &format!("{value:#}\n"));
}
