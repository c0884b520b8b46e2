//! Collectors that are reached: Weir itself, grpcio's, one behind TLS, one that comes back.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use http::{HeaderMap, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use weir_tests::config::config;
use weir_tests::http2::{Reply, Upstream as Http2};
use weir_tests::kafka::shared;
use weir_tests::service::{free_port, service};
use weir_tests::tls::Authority;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::{Weir, binary};

use crate::{ask, attribute, count, exporting, ids, spans, state};

#[test]
fn weir_takes_what_weir_sends_by_each_protocol() {
    let topic = shared().topic();
    let mut receiver = config(&Upstream::hello());
    receiver["receivers"]["otlp"] = json!({
        "grpc": { "address": "127.0.0.1:0" },
        "http": { "address": "127.0.0.1:0" },
        "token": "env.TOKEN",
        "exporter": { "kafka": {
            "brokers": [shared().address()],
            "traces_topic": topic,
            "metrics_topic": topic,
            "logs_topic": topic,
            "format": "otlp_json",
        } },
    });
    let receiver = Weir::start_with(&receiver.to_string(), &[("TOKEN", "let-me-in")]);
    let mut sender = config(&Upstream::hello());
    sender["plugins"]["id"] = json!({ "module": "builtin:request-id" });
    sender["routes"][0]["plugins"] = json!(["id"]);
    for (protocol, port, compression) in [
        ("grpc", "grpc", "gzip"),
        ("http_protobuf", "http", "zstd"),
        ("http_json", "http", "none"),
    ] {
        sender["exporters"][protocol]["otlp"] = json!({
            "endpoint": format!("http://{}", receiver.otlp(port)),
            "protocol": protocol,
            "compression": compression,
            "headers": { "authorization": "env.TOKEN" },
            "flush_interval": "1ms",
            "request_headers": ["x-protocol"],
        });
    }
    let json = &mut sender["exporters"]["http_json"]["otlp"];
    json["plugin_span_filter"] = json!({ "mode": "exclude", "plugins": ["id"] });
    json["request_headers"] = json!([]);
    let sender = Weir::start_with(&sender.to_string(), &[("TOKEN", "Bearer let-me-in")]);
    sender.get("/orders", &["x-request-id: one", "x-protocol: all"]);
    let messages = shared().read(&topic, 3);
    let requests: Vec<Value> = messages
        .iter()
        .map(|message| serde_json::from_slice(&message.payload).expect("OTLP/JSON"))
        .collect();
    let header = "http.request.header.x-protocol";
    let mut shapes: Vec<(usize, bool)> = Vec::new();
    for request in &requests {
        assert_eq!(ids(request), ["one"]);
        let spans = spans(request);
        let root = spans[0]["attributes"].to_string();
        shapes.push((spans.len(), root.contains(header)));
        assert_eq!(
            spans[0]["traceId"],
            crate::spans(&requests[0])[0]["traceId"]
        );
        assert_eq!(attribute(spans[0], "url.path"), Some("/orders"));
    }
    // The root, the call, and two hooks where they are not left out.
    shapes.sort_unstable();
    assert_eq!(shapes, [(2, false), (4, true), (4, true)]);
    let ready = sender.ready();
    for exporter in ready["exporters"].as_array().expect("a list") {
        assert_eq!(exporter["state"], "ok", "{ready}");
    }
}

/// grpcio's server, with what it takes.
struct Collector {
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
}

