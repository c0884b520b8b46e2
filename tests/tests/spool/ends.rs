//! Every way in which a response can end: whoever has seen the end finds the trace on the disk.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::{Mutex, mpsc};

use bytes::Bytes;
use http::Request;
use serde_json::json;
use weir_tests::client::Connection;
use weir_tests::http2::{self, Client};
use weir_tests::upstream::{Seen, Upstream};
use weir_tests::websocket;
use weir_tests::weir::Weir;

use crate::Spooled;

/// How often each is tried: a trace that came too late would not be found each time.
const ROUNDS: usize = 30;

/// An upstream that ends its answers in every way there is.
fn upstream() -> Upstream {
    Upstream::new(|seen: &Seen, stream: &mut TcpStream| {
        let response = match seen.target.as_str() {
            "/chunked" => "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "/trailers" => {
                "trailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n"
            }
            "/close" => "connection: close\r\n\r\nhello",
            "/no-bytes" => "content-length: 0\r\n\r\n",
            _ if seen.method == "HEAD" => "content-length: 5\r\n\r\n",
            _ => "content-length: 5\r\n\r\nhello",
        };
        let _ = match seen.target.as_str() {
            "/empty" => stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n"),
            "/unchanged" => stream.write_all(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
            "/switch" => stream.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello",
            ),
            _ => stream.write_all(format!("HTTP/1.1 200 OK\r\n{response}").as_bytes()),
        };
        if matches!(seen.target.as_str(), "/close" | "/switch") {
            let _ = stream.shutdown(Shutdown::Both);
        }
    })
}

fn start() -> (Spooled, Weir) {
    start_before(&upstream())
}

fn start_before(upstream: &Upstream) -> (Spooled, Weir) {
    let mut spooled = Spooled::new(upstream);
    // Nothing leaves the spool.
    spooled.config["exporters"]["traces"]["kafka"] =
        json!({ "brokers": ["127.0.0.1:1"], "topic": "traces" });
    spooled.config["plugins"]["auth"] =
        json!({ "module": "builtin:key-auth", "config": { "keys": ["right"] } });
    spooled.config["upstreams"]["away"] = json!({ "endpoints": ["http://127.0.0.1:1"] });
    spooled.config["routes"] = json!([
        { "name": "own", "match": { "path": "/own" }, "respond": { "body": "hello" } },
        { "name": "away", "match": { "path": "/away" }, "upstream": "away" },
        { "name": "closed", "match": { "path": "/closed" }, "upstream": "up", "plugins": ["auth"] },
        { "name": "all", "upstream": "up" },
    ]);
    let weir = spooled.start();
    (spooled, weir)
}

impl Spooled {
    /// Whether the trace of the request with this id is in a segment now.
    fn has(&self, id: &str) -> bool {
        self.paths(".seg").iter().any(|path| {
            let bytes = std::fs::read(path).expect("a segment");
            bytes.windows(id.len()).any(|found| found == id.as_bytes())
        })
    }
}

#[test]
fn a_trace_is_on_the_disk_when_a_client_of_http1_sees_the_end() {
    let (spooled, weir) = start();
    for (method, target, version) in [
        ("GET", "/length", "1.1"),
        ("GET", "/chunked", "1.1"),
        ("GET", "/trailers", "1.1"),
        ("GET", "/close", "1.1"),
        ("GET", "/close", "1.0"),
        ("GET", "/empty", "1.1"),
        ("GET", "/unchanged", "1.1"),
        ("GET", "/no-bytes", "1.1"),
        ("HEAD", "/length", "1.1"),
        ("GET", "/own", "1.1"),
        ("GET", "/away", "1.1"),
        ("GET", "/closed", "1.1"),
    ] {
        let mut connection = Connection::open(weir.proxy());
        for round in 0..ROUNDS {
            if version == "1.0" {
                connection = Connection::open(weir.proxy());
            }
            let id = format!("{method}{target}-{version}-{round:03}");
            connection.send(format!(
                "{method} {target} HTTP/{version}\r\nhost: test\r\nte: trailers\r\n\
                 x-request-id: {id}\r\n\r\n"
            ));
            let mut response = connection.receive_head().expect("a head");
            let is_chunked = response.header("transfer-encoding") == Some("chunked");
            if is_chunked {
                let mut trailers = Vec::new();
                while let Some(chunk) = connection.read_chunk_and_trailers(&mut trailers) {
                    response.body.extend(chunk);
                }
            } else if let Some(len) = response.header("content-length")
                && method == "GET"
            {
                response.body = connection.read_exactly(len.parse().expect("a length"));
            } else if version == "1.0" {
                response.body = connection.read_to_end();
            }
            assert!(spooled.has(&id), "{id}");
            let is_proxied = response.status == 200 && method == "GET" && target != "/no-bytes";
            assert_eq!(response.text() == "hello", is_proxied, "{id}");
        }
    }
}

