//! `docs/otlp.md`, followed to the letter: what it shows is run, and what it says was measured is.

use std::path::{Path, PathBuf};
use std::process::Command;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use weir::otlp::Signal;
use weir::otlp::json::{Dialect, write};
use weir_tests::service::Running;
use weir_tests::tls::Authority;
use weir_tests::wait::eventually;
use weir_tests::weir::{Weir, binary};

use crate::clients::{python, service};
use crate::{EXAMPLE, JSON, Otlp, PROTOBUF, own_kafka, post, shared};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page() -> String {
    std::fs::read_to_string(repository().join("docs/otlp.md")).expect("the page")
}

/// The one fenced block of this language that has this in it, without its indent.
fn block(language: &str, has: &str) -> String {
    let page = page();
    let fenced = page.split("```").skip(1).step_by(2);
    let mut found = fenced.filter_map(|block| {
        let (first, text) = block.split_once('\n')?;
        (first == language && text.contains(has)).then_some(text)
    });
    let text = found.next().expect("the page has it");
    assert!(found.next().is_none(), "it has it twice");
    let indent = text.len() - text.trim_start_matches(' ').len();
    let lines = text.lines().map(|line| line.get(indent..).unwrap_or(""));
    lines.collect::<Vec<_>>().join("\n")
}

/// On free ports, with a broker that is there.
fn here(config: &str, broker: &str) -> String {
    let config = config
        .replace("0.0.0.0:4317", "127.0.0.1:0")
        .replace("0.0.0.0:4318", "127.0.0.1:0")
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        .replace("localhost:9092", broker);
    config + "\nadmin: { address: \"127.0.0.1:0\" }\nworkers: 1\n"
}

