//! Bodies in a content coding that go through plugins piece by piece.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, mpsc};
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::Request;
use serde_json::{Value, json};
use weir_tests::client::Connection;
use weir_tests::config::config;
use weir_tests::http2::{Client, receive, run};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;

use super::{BOMB, CODINGS, DESCRIBING, broken, described, encoded, gzip, plugin, post, sending};
use crate::Stand;

#[test]
fn a_streamed_body_that_is_not_in_its_coding_is_broken_off() {
    let both = json!({ "request": "pass", "response": "pass", "decoded": true });
    for (coding, body) in broken() {
        let upstream = sending(&described(coding), &body);
        let stand = Stand::before(upstream, &[("pieces", plugin("pieces", both.clone()))]);
        let response = post(&stand, coding, &body);
        assert_eq!(response.status, 400, "{coding}");
        let response = stand.get(&[]);
        assert_eq!(response.status, 200);
        assert!(!response.complete, "{coding}");
        assert!("hello".starts_with(&response.text()));
        let traces = weir_tests::kafka::shared().traces(&stand.topic, 2);
        for (trace, hook) in traces.iter().zip(["prehook", "posthook"]) {
            let span = trace.span(&format!("plugin.pieces.{hook}"));
            assert_eq!(span["Status"], "error", "{coding}");
            assert_eq!(span["Attributes"]["error.type"], "content_encoding");
        }
        let root = &traces[1].root()["Attributes"];
        assert_eq!(root["error.type"], "upstream_encoding");
    }
}

/// A frame of zstd that says that its window is of 8 MiB, and does not go on.
const FRAME: &[u8] = b"\x28\xb5\x2f\xfd\x00\x68";

/// Its end: one raw block, of two bytes.
const BLOCK: &[u8] = b"\x11\x00\x00ok";

/// The beginning of a body in gzip, and that in zstd, which fills a window of 8 MiB with blocks that have
/// no bytes; then an `o` comes out.
fn filling() -> Vec<u8> {
    let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 0).expect("memory");
    zstd.window_log(23).expect("a window");
    let (head, nothing) = (gzip(b""), b"\0\0\0\xff\xff".repeat((8 << 20) / 5 + 1));
    let pieces: [&[u8]; 3] = [&head[..10], &nothing, b"\0\x01\0\xfe\xffo"];
    for piece in pieces {
        zstd.write_all(piece).expect("memory");
    }
    zstd.flush().expect("memory");
    std::mem::take(zstd.get_mut())
}

/// A Weir that waits for long, with a plugin that sees both bodies decoded, and one that holds those of
/// `/held`. What is sent to `/early` goes to an upstream that answers before it has the whole.
fn patient(upstream: Upstream) -> Stand {
    let mut config = config(&upstream);
    let decoded = json!({ "request": "pass", "response": "pass", "decoded": true });
    config["plugins"]["pieces"] = plugin("pieces", decoded);
    let sent = json!({ "request": "pass", "decoded": true });
    config["plugins"]["sent"] = plugin("pieces", sent);
    let held = json!({ "request": 1000, "response": 1000 });
    config["plugins"]["wrap"] = plugin("wrap", held);
    config["upstreams"]["early"] = json!({ "endpoints": [format!("http://{}", early())] });
    config["routes"] = json!([
        { "name": "early", "match": { "path": "/early" }, "upstream": "early", "plugins": ["sent"] },
        { "name": "held", "match": { "path": "/held" }, "upstream": "up", "plugins": ["wrap"] },
        { "name": "all", "upstream": "up", "plugins": ["pieces"] },
    ]);
    config["listeners"][0]["timeouts"] = json!({ "body": "10m" });
    Stand::with(upstream, config)
}

/// An upstream that begins its response once an `o` has come, and never ends it.
fn early() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut byte = [0];
                let mut seen = Vec::new();
                while !seen.ends_with(b"\r\n1\r\no\r\n") {
                    match stream.read(&mut byte) {
                        Ok(1) => seen.push(byte[0]),
                        _ => return,
                    }
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nx");
                // Until Weir closes it.
                let _ = stream.read_to_end(&mut seen);
            });
        }
    });
    address
}

/// A client that has sent the beginning of a body.
fn uploading(stand: &Stand, path: &str, coding: &str, begin: &[u8]) -> Connection {
    let mut client = Connection::open(stand.weir.proxy());
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\ncontent-encoding: {coding}\r\n\
         transfer-encoding: chunked\r\n\r\n{:x}\r\n",
        begin.len()
    );
    client.send(head).send(begin).send("\r\n");
    client
}

