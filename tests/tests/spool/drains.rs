//! What SIGTERM leaves of connections that would not end by themselves.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use http::Request;
use serde_json::json;
use weir_tests::client::{self, Connection};
use weir_tests::http2::{self, Client, Raw, frame, get_block_of};
use weir_tests::kafka::shared;
use weir_tests::load::ask_all;
use weir_tests::upstream::{Seen, Upstream};
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::{Arrivals, Spooled};

/// An upstream whose events and whose switched connections go on until they are cut.
fn upstream() -> Upstream {
    Upstream::new(|seen: &Seen, stream: &mut TcpStream| {
        let (head, is_endless) = match seen.target.as_str() {
            "/events" => (
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                 transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
                true,
            ),
            "/socket" => (
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                 upgrade: websocket\r\n\r\nhello",
                true,
            ),
            _ => ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", false),
        };
        let _ = stream.write_all(head.as_bytes());
        if is_endless {
            let _ = stream.read_to_end(&mut Vec::new());
        }
    })
}

/// A connection with a request that is under way: its response has begun.
fn begin(weir: &Weir, target: &str, id: &str, fields: &str) -> Connection {
    let mut connection = Connection::open(weir.proxy());
    connection.send(format!(
        "GET {target} HTTP/1.1\r\nhost: test\r\nx-request-id: {id}\r\n{fields}\r\n"
    ));
    connection.receive_head().expect("a head");
    connection
}

/// How long it may take until it ends, and what a busy machine is late with.
const GRACE: Duration = Duration::from_secs(6);
const LATE: Duration = Duration::from_secs(20);

/// As [`begin`] over HTTP/2, on a connection whose frames are seen.
fn begin_stream(weir: &Weir, target: &str, id: &str) -> Raw {
    let mut raw = Raw::open(weir.proxy());
    let mut block = get_block_of(target);
    // As literals: each with its length before it.
    block.push(0);
    for text in ["x-request-id", id] {
        block.push(u8::try_from(text.len()).expect("a short text"));
        block.extend(text.as_bytes());
    }
    raw.0.write_all(&frame(1, 5, 1, &block)).expect("send");
    while raw.read().expect("a frame").0 != 1 {}
    raw
}

/// Reads on to the connection's end; gives what it was told when it was told to go.
fn told(mut raw: Raw) -> Vec<Vec<u8>> {
    let mut reasons = Vec::new();
    while let Some((kind, _, _, payload)) = raw.read() {
        if kind == 7 {
            reasons.push(payload[4..8].to_vec());
        }
    }
    reasons
}

#[test]
fn sigterm_keeps_the_traces_of_all_connections_that_it_cuts() {
    let topic = shared().topic();
    let mut spooled = Spooled::new(&upstream()).to(shared(), &topic);
    spooled.config["shutdown_grace"] = json!(format!("{}s", GRACE.as_secs()));
    let brokers = spooled.config["exporters"]["traces"]["kafka"]["brokers"].take();
    spooled.config["exporters"]["traces"]["kafka"]["brokers"] = json!(["127.0.0.1:1"]);
    let mut weir = spooled.start();

    // It stays open, idle.
    let mut kept = Connection::open(weir.proxy());
    let mut expected: Vec<String> = (0..5).map(|number| format!("kept-{number}")).collect();
    for id in &expected {
        kept.send(format!(
            "GET / HTTP/1.1\r\nhost: test\r\nx-request-id: {id}\r\n\r\n"
        ));
        assert_eq!(kept.receive().expect("a response").text(), "hello");
    }
    let mut events = begin(&weir, "/events", "events", "");
    assert_eq!(events.read_chunk().expect("an event"), b"hello");
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\n";
    let mut socket = begin(&weir, "/socket", "socket", upgrade);
    assert_eq!(socket.read_exactly(5), b"hello");
    let ids = ["events", "socket", "stream", "streamed", "watched"];
    expected.extend(ids.map(str::to_owned));
    let watched = begin_stream(&weir, "/events", "watched");

    let asked = http2::run(async {
        let client = Client::open(weir.proxy()).await;
        let request = |target: &str, id: &str| {
            let request = Request::get(format!("http://test{target}")).header("x-request-id", id);
            request.body(()).expect("a request")
        };
        let whole = client.send(request("/", "stream")).await;
        assert_eq!(whole.expect("a response").text(), "hello");
        let mut sender = client.sender.clone().ready().await.expect("room");
        let sent = sender.send_request(request("/events", "streamed"), true);
        let response = sent.expect("a stream").0.await.expect("a head");
        let mut body = response.into_body();
        let event = body.data().await.expect("an event").expect("an event");
        assert_eq!(&event[..], b"hello");

        let asked = Instant::now();
        weir.signal("TERM");
        eventually("it says that it is not ready", || {
            (client::get(weir.admin(), "/readyz", &[]).status == 503).then_some(())
        });
        // It ends without an end of its own.
        assert!(!matches!(body.data().await, Some(Ok(_))));
        drop((body, sender, client.sender));
        let _ = client.connection.await;
        asked
    });
    assert_eq!(kept.read_to_end(), b"");
    assert_eq!(socket.read_to_end(), b"");
    assert_eq!(events.read_chunk(), None);
    let reasons = told(watched);
    assert!(
        reasons.contains(&vec![0; 4]),
        "no GOAWAY without an error: {reasons:?}"
    );
    assert_eq!(weir.wait().code(), Some(0));
    let took = asked.elapsed();
    assert!(took < GRACE + LATE, "{took:?}");

    // A bystander of the next run, behind all that there was.
    spooled.config["exporters"]["traces"]["kafka"]["brokers"] = brokers;
    let weir = spooled.start();
    expected.extend(ask_all(weir.proxy(), 1, "next"));
    let mut arrivals = Arrivals::of(shared(), &topic);
    arrivals.wait_for(&expected);
    arrivals.ids.sort();
    expected.sort();
    assert_eq!(arrivals.ids, expected);
}