/// Runs it; the error is what it said.
#[track_caller]
fn succeed(command: &mut Command) -> String {
    let output = command.output().expect("it runs: `make services`");
    assert!(output.status.success(), "{command:?}\n{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn the_quick_start_delivers_and_the_collector_reads_it() {
    let folder = TempDir::new().expect("a folder");
    let (kafka, _) = own_kafka(&folder);
    let topics = block("sh", "kafka-topics.sh").replace("localhost:9092", kafka.address());
    succeed(&mut shell(&topics));
    let config = block("yaml", "    http: { address: 0.0.0.0:4318 }\n    exporter");
    let weir = Weir::start(&here(&config, kafka.address()));
    let http = weir.otlp("http").to_string();

    // With curl.
    let curl = block("sh", "curl").replace("localhost:4318", &http);
    assert_eq!(succeed(Command::new("sh").args(["-euc", &curl])), "{}");
    let message = kafka.read("otlp-traces", 1).remove(0);
    let arrived: Value = serde_json::from_slice(&message.payload).expect("JSON");
    let sent: Value = serde_json::from_str(EXAMPLE).expect("JSON");
    assert_eq!(arrived, sent);

    // By variables of the environment alone.
    let variables = block("sh", "OTEL_EXPORTER_OTLP_ENDPOINT").replace("weir-host:4318", &http);
    let sdk = format!("{}/clients/node/sdk.mjs", env!("CARGO_MANIFEST_DIR"));
    let script = format!("{variables}\nexec node {sdk} \"$PACKAGES\"");
    let mut command = Command::new("sh");
    command
        .args(["-euc", &script])
        .env("PACKAGES", service("otlp-node"))
        .env("OTEL_METRICS_EXPORTER", "otlp")
        .env("OTEL_LOGS_EXPORTER", "otlp");
    succeed(&mut command);
    for topic in ["otlp-metrics", "otlp-logs"] {
        let message = kafka.read(topic, 1).remove(0);
        let text = String::from_utf8(message.payload).expect("UTF-8");
        assert!(text.contains("my-application"), "{text}");
    }

    // In Python.
    let code = block("python", "OTLPSpanExporter").replace("weir-host:4318", &http);
    succeed(Command::new(python()).args(["-c", &code]));
    let of_python = kafka.read("otlp-traces", 3).into_iter().find(|message| {
        let text = String::from_utf8_lossy(&message.payload);
        text.contains("my-operation")
    });
    assert!(of_python.is_some());

    // By telemetrygen: two spans a trace.
    let generate = block("sh", "telemetrygen traces");
    let generate = generate.replace("localhost:4318", &http);
    let generate = generate.replace("localhost:4317", &weir.otlp("grpc").to_string());
    succeed(&mut shell(&generate));
    for (protocol, least) in [("grpc", 6), ("http/protobuf", 6)] {
        let labels = format!(r#"{{signal="traces",protocol="{protocol}"}}"#);
        let items = weir.count(&format!("weir_otlp_received_items_total{labels}"));
        assert!(items >= least, "{protocol}: {items}");
    }

    // All three topics, unmodified.
    let receivers = block("yaml", "encoding: otlp_json");
    let pipelines = ["traces", "metrics", "logs"].map(|signal| {
        let pipeline = json!({ "receivers": ["kafka"], "exporters": ["debug"] });
        (signal.to_owned(), pipeline)
    });
    let rest = json!({
        "exporters": { "debug": { "verbosity": "detailed" } },
        "service": {
            "telemetry": { "metrics": { "level": "none" } },
            "pipelines": serde_json::Map::from_iter(pipelines),
        },
    });
    let receivers = receivers.replace("localhost:9092", kafka.address());
    let parts = [
        ("receivers.yaml", receivers),
        ("rest.yaml", rest.to_string()),
    ];
    let parts = parts.map(|(name, text)| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        ["--config".into(), path.into_os_string()]
    });
    let mut command = Command::new(service("collector/otelcol"));
    let log = TempDir::new().expect("a folder");
    let collector = Running::start(command.args(parts.as_flattened()), log);
    for word in [
        "test-operation",
        "my-operation",
        "span-node",
        "counter-node",
        "record-node",
    ] {
        eventually(&format!("the collector prints {word}"), || {
            collector.log().contains(word).then_some(())
        });
    }
}

/// A shell that has Kafka's own tool for topics, and telemetrygen.
fn shell(script: &str) -> Command {
    let path = std::env::var("PATH").expect("a path");
    let mut command = Command::new("bash");
    command
        .env("JARS", service("kafka/jars"))
        .env("PATH", format!("{}:{path}", service("go/bin").display()))
        .arg("-euc")
        .arg(format!(
            "kafka-topics.sh() {{ java -cp \"$JARS/*\" org.apache.kafka.tools.TopicCommand \"$@\"; }}\n{script}"
        ));
    command
}

#[test]
fn a_token_is_said_by_the_variable_that_the_page_has() {
    let page = page();
    let start = page
        .find("OTEL_EXPORTER_OTLP_HEADERS='")
        .expect("the page has it");
    let variable = page[start..].split('`').next().expect("its end");
    let mut otlp = Otlp::new("otlp_json");
    otlp.otlp()["token"] = json!("abc");
    let weir = otlp.start();
    for (protocol, flag) in [("grpc", ""), ("http", "--otlp-http")] {
        for (said, taken) in [("", false), (variable, true)] {
            let script = format!(
                "{said} telemetrygen traces --otlp-insecure {flag} --otlp-endpoint {} --traces 3",
                weir.otlp(protocol)
            );
            // It may say that it failed where nothing is taken.
            shell(&script).output().expect("bash");
            let protocol = if protocol == "http" {
                "http/protobuf"
            } else {
                protocol
            };
            let labels = format!(r#"{{signal="traces",protocol="{protocol}"}}"#);
            let items = weir.count(&format!("weir_otlp_received_items_total{labels}"));
            assert_eq!(items >= 6, taken, "{protocol}: {items}");
        }
    }
}

#[test]
fn environments_are_one_file_with_topics_of_their_own() {
    let folder = TempDir::new().expect("a folder");
    let (kafka, _) = own_kafka(&folder);
    let example = std::fs::read_to_string(repository().join("examples/otlp.yaml"));
    let example = here(&example.expect("the example"), kafka.address());
    let said = block("sh", "WEIR__RECEIVERS__OTLP__EXPORTER__KAFKA__TRACES_TOPIC");
    assert!(said.contains("prod-traces"), "{said}");
    for environment in ["prod", "staging"] {
        let names: Vec<(String, String)> = said
            .lines()
            .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.replace("prod", environment)))
            .collect();
        assert_eq!(names.len(), 3);
        let pairs: Vec<_> = names
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        let weir = Weir::start_with(&example, &pairs);
        let body = EXAMPLE.replace("test-operation", &format!("of-{environment}"));
        let response = post(weir.otlp("http"), "/v1/traces", JSON, &[], body.as_bytes());
        assert_eq!(response.status, 200);
        let produced = r#"weir_otlp_produced_total{signal="traces",protocol="http/json"}"#;
        eventually("its topic is made, and has it", || {
            (weir.count(produced) == 1).then_some(())
        });
        let message = kafka.read(&format!("{environment}-traces"), 1).remove(0);
        let text = String::from_utf8(message.payload).expect("UTF-8");
        assert!(text.contains(&format!("of-{environment}")), "{text}");
    }
}

