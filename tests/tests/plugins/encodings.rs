//! Bodies in a content coding: what plugins see of them, what goes on, and what tells of it. What comes is
//! not believed: a few bytes that would become many, what is cut off, what is no coding at all.

mod answers;
mod streamed;

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::{Value, json};
use weir_tests::abi::Abi;
use weir_tests::client::{Connection, Response};
use weir_tests::upstream::Upstream;
use weir_tests::weir::guest;

use crate::Stand;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).expect("memory");
    encoder.finish().expect("memory")
}

fn encoded(coding: &str, text: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => gzip(text),
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(text).expect("memory");
            encoder.finish().expect("memory")
        }
        "zstd" => zstd::encode_all(text, 0).expect("memory"),
        "deflate, gzip" => gzip(&encoded("deflate", text)),
        other => panic!("{other}"),
    }
}

const CODINGS: [&str; 4] = ["gzip", "deflate", "zstd", "deflate, gzip"];

/// What comes out of 64 KiB.
const BOMB: usize = 64 << 20;

fn plugin(name: &str, config: Value) -> Value {
    json!({ "module": guest(name), "config": config })
}

/// An upstream that answers with a status line and fields, and a body of a told length.
fn sending(head: &str, body: &[u8]) -> Upstream {
    let (head, body) = (head.to_owned(), body.to_vec());
    Upstream::new(move |seen, stream| {
        let len = body.len();
        let _ = write!(stream, "HTTP/1.1 {head}content-length: {len}\r\n\r\n");
        if seen.method != "HEAD" {
            let _ = stream.write_all(&body);
        }
    })
}

/// All that may tell of a body.
fn described(coding: &str) -> String {
    format!(
        "200 OK\r\ncontent-encoding: {coding}\r\netag: \"one\"\r\naccept-ranges: bytes\r\n\
         content-digest: sha-256=:AA==:\r\nrepr-digest: sha-256=:AA==:\r\ndigest: md5=AA==\r\n\
         content-md5: AA==\r\n"
    )
}

const DESCRIBING: [&str; 6] = [
    "content-encoding",
    "accept-ranges",
    "content-digest",
    "repr-digest",
    "digest",
    "content-md5",
];

fn post(stand: &Stand, coding: &str, body: &[u8]) -> Response {
    let len = body.len();
    let mut client = Connection::open(stand.weir.proxy());
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: test\r\ncontent-encoding: {coding}\r\n\
         content-digest: sha-256=:AA==:\r\ncontent-length: {len}\r\n\r\n"
    ));
    client.send(body);
    client.receive().expect("a response")
}

#[test]
fn a_held_response_is_seen_decoded_and_what_told_of_it_is_put_right() {
    for abi in Abi::BOTH {
        for coding in CODINGS {
            let config = json!({ "response": 1000, "decoded": true });
            let plugin = json!({ "module": abi.guest("wrap"), "config": config });
            let upstream = sending(&described(coding), &encoded(coding, b"hello"));
            let stand = Stand::before(upstream, &[("wrap", plugin)]);
            let response = stand.get(&[]);
            assert_eq!(response.text(), "<hello>", "{coding}");
            assert_eq!(response.header("content-length"), Some("7"));
            assert_eq!(response.header("etag"), Some("W/\"one\""));
            for name in DESCRIBING {
                assert_eq!(response.header(name), None, "{coding}: {name}");
            }
            let trace = stand.trace();
            let span = &trace.span("plugin.wrap.posthook")["Attributes"];
            assert_eq!(span["wrap.length"], 5);
            assert!(span["wrap.encoding"].is_null());
            assert_eq!(span["weir.hook.body"], "replaced");
        }
    }
}

#[test]
fn a_held_request_is_seen_decoded_and_what_told_of_it_is_put_right() {
    for coding in CODINGS {
        let wrap = plugin("wrap", json!({ "request": 1000, "decoded": true }));
        let stand = Stand::before(Upstream::hello(), &[("wrap", wrap)]);
        post(&stand, coding, &encoded(coding, b"question"));
        let seen = stand.seen();
        assert_eq!(seen.body, b"<question>", "{coding}");
        assert_eq!(seen.header("content-length"), Some("10"));
        assert_eq!(seen.header("content-encoding"), None);
        assert_eq!(seen.header("content-digest"), None);
    }
}

