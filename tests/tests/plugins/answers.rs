//! Answers that plugins give piece by piece, of either ABI: a piece is asked for when the one before has
//! been taken, the worker serves others meanwhile, and what breaks off is never ended as if it were whole.

mod uploads;

use std::io::Write as _;
use std::net::TcpListener;
use std::sync::{Mutex, mpsc};

use serde_json::{Value, json};
use weir_tests::abi::Abi;
use weir_tests::client::{Connection, Response};
use weir_tests::config::config;
use weir_tests::http2::{Client, run};
use weir_tests::kafka::shared;
use weir_tests::trace::{Trace, lasted};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::guest;

use crate::Stand;

const PREHOOK: &str = "plugin.teller.prehook";
const ASKED: &str = "weir_plugin_teller_asked_total{plugin=\"teller\"}";
const TOLD: &str = "GET /told HTTP/1.1\r\nhost: test\r\n\r\n";

fn teller(config: Value) -> Value {
    json!({ "module": guest("teller"), "config": config })
}

fn stand(config: Value) -> Stand {
    Stand::new(&[("teller", teller(config))])
}

/// Its pieces are what `other` answers.
fn calling(abi: Abi, other: &str, how: Value) -> Stand {
    let upstream = Upstream::hello();
    let mut all = config(&upstream);
    all["upstreams"]["other"] = json!({ "endpoints": [other] });
    all["plugins"]["teller"] = json!({
        "module": abi.guest("teller"), "config": how, "upstreams": ["other"],
        "limits": { "wall_time": "10m" },
    });
    all["routes"][0]["plugins"] = json!(["teller"]);
    Stand::with(upstream, all)
}

fn told(stand: &Stand) -> Response {
    stand.weir.get("/told", &[])
}

/// The trace of the answer, among so many.
fn trace(stand: &Stand, among: usize) -> Trace {
    let traces = shared().traces(&stand.topic, among);
    let path = |trace: &Trace| trace.root()["Attributes"]["url.path"].clone();
    let found = traces.into_iter().find(|trace| path(trace) == "/told");
    found.expect("a trace of the answer")
}

#[test]
fn a_piece_reaches_the_client_before_the_next_is_there() {
    for abi in Abi::BOTH {
        let config = json!({ "pieces": 2, "wait": "value" });
        let plugin = json!({ "module": abi.guest("teller"), "config": config });
        let stand = Stand::new(&[("teller", plugin)]);
        let mut client = Connection::open(stand.weir.proxy());
        let head = client.send(TOLD).receive_head().expect("a head");
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        assert_eq!(head.header("content-length"), None);
        assert_eq!(head.header("transfer-encoding"), Some("chunked"));
        // The one worker serves what lets the pieces go.
        for piece in ["piece 1", "piece 2"] {
            assert_eq!(stand.weir.get("/go", &[]).status, 200);
            assert_eq!(client.read_chunk().expect("a piece"), piece.as_bytes());
        }
        assert_eq!(client.read_chunk().expect("the end"), b"");
        assert!(stand.upstream.seen().is_empty());

        let trace = trace(&stand, 3);
        let span = trace.span(PREHOOK);
        assert_eq!(span["Status"], "ok");
        let span = &span["Attributes"];
        assert_eq!(span["weir.hook.decision"], "respond");
        assert_eq!(span["weir.hook.answer"], "streamed");
        assert_eq!(span["plugin.error_count"], 0);
        assert_eq!(span["teller.left"], "for the pieces");
        let calls = span["plugin.invocation_count"].as_u64();
        assert!(calls.expect("a number") >= 3, "{span}");
        assert_eq!(calls, Some(stand.weir.count(ASKED)));
        assert_eq!(trace.root()["Status"], "unset");
    }
}

