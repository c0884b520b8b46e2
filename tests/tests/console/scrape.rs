//! Debian's Prometheus scrapes a live Weir, by the configuration and the rules of `examples/metrics`.

use std::path::Path;

use serde_json::json;
use tempfile::TempDir;
use weir_tests::tls::Authority;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::api::get;
use crate::push::Prometheus;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/metrics");

/// Prometheus with the example's configuration, each second.
fn scraping(folder: TempDir, weir: &Weir, change: impl Fn(&str) -> String) -> Prometheus {
    let example = Path::new(EXAMPLES).join("prometheus.yml");
    let config = std::fs::read_to_string(example).expect("the example");
    let mut config = change(&config);
    for (from, to) in [
        (
            "scrape_interval: 15s",
            "scrape_interval: 1s\n  evaluation_interval: 1s",
        ),
        ("weir.rules.yml", &format!("{EXAMPLES}/weir.rules.yml")),
        ("127.0.0.1:9901", &weir.admin().to_string()),
    ] {
        assert!(config.contains(from), "{from}: {config}");
        config = config.replace(from, to);
    }
    Prometheus::start_with(folder, &config)
}

#[test]
fn what_is_scraped_leads_to_a_trace_and_each_rule_can_be_judged() {
    let mut config = weir_tests::config::config(&Upstream::hello());
    config["store"] = json!({});
    let weir = Weir::start(&config.to_string());
    weir.get("/one", &[]);
    let id = eventually("the trace is there", || {
        let traces = get(&weir, "/api/traces").json();
        traces["traces"][0]["trace_id"].as_str().map(str::to_owned)
    });
    let folder = tempfile::tempdir().expect("a folder");
    let prometheus = scraping(folder, &weir, str::to_owned);
    let found = eventually("the trace stands beside a bucket", || {
        let found =
            prometheus.ask("/api/v1/query_exemplars?query=weir_request_duration_seconds_bucket");
        let series = found.as_array()?.first()?.clone();
        Some(series["exemplars"][0].clone())
    });
    assert_eq!(found["labels"]["trace_id"], json!(id), "{found}");
    for (name, labels) in [
        ("up", "job=\"weir\""),
        ("weir_build_info", "version=\"0.1.0\""),
    ] {
        assert_eq!(prometheus.value(name, labels), Some(1.0), "{name}");
    }
    assert!(prometheus.value("process_cpu_seconds_total", "job=\"weir\"") > Some(0.0));

    let rules = eventually("each rule was judged", || {
        let groups = prometheus.ask("/api/v1/rules");
        let rules = groups["groups"][0]["rules"].as_array()?.clone();
        let judged = rules.iter().all(|rule| rule["health"] != "unknown");
        judged.then_some(rules)
    });
    assert!(rules.len() > 10, "{rules:?}");
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert_eq!(rule["state"], "inactive", "{rule}");
    }
}

#[test]
fn it_is_scraped_over_tls_with_a_token_as_the_example_has_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::default();
    let mut config = weir_tests::config::config(&Upstream::hello());
    config["admin"]["tls"]["certificates"] = json!([authority.issue(&["127.0.0.1"]).json()]);
    config["admin"]["token"] = json!("t0k");
    let weir = Weir::start(&config.to_string());
    let place = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).expect("a file");
        file.display().to_string()
    };
    let (ca, token) = (place("ca.pem", authority.pem()), place("token", "t0k"));
    let prometheus = scraping(folder, &weir, |config| {
        // The comments that are keys.
        let lines = config.lines().map(|line| match line.split_once("# ") {
            Some((indent, key)) if !indent.is_empty() && !key.starts_with("With") => {
                format!("{indent}{key}\n")
            }
            _ => format!("{line}\n"),
        });
        let config: String = lines.collect();
        config
            .replace("/etc/prometheus/weir-ca.pem", &ca)
            .replace("/etc/prometheus/weir-token", &token)
    });
    eventually("Weir is up", || {
        (prometheus.value("up", "job=\"weir\"")? > 0.0).then_some(())
    });
    assert_eq!(
        prometheus.value("weir_build_info", "job=\"weir\""),
        Some(1.0)
    );
}