#[test]
fn a_consumer_may_keep_what_matters_for_a_costly_sink() {
    let otlp = Otlp::new("otlp_json");
    let weir = otlp.start();
    let span = |name: &str, milliseconds: u64, status: Value| {
        json!({
            "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174",
            "name": name, "status": status, "startTimeUnixNano": "1609459200000000000",
            "endTimeUnixNano": (1_609_459_200_000_000_000 + milliseconds * 1_000_000).to_string(),
        })
    };
    let spans = [
        span("quick", 5, json!({})),
        span("slow", 700, json!({})),
        span("failed", 5, json!({ "code": 2, "message": "no" })),
    ];
    for spans in [&spans[..1], &spans[..]] {
        let body = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] });
        let body = body.to_string();
        let response = post(weir.otlp("http"), "/v1/traces", JSON, &[], body.as_bytes());
        assert_eq!(response.status, 200);
    }
    let kept = shared().topic();
    let script = repository().join("examples/consumers/keep.py");
    let mut command = Command::new(service("consumers/bin/python"));
    command
        .arg(script)
        .args([
            "--brokers",
            shared().address(),
            "--from",
            &otlp.topics[0],
            "--to",
            &kept,
        ])
        .args(["--slower-than", "500", "--count", "2"]);
    assert_eq!(succeed(&mut command).trim(), "2 of 4 spans kept");
    let message = shared().read(&kept, 1).remove(0);
    let arrived: Value = serde_json::from_slice(&message.payload).expect("JSON");
    let names: Vec<_> = arrived["resourceSpans"][0]["scopeSpans"][0]["spans"]
        .as_array()
        .expect("spans")
        .iter()
        .map(|span| span["name"].clone())
        .collect();
    assert_eq!(names, ["slow", "failed"]);
}

#[test]
fn the_direct_consumer_prints_spans() {
    let otlp = Otlp::new("otlp_json");
    let weir = otlp.start();
    let response = post(
        weir.otlp("http"),
        "/v1/traces",
        JSON,
        &[],
        EXAMPLE.as_bytes(),
    );
    assert_eq!(response.status, 200);
    let mut command = Command::new(repository().join("examples/consumers/spans.sh"));
    command.args([shared().address(), &otlp.topics[0], "-c", "1"]);
    assert_eq!(
        succeed(&mut command).trim(),
        "my-test-service  test-operation  500 ms"
    );
}

