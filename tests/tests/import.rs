//! `weir import`: what it makes of other systems' configurations passes `weir check`, and delivers.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use serde_json::json;
use tempfile::TempDir;
use weir_tests::client;
use weir_tests::kafka::{PASSWORD, USER, shared};
use weir_tests::tls::Authority;
use weir_tests::upstream::Upstream;
use weir_tests::weir::{Weir, binary};

fn import(from: &str, file: &str, more: &[&str]) -> Output {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("source");
    std::fs::write(&path, file).expect("write");
    Command::new(binary())
        .args(["import", "--from", from])
        .arg(&path)
        .args(more)
        .env("PASSWORD", PASSWORD)
        .output()
        .expect("it runs")
}

fn check(config: &str, environment: &[(&str, &str)]) {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("weir.yaml");
    std::fs::write(&path, config).expect("write");
    let output = Command::new(binary())
        .args(["check", "--config"])
        .arg(&path)
        .envs(environment.iter().copied())
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{config}\n{output:?}");
}

/// The result as text, on free ports, after `weir check` has passed it.
fn imported(from: &str, file: &str, upstream: &Upstream, environment: &[(&str, &str)]) -> String {
    let upstream = ["--listen", "127.0.0.1:0", "--upstream", &upstream.url()];
    let output = import(from, file, &upstream);
    assert!(output.status.success(), "{output:?}");
    let config = String::from_utf8(output.stdout).expect("text");
    check(&config, environment);
    config + "\nadmin: { address: \"127.0.0.1:0\" }\nworkers: 1\n"
}

#[test]
fn what_bifrosts_connector_had_is_checked_and_delivers() {
    let upstream = Upstream::hello();
    let topic = shared().topic();
    let file = json!({
        "plugins": [{ "name": "kafka", "enabled": true, "config": {
            "brokers": [shared().listener("SASL_SSL")],
            "topic": topic,
            "tls_enabled": true,
            "ca_cert": shared().ca(),
            "sasl_enabled": true,
            "sasl": { "mechanism": "SCRAM-SHA-256", "username": USER, "password": "env.PASSWORD" },
            "compression": "gzip",
            "flush_interval_ms": 10,
            "request_headers": ["x-custom-*"],
        }}],
    });
    let environment = [("PASSWORD", PASSWORD)];
    let config = imported("bifrost", &file.to_string(), &upstream, &environment);
    let weir = Weir::start_with(&config, &environment);
    assert_eq!(weir.get("/", &["x-custom-token: abc"]).status, 200);
    let trace = shared().traces(&topic, 1).remove(0);
    assert_eq!(trace.0["RequestHeaders"]["x-custom-token"], "abc");
}

/// Posts a request of each signal to a receiver.
fn post_all(weir: &Weir) {
    let bodies = [
        r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{
            "traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174",
            "name":"test-operation","kind":1}]}]}]}"#,
        r#"{"resourceMetrics":[{"resource":{"attributes":[{
            "key":"service.name","value":{"stringValue":"test"}}]},"scopeMetrics":[{"metrics":[{
            "name":"test-metric","gauge":{"dataPoints":[{"asInt":"1"}]}}]}]}]}"#,
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{
            "severityNumber":9,"body":{"stringValue":"test-record"}}]}]}]}"#,
    ];
    for (signal, body) in ["traces", "metrics", "logs"].into_iter().zip(bodies) {
        let request = format!(
            "POST /v1/{signal} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(client::send(weir.otlp("http"), request).status, 200);
    }
}

