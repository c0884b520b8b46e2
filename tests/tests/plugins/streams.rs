//! Bodies that go through plugins piece by piece, of either ABI: nothing waits for the next piece,
//! nothing piles up, and what breaks off is never ended as if it were whole.

mod pressure;

use std::io::Write as _;
use std::net::TcpListener;
use std::sync::mpsc;

use bytes::Bytes;
use http::{HeaderMap, Request};
use serde_json::{Value, json};
use weir_tests::abi::Abi;
use weir_tests::client::{Connection, Response};
use weir_tests::config::config;
use weir_tests::http2::{Client, receive, run};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::guest;

use crate::Stand;

const PREHOOK: &str = "plugin.pieces.prehook";
const POSTHOOK: &str = "plugin.pieces.posthook";

fn pieces(config: Value) -> Value {
    json!({ "module": guest("pieces"), "config": config })
}

fn stand(upstream: Upstream, config: Value) -> Stand {
    Stand::before(upstream, &[("pieces", pieces(config))])
}

/// A Weir whose upstream is the test itself, which accepts its connection.
fn facing(config: Value) -> (Stand, TcpListener) {
    facing_plugin(pieces(config))
}

fn facing_plugin(plugin: Value) -> (Stand, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    config["upstreams"]["up"]["endpoints"] = json!([format!("http://{address}")]);
    config["plugins"]["pieces"] = plugin;
    config["routes"][0]["plugins"] = json!(["pieces"]);
    (Stand::with(upstream, config), listener)
}

fn accept(listener: &TcpListener) -> Connection {
    Connection::over(listener.accept().expect("weir connects").0)
}

fn chunked(body: &str) -> Upstream {
    let response = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}");
    Upstream::new(move |_, stream| {
        let _ = stream.write_all(response.as_bytes());
    })
}

