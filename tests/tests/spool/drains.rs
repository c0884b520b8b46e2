//! What SIGTERM leaves of connections that would not end by themselves.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use http::Request;
use serde_json::json;
use weir_tests::client::Connection;
use weir_tests::http2::{self, Client};
use weir_tests::kafka::shared;
use weir_tests::load::ask_all;
use weir_tests::upstream::{Seen, Upstream};
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

#[test]
fn sigterm_keeps_the_traces_of_all_connections_that_it_cuts() {
    let topic = shared().topic();
    let mut spooled = Spooled::new(&upstream()).to(shared(), &topic);
    spooled.config["shutdown_grace"] = json!("1s");
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
    expected.extend(["events", "socket", "stream", "streamed"].map(str::to_owned));

    http2::run(async {
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

        weir.signal("TERM");
        // It ends without an end of its own.
        assert!(!matches!(body.data().await, Some(Ok(_))));
        drop((body, sender, client.sender));
        let _ = client.connection.await;
    });
    assert_eq!(kept.read_to_end(), b"");
    assert_eq!(socket.read_to_end(), b"");
    assert_eq!(events.read_chunk(), None);
    assert_eq!(weir.wait().code(), Some(0));

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