/// What becomes of an upload whose window is small, in all.
fn upload(stand: &Stand) -> u16 {
    let mut client = uploading(stand, "/", "zstd", FRAME);
    client.send("5\r\n").send(BLOCK).send("\r\n0\r\n\r\n");
    client.receive().expect("a response").status
}

/// Asserts that bodies are held as ever.
#[track_caller]
fn assert_holds(stand: &Stand) {
    let request = "POST /held HTTP/1.1\r\nhost: test\r\ncontent-length: 2\r\n\r\nok";
    let mut client = Connection::open(stand.weir.proxy());
    let response = client.send(request).receive().expect("a response");
    assert_eq!(response.status, 200);
    assert!(response.body.starts_with(b"<"));
    assert_eq!(stand.seen().body, b"<ok>");
}

#[test]
fn uploads_that_announce_large_windows_and_stall_take_no_room_from_others() {
    let body = [FRAME, BLOCK].concat();
    let stand = patient(sending("200 OK\r\ncontent-encoding: zstd\r\n", &body));
    let _stalled: Vec<_> = (0..100)
        .map(|_| uploading(&stand, "/early", "zstd", FRAME))
        .collect();
    assert_eq!(upload(&stand), 200);
    assert_eq!(stand.seen().body, b"ok");
    assert_eq!(stand.get(&[]).text(), "ok");
    assert_holds(&stand);
}

#[test]
fn uploads_that_fill_their_windows_have_room_together_and_leave_others_theirs() {
    let body = [FRAME, BLOCK].concat();
    let stand = patient(sending("200 OK\r\ncontent-encoding: zstd\r\n", &body));
    let begin = filling();
    let uploading = || {
        let mut client = uploading(&stand, "/early", "gzip, zstd", &begin);
        let head = client.receive_head()?;
        Some((head, client))
    };
    let mut stalled = Vec::new();
    let (refused, mut client) = loop {
        let (head, client) = uploading().expect("a response");
        if head.status != 200 {
            break (head, client);
        }
        stalled.push(client);
        assert!(stalled.len() < 64, "more than there is room for");
    };
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    let len = refused.header("content-length").expect("a length");
    let problem = client.read_exactly(len.parse().expect("a number"));
    let problem: Value = serde_json::from_slice(&problem).expect("JSON");
    let said = "there is no room to decode the request's body";
    assert_eq!(problem["detail"], said);
    assert_eq!(stand.get(&[]).text(), "ok");
    assert_holds(&stand);
    drop(stalled);
    eventually("there is room again", || {
        (uploading()?.0.status == 200).then_some(())
    });
}

#[test]
fn a_response_whose_window_has_no_room_is_broken_off_and_uploads_go_on() {
    let begin = filling();
    let stand = patient(Upstream::new(move |seen, stream| {
        if seen.target != "/stalls" {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            return;
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip, zstd\r\n\
                    transfer-encoding: chunked\r\n\r\n";
        let _ = write!(stream, "{head}{:x}\r\n", begin.len());
        let _ = stream.write_all(&begin);
        let _ = stream.write_all(b"\r\n");
        // Until Weir closes it.
        let _ = stream.read_to_end(&mut Vec::new());
    }));
    let mut stalled = Vec::new();
    loop {
        let mut client = Connection::open(stand.weir.proxy());
        client.send("GET /stalls HTTP/1.1\r\nhost: test\r\n\r\n");
        assert_eq!(client.receive_head().expect("a head").status, 200);
        match client.read_chunk() {
            Some(piece) => assert_eq!(piece, b"o"),
            None => break,
        }
        stalled.push(client);
        assert!(stalled.len() < 64, "more than there is room for");
    }
    assert_eq!(upload(&stand), 200);
    assert_holds(&stand);
}

#[test]
fn an_event_in_a_coding_reaches_the_client_before_the_next_has_come() {
    for coding in ["gzip", "zstd"] {
        let (go_on, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let upstream = Upstream::new(move |_, stream| {
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                 content-encoding: {coding}\r\ntransfer-encoding: chunked\r\n\r\n"
            );
            let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
            let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 0).expect("memory");
            for event in ["data: one\n\n", "data: two\n\n"] {
                let piece = if coding == "gzip" {
                    gzip.write_all(event.as_bytes()).expect("memory");
                    gzip.flush().expect("memory");
                    std::mem::take(gzip.get_mut())
                } else {
                    zstd.write_all(event.as_bytes()).expect("memory");
                    zstd.flush().expect("memory");
                    std::mem::take(zstd.get_mut())
                };
                let _ = write!(stream, "{:x}\r\n", piece.len());
                let _ = stream.write_all(&piece);
                let _ = stream.write_all(b"\r\n");
                let _ = wait.lock().expect("lock").recv();
            }
            let end = if coding == "gzip" {
                gzip.finish()
            } else {
                zstd.finish()
            };
            let end = end.expect("memory");
            let _ = write!(stream, "{:x}\r\n", end.len());
            let _ = stream.write_all(&end);
            let _ = stream.write_all(b"\r\n0\r\n\r\n");
        });
        let config = json!({ "response": "upper", "decoded": true });
        let stand = Stand::before(upstream, &[("pieces", plugin("pieces", config))]);
        let mut client = Connection::open(stand.weir.proxy());
        client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
        let head = client.receive_head().expect("a head");
        assert_eq!(head.header("content-encoding"), None);
        assert_eq!(client.read_chunk().expect("a piece"), b"DATA: ONE\n\n");
        go_on.send(()).expect("the upstream waits");
        assert_eq!(client.read_chunk().expect("a piece"), b"DATA: TWO\n\n");
        go_on.send(()).expect("the upstream waits");
        assert_eq!(client.read_chunk().expect("the end"), b"");
    }
}