#[test]
fn a_piece_may_wait_for_an_upstream_and_holds_up_nobody() {
    for abi in Abi::BOTH {
        let (go, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let other = Upstream::new(move |seen, stream| {
            let _ = wait.lock().expect("lock").recv();
            let body = &seen.target;
            let len = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n{body}"
            );
        });
        let stand = calling(abi, &other.url(), json!({ "pieces": 2, "wait": "call" }));
        let mut client = Connection::open(stand.weir.proxy());
        client.send(TOLD).receive_head().expect("a head");
        for (asked, piece) in [(1, "/piece/1"), (2, "/piece/2")] {
            eventually("the piece is asked for", || {
                (other.seen().len() == asked).then_some(())
            });
            assert_eq!(stand.get(&[]).text(), "hello");
            assert_eq!(other.seen().len(), asked, "no piece before its turn");
            go.send(()).expect("the upstream waits");
            assert_eq!(client.read_chunk().expect("a piece"), piece.as_bytes());
        }
        assert_eq!(client.read_chunk().expect("the end"), b"");
        let trace = trace(&stand, 3);
        assert_eq!(trace.parent("GET"), PREHOOK);
        let call = &trace.span("GET")["Attributes"];
        assert_eq!(call["url.path"], "/piece/1");
        assert_eq!(call["http.response.status_code"], 200);
        assert_eq!(trace.attribute(PREHOOK, "plugin.invocation_count"), 3);
    }
}

#[test]
fn nothing_is_made_that_no_client_takes() {
    let stand = stand(json!({ "size": 65536 }));
    let mut client = Connection::open(stand.weir.proxy());
    client.send(TOLD).receive_head().expect("a head");
    let asked = eventually("no more is asked for", || {
        let before = stand.weir.count(ASKED);
        // The one worker turns to the answer between these, if it may go on.
        for _ in 0..20 {
            assert_eq!(stand.get(&[]).status, 200);
        }
        (stand.weir.count(ASKED) == before).then_some(before)
    });
    assert!(asked < 1024, "{asked} pieces for a client that reads none");
    client.read_exactly(64 << 20);
    eventually("it goes on", || {
        (stand.weir.count(ASKED) > asked.max(1000)).then_some(())
    });
}

#[test]
fn an_answer_that_never_ends_leaves_the_worker_to_others() {
    let stand = stand(json!({ "size": 1 }));
    let mut client = Connection::open(stand.weir.proxy());
    client.send(TOLD).receive_head().expect("a head");
    let mut stream = client.stream().try_clone().expect("a socket");
    let reading = std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while std::io::Read::read(&mut stream, &mut buffer).is_ok_and(|len| len > 0) {}
    });
    for _ in 0..50 {
        assert_eq!(stand.get(&[]).text(), "hello");
    }
    assert!(!reading.is_finished(), "the answer goes on");
    let _ = client.stream().shutdown(std::net::Shutdown::Both);
    reading.join().expect("the reader");
}

