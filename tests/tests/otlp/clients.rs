//! Real clients with their own exporters.

use std::path::PathBuf;
use std::process::Command;

pub(crate) use weir_tests::service::service;

use crate::{EXAMPLE, Otlp, shared};

/// The Python of a virtual environment with OpenTelemetry's packages.
pub(crate) fn python() -> PathBuf {
    service("otlp/bin/python")
}

pub(crate) fn script(name: &str) -> String {
    format!("{}/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_python_sdk_sends_all_signals_by_both_protocols_and_each_compression() {
    for (protocol, format) in [("grpc", "otlp_json"), ("http", "otlp_json_snake_case")] {
        for compression in ["NoCompression", "Gzip", "Deflate"] {
            let otlp = Otlp::new(format);
            let weir = otlp.start();
            let endpoint = format!("http://{}", weir.otlp(protocol));
            let output = Command::new(python())
                .arg(script("sdk.py"))
                .args([protocol, &endpoint, compression])
                .output()
                .expect("Python runs");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{errors}");
            for (topic, word) in otlp.topics.iter().zip(["span", "counter", "record"]) {
                let message = shared().read(topic, 1).remove(0);
                let text = String::from_utf8(message.payload).expect("UTF-8");
                assert!(text.contains(&format!("{word}-{protocol}")), "{text}");
                assert!(text.contains(&format!("python-{protocol}")), "{text}");
            }
        }
    }
}

#[test]
fn curl_sends_the_example_of_the_documentation() {
    let otlp = Otlp::new("otlp_json");
    let weir = otlp.start();
    let url = format!("http://{}/v1/traces", weir.otlp("http"));
    let output = Command::new("curl")
        .args(["-sS", "-f", "-X", "POST", &url])
        .args(["-H", "Content-Type: application/json", "-d", EXAMPLE])
        .output()
        .expect("curl runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_eq!(output.stdout, b"{}");
    let arrived: serde_json::Value =
        serde_json::from_slice(&otlp.traces(1)[0].payload).expect("JSON");
    assert_eq!(
        arrived["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"],
        "test-operation"
    );
}

#[test]
fn curl_speaks_http_2_without_being_asked() {
    let otlp = Otlp::new("otlp_json");
    let weir = otlp.start();
    let url = format!("http://{}/v1/traces", weir.otlp("http"));
    let output = Command::new("curl")
        .args([
            "-sS",
            "-f",
            "--http2-prior-knowledge",
            "-w",
            "%{http_version}",
            &url,
        ])
        .args(["-H", "Content-Type: application/json", "-d", EXAMPLE])
        .output()
        .expect("curl runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "{}2");
}