#[test]
fn what_rotels_exporter_had_is_checked_and_delivers_all_signals() {
    let topics = [(); 3].map(|()| shared().topic());
    let [traces, metrics, logs] = &topics;
    let file = format!(
        "ROTEL_EXPORTER=kafka\nROTEL_OTLP_GRPC_ENDPOINT=localhost:0\n\
         ROTEL_OTLP_HTTP_ENDPOINT=localhost:0\nROTEL_KAFKA_EXPORTER_BROKERS={}\n\
         ROTEL_KAFKA_EXPORTER_TRACES_TOPIC={traces}\n\
         ROTEL_KAFKA_EXPORTER_METRICS_TOPIC={metrics}\n\
         ROTEL_KAFKA_EXPORTER_LOGS_TOPIC={logs}\nROTEL_KAFKA_EXPORTER_FORMAT=json\n\
         ROTEL_KAFKA_EXPORTER_PARTITION_METRICS_BY_RESOURCE_ATTRIBUTES=true\n\
         ROTEL_KAFKA_EXPORTER_SECURITY_PROTOCOL=SASL_PLAINTEXT\n\
         ROTEL_KAFKA_EXPORTER_SASL_MECHANISM=SCRAM-SHA-512\n\
         ROTEL_KAFKA_EXPORTER_SASL_USERNAME={USER}\n\
         ROTEL_KAFKA_EXPORTER_SASL_PASSWORD={PASSWORD}\n",
        shared().listener("SASL_PLAINTEXT"),
    );
    let environment = [("ROTEL_KAFKA_EXPORTER_SASL_PASSWORD", PASSWORD)];
    let output = import("rotel", &file, &[]);
    assert!(output.status.success(), "{output:?}");
    let config = String::from_utf8(output.stdout).expect("text");
    check(&config, &environment);
    assert!(!config.contains(PASSWORD));
    let config = config + "\nadmin: { address: \"127.0.0.1:0\" }\nworkers: 1\n";
    let weir = Weir::start_with(&config, &environment);
    post_all(&weir);
    for (topic, (word, key)) in topics.iter().zip([
        ("test-operation", 0),
        ("test-metric", 32),
        ("test-record", 0),
    ]) {
        let message = shared().read(topic, 1).remove(0);
        assert_eq!(message.key.len(), key, "{word}");
        let text = String::from_utf8(message.payload).expect("UTF-8");
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn what_rotel_sent_as_protobuf_over_tls_is_checked_and_delivers() {
    let folder = TempDir::new().expect("a folder");
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, shared().ca()).expect("write");
    let topic = shared().topic();
    // Protobuf is Rotel's default.
    let file = format!(
        "rotel start --exporter kafka --otlp-grpc-endpoint localhost:0 --otlp-http-endpoint localhost:0 \
         --kafka-exporter-brokers {} --kafka-exporter-traces-topic {topic} \
         --kafka-exporter-security-protocol SASL_SSL --kafka-exporter-sasl-mechanism PLAIN \
         --kafka-exporter-sasl-username {USER} --kafka-exporter-sasl-password {PASSWORD} \
         --kafka-exporter-custom-config ssl.ca.location={}\n",
        shared().listener("SASL_SSL"),
        ca.display(),
    );
    let output = import("rotel", &file, &[]);
    assert!(output.status.success(), "{output:?}");
    let config = String::from_utf8(output.stdout).expect("text");
    assert!(!config.contains(PASSWORD), "{config}");
    let environment = [("ROTEL_KAFKA_EXPORTER_SASL_PASSWORD", PASSWORD)];
    check(&config, &environment);
    let config = config + "\nadmin: { address: \"127.0.0.1:0\" }\nworkers: 1\n";
    let weir = Weir::start_with(&config, &environment);
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: "test-operation".to_owned(),
        ..Span::default()
    };
    let request = weir_tests::grpc::frame(false, &request_of(span).encode_to_vec());
    let answer = weir_tests::grpc::call(
        weir.otlp("grpc"),
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        &[("content-type", "application/grpc")],
        request.clone(),
    );
    assert_eq!(answer.status(), 0);
    let message = shared().read(&topic, 1).remove(0);
    // Behind the five bytes of gRPC.
    assert_eq!(message.payload, request[5..]);
}

fn request_of(span: Span) -> ExportTraceServiceRequest {
    let scope = ScopeSpans {
        spans: vec![span],
        ..ScopeSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![scope],
            ..ResourceSpans::default()
        }],
    }
}

#[test]
fn the_result_may_go_to_a_new_file_and_the_source_come_from_standard_input() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("weir.yaml");
    let run = |path: &Path| {
        let mut child = Command::new(binary())
            .args(["import", "--from", "rotel", "-", "--output"])
            .arg(path)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut stdin = child.stdin.take().expect("piped");
        stdin
            .write_all(b"rotel start --exporter kafka\n")
            .expect("write");
        drop(stdin);
        child.wait_with_output().expect("it ends")
    };
    let output = run(&path);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("--kafka-exporter-acks: was not given: Rotel's default is `one`"));
    let written = std::fs::read_to_string(&path).expect("a file");
    check(&written, &[]);
    let again = run(&path);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(&path).expect("a file"), written);
}

