//! What `examples/metrics` has for Prometheus and Grafana, beside a live Weir, by Prometheus' own tool.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use weir_tests::client;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::api::get;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/metrics");

/// A Weir that has something to tell of each part.
fn weir(data: &Path) -> Weir {
    let mut config = weir_tests::config::config(&Upstream::hello());
    config["data_dir"] = json!(data);
    config["plugins"] = json!({ "request-id": { "module": "builtin:request-id" } });
    config["listeners"][0]["plugins"] = json!(["request-id"]);
    config["exporters"]["traces"]["kafka"] = json!({ "brokers": ["127.0.0.1:1"], "topic": "t" });
    config["receivers"]["otlp"] = json!({
        "grpc": { "enabled": false },
        "http": { "address": "127.0.0.1:0" },
        "exporter": { "kafka": {
            "brokers": ["127.0.0.1:1"], "traces_topic": "a", "metrics_topic": "b", "logs_topic": "c",
        }},
    });
    config["store"] = json!({});
    let weir = Weir::start(&config.to_string());
    weir.get("/one", &[]);
    weir
}

fn scrape(weir: &Weir, accept: &str) -> String {
    client::get(weir.admin(), "/metrics", &[accept]).text()
}

fn promtool(arguments: &[&str], input: &str) {
    let mut child = Command::new("promtool")
        .args(arguments)
        .current_dir(EXAMPLES)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs: see services/install.sh");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
}

#[test]
fn prometheus_tool_finds_nothing_wrong_with_metrics_alerts_and_their_tests() {
    let data = tempfile::tempdir().expect("a folder");
    let weir = weir(data.path());
    promtool(&["check", "metrics"], &scrape(&weir, "accept: text/plain"));
    promtool(&["check", "config", "prometheus.yml"], "");
    promtool(&["test", "rules", "weir.rules.test.yml"], "");
}

/// Names of metrics in a text, without what is said of a histogram's parts.
fn names(text: &str) -> BTreeSet<&str> {
    let parts = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = parts.filter(|part| part.starts_with("weir_"));
    names.map(|name| name.trim_end_matches("_bucket")).collect()
}

/// Every expression below a key of that name.
fn expressions<'j>(json: &'j Value, found: &mut Vec<&'j str>) {
    match json {
        Value::Object(map) => {
            found.extend(map.get("expr").and_then(Value::as_str));
            map.values().for_each(|value| expressions(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

#[test]
fn dashboard_and_alerts_ask_for_metrics_that_are_there() {
    let data = tempfile::tempdir().expect("a folder");
    let weir = weir(data.path());
    let scraped = scrape(&weir, "accept: text/plain");
    let families: BTreeSet<&str> = scraped
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let read = |name: &str| {
        let path = Path::new(EXAMPLES).join(name);
        std::fs::read_to_string(path).expect("an example")
    };
    let dashboard: Value = serde_json::from_str(&read("weir.dashboard.json")).expect("JSON");
    let mut asked = Vec::new();
    expressions(&dashboard, &mut asked);
    assert!(asked.len() > 25, "{asked:?}");
    let rules = read("weir.rules.yml");
    for name in asked
        .iter()
        .flat_map(|text| names(text))
        .chain(names(&rules))
    {
        assert!(families.contains(name), "there is no {name}");
    }
}

#[test]
fn buckets_of_durations_have_recent_traces_beside_them() {
    let data = tempfile::tempdir().expect("a folder");
    let weir = weir(data.path());
    let id = eventually("the trace is there", || {
        let traces = get(&weir, "/api/traces").json();
        traces["traces"][0]["trace_id"].as_str().map(str::to_owned)
    });
    let modern = scrape(&weir, "accept: application/openmetrics-text; version=1.0.0");
    let exemplar = format!(" # {{trace_id=\"{id}\"}} ");
    let marked: Vec<&str> = modern
        .lines()
        .filter(|line| line.contains(&exemplar))
        .collect();
    assert_eq!(marked.len(), 1, "{modern}");
    assert!(marked[0].starts_with("weir_request_duration_seconds_bucket{le="));
    let classic = client::get(weir.admin(), "/metrics", &["accept: text/plain"]);
    let kind = classic.header("content-type").expect("a type");
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    assert!(
        classic
            .text()
            .contains("# TYPE weir_requests_total counter\n")
    );
    assert!(!classic.text().contains("trace_id"));
}
