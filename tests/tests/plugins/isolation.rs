//! `isolation: request`: an instance for each request, of either ABI. What a guest keeps in its memory is
//! there in all hooks of the request, and never in those of another, however they come between each other.

use std::io::Write as _;
use std::net::TcpListener;
use std::sync::{Mutex, mpsc};

use serde_json::{Value, json};
use weir_tests::abi::Abi;
use weir_tests::client::Connection;
use weir_tests::config::{config, exporter};
use weir_tests::http2::{Client, run};
use weir_tests::kafka::shared;
use weir_tests::trace::Trace;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::{Weir, guest};

use crate::Stand;

const BEFORE: &str = "plugin.memo.prerequesthook";
const PREHOOK: &str = "plugin.memo.prehook";
const POSTHOOK: &str = "plugin.memo.posthook";
const WAITS: &str = "weir_plugin_memo_waits_total{plugin=\"memo\"}";

fn memo(abi: Abi, config: Value) -> Value {
    json!({ "module": abi.guest("memo"), "config": config, "isolation": "request" })
}

fn before(upstream: Upstream, plugin: Value) -> Stand {
    Stand::before(upstream, &[("memo", plugin)])
}

/// Answers `/slow` only when it is let go, and all else at once.
fn slow() -> (Upstream, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let upstream = Upstream::new(move |seen, stream| {
        if seen.target == "/slow" {
            let _ = wait.lock().expect("lock").recv();
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    (upstream, go)
}

/// A client that has asked for `/slow`, once the upstream has been.
fn asking(weir: &Weir, upstream: &Upstream) -> Connection {
    let mut client = Connection::open(weir.proxy());
    client.send("GET /slow HTTP/1.1\r\nhost: test\r\n\r\n");
    eventually("the upstream is asked", || {
        let seen = upstream.seen();
        seen.iter().any(|seen| seen.target == "/slow").then_some(())
    });
    client
}

fn instances(weir: &Weir) -> u64 {
    let plugins = weir.api("/api/plugins").json();
    plugins["plugins"][0]["instances"]
        .as_u64()
        .expect("a number")
}

/// What the hook had in its memory, and whether its instance was made for it.
fn kept(trace: &Trace, hook: &str) -> (String, bool) {
    let kept = trace.attribute(hook, "memo.kept").as_str();
    let made = trace.attribute(hook, "weir.hook.made_ns").is_u64();
    (kept.expect("what was kept").to_owned(), made)
}

/// The trace of a request, among so many.
fn trace(topic: &str, among: usize, path: &str) -> Trace {
    let traces = shared().traces(topic, among);
    let mut traces = traces.into_iter();
    let found = traces.find(|trace| trace.root()["Attributes"]["url.path"] == path);
    found.expect("a trace of the request")
}

#[test]
fn all_hooks_of_a_request_find_what_was_kept_before_them() {
    for abi in Abi::BOTH {
        let up = Upstream::hello();
        let mut config = config(&up);
        let hooks = [
            "pre-request",
            "request",
            "request-body",
            "response",
            "response-body",
        ];
        config["plugins"]["memo"] = memo(abi, json!({ "hooks": hooks }));
        config["listeners"][0]["plugins"] = json!(["memo"]);
        let stand = Stand::with(up, config);
        let mut client = Connection::open(stand.weir.proxy());
        client.send("POST /a HTTP/1.1\r\nhost: test\r\ncontent-length: 3\r\n\r\none");
        assert_eq!(client.receive().expect("a response").text(), "hello");

        let trace = stand.trace();
        let first = ("pre-request/a".to_owned(), true);
        assert_eq!(kept(&trace, BEFORE), first);
        let (request, made) = kept(&trace, PREHOOK);
        assert!(
            request.starts_with("pre-request/a request/a request-body"),
            "{request}"
        );
        assert!(!made);
        let (response, made) = kept(&trace, POSTHOOK);
        // Pieces of the request have gone before: the upstream answers a whole one.
        let rest = response
            .strip_prefix(&request)
            .expect("all that was kept before");
        assert!(rest.starts_with(" response response-body"), "{rest}");
        assert!(!made);
    }
}

#[test]
fn nothing_of_a_request_is_there_for_another() {
    for abi in Abi::BOTH {
        let (upstream, go) = slow();
        let stand = before(upstream, memo(abi, json!({})));
        let mut client = asking(&stand.weir, &stand.upstream);
        // On the one worker, while the first waits, and on one connection.
        let mut other = Connection::open(stand.weir.proxy());
        for path in ["/b", "/c"] {
            other.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
            assert_eq!(other.receive().expect("a response").status, 200);
        }
        go.send(()).expect("the upstream waits");
        assert_eq!(client.receive().expect("a response").status, 200);
        for path in ["/slow", "/b", "/c"] {
            let trace = trace(&stand.topic, 3, path);
            assert_eq!(kept(&trace, PREHOOK), (format!("request{path}"), true));
            let both = format!("request{path} response");
            assert_eq!(kept(&trace, POSTHOOK), (both, false));
        }
    }
}

#[test]
fn requests_that_share_instances_find_what_others_kept() {
    let stand = before(Upstream::hello(), json!({ "module": guest("memo") }));
    for path in ["/a", "/b"] {
        assert_eq!(stand.weir.get(path, &[]).status, 200);
    }
    let second = trace(&stand.topic, 2, "/b");
    let all = "request/a response request/b response".to_owned();
    assert_eq!(kept(&second, POSTHOOK), (all, false));
}

#[test]
fn each_stream_of_an_http_2_connection_has_its_own() {
    let stand = before(Upstream::hello(), memo(Abi::Module, json!({})));
    run(async {
        let client = Client::open(stand.weir.proxy()).await;
        let (first, second) = tokio::join!(client.get("/a"), client.get("/b"));
        assert_eq!(first.expect("a response").status(), 200);
        assert_eq!(second.expect("a response").status(), 200);
    });
    for path in ["/a", "/b"] {
        let trace = trace(&stand.topic, 2, path);
        let both = format!("request{path} response");
        assert_eq!(kept(&trace, POSTHOOK), (both, false));
    }
}

#[test]
fn it_is_held_while_the_upstream_works_where_a_hook_is_to_come() {
    for (hooks, held) in [
        (json!(["request", "response"]), 1),
        (json!(["request"]), 0),
        (json!(["pre-request", "request"]), 0),
        (json!(["pre-request", "request", "request-body"]), 0),
    ] {
        let (upstream, go) = slow();
        let mut config = config(&upstream);
        config["plugins"]["memo"] = memo(Abi::Module, json!({ "hooks": hooks }));
        config["listeners"][0]["plugins"] = json!(["memo"]);
        let stand = Stand::with(upstream, config);
        let mut client = asking(&stand.weir, &stand.upstream);
        assert_eq!(instances(&stand.weir), held, "{hooks}");
        go.send(()).expect("the upstream waits");
        assert_eq!(client.receive().expect("a response").status, 200);
        eventually("it is gone", || (instances(&stand.weir) == 0).then_some(()));
    }
}

#[test]
fn a_client_that_leaves_takes_it_along() {
    let (upstream, _go) = slow();
    let stand = before(upstream, memo(Abi::Module, json!({})));
    let client = asking(&stand.weir, &stand.upstream);
    assert_eq!(instances(&stand.weir), 1);
    drop(client);
    eventually("it is gone", || (instances(&stand.weir) == 0).then_some(()));
    let trace = stand.trace();
    assert_eq!(
        trace.root()["Attributes"]["error.type"],
        "client_disconnected"
    );
}

#[test]
fn what_failed_is_thrown_away_and_the_next_hook_has_a_fresh_one() {
    for abi in Abi::BOTH {
        let mut plugin = memo(abi, json!({ "trap": "request" }));
        plugin["on_error"] = "continue".into();
        let stand = before(Upstream::hello(), plugin);
        assert_eq!(stand.get(&[]).text(), "hello");
        let trace = stand.trace();
        assert_eq!(trace.attribute(PREHOOK, "error.type"), "panic");
        assert_eq!(kept(&trace, POSTHOOK), ("response".to_owned(), true));
        assert_eq!(instances(&stand.weir), 0);
    }
}

#[test]
fn a_piece_that_fails_takes_it_from_the_hooks_behind_it() {
    let hooks = ["request", "request-body", "response"];
    let mut plugin = memo(
        Abi::Module,
        json!({ "hooks": hooks, "trap": "request-body" }),
    );
    plugin["on_error"] = "continue".into();
    let stand = before(Upstream::hello(), plugin);
    let mut client = Connection::open(stand.weir.proxy());
    client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 3\r\n\r\none");
    assert_eq!(client.receive().expect("a response").text(), "hello");
    assert_eq!(stand.seen().body, b"one", "it passes by unseen");
    let trace = stand.trace();
    assert_eq!(trace.attribute(PREHOOK, "error.type"), "panic");
    assert_eq!(kept(&trace, POSTHOOK), ("response".to_owned(), true));
}

#[test]
fn a_response_that_comes_while_a_piece_is_looked_at_waits_for_the_instance() {
    for abi in Abi::BOTH {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let up = Upstream::hello();
        let mut config = config(&up);
        config["upstreams"]["up"]["endpoints"] = json!([format!("http://{address}")]);
        let hooks = ["request", "request-body", "response"];
        let mut plugin = memo(abi, json!({ "hooks": hooks }));
        plugin["limits"] = json!({ "cpu_time": "10m", "wall_time": "10m" });
        config["plugins"]["memo"] = plugin;
        config["routes"][0]["plugins"] = json!(["memo"]);
        let stand = Stand::with(up, config);

        let mut client = Connection::open(stand.weir.proxy());
        client.send("POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
        client.send("3\r\none\r\n");
        let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
        upstream.read_head().expect("a head");
        assert_eq!(upstream.read_chunk().expect("a piece"), b"one");
        client.send("4\r\nwait\r\n");
        eventually("the guest has the piece", || {
            (stand.weir.count(WAITS) == 1).then_some(())
        });
        upstream.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        // The one worker turns to the response between these, and to the guest.
        for _ in 0..20 {
            assert_eq!(stand.weir.get("/idle", &[]).status, 200);
        }
        assert_eq!(stand.weir.get("/go", &[]).status, 200);
        let head = client.receive_head().expect("a head");
        assert_eq!(head.status, 200);
        assert_eq!(upstream.read_chunk().expect("a piece"), b"wait");
        client.send("0\r\n\r\n");
        assert_eq!(upstream.read_chunk().expect("the end"), b"");
        upstream.send("2\r\nok\r\n0\r\n\r\n");
        assert_eq!(client.read_chunk().expect("a piece"), b"ok");
        assert_eq!(client.read_chunk().expect("the end"), b"");

        let trace = trace(&stand.topic, 22, "/");
        let all = "request/ request-body request-body response".to_owned();
        assert_eq!(kept(&trace, POSTHOOK), (all, false));
        let left = trace.attribute(POSTHOOK, "memo.left");
        assert_eq!(left, "2", "by the piece before, when the head came");
    }
}

#[test]
fn a_reload_in_between_leaves_the_request_its_instance() {
    let (upstream, go) = slow();
    let mut config = config(&upstream);
    config["plugins"]["memo"] = memo(Abi::Module, json!({}));
    config["routes"][0]["plugins"] = json!(["memo"]);
    let topic = shared().topic();
    config["exporters"]["traces"] = exporter(shared(), &topic);
    let weir = Weir::start(&config.to_string());
    let mut client = asking(&weir, &upstream);
    config["plugins"]["memo"]["config"] = json!({ "hooks": ["response"] });
    assert_eq!(weir.reload(&config.to_string()).status, 200);
    assert_eq!(weir.get("/new", &[]).status, 200);
    go.send(()).expect("the upstream waits");
    assert_eq!(client.receive().expect("a response").status, 200);

    let new = trace(&topic, 2, "/new");
    assert_eq!(kept(&new, POSTHOOK), ("response".to_owned(), true));
    let old = trace(&topic, 2, "/slow");
    let both = "request/slow response".to_owned();
    assert_eq!(kept(&old, POSTHOOK), (both, false));
    let generation = |trace: &Trace, hook| trace.attribute(hook, "weir.hook.generation").clone();
    assert_eq!(generation(&old, PREHOOK), generation(&old, POSTHOOK));
    assert_ne!(generation(&old, POSTHOOK), generation(&new, POSTHOOK));
}

#[test]
fn a_tunnel_does_not_hold_it() {
    let upstream = Upstream::new(|_, stream| {
        let switched = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
            upgrade: websocket\r\n\r\n";
        let _ = stream.write_all(switched);
    });
    let stand = before(upstream, memo(Abi::Module, json!({})));
    let mut tunnel = Connection::open(stand.weir.proxy());
    tunnel.send(
        "GET /ws HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    );
    assert_eq!(tunnel.receive_head().expect("a head").status, 101);
    eventually("it is gone", || (instances(&stand.weir) == 0).then_some(()));
    drop(tunnel);
    let both = "request/ws response".to_owned();
    assert_eq!(kept(&stand.trace(), POSTHOOK), (both, false));
}

#[test]
fn an_answers_pieces_are_of_the_same_instance() {
    for abi in Abi::BOTH {
        let stand = before(Upstream::hello(), memo(abi, json!({})));
        for _ in 0..2 {
            let response = stand.weir.get("/told", &[]);
            assert!(response.complete);
            assert_eq!(response.text(), "request/told response answer-body");
        }
        eventually("it is gone", || (instances(&stand.weir) == 0).then_some(()));
    }
}

#[test]
fn an_answer_breaks_off_where_a_hook_fails_before_its_pieces() {
    let mut plugin = memo(Abi::Module, json!({ "trap": "response" }));
    plugin["on_error"] = "continue".into();
    let stand = before(Upstream::hello(), plugin);
    let response = stand.weir.get("/told", &[]);
    assert_eq!(response.status, 200);
    assert!(!response.complete);
    assert_eq!(response.text(), "");
    let trace = stand.trace();
    assert_eq!(trace.attribute(POSTHOOK, "error.type"), "panic");
    assert_eq!(trace.root()["Attributes"]["error.type"], "plugin_failed");
    assert_eq!(instances(&stand.weir), 0);
}

#[test]
fn an_answer_to_a_piece_is_of_the_instance_that_saw_it() {
    for abi in Abi::BOTH {
        let hooks = ["request", "request-body", "response"];
        let stand = before(Upstream::hello(), memo(abi, json!({ "hooks": hooks })));
        let mut client = Connection::open(stand.weir.proxy());
        client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\n\r\ntell");
        let response = client.receive().expect("a response");
        assert!(response.complete);
        let all = "request/ request-body response answer-body";
        assert_eq!(response.text(), all);
        assert!(stand.upstream.seen().is_empty(), "no whole request");
        eventually("it is gone", || (instances(&stand.weir) == 0).then_some(()));
    }
}