#[test]
fn a_source_that_cannot_be_served_is_refused_with_its_faults() {
    let file = r#"{ "brokers": ["localhost"], "topic": "t", "sasl_enabled": true }"#;
    let output = import("bifrost", file, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let said = String::from_utf8_lossy(&output.stderr);
    for part in [
        "brokers[0]: must have the form",
        "sasl.mechanism: is missing",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn what_conduktors_connector_had_is_checked_and_delivers() {
    let topics = [(); 3].map(|()| shared().topic());
    let file = json!({
        "name": "otlp-source",
        "config": {
            "connector.class": "io.conduktor.connect.otel.OpenTelemetrySourceConnector",
            "tasks.max": "1",
            "otlp.bind.address": "127.0.0.1",
            "otlp.grpc.port": "0",
            "otlp.http.port": "0",
            "kafka.topic.traces": topics[0],
            "kafka.topic.metrics": topics[1],
            "kafka.topic.logs": topics[2],
            "otlp.message.format": "json",
        },
    });
    let output = import(
        "kafka-connect",
        &file.to_string(),
        &["--brokers", shared().address()],
    );
    assert!(output.status.success(), "{output:?}");
    let config = String::from_utf8(output.stdout).expect("text");
    check(&config, &[]);
    let config = config + "\nadmin: { address: \"127.0.0.1:0\" }\nworkers: 1\n";
    let weir = Weir::start(&config);
    post_all(&weir);
    for (topic, word) in topics[1..]
        .iter()
        .zip(["test-metric", "SEVERITY_NUMBER_INFO"])
    {
        let message = shared().read(topic, 1).remove(0);
        let text = String::from_utf8(message.payload).expect("UTF-8");
        assert!(text.contains(word), "{text}");
    }
    // By gRPC too: a second message in the topic of the logs.
    let record = [0x0a, 6, 0x12, 4, 0x12, 2, 0x10, 17];
    let answer = weir_tests::grpc::call(
        weir.otlp("grpc"),
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        &[("content-type", "application/grpc")],
        weir_tests::grpc::frame(false, &record),
    );
    assert_eq!(answer.status(), 0);
    let message = shared().read(&topics[2], 2).remove(1);
    let text = String::from_utf8(message.payload).expect("UTF-8");
    assert!(text.contains("SEVERITY_NUMBER_ERROR"), "{text}");
    let message = shared().read(&topics[0], 1).remove(0);
    assert!(message.key.is_empty());
    let request: serde_json::Value = serde_json::from_slice(&message.payload).expect("JSON");
    let span = &request["resource_spans"][0]["scope_spans"][0]["spans"][0];
    assert_eq!(span["kind"], "SPAN_KIND_INTERNAL");
    assert_eq!(span["trace_id"], "W47/95gDgQPSabYzgT/GDA==");
}

#[test]
fn a_connector_with_tls_and_a_key_is_checked_and_delivers_what_comes_with_both() {
    let folder = TempDir::new().expect("a folder");
    let authority = Authority::default();
    let (cert, key) = authority
        .issue(&["127.0.0.1"])
        .write(folder.path(), "server");
    let topic = shared().topic();
    let file = json!({
        "connector.class": "io.conduktor.connect.otel.OpenTelemetrySourceConnector",
        "otlp.bind.address": "127.0.0.1",
        "otlp.grpc.enabled": "false",
        "otlp.http.port": "0",
        "otlp.tls.enabled": "true",
        "otlp.tls.cert.path": cert,
        "otlp.tls.key.path": key,
        "otlp.auth.enabled": "true",
        "otlp.auth.methods": "api-key",
        "otlp.auth.api-key": "0123456789",
        "otlp.message.format": "protobuf",
        "kafka.topic.traces": topic,
        "producer.override.bootstrap.servers": shared().listener("SASL_PLAINTEXT"),
        "producer.override.security.protocol": "SASL_PLAINTEXT",
        "producer.override.sasl.mechanism": "SCRAM-SHA-256",
        "producer.override.sasl.jaas.config": format!(
            "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"{USER}\" \
             password=\"{PASSWORD}\";"
        ),
    });
    let output = import("kafka-connect", &file.to_string(), &[]);
    assert!(output.status.success(), "{output:?}");
    let config = String::from_utf8(output.stdout).expect("text");
    assert!(
        !config.contains("0123456789") && !config.contains(PASSWORD),
        "{config}"
    );
    // The variables that it asks for.
    let names = ["TOKEN", "PASSWORD"].map(|what| {
        let start = config.split("env.").skip(1);
        let names = start.map(|rest| {
            rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .next()
        });
        let found = names.flatten().find(|name| name.ends_with(what));
        found.expect("a variable").to_owned()
    });
    let environment = [(&*names[0], "0123456789"), (&*names[1], PASSWORD)];
    check(&config, &environment);
    let config = config + "\nadmin: { address: \"127.0.0.1:0\" }\nworkers: 1\n";
    let weir = Weir::start_with(&config, &environment);
    let body = request_of(Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        ..Span::default()
    });
    let body = body.encode_to_vec();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).expect("write");
    std::fs::write(folder.path().join("body"), &body).expect("write");
    let post = |headers: &[&str]| {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--output",
                "/dev/null",
                "--write-out",
                "%{http_code}",
            ])
            .args([
                "--data-binary",
                "@body",
                "--header",
                "content-type: application/x-protobuf",
            ])
            .args(["--cacert", "ca.pem"])
            .args(headers.iter().flat_map(|header| ["--header", header]))
            .arg(format!("https://{}/v1/traces", weir.otlp("http")))
            .current_dir(folder.path())
            .output()
            .expect("curl");
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(post(&[]), "401");
    assert_eq!(post(&["authorization: Bearer 0123456789"]), "200");
    assert_eq!(shared().read(&topic, 1).remove(0).payload, body);
}

#[test]
fn a_file_that_is_there_is_not_written_over_and_is_named() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("weir.yaml");
    std::fs::write(&path, "mine").expect("write");
    let path = path.to_str().expect("UTF-8");
    let output = import("rotel", "ROTEL_EXPORTER=kafka\n", &["--output", path]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("cannot write {path}: ")), "{said}");
    assert_eq!(std::fs::read_to_string(path).expect("it is there"), "mine");
}