#[test]
fn a_failure_in_mid_answer_breaks_it_off() {
    for (work, reason) in [
        ("trap", "panic"),
        ("spin", "cpu_time"),
        ("respond", "panic"),
        ("abort", ""),
    ] {
        for on_error in ["reject", "continue"] {
            let fault = json!({ "work": work, "at": 2 });
            let mut plugin = teller(json!({ "pieces": 3, "fault": fault }));
            plugin["on_error"] = on_error.into();
            plugin["limits"] = json!({ "cpu_time": "100ms" });
            let stand = Stand::new(&[("teller", plugin)]);
            let response = told(&stand);
            assert_eq!(response.status, 200, "{work}");
            assert!(!response.complete, "{work}");
            // What came before may have gone out.
            assert!("piece 1".starts_with(&response.text()), "{work}");
            let trace = stand.trace();
            let span = trace.span(PREHOOK);
            assert_eq!(span["Attributes"]["plugin.invocation_count"], 2);
            assert_eq!(trace.root()["Status"], "error", "{work}");
            let root = &trace.root()["Attributes"]["error.type"];
            if work == "abort" {
                assert_eq!(root, "plugin_aborted");
                assert_eq!(span["Attributes"]["plugin.error_count"], 0);
            } else {
                assert_eq!(root, "plugin_failed");
                assert_eq!(span["Status"], "error");
                assert_eq!(span["Attributes"]["error.type"], reason);
                assert_eq!(span["Attributes"]["plugin.error_count"], 1);
                let metric = format!(
                    "weir_hook_failures_total{{plugin=\"teller\",hook=\"answerbody\",reason=\"{reason}\"}}"
                );
                assert_eq!(stand.weir.count(&metric), 1, "{}", stand.weir.metrics());
            }
            assert_eq!(stand.get(&[]).text(), "hello");
            // A stream of HTTP/2 is reset, and its connection serves others.
            run(async {
                let client = Client::open(stand.weir.proxy()).await;
                assert!(client.get("/told").await.is_err(), "{work}");
                let other = client.get("/").await.expect("a response");
                assert_eq!(other.text(), "hello");
            });
        }
    }
}

#[test]
fn a_piece_has_as_much_as_one_call_may_write() {
    let fault = json!({ "work": "flood", "at": 1 });
    let stand = stand(json!({ "pieces": 1, "fault": fault }));
    let response = told(&stand);
    assert!(response.complete);
    let len = response.body.len();
    assert!(len <= 4 << 20 && len > 3 << 20, "{len} bytes");
}

#[test]
fn an_answer_has_as_many_bytes_as_its_limit_and_not_more() {
    let limited = |config: Value| {
        let mut plugin = teller(config);
        plugin["limits"] = json!({ "answer": "1KiB" });
        plugin["breaker"] = json!({ "failures": 1 });
        Stand::new(&[("teller", plugin)])
    };
    let stand = limited(json!({ "pieces": 2, "size": 512 }));
    let response = told(&stand);
    assert!(response.complete);
    assert_eq!(response.body.len(), 1024);

    let stand = limited(json!({ "size": 400 }));
    // No breaker opens: the plugin is asked each time.
    for asked in 1..=3 {
        let response = told(&stand);
        assert_eq!(response.status, 200);
        assert!(!response.complete, "{} bytes", response.body.len());
        assert!(response.body.len() <= 800);
        assert_eq!(stand.weir.count(ASKED), 3 * asked);
    }
    assert_eq!(stand.get(&[]).text(), "hello");
    past_its_bound(&stand, "answer_size", 3);
}

#[test]
fn an_answer_lasts_as_long_as_its_limit_and_not_longer() {
    for abi in Abi::BOTH {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let silent = format!("http://{}", silent.local_addr().expect("an address"));
        for how in [
            json!({ "size": 1 }),
            json!({ "wait": "value" }),
            json!({ "wait": "call" }),
        ] {
            let upstream = Upstream::hello();
            let mut all = config(&upstream);
            all["upstreams"]["other"] = json!({ "endpoints": [silent] });
            all["plugins"]["teller"] = json!({
                "module": abi.guest("teller"), "config": how, "upstreams": ["other"],
                "limits": { "answer_time": "300ms", "wall_time": "10m" },
            });
            all["routes"][0]["plugins"] = json!(["teller"]);
            let stand = Stand::with(upstream, all);
            let response = told(&stand);
            assert_eq!(response.status, 200, "{how}");
            assert!(!response.complete, "{how}");
            assert_eq!(stand.get(&[]).text(), "hello");
            past_its_bound(&stand, "answer_time", 1);
        }
    }
}

