//! The API does what its `OpenAPI` document says, whatever it is asked.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use weir_tests::kafka;
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

use crate::api::{get, traces};

/// A program of the virtual environment that `services/install.sh tests` makes.
fn schemathesis() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../target").into());
    target.join("services/api/bin/schemathesis")
}

/// Every operation is asked for what is there and for what is not, and none is left out.
#[test]
fn answers_are_as_the_document_says_whatever_is_asked() {
    let kafka = kafka::shared();
    let mut config = weir_tests::config::config(&Upstream::hello());
    config["plugins"]["auth"] =
        json!({ "module": "builtin:key-auth", "config": { "keys": ["k"] } });
    config["routes"][0]["plugins"] = json!(["auth"]);
    config["store"] = json!({});
    config["exporters"]["traces"] = weir_tests::config::exporter(kafka, &kafka.topic());
    // Over several lines, as a file that is saved to would be.
    let weir = Weir::start(&format!("{config:#}\n"));
    for n in 0..5 {
        weir.get(&format!("/{n}"), &["x-api-key: k"]);
    }
    let trace = &traces(&weir, "", 5)[0]["trace_id"];
    let known = json!({ "trace": trace, "plugin": "auth", "exporter": "traces" });
    let folder = tempfile::tempdir().expect("a folder");
    let answered = folder.path().join("answered.json");
    // Read from its own address, it would be left out of what is asked.
    let described = get(&weir, "/api/openapi.json");
    let document = folder.path().join("openapi.json");
    std::fs::write(&document, &described.body).expect("write the document");
    let admin = format!("http://{}", weir.admin());
    let output = Command::new(schemathesis())
        .current_dir(folder.path())
        .env(
            "PYTHONPATH",
            concat!(env!("CARGO_MANIFEST_DIR"), "/services"),
        )
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SCHEMATHESIS_HOOKS", "schemathesis_hooks")
        .env("WEIR_ADMIN", &admin)
        .env("WEIR_PROXY", format!("http://{}", weir.proxy()))
        .env("WEIR_KNOWN", known.to_string())
        .env("WEIR_ANSWERED", &answered)
        .arg("run")
        .arg(&document)
        .args(["--url", &admin])
        .args(["--phases", "coverage,fuzzing", "--max-examples", "10"])
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

    let answered = std::fs::read(&answered).expect("what was answered");
    let answered: Value = serde_json::from_slice(&answered).expect("JSON");
    let described = described.json();
    let paths = described["paths"].as_object().expect("paths").values();
    let operations = paths.flat_map(|path| path.as_object().expect("operations").values());
    let ids: Vec<&str> = operations
        .map(|of| of["operationId"].as_str().expect("an id"))
        .collect();
    for id in &ids {
        let statuses = answered[*id].as_array().map_or(&[][..], Vec::as_slice);
        assert!(statuses.contains(&json!(200)), "{id}: {answered:#}\n{said}");
    }
    let tested = format!("Tested: {}", ids.len());
    assert!(said.lines().any(|line| line.trim() == tested), "{said}");
    assert_eq!(weir.get("/after", &["x-api-key: k"]).status, 200);
}