/// A client that has sent the head of a chunked request.
fn uploading(stand: &Stand) -> Connection {
    let mut client = Connection::open(stand.weir.proxy());
    client.send("POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
    client
}

fn post(stand: &Stand, body: &str) -> Response {
    let len = body.len();
    let mut client = Connection::open(stand.weir.proxy());
    let request = format!("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {len}\r\n\r\n{body}");
    client.send(request).receive().expect("a response")
}

#[test]
fn an_event_reaches_the_client_before_the_next_has_come() {
    for abi in Abi::BOTH {
        let (go_on, wait) = mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        let upstream = Upstream::new(move |_, stream| {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                transfer-encoding: chunked\r\n\r\n";
            let _ = stream.write_all(head.as_bytes());
            for event in ["data: one\n\n", "data: two\n\n"] {
                let chunk = format!("{:x}\r\n{event}\r\n", event.len());
                let _ = stream.write_all(chunk.as_bytes());
                let _ = wait.lock().expect("lock").recv();
            }
            let _ = stream.write_all(b"0\r\n\r\n");
        });
        let plugin = json!({ "module": abi.guest("pieces"), "config": { "response": "upper" } });
        let stand = Stand::before(upstream, &[("pieces", plugin)]);
        let mut client = Connection::open(stand.weir.proxy());
        client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
        let head = client.receive_head().expect("a head");
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        assert_eq!(client.read_chunk().expect("a piece"), b"DATA: ONE\n\n");
        go_on.send(()).expect("the upstream waits");
        assert_eq!(client.read_chunk().expect("a piece"), b"DATA: TWO\n\n");
        go_on.send(()).expect("the upstream waits");
        assert_eq!(client.read_chunk().expect("the end"), b"");

        let trace = stand.trace();
        let span = &trace.span(POSTHOOK)["Attributes"];
        assert_eq!(span["plugin.invocation_count"], 3);
        assert_eq!(span["plugin.error_count"], 0);
        assert_eq!(span["weir.hook.body"], "streamed");
        assert_eq!(span["pieces.seen"], 3);
        assert_eq!(span["pieces.refused"], "a header that belongs to the proxy");
        let total = span["plugin.total_duration_ms"].as_f64().expect("a number");
        let average = span["plugin.avg_duration_ms"].as_f64().expect("a number");
        // The average is of whole nanoseconds.
        assert!((total - 3.0 * average).abs() < 4e-6, "{span}");
        assert_eq!(trace.attribute("GET", "pieces.upstream"), true);
        assert_eq!(trace.root()["Status"], "unset");
    }
}

#[test]
fn a_piece_of_a_request_reaches_the_upstream_before_the_next_has_come() {
    for abi in Abi::BOTH {
        let plugin = json!({
            "module": abi.guest("pieces"), "config": { "request": "upper", "response": "pass" },
        });
        let (stand, listener) = facing_plugin(plugin);
        let mut client = uploading(&stand);
        client.send("3\r\none\r\n");
        let mut upstream = accept(&listener);
        let head = upstream.read_head().expect("a head");
        assert!(head.contains(&"transfer-encoding: chunked".to_owned()));
        assert_eq!(upstream.read_chunk().expect("a piece"), b"ONE");
        client.send("3\r\ntwo\r\n");
        assert_eq!(upstream.read_chunk().expect("a piece"), b"TWO");
        client.send("0\r\n\r\n");
        assert_eq!(upstream.read_chunk().expect("the end"), b"");
        upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        assert_eq!(client.receive().expect("a response").text(), "ok");
        let trace = stand.trace();
        assert_eq!(trace.attribute(PREHOOK, "plugin.invocation_count"), 3);
        // What it left for itself when the first piece came, and each later one.
        assert_eq!(trace.attribute(POSTHOOK, "pieces.left"), "piece 3");
    }
}

#[test]
fn a_body_that_may_change_has_no_length() {
    let both = json!({ "request": "double", "response": "upper" });
    let (stand, listener) = facing(both);
    let mut client = Connection::open(stand.weir.proxy());
    client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 3\r\n\r\none");
    let mut upstream = accept(&listener);
    let head = upstream.read_head().expect("a head");
    let framing: Vec<_> = head
        .iter()
        .filter(|line| line.starts_with("content-length") || line.starts_with("transfer-"))
        .collect();
    assert_eq!(framing, ["transfer-encoding: chunked"]);
    let mut body = Vec::new();
    while let Some(piece) = upstream.read_chunk().filter(|piece| !piece.is_empty()) {
        body.extend(piece);
    }
    assert_eq!(body, b"oneone");
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    let response = client.receive().expect("a response");
    assert_eq!(response.text(), "HELLO");
    assert!(response.complete);
    assert_eq!(response.header("content-length"), None);
}

#[test]
fn what_is_held_back_goes_out_with_the_last_piece() {
    let upstream = chunked("3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n");
    let stand = stand(upstream, json!({ "response": "collect" }));
    let response = stand.get(&[]);
    assert_eq!(response.text(), "onetwo");
    assert!(response.complete);
}

#[test]
fn a_plugin_may_let_a_body_by() {
    let stand = stand(
        Upstream::hello(),
        json!({ "request": "skip", "response": "skip" }),
    );
    let response = post(&stand, "question");
    assert_eq!(response.text(), "hello");
    assert_eq!(response.header("content-length"), Some("5"));
    assert_eq!(stand.seen().header("content-length"), Some("8"));
    let trace = stand.trace();
    let count = trace.attribute(POSTHOOK, "plugin.invocation_count");
    assert!(count.is_null());
}

#[test]
fn no_body_has_no_pieces() {
    let upstream = Upstream::new(|seen, stream| {
        let _ = stream.write_all(match seen.target.as_str() {
            "/204" => &b"HTTP/1.1 204 No Content\r\n\r\n"[..],
            "/304" => b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
        });
    });
    let both = json!({ "request": "grow", "response": "grow" });
    let stand = stand(upstream, both);
    let mut client = Connection::open(stand.weir.proxy());
    for (method, target) in [("GET", "/204"), ("GET", "/304"), ("HEAD", "/")] {
        client.send(format!("{method} {target} HTTP/1.1\r\nhost: test\r\n\r\n"));
        let response = client.receive_to(method).expect("a response");
        assert!(response.body.is_empty(), "{target}");
        assert_eq!(response.header("content-length"), None, "{target}");
        let seen = stand.seen();
        assert_eq!(seen.header("transfer-encoding"), None);
        assert_eq!(seen.header("content-length"), None);
    }
}

#[test]
fn what_a_plugin_answers_goes_through_those_behind_it() {
    let maintenance = json!({ "module": "builtin:maintenance", "config": { "enabled": true } });
    let stand = Stand::before(
        Upstream::hello(),
        &[
            ("pieces", pieces(json!({ "response": "upper" }))),
            ("closed", maintenance),
        ],
    );
    let response = stand.get(&[]);
    assert_eq!(response.status, 503);
    let text = response.text();
    assert!(response.complete && !text.is_empty());
    assert_eq!(text, text.to_uppercase());
}

#[test]
fn bodies_held_and_bodies_streamed_go_through_one_chain() {
    let wrap = |config| json!({ "module": guest("wrap"), "config": config });
    let both = json!({ "request": 1000, "response": 1000 });
    let upper = json!({ "request": "upper", "response": "upper" });
    let stand = Stand::before(
        Upstream::hello(),
        &[
            ("first", wrap(both.clone())),
            ("pieces", pieces(upper)),
            ("last", wrap(both)),
        ],
    );
    let response = post(&stand, "question");
    assert_eq!(response.text(), "<<HELLO>>");
    assert_eq!(stand.seen().body, b"<<QUESTION>>");
    // The plugin between set a trailer, which only chunks can carry.
    assert_eq!(stand.seen().header("content-length"), None);
}

#[test]
fn a_large_body_is_streamed_behind_what_was_read_of_it() {
    let bypassing = json!({
        "module": guest("wrap"), "config": { "response": 10 }, "on_large_body": "bypass",
    });
    let upstream = chunked("8\r\n01234567\r\n8\r\nabcdefgh\r\n0\r\n\r\n");
    let stand = Stand::before(
        upstream,
        &[
            ("after", pieces(json!({ "response": "upper" }))),
            ("wrap", bypassing),
            ("pieces", pieces(json!({ "response": "double" }))),
        ],
    );
    let response = stand.get(&[]);
    assert!(response.complete);
    assert_eq!(response.text(), "0123456701234567ABCDEFGHABCDEFGH");
}

#[test]
fn a_trap_in_mid_stream_breaks_a_response_off() {
    for (work, reason) in [
        ("trap", "panic"),
        ("spin", "cpu_time"),
        ("flood", ""),
        ("abort", ""),
    ] {
        let upstream = chunked("3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n");
        let mut plugin = pieces(json!({ "response": { "work": work, "at": 2 } }));
        if work == "spin" {
            plugin["limits"] = json!({ "cpu_time": "20ms" });
        }
        let stand = Stand::before(upstream, &[("pieces", plugin)]);
        let response = stand.get(&[]);
        assert_eq!(response.status, 200, "{work}");
        if work == "flood" {
            // As much as one call may write, and not more.
            assert!(response.complete);
            assert!(response.body.len() <= (4 << 20) + 3);
            let refused = "weir_plugin_refusals_total{plugin=\"pieces\",what=\"body\"}";
            assert_eq!(stand.weir.count(refused), 1);
            continue;
        }
        assert!(!response.complete, "{work}");
        // What came before may have gone out.
        assert!("one".starts_with(&response.text()), "{work}");
        let trace = stand.trace();
        let span = trace.span(POSTHOOK);
        assert_eq!(span["Attributes"]["plugin.invocation_count"], 2);
        assert_eq!(trace.root()["Status"], "error", "{work}");
        let failed = work != "abort";
        assert_eq!(span["Attributes"]["plugin.error_count"], i32::from(failed));
        if failed {
            assert_eq!(span["Status"], "error");
            assert_eq!(span["Attributes"]["error.type"], reason);
            let root = trace.root()["Attributes"]["error.type"].clone();
            assert_eq!(root, "plugin_failed");
            let metric = format!(
                "weir_hook_failures_total{{plugin=\"pieces\",hook=\"responsebody\",reason=\"{reason}\"}}"
            );
            assert_eq!(stand.weir.count(&metric), 1, "{}", stand.weir.metrics());
        }
        // The upstream is not to blame.
        assert_eq!(trace.span("GET")["Status"], "ok");
    }
}

#[test]
fn a_trap_in_mid_stream_breaks_a_request_off() {
    for work in ["trap", "abort"] {
        let (stand, listener) = facing(json!({ "request": { "work": work, "at": 2 } }));
        let mut client = uploading(&stand);
        client.send("3\r\none\r\n");
        let mut upstream = accept(&listener);
        upstream.read_head().expect("a head");
        assert_eq!(upstream.read_chunk().expect("a piece"), b"one");
        client.send("3\r\ntwo\r\n");
        assert_eq!(upstream.read_to_end(), b"", "{work}: no end of the body");
        assert_eq!(client.receive().expect("a response").status, 500);
        let trace = stand.trace();
        let count = trace.attribute(PREHOOK, "plugin.invocation_count");
        assert_eq!(count, 2);
    }
}

#[test]
fn the_rest_passes_by_a_plugin_that_may_be_passed_over() {
    for work in ["trap", "spin"] {
        let upstream = chunked("3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n");
        let mut plugin = pieces(json!({ "response": { "work": work, "at": 2 } }));
        plugin["limits"] = json!({ "cpu_time": "20ms" });
        plugin["on_error"] = "continue".into();
        let stand = Stand::before(upstream, &[("pieces", plugin)]);
        let response = stand.get(&[]);
        assert!(response.complete);
        assert_eq!(response.text(), "onetwothree");
        let trace = stand.trace();
        assert_eq!(trace.span(POSTHOOK)["Status"], "error");
        assert_eq!(trace.attribute(POSTHOOK, "plugin.invocation_count"), 2);
        assert_eq!(trace.attribute(POSTHOOK, "plugin.error_count"), 1);
        assert_eq!(trace.root()["Status"], "unset");
    }
}

#[test]
fn a_piece_may_be_answered() {
    let (stand, listener) = facing(json!({ "request": { "work": "respond", "at": 2 } }));
    let mut client = uploading(&stand);
    client.send("3\r\none\r\n");
    let mut upstream = accept(&listener);
    upstream.read_head().expect("a head");
    assert_eq!(upstream.read_chunk().expect("a piece"), b"one");
    client.send("3\r\ntwo\r\n");
    assert_eq!(upstream.read_to_end(), b"");
    let response = client.receive().expect("a response");
    assert_eq!((response.status, &*response.text()), (413, "enough"));
}

#[test]
fn a_client_that_leaves_in_mid_stream_is_noted() {
    let (stand, listener) = facing(json!({ "response": "upper" }));
    let mut client = Connection::open(stand.weir.proxy());
    client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    let mut upstream = accept(&listener);
    upstream.read_head().expect("a head");
    upstream.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n");
    client.receive_head().expect("a head");
    assert_eq!(client.read_chunk().expect("a piece"), b"ONE");
    drop(client);
    assert_eq!(upstream.read_to_end(), b"", "the upstream is let go");
    let trace = stand.trace();
    assert_eq!(
        trace.root()["Attributes"]["error.type"],
        "client_disconnected"
    );
    assert_eq!(trace.attribute(POSTHOOK, "plugin.invocation_count"), 1);
}

#[test]
fn a_streaming_plugin_holds_up_nobody_else() {
    let upstream = Upstream::new(|seen, stream| {
        let body = if seen.target == "/burn" { "x" } else { "" };
        let len = body.len();
        let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n{body}");
        let _ = stream.write_all(response.as_bytes());
    });
    let mut plugin = pieces(json!({ "response": "spin" }));
    plugin["limits"] = json!({ "cpu_time": "1h", "wall_time": "1h" });
    let stand = Stand::before(upstream, &[("pieces", plugin)]);
    let mut burning = Connection::open(stand.weir.proxy());
    burning.send("GET /burn HTTP/1.1\r\nhost: test\r\n\r\n");
    eventually("the burner's head is served", || {
        (stand.upstream.seen().len() == 1).then_some(())
    });
    // The one worker goes on, although the guest never ends.
    for _ in 0..20 {
        assert_eq!(stand.weir.get("/", &[]).status, 200);
    }
}

#[test]
fn trailers_pass_and_may_be_changed() {
    for abi in Abi::BOTH {
        let plugin = json!({
            "module": abi.guest("pieces"), "config": { "request": "pass", "response": "upper" },
        });
        let (stand, listener) = facing_plugin(plugin);
        let upstream = std::thread::spawn(move || {
            let mut upstream = accept(&listener);
            upstream.read_head().expect("a head");
            let mut trailers = Vec::new();
            while let Some(piece) = upstream.read_chunk_and_trailers(&mut trailers) {
                assert_eq!(piece, b"abc");
            }
            upstream.send(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\
                 x-sum: 7\r\nset-cookie: a=b\r\n\r\n",
            );
            trailers
        });
        run(async {
            let client = Client::open(stand.weir.proxy()).await;
            let request = Request::post("http://test/")
                .header("trailer", "x-sum, x-pieces")
                .body(());
            let mut sender = client.sender.clone().ready().await.expect("ready");
            let (response, mut body) = sender
                .send_request(request.expect("a request"), false)
                .expect("sent");
            body.send_data(Bytes::from_static(b"abc"), false)
                .expect("sent");
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "3".parse().expect("a value"));
            body.send_trailers(trailers).expect("sent");
            let answer = receive(response.await.expect("a head"))
                .await
                .expect("a response");
            assert_eq!(answer.text(), "OK");
            let trailers = answer.trailers.expect("trailers");
            assert_eq!(trailers["x-sum"], "7");
            assert_eq!(trailers["x-pieces"], "2");
            assert!(!trailers.contains_key("set-cookie"));
        });
        let trailers = upstream.join().expect("the upstream");
        let trailers = String::from_utf8_lossy(&trailers).into_owned();
        assert!(trailers.contains("x-sum: 3"), "{trailers}");
        assert!(trailers.contains("x-pieces: 2"), "{trailers}");
    }
}

#[test]
fn body_limit_refuses_by_length_and_by_counting() {
    let plugin = json!({ "module": "builtin:body-limit", "config": { "max": "10B" } });
    let (stand, listener) = facing_plugin(plugin);
    let response = post(&stand, "01234567890");
    assert_eq!(response.status, 413);
    let mut client = uploading(&stand);
    client.send("a\r\n0123456789\r\n");
    let mut upstream = accept(&listener);
    upstream.read_head().expect("a head");
    assert_eq!(upstream.read_chunk().expect("a piece"), b"0123456789");
    client.send("1\r\n!\r\n");
    assert_eq!(upstream.read_to_end(), b"");
    let response = client.receive().expect("a response");
    assert_eq!(response.status, 413);
    let problem = response.header("content-type");
    assert_eq!(problem, Some("application/problem+json"));

    let mut client = Connection::open(stand.weir.proxy());
    client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\n0123456789");
    let mut upstream = accept(&listener);
    let head = upstream.read_head().expect("a head");
    assert!(head.contains(&"content-length: 10".to_owned()), "{head:?}");
    assert_eq!(upstream.read_exactly(10), b"0123456789");
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    assert_eq!(client.receive().expect("a response").text(), "ok");
}
