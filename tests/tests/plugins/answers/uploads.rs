//! The same from hooks on the body of a request: one that holds it whole, and one of its pieces.

use serde_json::json;
use weir_tests::abi::Abi;
use weir_tests::client::Connection;
use weir_tests::config::config;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::guest;

use super::{ASKED, PREHOOK, past_its_bound, stand, teller, trace, wrap};
use crate::Stand;

const HEAD: &str = "POST /told HTTP/1.1\r\nhost: test\r\n";

fn of_abi(abi: Abi, config: serde_json::Value) -> Stand {
    let plugin = json!({ "module": abi.guest("teller"), "config": config });
    Stand::new(&[("teller", plugin)])
}

/// A client that has sent a body whose length it said.
fn posting(stand: &Stand, body: &str) -> Connection {
    let mut client = Connection::open(stand.weir.proxy());
    let len = body.len();
    client.send(format!("{HEAD}content-length: {len}\r\n\r\n{body}"));
    client
}

/// One that has sent a part of its body.
fn uploading(stand: &Stand) -> Connection {
    let mut client = Connection::open(stand.weir.proxy());
    client.send(format!(
        "{HEAD}transfer-encoding: chunked\r\n\r\n3\r\none\r\n"
    ));
    client
}

fn instances(stand: &Stand) -> u64 {
    let plugins = stand.weir.api("/api/plugins").json();
    let instances = &plugins["plugins"][0]["instances"];
    instances.as_u64().expect("a number")
}

#[test]
fn a_hook_that_holds_the_body_answers_piece_by_piece() {
    for abi in Abi::BOTH {
        let stand = of_abi(abi, json!({ "holds": 1000, "pieces": 2, "wait": "value" }));
        let mut client = uploading(&stand);
        client.send("3\r\ntwo\r\n0\r\n\r\n");
        let head = client.receive_head().expect("a head");
        assert_eq!(head.status, 200);
        assert_eq!(head.header("x-held"), Some("6"));
        assert_eq!(head.header("transfer-encoding"), Some("chunked"));
        for piece in ["piece 1", "piece 2"] {
            assert_eq!(stand.weir.get("/go", &[]).status, 200);
            assert_eq!(client.read_chunk().expect("a piece"), piece.as_bytes());
        }
        assert_eq!(client.read_chunk().expect("the end"), b"");
        assert!(stand.upstream.seen().is_empty());
        let trace = trace(&stand, 3);
        assert_eq!(trace.attribute(PREHOOK, "weir.hook.body"), "held");
        assert_eq!(trace.attribute(PREHOOK, "weir.hook.answer"), "streamed");
    }
}

#[test]
fn a_piece_of_the_body_is_answered_piece_by_piece() {
    for abi in Abi::BOTH {
        let how = json!({ "hook": "request-body", "pieces": 2, "wait": "value" });
        let stand = of_abi(abi, how);
        let mut client = posting(&stand, "one");
        let head = client.receive_head().expect("a head");
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-length"), None);
        for piece in ["piece 1", "piece 2"] {
            assert_eq!(stand.weir.get("/go", &[]).status, 200);
            assert_eq!(client.read_chunk().expect("a piece"), piece.as_bytes());
        }
        assert_eq!(client.read_chunk().expect("the end"), b"");
        assert!(stand.upstream.seen().is_empty(), "no whole request");
        let trace = trace(&stand, 3);
        let span = &trace.span(PREHOOK)["Attributes"];
        assert_eq!(span["weir.hook.answer"], "streamed");
        assert_eq!(span["plugin.error_count"], 0);
        assert_eq!(span["teller.left"], "for the pieces");
        assert_eq!(trace.root()["Status"], "unset");
    }
}

