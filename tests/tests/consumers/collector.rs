//! OpenTelemetry's collector with its Kafka receiver, as `services/install.sh tests` has built it
//! of their releases, by the example's configuration.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::json;
use weir_tests::client;
use weir_tests::config::{config, exporter};
use weir_tests::kafka::{shared, unique};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::{example, service};

/// A running collector; killed when dropped.
struct Collector {
    child: Child,
    /// What it printed.
    output: Arc<Mutex<String>>,
}

impl Collector {
    fn start(environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(service("collector/otelcol"))
            .arg("--config")
            .arg(example("collector.yaml"))
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the collector starts");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let output: Arc<Mutex<String>> = Arc::default();
        let lines = Arc::clone(&output);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                *lines.lock().expect("lock") += &(line + "\n");
            }
        });
        Self { child, output }
    }

    fn wait_for(&self, texts: &[String]) {
        for text in texts {
            let found = std::panic::catch_unwind(|| {
                eventually(&format!("the collector has {text:?}"), || {
                    let output = self.output.lock().expect("lock");
                    output.contains(text).then_some(())
                });
            });
            assert!(found.is_ok(), "{}", self.output.lock().expect("lock"));
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn post(weir: &Weir, path: &str, body: &serde_json::Value) {
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let response = client::send(weir.otlp("http"), request);
    assert_eq!(response.status, 200, "{}", response.text());
}

/// The collector reads Weir's own traces, and what Weir received, in these formats, by these variables.
fn assert_read(own_format: &str, otlp_format: &str, encodings: &[(&str, &str)]) {
    let topics = [(); 4].map(|()| shared().topic());
    let [own, traces, metrics, logs] = &topics;
    let mut config = config(&Upstream::hello());
    config["plugins"]["id"] = json!({ "module": "builtin:request-id" });
    config["routes"][0]["plugins"] = json!(["id"]);
    config["exporters"]["traces"] = exporter(shared(), own);
    config["exporters"]["traces"]["kafka"]["format"] = json!(own_format);
    config["receivers"]["otlp"] = json!({
        "grpc": { "address": "127.0.0.1:0" },
        "http": { "address": "127.0.0.1:0" },
        "exporter": { "kafka": {
            "brokers": [shared().address()],
            "traces_topic": traces,
            "metrics_topic": metrics,
            "logs_topic": logs,
            "format": otlp_format,
        } },
    });
    let weir = Weir::start(&config.to_string());
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let traceparent = format!("traceparent: 00-{trace}-b7ad6b7169203331-01");
    assert_eq!(weir.get("/", &[&traceparent]).status, 200);
    let span = json!({
        "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174",
        "name": "relayed-span", "kind": 1,
        "startTimeUnixNano": "1609459200000000000", "endTimeUnixNano": "1609459200500000000",
    });
    let spans = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] });
    post(&weir, "/v1/traces", &spans);
    let metric = json!({
        "name": "relayed-metric",
        "gauge": { "dataPoints": [{ "timeUnixNano": "1609459200000000000", "asInt": "4711" }] },
    });
    let metrics_sent =
        json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [metric] }] }] });
    post(&weir, "/v1/metrics", &metrics_sent);
    let record = json!({ "body": { "stringValue": "relayed-record" }, "severityNumber": 9 });
    let records = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [record] }] }] });
    post(&weir, "/v1/logs", &records);

    let group = unique("collector");
    let places = [
        ("BROKERS", shared().address()),
        ("GROUP", group.as_str()),
        ("TOPIC", own.as_str()),
        ("OTLP_TRACES", traces.as_str()),
        ("OTLP_METRICS", metrics.as_str()),
        ("OTLP_LOGS", logs.as_str()),
    ];
    let collector = Collector::start(&[&places[..], encodings].concat());
    collector.wait_for(
        &[
            trace,
            "GET all",
            "plugin.id.prehook",
            "plugin.id.posthook",
            "relayed-span",
            "relayed-metric",
            "4711",
            "relayed-record",
        ]
        .map(str::to_owned),
    );
}

#[test]
fn opentelemetrys_collector_reads_otlp_protobuf() {
    let encodings = [("OTLP_ENCODING", "otlp_proto")];
    assert_read("otlp_protobuf", "otlp_protobuf", &encodings);
}

#[test]
fn opentelemetrys_collector_reads_otlp_json() {
    let encodings = [("ENCODING", "otlp_json")];
    assert_read("otlp_json", "otlp_json", &encodings);
}

#[test]
fn opentelemetrys_collector_needs_no_variable_where_received_telemetry_has_its_default_format() {
    assert_read("otlp_protobuf", "otlp_json", &[]);
}
