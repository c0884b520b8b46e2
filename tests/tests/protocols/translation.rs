//! From HTTP/2 to HTTP/1.1 and back: one meaning on both sides, or a refusal.

use std::io::{Read, Write};
use std::net::TcpListener;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use serde_json::json;
use weir_tests::client::Connection;
use weir_tests::http2::{self, Client, Raw, Reply, frame, get_block_of, receive, run};
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

use crate::{config, start};

/// A literal field without indexing, as HPACK has it; texts shorter than 127 bytes.
pub(super) fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name, value] {
        field.push(u8::try_from(text.len()).expect("a short text"));
        field.extend(text.as_bytes());
    }
    field
}

/// The status of a request with exactly these fields, and `None` where its stream was reset or its
/// connection ended.
fn status(weir: &Weir, fields: &[(&str, &str)]) -> Option<u16> {
    let block: Vec<u8> = fields
        .iter()
        .flat_map(|(name, value)| literal(name, value))
        .collect();
    let mut raw = Raw::open(weir.proxy());
    raw.0.write_all(&frame(1, 5, 1, &block)).expect("send");
    loop {
        let (kind, _, stream, payload) = raw.read()?;
        match (kind, stream) {
            (1, 1) => {
                // Statuses are in HPACK's table, or literal.
                return Some(match payload[..] {
                    [0x88, ..] => 200,
                    [0x8c, ..] => 400,
                    // In Huffman's code.
                    [0x48, 0x82, 0x6c, 0x01, ..] => 501,
                    _ => 0,
                });
            }
            (3, 1) | (7, _) => return None,
            _ => {}
        }
    }
}

#[test]
fn what_an_upstream_could_read_in_another_way_is_refused() {
    let upstream = Upstream::hello();
    let weir = start(&upstream, json!({}));
    let get = [(":method", "GET"), (":scheme", "http"), (":path", "/")];
    let with = |more: &[(&'static str, &'static str)]| [&get[..], more].concat();
    let test = (":authority", "test");
    for fields in [
        with(&[test, ("host", "other")]),
        with(&[test, ("host", "test"), ("host", "test")]),
        with(&[("host", "a"), ("host", "b")]),
        with(&[]),
        with(&[(":authority", "user@test")]),
        with(&[test, ("x", " padded")]),
        with(&[test, ("x", "padded ")]),
        with(&[test, ("x", "a\r\nevil: 1")]),
        with(&[test, ("x", "a\0b")]),
        with(&[test, ("X-Upper", "a")]),
        with(&[test, ("connection", "close")]),
        with(&[test, ("transfer-encoding", "chunked")]),
        with(&[test, ("te", "gzip")]),
        with(&[test, ("content-length", "1")]),
        with(&[test, ("content-length", "0"), ("content-length", "0")]),
        with(&[test, (":path", "/two")]),
        vec![(":method", "GET"), (":scheme", "ftp"), (":path", "/"), test],
        vec![
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "*"),
            test,
        ],
        vec![
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "x"),
            test,
        ],
        vec![(":method", "GET"), (":scheme", "http"), (":path", ""), test],
        vec![
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/a/../b"),
            test,
        ],
        vec![(":method", "CONNECT"), (":authority", "db:1")],
        vec![
            (":method", "G T"),
            (":scheme", "http"),
            (":path", "/"),
            test,
        ],
    ] {
        let status = status(&weir, &fields);
        assert!(
            matches!(status, None | Some(400 | 501)),
            "{fields:?}: {status:?}"
        );
    }
    assert_eq!(upstream.connections(), 0);
    assert_eq!(status(&weir, &with(&[test])), Some(200));
    assert_eq!(status(&weir, &with(&[test, ("host", "test")])), Some(200));
    assert_eq!(status(&weir, &with(&[("host", "test")])), Some(200));
    assert_eq!(status(&weir, &with(&[test, ("te", "trailers")])), Some(200));
    for seen in upstream.seen() {
        let hosts: Vec<_> = seen
            .headers
            .iter()
            .filter(|(name, _)| name == "host")
            .collect();
        assert_eq!(hosts, [&("host".to_owned(), "test".to_owned())]);
    }
}

