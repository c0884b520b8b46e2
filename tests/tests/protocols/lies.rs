//! Upstreams of HTTP/2 that do not say the truth about their responses, or say without end that there will
//! be one: a 502 or a response that is cut, and the next request is served.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use weir_tests::client::{self, Response};
use weir_tests::http2::{Client, DATA, END_HEADERS, END_STREAM, HEADERS, frame, run};
use weir_tests::weir::Weir;

use super::translation::literal;
use super::upstreams::{futures_join, ok, speaking, start};
use crate::assert_hardly_grown;

/// The URL of an upstream that lies to one request and tells the next the truth, in turns: the frames of a lie
/// are made by its number, for its stream.
pub(super) fn lying(lie: impl Fn(usize, u32) -> Vec<u8> + Send + 'static) -> String {
    let asked = AtomicUsize::new(0);
    speaking(move |id| {
        let asked = asked.fetch_add(1, Ordering::SeqCst);
        if asked.is_multiple_of(2) {
            lie(asked / 2, id)
        } else {
            [ok(id), frame(DATA, END_STREAM, id, b"truth")].concat()
        }
    })
}

fn behind(url: &str) -> Weir {
    // None of it is left to a deadline.
    let timeouts = json!({ "response": "1h", "body": "1h" });
    start(json!({ "endpoints": [url], "protocol": "h2", "timeouts": timeouts }))
}

fn head(flags: u8, id: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    let block = fields.iter().flat_map(|(name, value)| literal(name, value));
    let block: Vec<u8> = block.collect();
    frame(HEADERS, flags | END_HEADERS, id, &block)
}

/// Asks for what is a lie; `None` where the connection was cut before a head.
fn ask(weir: &Weir) -> Option<Response> {
    let mut client = client::Connection::open(weir.proxy());
    client.send("GET /lie HTTP/1.1\r\nhost: test\r\n\r\n");
    client.receive()
}

#[test]
fn a_head_of_http2_that_says_two_things_or_nothing_is_a_502() {
    const OK: (&str, &str) = (":status", "200");
    let lies: [(u8, &[(&str, &str)]); 16] = [
        (0, &[OK, ("content-length", "5"), ("content-length", "6")]),
        (0, &[OK, ("content-length", "5"), ("content-length", "5")]),
        (0, &[OK, ("content-length", "5, 5")]),
        (0, &[OK, ("content-length", "+5")]),
        (0, &[OK, ("content-length", "")]),
        (0, &[OK, ("content-length", "five")]),
        (0, &[OK, ("content-length", "99999999999999999999")]),
        (0, &[OK, ("transfer-encoding", "chunked")]),
        (0, &[OK, ("connection", "close")]),
        (0, &[OK, ("X-Upper", "a")]),
        (0, &[OK, ("x", "a\r\nb: c")]),
        (0, &[(":status", "20")]),
        (END_STREAM, &[OK, ("content-length", "5")]),
        (END_STREAM, &[(":status", "103")]),
        // It is no switch, and no answer either.
        (0, &[(":status", "101")]),
        (END_STREAM, &[(":status", "101")]),
    ];
    let weir = behind(&lying(move |number, id| {
        let (flags, fields) = lies[number];
        let mut frames = head(flags, id, fields);
        if flags & END_STREAM == 0 {
            frames.extend(frame(DATA, END_STREAM, id, b"hello"));
        }
        frames
    }));
    for (_, lie) in lies {
        let answer = ask(&weir).expect("a response");
        assert_eq!(answer.status, 502, "{lie:?}: {answer:?}");
        assert_eq!(weir.get("/", &[]).text(), "truth", "{lie:?}");
    }
    let failures = "weir_upstream_failures_total{upstream=\"up\",reason=\"protocol\"}";
    assert_eq!(weir.count(failures), 16);
}

#[test]
fn data_of_http2_that_does_not_fit_its_length_never_becomes_a_whole_response() {
    // What is said to come, what comes, and whether all that was said has come before too much does.
    let lies: [(&str, &[&[u8]], bool); 5] = [
        ("5", &[b"hello!"], false),
        ("5", &[b"hell"], false),
        ("5", &[b"hell", b"o!"], false),
        ("5", &[b"hello", b"!"], true),
        ("5", &[b"hello", b"evil", b"evil"], true),
    ];
    let weir = behind(&lying(move |number, id| {
        let (length, pieces, _) = lies[number];
        let fields = [(":status", "200"), ("content-length", length)];
        let mut frames = head(0, id, &fields);
        for (index, piece) in pieces.iter().enumerate() {
            let ends = u8::from(index + 1 == pieces.len()) * END_STREAM;
            frames.extend(frame(DATA, ends, id, piece));
        }
        frames
    }));
    for (_, pieces, may_be_whole) in lies {
        if let Some(answer) = ask(&weir) {
            let whole = answer.status == 200 && answer.complete;
            let may_be_whole = may_be_whole && answer.text() == "hello";
            assert!(!whole || may_be_whole, "{pieces:?}: {answer:?}");
        }
        assert_eq!(weir.get("/", &[]).text(), "truth", "{pieces:?}");
    }
}

/// A head like this, so many times, and no other.
fn interim(id: u32, block: &[u8], count: usize) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, id, block).repeat(count)
}

#[test]
fn interim_responses_of_http2_without_end_are_a_502_and_take_no_memory() {
    const COUNT: usize = 10_000;
    let small = literal(":status", "103");
    // By references to one entry of HPACK's table, each has nearly as many bytes as a head may have.
    let entry = [&[0x40, 1, b'x', 0x7f, 0xb9, 0x16], &[b'y'; 3000][..]].concat();
    let large = [&small[..], &[0xbe; 20]].concat();
    let weir = behind(&lying(move |number, id| {
        if number == 0 {
            return interim(id, &small, COUNT);
        }
        let first = interim(id, &[&small[..], &entry].concat(), 1);
        [first, interim(id, &large, COUNT)].concat()
    }));
    assert_eq!(weir.get("/", &[]).status, 502);
    assert_eq!(weir.get("/", &[]).text(), "truth");
    let before = weir.peak_bytes();
    assert_eq!(weir.get("/", &[]).status, 502);
    assert_eq!(weir.get("/", &[]).text(), "truth");
    assert_hardly_grown(&weir, before);
    let failures = "weir_upstream_failures_total{upstream=\"up\",reason=\"protocol\"}";
    assert_eq!(weir.count(failures), 2);
}

#[test]
fn some_interim_responses_of_http2_pass_on_each_of_many_streams() {
    const STREAMS: usize = 20;
    let weir = behind(&speaking(|id| {
        let interim = interim(id, &literal(":status", "103"), 1000);
        let truth = frame(DATA, END_STREAM, id, b"truth");
        [interim, ok(id), truth].concat()
    }));
    run(async {
        let client = Client::open(weir.proxy()).await;
        for _ in 0..2 {
            let all = (0..STREAMS).map(|_| client.get("/"));
            for answer in futures_join(all).await {
                assert_eq!(answer.expect("a response").text(), "truth");
            }
        }
    });
    let connects = "weir_upstream_connects_total{upstream=\"up\"}";
    assert_eq!(weir.count(connects), 1);
}
