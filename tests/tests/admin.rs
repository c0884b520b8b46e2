//! The admin address: health, readiness, metrics, and the token that guards them.

use std::collections::HashSet;
use std::io::Write;
use std::sync::Mutex;
use std::sync::mpsc;

use serde_json::{Value, json};
use weir::demo::broker::Broker;
use weir_tests::client::{self, Connection};
use weir_tests::service::nobody;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::{Weir, guest};

fn config(upstream: &Upstream, rest: &str) -> String {
    format!(
        "
listeners: [{{ address: \"127.0.0.1:0\" }}]
upstreams: {{ api: {{ endpoints: [\"{}\"] }} }}
plugins: {{ id: {{ module: builtin:request-id }} }}
routes: [{{ name: all, match: {{ path: /* }}, upstream: api, plugins: [id] }}]
{rest}
",
        upstream.url()
    )
}

fn start() -> Weir {
    Weir::start(&config(
        &Upstream::hello(),
        "admin: { address: \"127.0.0.1:0\" }",
    ))
}

fn post(weir: &Weir, path: &str) -> client::Response {
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    );
    client::send(weir.admin(), request)
}

#[test]
fn healthz_is_200_while_the_process_runs() {
    let weir = start();
    let response = client::get(weir.admin(), "/healthz", &[]);
    assert_eq!((response.status, response.text()), (200, "ok\n".to_owned()));
}

#[test]
fn a_client_holds_no_more_than_its_share_and_keeps_nobody_out() {
    let weir = Weir::start(&config(
        &Upstream::hello(),
        "admin: { address: \"127.0.0.1:0\", token: secret }\nstore: {}",
    ));
    let healthz = "GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n";
    let mut follower = Connection::open(weir.admin());
    follower.send(
        "GET /api/traces/tail HTTP/1.1\r\nhost: test\r\nauthorization: Bearer secret\r\n\r\n",
    );
    assert_eq!(follower.receive_head().expect("a head").status, 200);
    // Half of a sign-in, which is waited for, and one that was answered and stays.
    let form = "POST / HTTP/1.1\r\nhost: test\r\naccept: text/html\r\ncontent-length: 9\r\n\r\n";
    let (mut begun, mut idle) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        let mut next = Connection::open(weir.admin());
        next.send(form);
        begun.push(next);
        // Each is answered as a probe is, whatever the others hold.
        let mut next = Connection::open(weir.admin());
        let response = ask(&mut next, healthz).expect("an answer");
        assert_eq!(response.status, 200);
        idle.push(next);
    }
    let kept = idle.iter_mut().filter_map(|one| ask(one, healthz)).count();
    // Half of the 256 that there may be are these; were there no bound, all 200 would be kept.
    assert!((1..150).contains(&kept), "{kept} are kept");
    // Who may be here, and is being answered, did not have to go.
    assert_eq!(weir.get("/", &[]).status, 200);
    let mut text = String::new();
    while !text.contains("event: trace") {
        text += &String::from_utf8_lossy(&follower.read_chunk().expect("more"));
    }
}

/// `None` where the connection is closed instead, also before all was sent.
fn ask(connection: &mut Connection, request: &str) -> Option<client::Response> {
    let sent = connection.stream().write_all(request.as_bytes());
    sent.ok().and_then(|()| connection.receive())
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let weir = Weir::start(&config(
        &Upstream::hello(),
        "admin: { address: \"127.0.0.1:0\", token: secret }",
    ));
    let fields = "host: 127.0.0.1\r\ncontent-length: 10\r\n";
    // Of who is known, and of who would show who it is.
    let json = "authorization: Bearer secret\r\ncontent-type: application/json\r\n";
    let clients = [
        ("/api/requests", format!("{fields}{json}"), 408),
        ("/", format!("{fields}accept: text/html\r\n"), 401),
    ]
    .map(|(target, fields, status)| {
        let mut client = Connection::open(weir.admin());
        client.send(format!("POST {target} HTTP/1.1\r\n{fields}\r\ntoken"));
        (client, target, status)
    });
    for (mut client, target, status) in clients {
        let response = client.receive().expect("an answer");
        assert_eq!(response.status, status, "{target}");
        assert_eq!(client.read_to_end(), b"", "{target}");
    }
}

#[test]
fn readyz_is_200_and_names_the_generation() {
    let weir = start();
    let response = client::get(weir.admin(), "/readyz", &[]);
    assert_eq!(response.status, 200);
    assert_eq!(response.json()["status"], "ready");
    assert_eq!(response.json()["generation"], 1);
}

#[test]
fn an_exporter_that_fails_is_degraded_in_the_body_of_a_200() {
    let nobody = nobody();
    let good = Broker::start(&["weir-traces"]).expect("a broker");
    let weir = Weir::start(&config(
        &Upstream::hello(),
        &format!(
            "admin: {{ address: \"127.0.0.1:0\" }}
exporters:
  bad: {{ kafka: {{ brokers: [\"{nobody}\"], topic: weir-traces }} }}
  good: {{ kafka: {{ brokers: [\"{}\"], topic: weir-traces }} }}",
            good.bootstrap_servers()
        ),
    ));
    let ready = eventually("both say how they fare", || {
        let ready = weir.ready();
        let state = |at: usize| ready["exporters"][at]["state"].clone();
        (state(0) == "degraded" && state(1) == "ok").then_some(ready)
    });
    assert_eq!(ready["status"], "ready");
    assert_eq!(client::get(weir.admin(), "/readyz", &[]).status, 200);
    assert_eq!(ready["exporters"][0]["name"], "bad");
    let message = ready["exporters"][0]["message"]
        .as_str()
        .expect("a message");
    assert!(
        message.contains("kafka plugin: failed to connect/authenticate with broker"),
        "{message}"
    );
    assert_eq!(weir.count("weir_export_degraded{exporter=\"bad\"}"), 1);
    assert_eq!(weir.count("weir_export_degraded{exporter=\"good\"}"), 0);
    assert_eq!(weir.get("/", &[]).status, 200, "a request does not care");
}

#[test]
fn readyz_and_metrics_say_what_became_of_traces_and_how_brokers_fare() {
    let broker = Broker::start(&["weir-traces"]).expect("a broker");
    let address = broker.bootstrap_servers().to_owned();
    let folder = tempfile::TempDir::new().expect("a folder");
    let weir = Weir::start(&config(
        &Upstream::hello(),
        &format!(
            "admin: {{ address: \"127.0.0.1:0\" }}
data_dir: \"{}\"
spool: {{ segment_bytes: 2MiB }}
exporters:
  bad: {{ kafka: {{ brokers: [\"{}\"], topic: weir-traces }} }}
  good:
    kafka:
      brokers: [\"{address}\"]
      topic: weir-traces
      flush_interval_ms: 10
      producer: {{ custom_config: {{ statistics.interval.ms: 100 }} }}",
            folder.path().display(),
            nobody(),
        ),
    ));
    for _ in 0..3 {
        assert_eq!(weir.get("/", &[]).status, 200);
    }
    let [bad, good] = eventually("both say how they fare", || {
        let ready = weir.ready();
        let [bad, good] = [0_usize, 1].map(|at| ready["exporters"][at].clone());
        let is_up = good["client"]["brokers"][&address]["up"] == json!(true);
        (good["delivered"] == 3 && is_up && bad["oldest_s"].as_u64() > Some(0))
            .then_some([bad, good])
    });
    assert_eq!(bad["delivered"], 0);
    for exporter in [&bad, &good] {
        assert_eq!(exporter["retried"], 0);
        assert_eq!(exporter["dropped"], json!({}));
    }
    assert!(good["client"]["queue_messages"].is_u64(), "{good}");
    assert!(weir.ready()["spool"]["bytes"].as_u64() > Some(0));
    assert!(weir.count("weir_spool_oldest_age_seconds{exporter=\"bad\"}") > 0);
    assert_eq!(
        weir.count("weir_export_retried_total{exporter=\"good\"}"),
        0
    );
    let up = format!("weir_kafka_broker_up{{exporter=\"good\",broker=\"{address}\"}}");
    assert_eq!(weir.count(&up), 1);
}

#[test]
fn readyz_and_metrics_say_why_traces_were_dropped() {
    let weir = Weir::start(&config(
        &Upstream::hello(),
        &format!(
            "admin: {{ address: \"127.0.0.1:0\" }}
exporters: {{ traces: {{ kafka: {{ brokers: [\"{}\"], topic: t, buffer_bytes: 1B }} }} }}",
            nobody()
        ),
    ));
    for _ in 0..3 {
        assert_eq!(weir.get("/", &[]).status, 200);
    }
    let dropped = "weir_export_dropped_total{exporter=\"traces\",reason=\"buffer_full\"}";
    eventually("they are counted", || {
        (weir.count(dropped) == 3).then_some(())
    });
    assert_eq!(
        weir.ready()["exporters"][0]["dropped"],
        json!({ "buffer_full": 3 })
    );
}

#[test]
fn readyz_is_503_once_a_drain_has_begun() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let upstream = Upstream::new(move |_, stream| {
        released
            .lock()
            .expect("lock")
            .recv()
            .expect("the test releases");
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .expect("weir reads");
    });
    let mut weir = Weir::start(&config(&upstream, "admin: { address: \"127.0.0.1:0\" }"));
    let mut client = Connection::open(weir.proxy());
    client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    eventually("the upstream has it", || {
        (upstream.seen().len() == 1).then_some(())
    });
    weir.signal("TERM");
    let draining = eventually("it is not ready", || {
        let response = client::get(weir.admin(), "/readyz", &[]);
        (response.status == 503).then_some(response)
    });
    assert_eq!(draining.json()["status"], "draining");
    assert_eq!(client::get(weir.admin(), "/healthz", &[]).status, 200);
    release.send(()).expect("the upstream waits");
    assert_eq!(client.receive().expect("a response").status, 200);
    assert_eq!(weir.wait().code(), Some(0));
}

#[test]
fn metrics_count_requests_latencies_upstreams_hooks_and_exporters() {
    let broker = Broker::start(&["weir-traces"]).expect("a broker");
    let weir = Weir::start(&config(
        &Upstream::hello(),
        &format!(
            "admin: {{ address: \"127.0.0.1:0\" }}
exporters: {{ traces: {{ kafka: {{ brokers: [\"{}\"], topic: weir-traces, flush_interval_ms: 10 }} }} }}",
            broker.bootstrap_servers()
        ),
    ));
    for _ in 0..3 {
        assert_eq!(weir.get("/", &[]).status, 200);
    }
    eventually("the traces are delivered", || {
        (weir.count("weir_export_delivered_total{exporter=\"traces\"}") == 3).then_some(())
    });
    for (name, count) in [
        ("weir_requests_total{route=\"all\",status=\"2xx\"}", 3),
        ("weir_requests_total{route=\"all\",status=\"5xx\"}", 0),
        ("weir_requests_active{route=\"all\"}", 0),
        ("weir_request_duration_seconds_count{route=\"all\"}", 3),
        ("weir_upstream_duration_seconds_count{upstream=\"api\"}", 3),
        ("weir_upstream_requests_active{upstream=\"api\"}", 0),
        (
            "weir_hook_duration_seconds_count{plugin=\"id\",hook=\"prehook\"}",
            3,
        ),
        ("weir_export_taken_total{exporter=\"traces\"}", 3),
        (
            "weir_export_dropped_total{exporter=\"traces\",reason=\"buffer_full\"}",
            0,
        ),
        ("weir_connections_total", 3),
        ("weir_config_generation", 1),
    ] {
        let line = format!("{name} {count}");
        let metrics = weir.metrics();
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}\n{metrics}"
        );
    }
    assert!(weir.metric("weir_request_duration_seconds_sum{route=\"all\"}") > 0.0);
}

#[test]
fn metrics_are_openmetrics_text() {
    let weir = start();
    weir.get("/", &[]);
    weir.get("/", &["connection: nonsense"]);
    let response = client::get(weir.admin(), "/metrics", &[]);
    let kind = response.header("content-type").expect("a type");
    assert!(
        kind.starts_with("application/openmetrics-text; version=1.0.0"),
        "{kind}"
    );
    let text = response.text();
    assert_openmetrics(&text);
    // The page has each.
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operating.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let mut families = 0;
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a name and a type");
        let suffix = if kind == "counter" { "_total" } else { "" };
        assert!(page.contains(&format!("`{name}{suffix}`")), "{line}");
        families += 1;
    }
    assert!(families > 30, "{families}");
}

/// The rules of `OpenMetrics` 1.0 that a scraper stumbles over.
fn assert_openmetrics(text: &str) {
    let body = text.strip_suffix("# EOF\n").expect("ends with `# EOF`");
    let (mut families, mut series) = (HashSet::new(), HashSet::new());
    let (mut family, mut kind) = (String::new(), String::new());
    let mut cumulative: (String, u64) = Default::default();
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<&str> = comment.splitn(3, ' ').collect();
            let [what, name, value] = words[..] else {
                panic!("{line}")
            };
            if what == "HELP" || name != family {
                assert!(
                    families.insert(name.to_owned()),
                    "{name} stands in two places"
                );
                family = name.to_owned();
            }
            if what == "TYPE" {
                kind = value.to_owned();
            }
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').expect("a sample and its value");
        let number: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(number >= 0.0, "{line}");
        assert!(series.insert(sample.to_owned()), "{sample} stands twice");
        let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
        assert!(labels.ends_with('}'), "{line}");
        let suffix = name
            .strip_prefix(family.as_str())
            .unwrap_or_else(|| panic!("{line} is not of {family}"));
        match kind.as_str() {
            "counter" => assert_eq!(suffix, "_total", "{line}"),
            "gauge" => assert_eq!(suffix, "", "{line}"),
            "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}"),
            other => panic!("{other}: {line}"),
        }
        if suffix == "_bucket" {
            let (before, rest) = labels.split_once("le=\"").expect("a bound");
            let (bound, after) = rest.split_once('"').expect("a quoted bound");
            let of = format!("{name}{before}{after}");
            let count: u64 = value.parse().expect("a count");
            if cumulative.0 == of {
                assert!(
                    count >= cumulative.1,
                    "{line} is less than the bucket before"
                );
            }
            let last = bound == "+Inf";
            cumulative = if last {
                Default::default()
            } else {
                (of, count)
            };
        }
    }
    let infinite = series
        .iter()
        .filter(|sample| sample.contains("le=\"+Inf\""))
        .count();
    let counts = series
        .iter()
        .filter(|sample| sample.contains("_seconds_count"))
        .count();
    assert_eq!(infinite, counts, "each histogram ends with +Inf");
}

#[test]
fn the_token_is_demanded_everywhere_but_on_healthz_and_readyz() {
    let weir = Weir::start_with(
        &config(
            &Upstream::hello(),
            "admin: { address: \"127.0.0.1:0\", token: env.TOKEN }",
        ),
        &[("TOKEN", "open-sesame")],
    );
    for path in ["/healthz", "/readyz"] {
        assert_eq!(client::get(weir.admin(), path, &[]).status, 200, "{path}");
    }
    for path in ["/", "/metrics", "/nowhere"] {
        for header in [
            "x: y",
            "authorization: Bearer open",
            "authorization: Basic open-sesame",
        ] {
            let response = client::get(weir.admin(), path, &[header]);
            assert_eq!(response.status, 401, "{path} {header}");
            assert_eq!(response.header("www-authenticate"), Some("Bearer"));
        }
    }
    assert_eq!(post(&weir, "/reload").status, 401);
    assert_eq!(weir.ready()["generation"], 1);
    let bearer = "authorization: Bearer open-sesame";
    assert_eq!(client::get(weir.admin(), "/metrics", &[bearer]).status, 200);
    assert!(!weir.logged("open-sesame"));
}

#[test]
fn other_paths_and_methods_are_refused() {
    let weir = start();
    assert_eq!(client::get(weir.admin(), "/nowhere", &[]).status, 404);
    let wrong = client::get(weir.admin(), "/reload", &[]);
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
    assert_eq!(post(&weir, "/metrics").status, 405);
}

#[test]
fn reloads_of_clients_that_have_left_are_not_made() {
    const CLIENTS: usize = 10;
    let weir = start();
    let admin = "admin: { address: \"127.0.0.1:0\" }";
    let good = config(&Upstream::hello(), admin);
    // Each takes two seconds of CPU time, and changes nothing.
    let spins =
        json!({ "module": guest("hostile"), "config": { "mode": "loop", "in": "configure" } });
    let bad = good.replace("{ module: builtin:request-id }", &spins.to_string());
    assert_ne!(bad, good);
    weir.write(&bad);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = Connection::open(weir.admin());
            client.send("POST /reload HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n");
            client
        })
        .collect();
    drop(clients);
    weir.says("reload changed nothing");
    let response = weir.reload(&good);
    assert_eq!(response.status, 200);
    let generation = response.json()["generation"].as_u64().expect("a number");
    let refused = |line: &Value| line.to_string().contains("reload changed nothing");
    let refused = weir.log().iter().filter(|line| refused(line)).count() as u64;
    // The first generation and the last are not theirs.
    assert!(refused + generation - 2 < CLIENTS as u64);
}

#[test]
fn metrics_say_what_the_process_is_and_uses() {
    let weir = start();
    let now = || std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970");
    assert_eq!(weir.count("weir_build_info{version=\"0.1.0\"}"), 1);
    let started = weir.metric("process_start_time_seconds");
    assert!(
        (0.0..600.0).contains(&(now().as_secs_f64() - started)),
        "{started}"
    );
    let resident = weir.count("process_resident_memory_bytes");
    // The kernel's two accounts differ by some pages.
    let most = weir.peak_bytes() + (1 << 20);
    assert!((1 << 20..most).contains(&resident), "{resident}");
    let used = || weir.metric("process_cpu_seconds_total");
    let before = used();
    assert!(before > 0.0);
    eventually("asking has cost CPU", || (used() > before).then_some(()));
}
