//! A real browser, driven by the scenarios of `tests/browser`.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::weir::Weir;

/// Where pictures of the pages are left.
fn shots() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../target").into());
    target.join("console-shots")
}

/// Runs a scenario against a Weir; `given` are further members of what it is told.
///
/// # Panics
///
/// When something is not as the scenario wants it.
pub fn drive(scenario: &str, weir: &Weir, given: &Value) {
    let mut told = json!({
        "admin": format!("http://{}", weir.admin()),
        "proxy": format!("http://{}", weir.proxy()),
        "shots": shots(),
    });
    if let (Some(told), Some(given)) = (told.as_object_mut(), given.as_object()) {
        told.extend(given.clone());
    }
    let output = Command::new("node")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/browser/drive.mjs"))
        .arg(scenario)
        .env("WEIR_BROWSER", told.to_string())
        .output()
        .expect("node runs: `make services` installs it");
    // What it measured.
    print!("{}", String::from_utf8_lossy(&output.stdout));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{scenario}: {said}\n{:#?}",
        weir.log()
    );
}