#[test]
fn a_trace_is_on_the_disk_when_a_switched_connection_ends() {
    let (spooled, weir) = start();
    for round in 0..ROUNDS {
        let mut connection = Connection::open(weir.proxy());
        let id = format!("switched-{round:03}");
        connection.send(format!(
            "GET /switch HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             x-request-id: {id}\r\n\r\n"
        ));
        assert_eq!(connection.receive_head().expect("a head").status, 101);
        assert_eq!(connection.read_exactly(5), b"hello");
        connection
            .stream()
            .shutdown(Shutdown::Write)
            .expect("the client ends too");
        assert_eq!(connection.read_to_end(), b"");
        assert!(spooled.has(&id), "{id}");
    }
}

#[test]
fn a_trace_is_on_the_disk_when_a_client_of_http2_sees_the_end() {
    let (spooled, weir) = start();
    http2::run(async {
        let client = Client::open(weir.proxy()).await;
        for (method, target) in [
            ("GET", "/length"),
            ("GET", "/chunked"),
            ("GET", "/trailers"),
            ("GET", "/close"),
            ("GET", "/empty"),
            ("GET", "/unchanged"),
            ("GET", "/no-bytes"),
            ("HEAD", "/length"),
            ("GET", "/own"),
            ("GET", "/away"),
            ("GET", "/closed"),
        ] {
            for round in 0..ROUNDS {
                let id = format!("{method}{target}-2-{round:03}");
                let request = Request::builder()
                    .method(method)
                    .uri(format!("http://test{target}"))
                    .header("te", "trailers")
                    .header("x-request-id", &id)
                    .body(());
                let answer = client.send(request.expect("a request")).await;
                let answer = answer.expect("a response");
                assert!(spooled.has(&id), "{id}");
                assert_eq!(answer.trailers.is_some(), target == "/trailers", "{id}");
            }
        }
    });
}

#[test]
fn a_trace_is_on_the_disk_when_a_websocket_over_http2_ends() {
    let (spooled, weir) = start_before(&Upstream::new(|seen: &Seen, stream: &mut TcpStream| {
        let key = seen.header("sec-websocket-key").expect("a key");
        let accept = websocket::accept(key);
        let switched =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket";
        let head = format!("{switched}\r\nsec-websocket-accept: {accept}\r\n\r\nhello");
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.shutdown(Shutdown::Both);
    }));
    http2::run(async {
        for round in 0..ROUNDS {
            let client = websocket::open(weir.proxy()).await;
            let id = format!("websocket-{round:03}");
            let mut request = websocket::ask("http://test/chat", "websocket");
            let value = id.parse().expect("a value");
            request.headers_mut().insert("x-request-id", value);
            let mut sender = client.sender.clone().ready().await.expect("room");
            let (response, mut stream) = sender.send_request(request, false).expect("a stream");
            let response = response.await.expect("a response");
            assert_eq!(response.status(), 200);
            let mut received = response.into_body();
            let first = received.data().await.expect("a piece").expect("no error");
            assert_eq!(first, "hello");
            stream
                .send_data(Bytes::new(), true)
                .expect("the client ends too");
            while let Some(rest) = received.data().await {
                assert_eq!(rest.expect("no error"), "");
            }
            assert!(spooled.has(&id), "{id}");
        }
    });
}