#[test]
fn what_was_sent_on_before_is_cut_off() {
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = upstream.local_addr().expect("an address");
    let up = Upstream::hello();
    let mut config = config(&up);
    config["upstreams"]["up"]["endpoints"] = json!([format!("http://{address}")]);
    config["plugins"]["teller"] =
        teller(json!({ "hook": "request-body", "behind": 1, "pieces": 2 }));
    config["routes"][0]["plugins"] = json!(["teller"]);
    let stand = Stand::with(up, config);
    let mut client = uploading(&stand);
    let mut upstream = Connection::over(upstream.accept().expect("weir connects").0);
    upstream.read_head().expect("a head");
    assert_eq!(upstream.read_chunk().expect("a piece"), b"one");
    client.send("3\r\ntwo\r\n");
    let response = client.receive().expect("a response");
    assert_eq!(upstream.read_to_end(), b"", "no end of the body");
    assert!(response.complete);
    assert_eq!(response.text(), "piece 1piece 2");
    let trace = stand.trace();
    assert_eq!(trace.attribute(PREHOOK, "weir.hook.answer"), "streamed");
    assert_eq!(trace.attribute("POST", "error.type"), "upload");
    eventually("who saw a part of a body serves no more", || {
        (instances(&stand) == 0).then_some(())
    });
}

#[test]
fn who_saw_the_whole_body_serves_again() {
    let stand = stand(json!({ "hook": "request-body", "pieces": 1 }));
    for _ in 0..3 {
        let response = posting(&stand, "one").receive().expect("a response");
        assert!(response.complete);
        assert_eq!(response.text(), "piece 1");
    }
    assert_eq!(instances(&stand), 1);
}

#[test]
fn it_is_bounded_as_any_answer_in_pieces() {
    for how in [json!({ "holds": 1000 }), json!({ "hook": "request-body" })] {
        for (reason, key, most) in [
            ("answer_size", "size", json!(400)),
            ("answer_time", "wait", json!("value")),
        ] {
            let mut config = how.clone();
            config[key] = most;
            let mut plugin = teller(config);
            plugin["limits"] = match reason {
                "answer_size" => json!({ "answer": "1KiB" }),
                _ => json!({ "answer_time": "300ms" }),
            };
            let stand = Stand::new(&[("teller", plugin)]);
            let response = posting(&stand, "one").receive().expect("a head");
            assert_eq!(response.status, 200, "{how}");
            assert!(!response.complete, "{how}: {} bytes", response.body.len());
            assert!(response.body.len() <= 800);
            assert_eq!(stand.get(&[]).text(), "hello");
            past_its_bound(&stand, reason, 1);
        }
    }
}

#[test]
fn a_failure_breaks_it_off() {
    let fault = json!({ "work": "trap", "at": 2 });
    let stand = stand(json!({ "hook": "request-body", "pieces": 3, "fault": fault }));
    let response = posting(&stand, "one").receive().expect("a head");
    assert_eq!(response.status, 200);
    assert!(!response.complete);
    let trace = stand.trace();
    assert_eq!(trace.attribute(PREHOOK, "error.type"), "panic");
    assert_eq!(trace.root()["Attributes"]["error.type"], "plugin_failed");
}

#[test]
fn a_client_that_leaves_takes_the_instance_along() {
    let stand = stand(json!({ "hook": "request-body", "wait": "value" }));
    let mut client = posting(&stand, "one");
    client.receive_head().expect("a head");
    eventually("it is asked", || {
        (stand.weir.count(ASKED) > 0).then_some(())
    });
    drop(client);
    eventually("it is gone", || (instances(&stand) == 0).then_some(()));
    let trace = stand.trace();
    let root = &trace.root()["Attributes"]["error.type"];
    assert_eq!(root, "client_disconnected");
}

#[test]
fn before_a_plugin_that_holds_the_body_the_upstream_is_not_called() {
    let teller = teller(json!({ "hook": "request-body", "pieces": 2 }));
    let wrap = json!({ "module": guest("wrap"), "config": { "request": 1000 } });
    let stand = Stand::new(&[("teller", teller), ("wrap", wrap)]);
    let response = posting(&stand, "one").receive().expect("a response");
    assert!(response.complete);
    assert_eq!(response.text(), "piece 1piece 2");
    assert_eq!(stand.upstream.connections(), 0);
}

#[test]
fn others_see_its_pieces_as_those_of_an_upstream() {
    let teller = teller(json!({ "hook": "request-body", "pieces": 2 }));
    let stand = Stand::new(&[("wrap", wrap(1000)), ("teller", teller)]);
    let response = posting(&stand, "one").receive().expect("a response");
    assert!(response.complete);
    assert_eq!(response.text(), "<piece 1piece 2>");
}
