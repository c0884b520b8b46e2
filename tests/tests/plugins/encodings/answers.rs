//! Answers that a plugin gives piece by piece, in a content coding: what comes behind sees them as it sees
//! the bodies of an upstream, within the same bounds.

use std::io::Write as _;

use serde_json::{Value, json};
use weir_tests::abi::Abi;
use weir_tests::client::Response;
use weir_tests::config::config;
use weir_tests::upstream::Upstream;

use super::{BOMB, CODINGS, broken, encoded, gzip, plugin};
use crate::Stand;

/// A Weir whose teller answers with this body, in two pieces; the response hooks of these plugins see it,
/// last to first.
fn stand(abi: Abi, coding: &str, body: &[u8], plugins: &[(&str, Value)]) -> Stand {
    let body = body.to_vec();
    let upstream = Upstream::new(move |seen, stream| {
        let (first, second) = body.split_at(body.len() / 2);
        let piece = if seen.target == "/piece/1" {
            first
        } else {
            second
        };
        let len = piece.len();
        let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n");
        let _ = stream.write_all(piece);
    });
    let mut all = config(&upstream);
    all["upstreams"]["other"] = json!({ "endpoints": [upstream.url()] });
    all["plugins"]["teller"] = json!({
        "module": abi.guest("teller"),
        "config": { "pieces": 2, "wait": "call", "encoding": coding },
        "upstreams": ["other"],
        "limits": { "wall_time": "10m" },
    });
    for (name, plugin) in plugins {
        all["plugins"][name] = plugin.clone();
    }
    let names = plugins.iter().map(|(name, _)| *name);
    all["routes"][0]["plugins"] = names.chain(["teller"]).collect();
    Stand::with(upstream, all)
}

fn told(stand: &Stand) -> Response {
    stand.weir.get("/told", &[])
}

fn upper() -> Value {
    plugin("pieces", json!({ "response": "upper", "decoded": true }))
}

fn wrap(most: u64) -> Value {
    plugin("wrap", json!({ "response": most, "decoded": true }))
}

#[test]
fn a_streamed_answer_is_seen_decoded() {
    for (abi, coding) in Abi::BOTH.into_iter().cycle().zip(CODINGS) {
        let body = encoded(coding, b"hello");
        for (name, behind, text) in [
            ("pieces", upper(), "HELLO"),
            ("wrap", wrap(1000), "<hello>"),
        ] {
            let stand = stand(abi, coding, &body, &[(name, behind)]);
            let response = told(&stand);
            assert!(response.complete, "{coding}");
            assert_eq!(response.text(), text, "{coding}");
            assert_eq!(response.header("content-encoding"), None);
            let trace = stand.trace();
            let hook = format!("plugin.{name}.posthook");
            let seen = trace.attribute(&hook, &format!("{name}.encoding"));
            assert!(seen.is_null(), "{seen}");
            let asked = trace.attribute("plugin.teller.prehook", "plugin.invocation_count");
            assert_eq!(asked, 3);
        }
    }
}

#[test]
fn plugins_that_hold_it_and_that_stream_it_stand_behind_one_another() {
    let body = gzip(b"hello");
    let plain = plugin("wrap", json!({ "response": 1000 }));
    // It holds the answer decoded, and leaves it as it was.
    let leaving = json!({ "response": 1000, "decoded": true, "trap": true });
    let mut leaving = plugin("wrap", leaving);
    leaving["on_error"] = "continue".into();
    for (plugins, expected, encoding) in [
        (
            vec![("last", plain), ("first", upper())],
            &b"<HELLO>"[..],
            None,
        ),
        (
            vec![("last", upper()), ("first", leaving.clone())],
            &b"HELLO"[..],
            None,
        ),
        (vec![("only", leaving)], &body[..], Some("gzip")),
    ] {
        let stand = stand(Abi::Module, "gzip", &body, &plugins);
        let response = told(&stand);
        assert!(response.complete);
        assert_eq!(response.body, expected);
        assert_eq!(response.header("content-encoding"), encoding);
    }
}

#[test]
fn what_it_becomes_is_bounded() {
    let bomb = gzip(&vec![0; BOMB]);
    let stand = stand(Abi::Module, "gzip", &bomb, &[("wrap", wrap(100_000))]);
    let before = stand.weir.resident_bytes();
    assert_eq!(told(&stand).status, 502);
    let grown = stand.weir.resident_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more");
}

#[test]
fn one_that_is_not_in_its_coding_is_refused_or_broken_off() {
    let pass = plugin("pieces", json!({ "response": "pass", "decoded": true }));
    for (coding, body) in broken() {
        let holding = stand(Abi::Module, coding, &body, &[("wrap", wrap(1000))]);
        assert_eq!(told(&holding).status, 502, "{coding}");

        let streaming = stand(Abi::Module, coding, &body, &[("pieces", pass.clone())]);
        let response = told(&streaming);
        assert_eq!(response.status, 200);
        assert!(!response.complete, "{coding}");
        let trace = streaming.trace();
        let span = trace.span("plugin.pieces.posthook");
        assert_eq!(span["Status"], "error", "{coding}");
        assert_eq!(span["Attributes"]["error.type"], "content_encoding");
        let root = &trace.root()["Attributes"];
        assert_eq!(root["error.type"], "upstream_encoding");
    }
}