impl Collector {
    fn start(port: u16) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/collector.py");
        let mut child = Command::new(service("otlp/bin/python"))
            .args([script, &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python runs");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped")).lines();
        let first = stdout.next().expect("a line").expect("text");
        assert_eq!(first, format!("listening {port}"));
        let lines: Arc<Mutex<Vec<Value>>> = Arc::default();
        let taken = Arc::clone(&lines);
        thread::spawn(move || {
            for line in stdout.map_while(Result::ok) {
                let value = serde_json::from_str(&line).expect("JSON");
                taken.lock().expect("lock").push(value);
            }
        });
        Self { child, lines }
    }

    fn requests(&self) -> Vec<Value> {
        self.lines.lock().expect("lock").clone()
    }

    fn ids(&self) -> HashSet<String> {
        let requests = self.requests();
        let spans = requests.iter().flat_map(|request| {
            let spans = request["spans"].as_array();
            spans.into_iter().flatten()
        });
        spans
            .filter_map(|span| span["attributes"]["weir.request.id"].as_str())
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_collector_that_is_away_while_weir_is_killed_gets_everything() {
    let folder = TempDir::new().expect("a folder");
    let port = free_port();
    let mut config = exporting(json!({
        "endpoint": format!("http://127.0.0.1:{port}"),
        "headers": { "x-tenant": "shop" },
        "flush_interval": "10ms",
        "retry_backoff": "10ms",
        "retry_backoff_max": "100ms",
    }));
    config["data_dir"] = json!(folder.path());
    config["spool"] = json!({ "segment_bytes": "2MiB" });
    let mut asked = HashSet::new();
    let mut ask_many = |weir: &Weir, prefix: &str| {
        for number in 0..30 {
            let id = format!("{prefix}-{number}");
            ask(weir, "/", &id);
            asked.insert(id);
        }
        asked.clone()
    };
    let mut weir = Weir::start(&config.to_string());
    ask_many(&weir, "before");
    let message = state(&weir, "degraded");
    assert_eq!(
        message,
        format!("otlp: cannot deliver to http://127.0.0.1:{port}: connection refused")
    );
    weir.signal("KILL");
    weir.wait();
    let mut weir = Weir::start(&config.to_string());
    ask_many(&weir, "between");
    let collector = Collector::start(port);
    let wanted = ask_many(&weir, "after");
    eventually("everything arrives", || {
        wanted.is_subset(&collector.ids()).then_some(())
    });
    state(&weir, "ok");
    assert_eq!(collector.requests()[0]["metadata"]["x-tenant"], "shop");
    // In the middle of it all, once more.
    drop(collector);
    ask_many(&weir, "again");
    weir.signal("KILL");
    weir.wait();
    let weir = Weir::start(&config.to_string());
    let wanted = ask_many(&weir, "last");
    let late: HashSet<String> = wanted
        .iter()
        .filter(|id| id.starts_with("again") || id.starts_with("last"))
        .cloned()
        .collect();
    let collector = Collector::start(port);
    eventually("everything arrives", || {
        late.is_subset(&collector.ids()).then_some(())
    });
    for reason in ["refused", "too_large", "invalid", "corrupt", "spool_full"] {
        assert_eq!(crate::counted(&weir, "dropped", reason), 0, "{reason}");
    }
}

#[test]
fn without_a_spool_what_has_no_room_is_counted_and_what_has_is_sent_when_the_collector_is_back() {
    let port = free_port();
    let config = exporting(json!({
        "endpoint": format!("http://127.0.0.1:{port}"),
        "flush_interval": "1ms",
        "retry_backoff": "10ms",
        "retry_backoff_max": "100ms",
        "batch_bytes": "16KiB",
        "buffer_bytes": "64KiB",
    }));
    let weir = Weir::start(&config.to_string());
    state(&weir, "degraded");
    let mut asked = 0;
    while counted(&weir) == 0 {
        ask(&weir, "/", &format!("one-{asked}"));
        asked += 1;
    }
    let collector = Collector::start(port);
    eventually("each is delivered or counted", || {
        (count(&weir, "delivered") + counted(&weir) == asked).then_some(())
    });
    assert_eq!(collector.ids().len() as u64, count(&weir, "delivered"));
    assert!(count(&weir, "delivered") > 0);
}

fn counted(weir: &Weir) -> u64 {
    crate::counted(weir, "dropped", "buffer_full")
}

/// A collector of gRPC's that takes everything.
fn taking(tls: Option<Arc<rustls::ServerConfig>>) -> Http2 {
    Http2::new(tls, |_| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().expect("a value"));
        let head = Response::builder().header("content-type", "application/grpc");
        Reply {
            head: head.body(()).expect("a head"),
            body: b"\0\0\0\0\0",
            trailers: Some(trailers),
            ..Reply::default()
        }
    })
}