#[test]
fn cookies_reach_the_upstream_as_one_field() {
    let upstream = Upstream::hello();
    let weir = start(&upstream, json!({}));
    run(async {
        let client = Client::open(weir.proxy()).await;
        let request = Request::get("http://test/")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(());
        let answer = client.send(request.expect("a request")).await;
        assert_eq!(answer.expect("a response").status(), 200);
    });
    assert_eq!(upstream.seen()[0].header("cookie"), Some("a=1; b=2"));
}

#[test]
fn hop_by_hop_fields_of_an_http1_upstream_do_not_reach_an_http2_client() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nconnection: keep-alive, x-mine\r\nkeep-alive: timeout=5\r\n\
         x-mine: 1\r\nupgrade: h2c\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    );
    let weir = start(&upstream, json!({}));
    run(async {
        let client = Client::open(weir.proxy()).await;
        let answer = client.get("/").await.expect("a response");
        assert_eq!(answer.text(), "ok");
        let names: Vec<_> = answer
            .head
            .headers()
            .keys()
            .map(http::HeaderName::as_str)
            .collect();
        assert_eq!(names, ["date"]);
    });
}

#[test]
fn a_body_of_unknown_length_is_chunked_whatever_the_method() {
    let upstream = Upstream::hello();
    let weir = start(&upstream, json!({}));
    run(async {
        let client = Client::open(weir.proxy()).await;
        for method in ["POST", "GET", "DELETE"] {
            let request = Request::builder()
                .method(method)
                .uri("http://test/")
                .body(());
            let mut sender = client.sender.clone().ready().await.expect("ready");
            let (response, mut body) = sender
                .send_request(request.expect("a request"), false)
                .expect("sent");
            body.send_data(Bytes::from_static(b"abc"), true)
                .expect("sent");
            let answer = receive(response.await.expect("a head")).await;
            assert_eq!(answer.expect("a response").status(), 200, "{method}");
        }
    });
    for seen in upstream.seen() {
        assert_eq!(
            seen.header("transfer-encoding"),
            Some("chunked"),
            "{}",
            seen.method
        );
        assert_eq!(seen.body, b"abc", "{}", seen.method);
    }
}

#[test]
fn trailers_pass_both_ways_without_what_may_be_none() {
    // The harness' own upstream does not read trailers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut config = weir_tests::config::config(&Upstream::hello());
    let address = listener.local_addr().expect("an address");
    config["upstreams"]["up"]["endpoints"] = json!([format!("http://{address}")]);
    let weir = Weir::start(&config.to_string());
    let upstream = std::thread::spawn(move || {
        let stream = listener.accept().expect("weir connects").0;
        let mut upstream = weir_tests::client::Connection::over(stream);
        let head = upstream.read_head().expect("a head");
        let mut body = Vec::new();
        while let Some(chunk) = upstream.read_chunk_and_trailers(&mut body) {
            assert_eq!(chunk, b"abc");
        }
        upstream.send(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\
             x-sum: 7\r\ncontent-length: 9\r\nset-cookie: a=b\r\nkeep-alive: timeout=9\r\n\r\n",
        );
        (head, body)
    });
    run(async {
        let client = Client::open(weir.proxy()).await;
        let request = Request::post("http://test/")
            .header(
                "trailer",
                "x-sum, x-forwarded-for, x_forwarded_for, forwarded",
            )
            .body(());
        let mut sender = client.sender.clone().ready().await.expect("ready");
        let (response, mut body) = sender
            .send_request(request.expect("a request"), false)
            .expect("sent");
        body.send_data(Bytes::from_static(b"abc"), false)
            .expect("sent");
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "3".parse().expect("a value"));
        for name in [
            "authorization",
            "content-length",
            "host",
            "forwarded",
            "x-forwarded-for",
            "x_forwarded_for",
        ] {
            trailers.insert(name, "9".parse().expect("a value"));
        }
        body.send_trailers(trailers).expect("sent");
        let answer = receive(response.await.expect("a head"))
            .await
            .expect("a response");
        assert_eq!(answer.text(), "ok");
        let trailers = answer.trailers.expect("trailers");
        assert_eq!(trailers.len(), 1, "{trailers:?}");
        assert_eq!(trailers["x-sum"], "7");
    });
    let (head, trailers) = upstream.join().expect("the upstream");
    let announced = "trailer: x-sum, x-forwarded-for, x_forwarded_for, forwarded".to_owned();
    assert!(head.contains(&announced), "{head:?}");
    assert_eq!(String::from_utf8_lossy(&trailers), "x-sum: 3\r\n");
}

