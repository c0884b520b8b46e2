//! The API does what its `OpenAPI` document says, whatever it is asked.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

/// A program of the virtual environment that `services/install.sh tests` makes.
fn schemathesis() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../target").into());
    target.join("services/api/bin/schemathesis")
}

#[test]
fn answers_are_as_the_document_says_whatever_is_asked() {
    let mut config = weir_tests::config::config(&Upstream::hello());
    config["plugins"]["auth"] =
        json!({ "module": "builtin:key-auth", "config": { "keys": ["k"] } });
    config["routes"][0]["plugins"] = json!(["auth"]);
    config["store"] = json!({});
    let weir = Weir::start(&config.to_string());
    for n in 0..5 {
        weir.get(&format!("/{n}"), &["x-api-key: k"]);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(schemathesis())
        .current_dir(folder.path())
        .args(["run", &format!("http://{}/api/openapi.json", weir.admin())])
        // A tail does not end.
        .args(["--exclude-path", "/api/traces/tail"])
        .args([
            "--phases",
            "examples,coverage,fuzzing",
            "--max-examples",
            "10",
        ])
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,\
             response_schema_conformance,unsupported_method",
        ])
        .args(["--seed", "8", "--request-timeout", "60", "--no-color"])
        .output()
        .expect("schemathesis runs: see services/install.sh");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{:#?}", weir.log());
    assert_eq!(weir.get("/after", &["x-api-key: k"]).status, 200);
}
