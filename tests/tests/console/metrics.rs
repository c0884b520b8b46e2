//! What `examples/metrics` has for Prometheus and Grafana, beside a live Weir, by Prometheus' own tool.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use weir_tests::client;
use weir_tests::tls::Authority;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::api::get;
use crate::push::Prometheus;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/metrics");

/// A Weir that has something to tell of each part.
fn weir(data: &Path) -> Weir {
    started(&config(data))
}

fn started(config: &Value) -> Weir {
    let weir = Weir::start(&config.to_string());
    weir.get("/one", &[]);
    weir
}

fn config(data: &Path) -> Value {
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
    let identity = Authority::default().issue(&["a.example"]);
    let acme = json!({
        "domains": ["b.example"], "terms_of_service_agreed": true, "directory": "https://127.0.0.1:1/",
    });
    let tls = json!({ "certificates": [identity.json()], "acme": acme });
    let listeners = config["listeners"].as_array_mut().expect("listeners");
    listeners.push(json!({ "address": "127.0.0.1:0", "tls": tls }));
    config
}

fn example(name: &str) -> String {
    let path = Path::new(EXAMPLES).join(name);
    std::fs::read_to_string(path).expect("an example")
}

fn dashboard() -> Value {
    serde_json::from_str(&example("weir.dashboard.json")).expect("JSON")
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
    let names = parts.filter(|part| part.starts_with("weir_") || part.starts_with("process_"));
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
    let dashboard = dashboard();
    let mut asked = Vec::new();
    expressions(&dashboard, &mut asked);
    assert!(asked.len() > 25, "{asked:?}");
    let rules = example("weir.rules.yml");
    for name in asked
        .iter()
        .flat_map(|text| names(text))
        .chain(names(&rules))
    {
        assert!(families.contains(name), "there is no {name}");
    }
}

#[test]
fn prometheus_answers_all_that_the_dashboard_asks() {
    let data = tempfile::tempdir().expect("a folder");
    let prometheus = Prometheus::start();
    let mut config = config(data.path());
    config["metrics"]["push"]["here"] =
        json!({ "endpoint": prometheus.write(), "instance": "here", "interval": "1s" });
    let _weir = started(&config);
    let dashboard = dashboard();
    let mut asked = Vec::new();
    expressions(&dashboard, &mut asked);
    assert!(asked.len() > 25, "{asked:?}");
    // Some faults of an expression are none before there is something that it is about.
    eventually("two pushes are there", || {
        let found = prometheus.query("count_over_time(weir_config_generation[1h]) > 1");
        (!found["data"]["result"].as_array()?.is_empty()).then_some(())
    });
    let mut with_values = 0;
    for expression in asked {
        let query = expression
            .replace("$instance", ".*")
            .replace("$__rate_interval", "1m");
        assert!(!query.contains('$'), "{query}");
        let answer = prometheus.query(&query);
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let found = answer["data"]["result"].as_array().expect("a result");
        with_values += usize::from(!found.is_empty());
    }
    // Nothing is refused, dropped or ejected here.
    assert!(with_values > 15, "{with_values}");
}

/// That promtool runs those tests is shown above.
#[test]
fn each_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() {
    let (rules, tests) = (example("weir.rules.yml"), example("weir.rules.test.yml"));
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    let cases: Vec<(&str, &str)> = tests
        .split("- alertname: ")
        .skip(1)
        .map(|case| case.split_once('\n').expect("more lines"))
        .collect();
    for alert in alerts {
        let case = |expected: &str| {
            let mut cases = cases.iter();
            cases.any(|(name, rest)| *name == alert && rest.contains(expected))
        };
        assert!(case("- exp_labels: "), "{alert} never fires");
        assert!(case("exp_alerts: []"), "{alert} always fires");
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