#[test]
fn what_is_not_replaced_goes_on_as_it_came() {
    let body = gzip(br#"{"b": 1}"#);
    let head = described("gzip") + "content-type: application/json\r\n";
    let remove = json!({ "remove": ["/a"] });
    let transform = json!({ "module": "builtin:response-transform", "config": remove });
    let mut failing = plugin(
        "wrap",
        json!({ "response": 1000, "decoded": true, "trap": true }),
    );
    failing["on_error"] = "continue".into();
    for plugin in [transform, failing] {
        let stand = Stand::before(sending(&head, &body), &[("it", plugin)]);
        let response = stand.get(&[]);
        assert_eq!(response.body, body);
        assert_eq!(response.header("content-encoding"), Some("gzip"));
        assert_eq!(response.header("etag"), Some("\"one\""));
        assert!(
            DESCRIBING
                .iter()
                .all(|name| response.header(name).is_some())
        );
        let trace = stand.trace();
        assert_eq!(
            trace.attribute("plugin.it.posthook", "weir.hook.body"),
            "held"
        );
    }
}

#[test]
fn response_transform_changes_json_in_its_coding() {
    let head = described("zstd") + "content-type: application/json\r\n";
    let upstream = sending(&head, &encoded("zstd", br#"{"a":1,"b":2}"#));
    let remove = json!({ "remove": ["/a"] });
    let transform = json!({ "module": "builtin:response-transform", "config": remove });
    let stand = Stand::before(upstream, &[("it", transform)]);
    let response = stand.get(&[]);
    assert_eq!(response.text(), r#"{"b":2}"#);
    assert_eq!(response.header("content-encoding"), None);
}

#[test]
fn who_does_not_ask_sees_what_was_sent_and_replaces_it_by_what_is_plain() {
    let body = gzip(b"hello");
    let upstream = sending(&described("gzip"), &body);
    let stand = Stand::before(
        upstream,
        &[("wrap", plugin("wrap", json!({ "response": 1000 })))],
    );
    let response = stand.get(&[]);
    assert_eq!(response.body, [b"<", &body[..], b">"].concat());
    assert_eq!(response.header("etag"), Some("W/\"one\""));
    assert_eq!(response.header("content-encoding"), None);
    let trace = stand.trace();
    let encoding = trace.attribute("plugin.wrap.posthook", "wrap.encoding");
    assert_eq!(encoding, "gzip");
}

#[test]
fn what_the_hook_sets_itself_stays() {
    for decoded in [false, true] {
        let config = json!({ "response": 1000, "decoded": decoded, "encoding": "gzip" });
        let upstream = sending(&described("gzip"), &gzip(b"hello"));
        let stand = Stand::before(upstream, &[("wrap", plugin("wrap", config))]);
        let response = stand.get(&[]);
        assert_eq!(response.header("content-encoding"), Some("gzip"));
        assert_eq!(response.header("content-digest"), None);
    }
}

#[test]
fn bounds_are_of_what_a_body_becomes() {
    let bomb = gzip(&vec![0; BOMB]);
    let both = json!({ "request": 100_000, "response": 100_000, "decoded": true });
    let wrap = plugin("wrap", both);
    let upstream = sending(&described("gzip"), &bomb);
    let mut bypassing = wrap.clone();
    bypassing["on_large_body"] = "bypass".into();

    let stand = Stand::before(upstream.clone(), &[("wrap", wrap)]);
    let before = stand.weir.resident_bytes();
    assert_eq!(post(&stand, "gzip", &bomb).status, 413);
    assert_eq!(stand.get(&[]).status, 502);
    let grown = stand.weir.resident_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more");
    assert_eq!(stand.upstream.seen().len(), 1);
    let trace = weir_tests::kafka::shared()
        .traces(&stand.topic, 2)
        .remove(0);
    let reason = trace.attribute("plugin.wrap.prehook", "error.type");
    assert_eq!(reason, "body_too_large");

    let stand = Stand::before(upstream, &[("wrap", bypassing)]);
    let response = post(&stand, "gzip", &bomb);
    assert_eq!(response.body, bomb);
    assert_eq!(response.header("content-encoding"), Some("gzip"));
    assert_eq!(stand.seen().body, bomb);
    assert_eq!(stand.seen().header("content-encoding"), Some("gzip"));
    let trace = stand.trace();
    for hook in ["plugin.wrap.prehook", "plugin.wrap.posthook"] {
        assert_eq!(trace.attribute(hook, "wrap.error"), "TooLarge");
        assert_eq!(trace.attribute(hook, "wrap.encoding"), "gzip");
        assert_eq!(trace.attribute(hook, "weir.hook.body"), "bypassed");
    }
}

/// What says that it is in a coding and is not.
fn broken() -> Vec<(&'static str, Vec<u8>)> {
    let mut broken = Vec::new();
    for coding in CODINGS {
        let mut cut = encoded(coding, b"hello");
        cut.pop();
        broken.push((coding, cut));
        broken.push((coding, b"hello".to_vec()));
    }
    broken
}

#[test]
fn what_is_not_in_its_coding_is_refused() {
    let both = json!({ "request": 1000, "response": 1000, "decoded": true });
    for (coding, body) in broken() {
        let mut wrap = plugin("wrap", both.clone());
        let upstream = sending(&described(coding), &body);
        let stand = Stand::before(upstream.clone(), &[("wrap", wrap.clone())]);
        let response = post(&stand, coding, &body);
        assert_eq!(response.status, 400, "{coding}");
        assert!(stand.upstream.seen().is_empty());
        assert_eq!(stand.get(&[]).status, 502, "{coding}");
        let traces = weir_tests::kafka::shared().traces(&stand.topic, 2);
        for (trace, hook) in traces.iter().zip(["prehook", "posthook"]) {
            let span = trace.spans().iter().find(|span| {
                let name = format!("plugin.wrap.{hook}");
                span["Name"] == name && span["Status"] == "error"
            });
            let span = span.unwrap_or_else(|| panic!("{:#}", trace.0));
            assert_eq!(span["Attributes"]["error.type"], "content_encoding");
            let message = span["StatusMsg"].as_str().expect("a message");
            assert!(message.starts_with("the body is not encoded as it says"));
        }

        wrap["on_error"] = "continue".into();
        let stand = Stand::before(upstream, &[("wrap", wrap)]);
        assert_eq!(post(&stand, coding, &body).body, body, "{coding}");
        assert_eq!(stand.seen().body, body);
        assert_eq!(stand.seen().header("content-encoding"), Some(coding));
    }
}

#[test]
fn where_there_is_no_body_its_fields_stay() {
    let upstream = Upstream::new(|seen, stream| {
        let status = match seen.target.as_str() {
            "/204" => "204 No Content",
            "/304" => "304 Not Modified",
            _ => "200 OK\r\ncontent-length: 50",
        };
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-encoding: gzip\r\netag: \"one\"\r\n\r\n"
        );
    });
    let stand = Stand::before(
        upstream,
        &[
            (
                "pieces",
                plugin("pieces", json!({ "response": "pass", "decoded": true })),
            ),
            (
                "transform",
                json!({ "module": "builtin:response-transform", "config": { "remove": ["/a"] } }),
            ),
        ],
    );
    let mut client = Connection::open(stand.weir.proxy());
    for (method, target) in [("GET", "/204"), ("GET", "/304"), ("HEAD", "/")] {
        client.send(format!("{method} {target} HTTP/1.1\r\nhost: test\r\n\r\n"));
        let response = client.receive_to(method).expect("a response");
        assert_eq!(
            response.header("content-encoding"),
            Some("gzip"),
            "{target}"
        );
        assert_eq!(response.header("etag"), Some("\"one\""));
    }
}

#[test]
fn a_part_is_replaced_by_as_many_bytes_or_not_at_all() {
    let config = json!({ "response": 1000 });
    for (range, status, body, set) in [
        ("bytes 5-9/10", 206, "hello", "Err(Immutable)"),
        ("bytes 0-4/10", 206, "hello", "Err(Immutable)"),
        ("bytes 0-4/5", 200, "<hello>", "Ok(())"),
    ] {
        let head = format!("206 Partial Content\r\ncontent-range: {range}\r\n");
        let upstream = sending(&head, b"hello");
        let stand = Stand::before(upstream, &[("wrap", plugin("wrap", config.clone()))]);
        let response = stand.get(&[]);
        assert_eq!((response.status, response.text().as_str()), (status, body));
        let left = (status == 206).then_some(range);
        assert_eq!(response.header("content-range"), left);
        let trace = stand.trace();
        assert_eq!(trace.attribute("plugin.wrap.posthook", "wrap.set"), set);
    }
}

#[test]
fn each_plugin_of_a_chain_sees_what_those_before_it_left() {
    // Response hooks run last to first.
    let body = gzip(b"hello");
    let pass = plugin("pieces", json!({ "response": "pass" }));
    let upper = plugin("pieces", json!({ "response": "upper", "decoded": true }));
    let stand = Stand::before(
        sending(&described("gzip"), &body),
        &[
            ("after", pass.clone()),
            ("decoding", upper.clone()),
            ("before", pass),
        ],
    );
    assert_eq!(stand.get(&[]).text(), "HELLO");
    let trace = stand.trace();
    let seen = |name: &str| trace.attribute(&format!("plugin.{name}.posthook"), "pieces.encoding");
    assert_eq!(seen("before"), "gzip");
    assert!(seen("decoding").is_null() && seen("after").is_null());

    // One that holds and leaves it alone gives it on encoded; one behind who decodes gets it plain.
    let holds = json!({ "module": "builtin:response-transform", "config": { "remove": ["/a"] } });
    let wrap = plugin("wrap", json!({ "response": 1000 }));
    let head = described("gzip") + "content-type: application/json\r\n";
    let stand = Stand::before(
        sending(&head, &gzip(br#"{"b":1}"#)),
        &[
            ("last", wrap.clone()),
            ("decoding", upper),
            ("holds", holds.clone()),
        ],
    );
    let response = stand.get(&[]);
    assert_eq!(response.text(), r#"<{"B":1}>"#);
    assert_eq!(response.header("content-encoding"), None);
    let stand = Stand::before(
        sending(&head, &gzip(br#"{"b":1}"#)),
        &[("wrap", wrap), ("holds", holds)],
    );
    stand.get(&[]);
    let trace = stand.trace();
    assert_eq!(
        trace.attribute("plugin.wrap.posthook", "wrap.encoding"),
        "gzip"
    );
}