#[test]
fn an_event_reaches_the_client_before_the_upstream_sends_the_next() {
    let (tell, told) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let upstream = Upstream::new(move |_, stream| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                    transfer-encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n";
        stream.write_all(head.as_bytes()).expect("weir reads");
        told.lock().expect("lock").recv().expect("the test tells");
        let _ = stream.write_all(b"9\r\ndata: b\n\n\r\n0\r\n\r\n");
    });
    let weir = start(&upstream, json!({}));
    run(async {
        let client = Client::open(weir.proxy()).await;
        let mut sender = client.sender.clone().ready().await.expect("ready");
        let request = Request::get("http://test/").body(()).expect("a request");
        let (response, _) = sender.send_request(request, true).expect("sent");
        let mut events = response.await.expect("a head").into_body();
        let first = events.data().await.expect("an event").expect("no error");
        assert_eq!(first, "data: a\n\n");
        tell.send(()).expect("the upstream waits");
        let second = events.data().await.expect("an event").expect("no error");
        assert_eq!(second, "data: b\n\n");
    });
}

#[test]
fn what_is_compressed_passes_as_it_is() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nvary: accept-encoding\r\n\
         content-length: 5\r\n\r\n\u{1f}\u{0}\u{8}zz",
    );
    let weir = start(&upstream, json!({}));
    run(async {
        let client = Client::open(weir.proxy()).await;
        let request = Request::post("http://test/")
            .header("accept-encoding", "gzip, br")
            .header("content-encoding", "br");
        let request = request.body(()).expect("a request");
        let answer = client.send(request).await.expect("a response");
        assert_eq!(answer.head.headers()["content-encoding"], "gzip");
        assert_eq!(answer.head.headers()["vary"], "accept-encoding");
        assert_eq!(answer.body, b"\x1f\0\x08zz");
    });
    let seen = &upstream.seen()[0];
    assert_eq!(seen.header("accept-encoding"), Some("gzip, br"));
    assert_eq!(seen.header("content-encoding"), Some("br"));
}

#[test]
fn head_and_bodiless_statuses_have_no_body() {
    let upstream = Upstream::new(|seen, stream| {
        let _ = stream.write_all(match (seen.method.as_str(), seen.target.as_str()) {
            ("HEAD", _) => b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
            (_, "/304") => b"HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n",
            _ => &b"HTTP/1.1 204 No Content\r\n\r\n"[..],
        });
    });
    let weir = start(&upstream, json!({}));
    run(async {
        let client = Client::open(weir.proxy()).await;
        let head = Request::head("http://test/").body(()).expect("a request");
        let answer = client.send(head).await.expect("a response");
        assert_eq!(answer.head.headers()["content-length"], "5");
        assert!(answer.body.is_empty());
        for (path, status) in [("/304", 304), ("/204", 204)] {
            let answer = client.get(path).await.expect("a response");
            assert_eq!((answer.status(), answer.body.len()), (status, 0));
        }
    });
}

#[test]
fn a_body_of_http2_where_none_may_be_is_nobodys() {
    let upstream = http2::Upstream::new(None, |seen| {
        let status = if seen.uri.ends_with("/304") { 304 } else { 204 };
        let head = Response::builder()
            .status(status)
            .header("content-length", "5");
        Reply {
            head: head.body(()).expect("a head"),
            body: b"hello",
            ..Reply::default()
        }
    });
    let mut config = weir_tests::config::config(&Upstream::hello());
    config["upstreams"]["up"] = json!({ "endpoints": [upstream.url()], "protocol": "h2" });
    let weir = Weir::start(&config.to_string());
    for (path, status) in [("/204", 204), ("/304", 304)] {
        let mut client = Connection::open(weir.proxy());
        for _ in 0..2 {
            client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
            assert_eq!(client.receive().expect("a response").status, status);
        }
    }
    run(async {
        let client = Client::open(weir.proxy()).await;
        for (path, status) in [("/204", 204), ("/304", 304)] {
            let answer = client.get(path).await.expect("a response");
            assert_eq!((answer.status(), answer.body.len()), (status, 0));
        }
        let answer = client.get("/204").await.expect("a response");
        assert_eq!(answer.head.headers().get("content-length"), None);
    });
    // To nobody it looked as if the client had left.
    let of = |status| format!("weir_requests_total{{route=\"all\",status=\"{status}\"}}");
    assert_eq!(weir.count(&of("2xx")), 4);
    assert_eq!(weir.count(&of("3xx")), 3);
    assert_eq!(weir.count("weir_requests_aborted_total{route=\"all\"}"), 0);
}