#[test]
fn a_streamed_request_goes_on_decoded() {
    for coding in CODINGS {
        let config = json!({ "request": "upper", "decoded": true });
        let stand = Stand::before(Upstream::hello(), &[("pieces", plugin("pieces", config))]);
        assert_eq!(
            post(&stand, coding, &encoded(coding, b"question")).status,
            200
        );
        let seen = stand.seen();
        assert_eq!(seen.body, b"QUESTION", "{coding}");
        assert_eq!(seen.header("content-encoding"), None);
        assert_eq!(seen.header("content-digest"), None);
    }
}

#[test]
fn a_bomb_in_a_stream_is_pulled_and_never_there_at_once() {
    let bomb = gzip(&vec![0; 4 * BOMB]);
    let config = json!({ "response": "pass", "decoded": true });
    let upstream = sending("200 OK\r\ncontent-encoding: gzip\r\n", &bomb);
    let stand = Stand::before(upstream, &[("pieces", plugin("pieces", config))]);
    let before = stand.weir.resident_bytes();
    let mut client = Connection::open(stand.weir.proxy());
    client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    client.receive_head().expect("a head");
    let mut read = 0;
    while read < 8 << 20 {
        let piece = client.read_chunk().expect("a piece");
        assert!(!piece.is_empty(), "the end after {read} bytes");
        read += piece.len();
    }
    let grown = stand.weir.resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
}

#[test]
fn a_request_may_not_become_more_than_its_route_takes() {
    // Also one that a plugin before held, which fails and so leaves it as it was.
    for chain in [json!(["pieces"]), json!(["wrap", "pieces"])] {
        let upstream = Upstream::hello();
        let mut config = config(&upstream);
        let streams = json!({ "request": "pass", "decoded": true });
        config["plugins"]["pieces"] = plugin("pieces", streams);
        config["plugins"]["wrap"] = plugin("wrap", json!({ "request": 100_000, "trap": true }));
        config["plugins"]["wrap"]["on_error"] = "continue".into();
        config["routes"][0]["plugins"] = chain.clone();
        config["routes"][0]["max_body_bytes"] = json!("1MiB");
        let stand = Stand::with(upstream, config);
        let status = |len| post(&stand, "gzip", &gzip(&vec![0; len])).status;
        assert_eq!(status(1 << 20), 200, "{chain}");
        assert_eq!(status((1 << 20) + 1), 413, "{chain}");
    }
}

#[test]
fn what_cannot_or_may_not_be_decoded_comes_as_it_is() {
    let body = gzip(b"hello");
    for (head, encoding) in [
        ("200 OK\r\ncontent-encoding: br\r\n", "br"),
        ("200 OK\r\ncontent-encoding: br, gzip\r\n", "br, gzip"),
        (
            "206 Partial Content\r\ncontent-encoding: gzip\r\ncontent-range: bytes 9-40/80\r\n",
            "gzip",
        ),
        (
            "200 OK\r\ncontent-encoding: gzip\r\ncache-control: no-cache, no-transform\r\n",
            "gzip",
        ),
    ] {
        let config = json!({ "response": "pass", "decoded": true });
        let upstream = sending(head, &body);
        let stand = Stand::before(upstream, &[("pieces", plugin("pieces", config))]);
        let response = stand.get(&[]);
        assert_eq!(response.body, body, "{head}");
        assert_eq!(response.header("content-encoding"), Some(encoding));
        let trace = stand.trace();
        let seen = trace.attribute("plugin.pieces.posthook", "pieces.encoding");
        assert_eq!(seen, encoding);
    }
}

