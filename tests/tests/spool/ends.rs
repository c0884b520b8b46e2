//! Every way in which a response can end: whoever has seen the end finds the trace on the disk.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};

use http::Request;
use serde_json::json;
use weir_tests::client::Connection;
use weir_tests::http2::{self, Client};
use weir_tests::upstream::{Seen, Upstream};
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
    let mut spooled = Spooled::new(&upstream());
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