/// An upstream that sends an event, and another with the end once it is told to.
fn events() -> (Upstream, mpsc::Sender<()>) {
    let (go_on, told) = mpsc::channel();
    let told = Mutex::new(told);
    let upstream = Upstream::new(move |seen: &Seen, stream: &mut TcpStream| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
        let (head, first, last) = match seen.target.as_str() {
            "/close" => (
                format!("{head}connection: close\r\n\r\n"),
                "data: one\n\n",
                "data: two\n\n",
            ),
            _ => (
                format!("{head}transfer-encoding: chunked\r\n\r\n"),
                "b\r\ndata: one\n\n\r\n",
                "b\r\ndata: two\n\n\r\n0\r\n\r\n",
            ),
        };
        let _ = stream.write_all((head + first).as_bytes());
        let _ = told.lock().expect("lock").recv();
        let _ = stream.write_all(last.as_bytes());
        if seen.target == "/close" {
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
    (upstream, go_on)
}

#[test]
fn a_trace_is_on_the_disk_when_a_stream_of_events_ends() {
    let (upstream, go_on) = events();
    let (spooled, weir) = start_before(&upstream);
    for target in ["/chunked", "/close"] {
        for round in 0..ROUNDS {
            let id = format!("events{target}-{round:03}");
            let mut connection = Connection::open(weir.proxy());
            connection.send(format!(
                "GET {target} HTTP/1.1\r\nhost: test\r\nx-request-id: {id}\r\n\r\n"
            ));
            connection.receive_head().expect("a head");
            assert_eq!(connection.read_chunk().expect("an event"), b"data: one\n\n");
            // It goes on, and so does its trace.
            assert!(!spooled.has(&id), "{id}");
            go_on.send(()).expect("the upstream waits");
            assert_eq!(connection.read_chunk().expect("an event"), b"data: two\n\n");
            assert_eq!(connection.read_chunk().expect("the end"), b"");
            assert!(spooled.has(&id), "{id}");
        }
        http2::run(async {
            let client = Client::open(weir.proxy()).await;
            for round in 0..ROUNDS {
                let id = format!("events{target}-2-{round:03}");
                let request = Request::get(format!("http://test{target}"))
                    .header("x-request-id", &id)
                    .body(());
                let mut sender = client.sender.clone().ready().await.expect("room");
                let sent = sender.send_request(request.expect("a request"), true);
                let response = sent.expect("a stream").0.await.expect("a response");
                let mut received = response.into_body();
                let first = received.data().await.expect("a piece").expect("no error");
                assert_eq!(first, "data: one\n\n");
                assert!(!spooled.has(&id), "{id}");
                go_on.send(()).expect("the upstream waits");
                let mut rest = Vec::new();
                while let Some(piece) = received.data().await {
                    rest.extend(piece.expect("no error"));
                }
                assert_eq!(rest, b"data: two\n\n");
                assert!(spooled.has(&id), "{id}");
            }
        });
    }
}

#[test]
fn a_trace_is_on_the_disk_when_a_request_has_been_refused() {
    let (spooled, weir) = start();
    for round in 0..ROUNDS {
        for (name, fields) in [
            ("hosts", "host: test\r\nhost: other\r\n"),
            ("lengths", "host: test\r\ncontent-length: 003\r\n"),
            ("escape%zz", "host: test\r\n"),
        ] {
            let id = format!("{name}-{round:03}");
            let mut connection = Connection::open(weir.proxy());
            connection.send(format!(
                "POST /{id} HTTP/1.1\r\n{fields}x-request-id: {id}\r\n\r\n"
            ));
            assert_eq!(
                connection.receive().expect("a response").status,
                400,
                "{id}"
            );
            assert!(spooled.has(&id), "{id}");
        }
    }
    http2::run(async {
        let client = Client::open(weir.proxy()).await;
        for round in 0..ROUNDS {
            let id = format!("hosts-2-{round:03}");
            let request = Request::get(format!("http://test/{id}"))
                .header("host", "other")
                .header("x-request-id", &id)
                .body(());
            let answer = client.send(request.expect("a request")).await;
            assert_eq!(answer.expect("a response").status(), 400, "{id}");
            assert!(spooled.has(&id), "{id}");
        }
    });
}