#[test]
fn a_body_that_is_let_by_goes_on_as_it_came() {
    let body = gzip(b"hello");
    let both = json!({ "request": "skip", "response": "skip", "decoded": true });
    let upstream = sending(&described("gzip"), &body);
    let stand = Stand::before(upstream, &[("pieces", plugin("pieces", both))]);
    let response = post(&stand, "gzip", &body);
    assert_eq!(response.body, body);
    assert!(
        DESCRIBING
            .iter()
            .all(|name| response.header(name).is_some())
    );
    assert_eq!(response.header("etag"), Some("\"one\""));
    let len = body.len().to_string();
    assert_eq!(response.header("content-length"), Some(len.as_str()));
    assert_eq!(stand.seen().body, body);
    assert_eq!(stand.seen().header("content-encoding"), Some("gzip"));
    assert_eq!(stand.seen().header("content-length"), Some(len.as_str()));
}

#[test]
fn trailers_come_behind_what_was_decoded_but_for_digests() {
    let body = gzip(b"hello");
    let upstream = Upstream::new(move |_, stream| {
        let head =
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n";
        let _ = write!(stream, "{head}{:x}\r\n", body.len());
        let _ = stream.write_all(&body);
        let trailers = "x-sum: 7\r\ncontent-digest: sha-256=:AA==:\r\n";
        let _ = write!(stream, "\r\n0\r\n{trailers}\r\n");
    });
    for plugin in [
        plugin("pieces", json!({ "response": "upper", "decoded": true })),
        plugin("wrap", json!({ "response": 1000, "decoded": true })),
    ] {
        let stand = Stand::before(upstream.clone(), &[("it", plugin)]);
        let text = without_digest(&stand);
        assert!(["HELLO", "<hello>"].contains(&text.as_str()));
    }
}

#[test]
fn digests_go_also_where_a_plugin_fails_behind_what_it_replaced() {
    let upstream = Upstream::new(move |_, stream| {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let trailers = "x-sum: 7\r\ncontent-digest: sha-256=:AA==:\r\n";
        let _ = write!(stream, "{head}3\r\nhel\r\n2\r\nlo\r\n0\r\n{trailers}\r\n");
    });
    let work = json!({ "work": "trap", "at": 2, "before": "upper" });
    let mut plugin = plugin("pieces", json!({ "response": work }));
    plugin["on_error"] = json!("continue");
    let stand = Stand::before(upstream, &[("it", plugin)]);
    assert_eq!(without_digest(&stand), "HELlo");
}

/// A response's body, with trailers that have no digest of another.
fn without_digest(stand: &Stand) -> String {
    run(async {
        let client = Client::open(stand.weir.proxy()).await;
        let request = Request::get("http://test/").body(()).expect("a request");
        let mut sender = client.sender.clone().ready().await.expect("ready");
        let (response, _) = sender.send_request(request, true).expect("sent");
        let answer = receive(response.await.expect("a head"))
            .await
            .expect("a response");
        let text = answer.text();
        let trailers = answer.trailers.expect("trailers");
        assert_eq!(trailers["x-sum"], "7");
        assert!(!trailers.contains_key("content-digest"));
        text
    })
}

#[test]
fn genai_reads_replies_in_their_codings() {
    let reply = br#"{"id":"i","model":"m-1","choices":[]}"#;
    for coding in CODINGS {
        let head = described(coding) + "content-type: application/json\r\n";
        let upstream = sending(&head, &encoded(coding, reply));
        let genai = json!({ "module": "builtin:genai", "on_error": "continue" });
        let stand = Stand::before(upstream, &[("genai", genai)]);
        let asked = r#"{"model":"m","messages":[]}"#;
        let mut client = Connection::open(stand.weir.proxy());
        client.send(format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{asked}",
            asked.len()
        ));
        let response = client.receive().expect("a response");
        assert_eq!(response.body, reply, "{coding}");
        let trace = stand.trace();
        let model = trace.attribute("chat m", "gen_ai.response.model");
        assert_eq!(model, "m-1", "{coding}");
    }
}