#[test]
fn a_request_that_is_reset_without_an_error_is_cut_and_not_whole() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (came, head) = std::sync::mpsc::channel();
    let upstream = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let (mut seen, mut byte) = (Vec::new(), [0]);
        while !seen.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).expect("a head");
            seen.push(byte[0]);
        }
        came.send(()).expect("the test waits");
        stream.read_to_end(&mut seen).expect("its end");
        String::from_utf8_lossy(&seen).into_owned()
    });
    let nobody = Upstream::hello();
    let mut config = config(&nobody, json!({}));
    config["upstreams"]["up"] = json!({ "endpoints": [format!("http://{address}")] });
    let weir = Weir::start(&config.to_string());
    let mut raw = Raw::open(weir.proxy());
    let mut block = get_block_of("/x");
    // `:method POST`.
    block[0] = 0x83;
    raw.0.write_all(&frame(1, 4, 1, &block)).expect("a head");
    head.recv().expect("the upstream has it");
    // In one write: its end would otherwise be seen before the reset.
    let amount = frame(0, 0, 1, b"amount=100");
    let reset = frame(3, 0, 1, &[0; 4]);
    raw.0.write_all(&[amount, reset].concat()).expect("a cut");
    let seen = upstream.join().expect("the upstream");
    assert!(seen.starts_with("POST /x HTTP/1.1\r\n"), "{seen}");
    assert!(!seen.ends_with("0\r\n\r\n"), "it looks whole: {seen}");
}

#[test]
fn an_early_answer_to_an_open_upload_is_whole_and_its_stream_ends_without_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let upstream = std::thread::spawn(move || {
        let accept = || Connection::over(listener.accept().expect("weir connects").0);
        let mut first = accept();
        first.read_head().expect("a head");
        assert_eq!(first.read_chunk().as_deref(), Some(&b"abc"[..]));
        first.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
        let mut second = accept();
        second.read_head().expect("a head");
        second.send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes");
        let rest = first.read_to_end();
        (String::from_utf8_lossy(&rest).into_owned(), second)
    });
    let mut config = config(&Upstream::hello(), json!({}));
    config["upstreams"]["up"] = json!({ "endpoints": [format!("http://{address}")] });
    let weir = Weir::start(&config.to_string());
    let mut raw = Raw::open(weir.proxy());
    let mut block = get_block_of("/x");
    // `:method POST`.
    block[0] = 0x83;
    let begun = [frame(1, 4, 1, &block), frame(0, 0, 1, b"abc")].concat();
    raw.0.write_all(&begun).expect("a head and a piece");
    let (mut body, mut ended) = (Vec::new(), false);
    let reason = loop {
        match raw.read().expect("a frame") {
            (0, flags, 1, piece) => {
                body.extend(piece);
                ended = flags & 1 == 1;
            }
            (3, _, 1, reason) => break reason,
            (kind, _, _, payload) => assert_ne!(kind, 7, "it is told to go: {payload:?}"),
        }
    };
    assert_eq!((&body[..], ended), (&b"no"[..], true), "before the reset");
    assert_eq!(reason, [0; 4]);
    // What was on its way is no harm, and the connection serves on.
    let late = frame(0, 0, 1, b"late");
    let next = frame(1, 5, 3, &get_block_of("/"));
    raw.0.write_all(&[late, next].concat()).expect("send");
    let mut body = Vec::new();
    while body != b"yes" {
        match raw.read().expect("a frame") {
            (0, _, 3, piece) => body.extend(piece),
            (kind, _, _, payload) => assert_ne!(kind, 7, "it is told to go: {payload:?}"),
        }
    }
    let (rest, _second) = upstream.join().expect("the upstream");
    assert_eq!(rest, "", "no end of the body, and no other request");
}