#[test]
fn the_example_of_security_is_accepted() {
    let folder = TempDir::new().expect("a folder");
    let authority = Authority::default();
    let identity = authority.issue(&["localhost"]).json();
    let text = |key: &str| identity[key].as_str().expect("PEM").to_owned();
    std::fs::write(folder.path().join("server.pem"), text("cert")).expect("written");
    std::fs::write(folder.path().join("clients-ca.pem"), authority.pem()).expect("written");
    let exporter = "    exporter: { kafka: { brokers: [\"localhost:9092\"] } }\n";
    let file = folder.path().join("weir.yaml");
    let config = format!("{}\n{exporter}", block("yaml", "allowed_origins"));
    std::fs::write(&file, config).expect("written");
    let mut command = Command::new(binary());
    command
        .args(["check", "--config"])
        .arg(&file)
        .env("OTLP_TOKEN", "secret")
        .env("OTLP_KEY", text("key"));
    succeed(&mut command);
}

/// What the race posts: 200 spans of 20 traces with 8 attributes each.
fn body_of_the_race() -> Vec<u8> {
    let text = |key: String, value: String| KeyValue {
        key,
        value: Some(AnyValue {
            value: Some(Any::StringValue(value)),
        }),
        ..KeyValue::default()
    };
    let span = |number: u64| {
        let trace = number / 10 + 1;
        let start = 1_700_000_000_000_000_000 + number;
        let value = |index| {
            let value = format!("value {number:04} {index}");
            text(format!("race.value.{index}"), value)
        };
        Span {
            trace_id: u128::from(trace).to_be_bytes().to_vec(),
            span_id: (number + 1).to_be_bytes().to_vec(),
            parent_span_id: trace.to_be_bytes().to_vec(),
            name: format!("GET /v1/items/{number}"),
            kind: 2,
            start_time_unix_nano: start,
            end_time_unix_nano: start + 1_500_000,
            attributes: (0..8).map(value).collect(),
            ..Span::default()
        }
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![text("service.name".to_owned(), "checkout".to_owned())],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "race".to_owned(),
                    ..InstrumentationScope::default()
                }),
                spans: (0..200).map(span).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    };
    request.encode_to_vec()
}

#[test]
fn the_sizes_of_the_formats_are_those_that_are_said() {
    let protobuf = body_of_the_race();
    let json = |dialect| {
        let mut out = Vec::new();
        write(Signal::Traces.request(), &protobuf, dialect, &mut out);
        out.len()
    };
    let page = page();
    for (format, bytes) in [
        ("otlp_protobuf", protobuf.len()),
        ("otlp_json", json(Dialect::Otlp)),
        ("otlp_json_snake_case", json(Dialect::SnakeCase)),
    ] {
        let said = format!("| `{format}` | {} |", (bytes + 100) / 200);
        assert!(page.contains(&said), "the page does not say: {said}");
    }
}

#[test]
fn every_metric_of_the_receiver_is_in_the_page() {
    let folder = TempDir::new().expect("a folder");
    let mut otlp = Otlp::new("otlp_protobuf");
    otlp.config["data_dir"] = json!(folder.path());
    let weir = otlp.start();
    let malformed = post(weir.otlp("http"), "/v1/traces", PROTOBUF, &[], b"\x0a");
    assert_eq!(malformed.status, 400);
    let (page, metrics) = (page(), weir.metrics());
    let types = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    let mut count = 0;
    for line in types.filter(|line| line.starts_with("weir_otlp_")) {
        let (name, kind) = line.split_once(' ').expect("a name and a type");
        let name = name.strip_suffix("_total").unwrap_or(name);
        let suffix = if kind == "counter" { "_total" } else { "" };
        assert!(
            page.contains(&format!("`{name}{suffix}`")),
            "{name}{suffix}"
        );
        count += 1;
    }
    assert!(count > 12, "{count} metrics");
    for signal in ["traces", "metrics", "logs"] {
        for protocol in ["grpc", "http/protobuf", "http/json"] {
            for name in [
                "received",
                "received_bytes",
                "received_items",
                "acknowledged",
                "messages",
            ] {
                let metric =
                    format!(r#"weir_otlp_{name}_total{{signal="{signal}",protocol="{protocol}"}}"#);
                assert!(metrics.contains(&metric), "{metric}");
            }
        }
    }
}