/// So many answers were broken off for it, and their traces and the metric say so.
fn past_its_bound(stand: &Stand, reason: &str, answers: u64) {
    let trace = trace(stand, 2);
    let span = trace.span(PREHOOK);
    assert_eq!(span["Status"], "error");
    assert_eq!(span["Attributes"]["error.type"], reason);
    assert_eq!(span["Attributes"]["plugin.error_count"], 1);
    assert_eq!(trace.root()["Attributes"]["error.type"], "plugin_failed");
    let metric = format!(
        "weir_hook_failures_total{{plugin=\"teller\",hook=\"answerbody\",reason=\"{reason}\"}}"
    );
    assert_eq!(stand.weir.count(&metric), answers);
}

#[test]
fn a_client_that_leaves_ends_the_call_and_the_instance() {
    for abi in Abi::BOTH {
        let other = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", other.local_addr().expect("an address"));
        let stand = calling(abi, &url, json!({ "wait": "call" }));
        let mut client = Connection::open(stand.weir.proxy());
        client.send(TOLD).receive_head().expect("a head");
        let mut call = Connection::over(other.accept().expect("weir connects").0);
        call.read_head().expect("a head");
        drop(client);
        assert_eq!(call.read_to_end(), b"", "the call is cut");
        let trace = stand.trace();
        let root = &trace.root()["Attributes"]["error.type"];
        assert_eq!(root, "client_disconnected");
        assert_eq!(trace.span("GET")["Attributes"]["error.type"], "cancelled");
        eventually("the instance is gone", || {
            let plugins = stand.weir.api("/api/plugins").json();
            (plugins["plugins"][0]["instances"] == 0).then_some(())
        });
        assert_eq!(stand.get(&[]).text(), "hello");
    }
}

#[test]
fn an_instance_serves_again_after_the_end() {
    let stand = stand(json!({ "pieces": 2 }));
    for _ in 0..3 {
        let response = told(&stand);
        assert!(response.complete);
        assert_eq!(response.text(), "piece 1piece 2");
    }
    let plugins = stand.weir.api("/api/plugins").json();
    assert_eq!(plugins["plugins"][0]["instances"], 1);
}

#[test]
fn where_there_is_no_body_no_piece_is_asked_for() {
    let head_only = stand(json!({ "pieces": 2 }));
    let mut client = Connection::open(head_only.weir.proxy());
    client.send("HEAD /told HTTP/1.1\r\nhost: test\r\n\r\n");
    let response = client.receive_to("HEAD").expect("a response");
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("text/event-stream"));
    assert_eq!(response.header("content-length"), None);
    assert_eq!(head_only.weir.count(ASKED), 0);
    // Nothing of a body stands before what comes next.
    let response = client.send(TOLD).receive().expect("a response");
    assert_eq!(response.text(), "piece 1piece 2");
    for status in [204, 304] {
        let stand = stand(json!({ "pieces": 2, "status": status }));
        assert_eq!(told(&stand).status, status);
        assert_eq!(stand.weir.count(ASKED), 0);
        let count = stand
            .trace()
            .attribute(PREHOOK, "plugin.invocation_count")
            .clone();
        assert!(count.is_null());
    }
}

#[test]
fn clients_of_http_2_get_the_pieces_and_the_trailers() {
    let stand = stand(json!({ "pieces": 3 }));
    run(async {
        let client = Client::open(stand.weir.proxy()).await;
        let answer = client.get("/told").await.expect("a response");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.text(), "piece 1piece 2piece 3");
        assert_eq!(answer.trailers.expect("trailers")["x-told"], "3");
    });
}

