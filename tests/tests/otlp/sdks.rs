//! Other people's programs: SDKs with their default exporters, generators, a browser.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::json;
use tempfile::TempDir;
use weir_tests::weir::Weir;

use crate::clients::{python, script, service};
use crate::{EXAMPLE, Otlp, shared};

const TRACES_EXPORT: &str = "opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Runs it to its end, which must be a good one.
#[track_caller]
fn succeed(command: &mut Command) -> Output {
    let output = command.output().expect("it runs: `make services`");
    assert!(output.status.success(), "{command:?}\n{output:?}");
    output
}

/// An SDK that is set by `OTEL_*` variables sends all signals by each of these protocols, plain and compressed.
fn sends_all_signals(name: &str, protocols: &[&str], command: impl Fn() -> Command) {
    for protocol in protocols {
        for compression in ["none", "gzip"] {
            let otlp = Otlp::new("otlp_json");
            let weir = otlp.start();
            let door = protocol.split('/').next().expect("a name");
            let service_name = format!("{name}-app");
            succeed(
                command()
                    .env(
                        "OTEL_EXPORTER_OTLP_ENDPOINT",
                        format!("http://{}", weir.otlp(door)),
                    )
                    .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
                    .env("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
                    .env("OTEL_SERVICE_NAME", &service_name)
                    .env("OTEL_TRACES_EXPORTER", "otlp")
                    .env("OTEL_METRICS_EXPORTER", "otlp")
                    .env("OTEL_LOGS_EXPORTER", "otlp"),
            );
            for (topic, word) in otlp.topics.iter().zip(["span", "counter", "record"]) {
                let message = shared().read(topic, 1).remove(0);
                let text = String::from_utf8(message.payload).expect("UTF-8");
                assert!(
                    text.contains(&format!("{word}-{name}")),
                    "{protocol} {text}"
                );
                assert!(text.contains(&service_name), "{protocol} {text}");
            }
            for signal in ["traces", "metrics", "logs"] {
                let labels = format!(r#"{{signal="{signal}",protocol="{protocol}"}}"#);
                assert!(weir.count(&format!("weir_otlp_acknowledged_total{labels}")) > 0);
            }
        }
    }
}

#[test]
fn the_javascript_sdk_sends_all_signals_by_all_protocols() {
    sends_all_signals("node", &["http/protobuf", "http/json", "grpc"], || {
        let mut command = Command::new("node");
        command
            .arg(script("node/sdk.mjs"))
            .arg(service("otlp-node"));
        command
    });
}

#[test]
fn the_go_sdk_sends_all_signals_by_both_protocols() {
    sends_all_signals("go", &["http/protobuf", "grpc"], || {
        Command::new(service("go/bin/otlp-sdk"))
    });
}

#[test]
fn the_java_sdk_sends_all_signals_by_both_protocols() {
    sends_all_signals("java", &["grpc", "http/protobuf"], || {
        let mut command = Command::new("java");
        command
            .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
            .arg(service("otlp-java").join("*"))
            .arg(script("java/Sdk.java"));
        command
    });
}

#[test]
fn telemetrygen_sends_all_signals_by_both_protocols() {
    for protocol in ["grpc", "http"] {
        let otlp = Otlp::new("otlp_json");
        let weir = otlp.start();
        for (topic, signal) in otlp.topics.iter().zip(["traces", "metrics", "logs"]) {
            let mut command = Command::new(service("go/bin/telemetrygen"));
            command
                .args([signal, "--otlp-insecure", "--rate=1000"])
                .arg(format!("--{signal}=5"))
                .arg(format!("--otlp-endpoint={}", weir.otlp(protocol)))
                .arg("--otlp-attributes=test.protocol=\"generated\"");
            if protocol == "http" {
                command.arg("--otlp-http");
            }
            succeed(&mut command);
            let message = shared().read(topic, 1).remove(0);
            let text = String::from_utf8(message.payload).expect("UTF-8");
            assert!(text.contains("generated"), "{text}");
            let protocol = match protocol {
                "grpc" => "grpc",
                _ => "http/protobuf",
            };
            let labels = format!(r#"{{signal="{signal}",protocol="{protocol}"}}"#);
            assert!(weir.count(&format!("weir_otlp_received_items_total{labels}")) >= 5);
        }
    }
}

/// OTLP's descriptors, in a file.
fn protoset(folder: &Path) -> PathBuf {
    let protos = folder.join("otlp.protoset");
    succeed(
        Command::new(python())
            .arg(script("protoset.py"))
            .arg(&protos),
    );
    protos
}

/// A request of one span, in protobuf's own JSON.
fn one_span(name: &str) -> String {
    json!({ "resource_spans": [{ "scope_spans": [{ "spans": [{
        "trace_id": "W47/95gDgQPSabYzgT/GDA==", "span_id": "7uGbfsPBsXQ=", "name": name,
    }] }] }] })
    .to_string()
}

/// grpcurl with OTLP's descriptors, and these further flags.
pub(crate) fn grpcurl(folder: &Path, flags: &[&str], address: &str) -> Output {
    let protos = protoset(folder);
    let body = one_span("by-grpcurl");
    Command::new(service("go/bin/grpcurl"))
        .args(flags)
        .arg("-protoset")
        .arg(&protos)
        .args(["-d", &body, address])
        .arg(TRACES_EXPORT)
        .output()
        .expect("it runs: `make services`")
}

#[test]
fn grpcurl_calls_with_protos_that_are_given() {
    let otlp = Otlp::new("otlp_json");
    let weir = otlp.start();
    let folder = TempDir::new().expect("a folder");
    let address = weir.otlp("grpc").to_string();
    let output = grpcurl(folder.path(), &["-plaintext"], &address);
    assert!(output.status.success(), "{output:?}");
    let arrived = String::from_utf8(otlp.traces(1).remove(0).payload).expect("UTF-8");
    assert!(arrived.contains("by-grpcurl"), "{arrived}");
    // There is no reflection to ask instead.
    let listed = Command::new(service("go/bin/grpcurl"))
        .args(["-plaintext", &address, "list"])
        .output()
        .expect("it runs");
    assert!(!listed.status.success());
    let said = String::from_utf8_lossy(&listed.stderr);
    assert!(said.contains("reflection"), "{said}");
}

#[test]
fn ghz_loads_it_with_calls_that_all_arrive() {
    const CALLS: usize = 3000;
    let otlp = Otlp::new("otlp_protobuf");
    let weir = otlp.start();
    let folder = TempDir::new().expect("a folder");
    let output = succeed(
        Command::new(service("go/bin/ghz"))
            .args(["--insecure", "--protoset"])
            .arg(protoset(folder.path()))
            .args(["--call", TRACES_EXPORT, "-d", &one_span("by-ghz")])
            .args(["-n", &CALLS.to_string(), "-c", "50", "--connections", "5"])
            .args(["-O", "json", &weir.otlp("grpc").to_string()]),
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["statusCodeDistribution"], json!({ "OK": CALLS }));
    let messages = otlp.traces(CALLS);
    let first = &messages[0].payload;
    assert!(messages.iter().all(|message| message.payload == *first));
    let key = r#"weir_otlp_produced_total{signal="traces",protocol="grpc"}"#;
    assert_eq!(weir.count(key), CALLS as u64);
}

fn page(weir: &Weir) -> Output {
    Command::new("node")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/browser/otlp.mjs"))
        .arg(format!("http://{}/v1/traces", weir.otlp("http")))
        .arg(EXAMPLE)
        .output()
        .expect("node runs: `make services`")
}

#[test]
fn a_page_in_a_browser_sends_where_its_origin_is_allowed() {
    let mut otlp = Otlp::new("otlp_json");
    otlp.otlp()["http"]["cors"] = json!({
        "allowed_origins": ["http://127.0.0.1:*"], "allowed_headers": ["x-team"],
    });
    let weir = otlp.start();
    let output = page(&weir);
    assert!(output.status.success(), "{output:?}");
    let arrived = String::from_utf8(otlp.traces(1).remove(0).payload).expect("UTF-8");
    assert!(arrived.contains("test-operation"), "{arrived}");
    let key = r#"weir_otlp_received_total{signal="traces",protocol="http/json"}"#;
    assert_eq!(weir.count(key), 1);
}