#[test]
fn tls_has_its_own_authority_and_certificate_and_says_what_is_wrong() {
    let (ours, others) = (Authority::default(), Authority::new("Others"));
    let server = ours.issue(&["localhost", "127.0.0.1"]);
    let client = ours.issue_client("weir", "spiffe://test/weir");
    let collector = taking(Some(server.server(&["h2"], Some(&ours))));
    let endpoint = format!("https://{}", collector.address());
    let config = |protocol: &str, tls: Value| {
        exporting(json!({
            "endpoint": endpoint,
            "protocol": protocol,
            "tls": tls,
            "flush_interval": "1ms",
            "retry_backoff": "10ms",
            "retry_backoff_max": "100ms",
        }))
    };
    let good = json!({ "ca": ours.pem(), "client_cert": client.cert, "client_key": client.key });
    // The latter in the version that the collector chooses.
    for (protocol, path) in [
        (
            "grpc",
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        ),
        ("http_protobuf", "/v1/traces"),
    ] {
        let before = collector.seen().len();
        let weir = Weir::start(&config(protocol, good.clone()).to_string());
        ask(&weir, "/", "encrypted");
        eventually("it is delivered", || {
            (count(&weir, "delivered") == 1).then_some(())
        });
        assert!(collector.seen()[before].uri.ends_with(path));
    }

    let mut stranger = good.clone();
    stranger["ca"] = json!(others.pem());
    let named = json!({ "ca": ours.pem(), "server_name": "elsewhere.test" });
    let bare = json!({ "ca": ours.pem() });
    for (tls, expected) in [
        (stranger, "TLS: the collector's certificate is not trusted"),
        (
            named,
            "TLS: the collector's certificate is for another host name",
        ),
        (bare, "TLS: the collector demands a client certificate"),
    ] {
        let weir = Weir::start(&config("grpc", tls).to_string());
        // It is tried again and again; now and then the connection is gone before its reason.
        eventually(expected, || {
            state(&weir, "degraded").contains(expected).then_some(())
        });
    }
}

#[test]
fn check_tries_the_collector() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("weir.yaml");
    let check = |endpoint: String| {
        let config = exporting(json!({ "endpoint": endpoint }));
        std::fs::write(&file, config.to_string()).expect("a file");
        let mut command = Command::new(binary());
        command.args(["check", "--connect", "--config"]).arg(&file);
        let output = command.output().expect("weir runs");
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), report)
    };
    let (code, report) = check(taking(None).url());
    assert_eq!(code, Some(0), "{report}");
    let port = free_port();
    let (code, report) = check(format!("http://127.0.0.1:{port}"));
    assert_eq!(code, Some(1));
    let expected = format!(
        "error[WEIR-C014]: exporters.out.otlp: otlp: cannot deliver to http://127.0.0.1:{port}: \
         connection refused"
    );
    assert!(report.contains(&expected), "{report}");
}

#[test]
fn the_example_delivers_to_a_collector() {
    let folder = TempDir::new().expect("a folder");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/otlp-export.yaml");
    let example = std::fs::read_to_string(path).expect("an example");
    let upstream = Upstream::hello();
    let port = free_port();
    let collector = Collector::start(port);
    let data = folder.path().display();
    let config = example
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        .replace("http://127.0.0.1:9000", &upstream.url())
        .replace("http://localhost:4317", &format!("http://127.0.0.1:{port}"))
        .replace("./weir-data", &format!("{data}/weir-data"))
        + "\nadmin: { address: 127.0.0.1:0 }\n";
    let weir = Weir::start(&config);
    ask(&weir, "/orders", "example");
    eventually("it arrives", || {
        collector.ids().contains("example").then_some(())
    });
    assert_eq!(
        collector.requests()[0]["metadata"]["x-environment"],
        "staging"
    );
}