#[test]
fn each_hook_of_a_head_may_answer_so() {
    for (hook, span, upstream) in [
        ("pre-request", "plugin.teller.prerequesthook", 0),
        ("request", PREHOOK, 0),
        ("response", "plugin.teller.posthook", 1),
    ] {
        let up = Upstream::hello();
        let mut config = config(&up);
        config["plugins"]["teller"] = teller(json!({ "pieces": 2, "hook": hook }));
        config["listeners"][0]["plugins"] = json!(["teller"]);
        let stand = Stand::with(up, config);
        let response = told(&stand);
        assert!(response.complete, "{hook}");
        assert_eq!(response.text(), "piece 1piece 2", "{hook}");
        assert_eq!(response.header("content-length"), None, "{hook}");
        assert_eq!(stand.upstream.seen().len(), upstream, "{hook}");
        let trace = stand.trace();
        assert_eq!(trace.attribute(span, "plugin.invocation_count"), 3);
        assert_eq!(trace.attribute(span, "weir.hook.answer"), "streamed");
        if upstream == 1 {
            let end = |span: &Value| span["EndTime"].as_str().expect("a time").to_owned();
            let (call, answer) = (trace.span("GET"), trace.span(span));
            assert!(
                end(call) < end(answer),
                "the call ends where it is answered"
            );
        }
    }
}

/// A Weir on which another plugin's response hook sees what the teller answers.
fn behind(name: &str, other: Value, teller: Value) -> Stand {
    Stand::new(&[(name, other), ("teller", teller)])
}

#[test]
fn plugins_see_the_pieces_as_those_of_an_upstream() {
    let upper = json!({ "module": guest("pieces"), "config": { "response": "upper" } });
    let stand = behind("pieces", upper, teller(json!({ "pieces": 2 })));
    let response = told(&stand);
    assert!(response.complete);
    assert_eq!(response.text(), "PIECE 1PIECE 2");
    let trace = stand.trace();
    let seen = trace.attribute("plugin.pieces.posthook", "plugin.invocation_count");
    assert_eq!(seen, 3);
    assert_eq!(trace.attribute(PREHOOK, "plugin.invocation_count"), 3);
}

fn wrap(most: u64) -> Value {
    json!({ "module": guest("wrap"), "config": { "response": most } })
}

#[test]
fn a_plugin_that_holds_bodies_waits_for_the_whole() {
    let stand = behind("wrap", wrap(1000), teller(json!({ "pieces": 2 })));
    let response = told(&stand);
    assert!(response.complete);
    assert_eq!(response.text(), "<piece 1piece 2>");
}

#[test]
fn a_pause_between_pieces_is_no_overhead() {
    for holds in [false, true] {
        let teller = teller(json!({ "pieces": 1, "wait": "value" }));
        let stand = if holds {
            behind("wrap", wrap(1000), teller)
        } else {
            Stand::new(&[("teller", teller)])
        };
        let mut client = Connection::open(stand.weir.proxy());
        client.send(TOLD);
        eventually("it is asked again", || {
            (stand.weir.count(ASKED) >= 2).then_some(())
        });
        assert_eq!(stand.weir.get("/go", &[]).status, 200);
        assert!(client.receive().expect("a response").complete);
        let trace = trace(&stand, 2);
        let overhead = &trace.root()["Attributes"]["weir.overhead.duration_ms"];
        let overhead = overhead.as_f64().expect("a number");
        // A guest that has nothing to send is left alone for 100 ms.
        let idle = lasted(trace.root()) - overhead;
        assert!(
            idle > 99.9,
            "{idle} ms without work, and {overhead} with it"
        );
    }
}

#[test]
fn before_a_plugin_that_holds_bodies_a_failure_is_an_error() {
    let fault = json!({ "work": "trap", "at": 2 });
    let teller = teller(json!({ "pieces": 3, "fault": fault }));
    let stand = behind("wrap", wrap(1000), teller);
    let response = told(&stand);
    assert_eq!(response.status, 500);
    assert!(response.complete);
    assert_eq!(stand.trace().attribute(PREHOOK, "error.type"), "panic");
}

#[test]
fn before_a_plugin_that_holds_bodies_no_more_is_made_than_it_holds() {
    let stand = behind("wrap", wrap(1000), teller(json!({ "size": 400 })));
    let response = told(&stand);
    assert_eq!(response.status, 502);
    assert!(response.complete);
    assert_eq!(stand.weir.count(ASKED), 3);
}
