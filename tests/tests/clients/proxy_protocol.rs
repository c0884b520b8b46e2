//! The PROXY protocol, and the limit of connections.

use std::io::Write as _;
use std::net::TcpStream;

use serde_json::json;
use weir_tests::client::Connection;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::{listening, trusting};

const GET: &str = "GET / HTTP/1.1\r\nhost: test\r\n\r\n";

fn start(upstream: &Upstream, trusted: &str) -> Weir {
    let config = listening(
        upstream,
        json!({ "proxy_protocol": true }),
        json!({ "trusted_proxies": [trusted] }),
    );
    Weir::start(&config.to_string())
}

fn refused(weir: &Weir, reason: &str) -> u64 {
    let name = "weir_connections_refused_total{listener=\"127.0.0.1:0\",reason=";
    weir.count(&format!("{name}\"{reason}\"}}"))
}

fn version_2(client: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    header.extend(client);
    header.extend([10, 0, 0, 2, 0x30, 0x39, 0, 80]);
    header
}

#[test]
fn the_client_is_whom_the_header_names() {
    let upstream = Upstream::hello();
    let weir = start(&upstream, "127.0.0.0/8");
    let first = b"PROXY TCP4 1.2.3.4 10.0.0.2 12345 80\r\n".to_vec();
    for header in [first, version_2([1, 2, 3, 4])] {
        let mut connection = Connection::open(weir.proxy());
        connection.send(header).send(GET);
        assert_eq!(connection.receive().expect("a response").status, 200);
        // The header is that of the connection, not of a request.
        connection.send(GET);
        assert_eq!(connection.receive().expect("a response").status, 200);
    }
    let seen = upstream.seen();
    assert_eq!(seen.len(), 4);
    for seen in &seen {
        assert_eq!(seen.header("x-forwarded-for"), Some("1.2.3.4"));
    }
    let mut local = Connection::open(weir.proxy());
    local.send("PROXY UNKNOWN\r\n").send(GET);
    assert_eq!(local.receive().expect("a response").status, 200);
    assert_eq!(
        upstream.seen()[4].header("x-forwarded-for"),
        Some("127.0.0.1")
    );
}

#[test]
fn a_header_in_pieces_is_waited_for() {
    let upstream = Upstream::hello();
    let weir = start(&upstream, "127.0.0.1");
    let mut connection = Connection::open(weir.proxy());
    for byte in version_2([1, 2, 3, 4]) {
        connection.send([byte]);
    }
    connection.send(GET);
    assert_eq!(connection.receive().expect("a response").status, 200);
}

#[test]
fn without_a_whole_header_no_request_is_served() {
    let upstream = Upstream::hello();
    let weir = start(&upstream, "127.0.0.1");
    for bytes in [
        GET,
        "PROXY TCP4 1.2.3.4\r\n\r\n\r\n",
        "PROXY TCP9 a b c d\r\n",
    ] {
        let mut connection = Connection::open(weir.proxy());
        // It may be closed before all is sent.
        let _ = connection.stream().write_all(bytes.as_bytes());
        assert_eq!(connection.read_to_end(), b"");
    }
    eventually("they are counted", || {
        (refused(&weir, "proxy_malformed") == 3).then_some(())
    });
    assert!(upstream.seen().is_empty());
}

#[test]
fn a_peer_that_is_not_trusted_is_closed_whatever_it_sends() {
    let upstream = Upstream::hello();
    let weir = start(&upstream, "10.0.0.0/8");
    let mut connection = Connection::open(weir.proxy());
    let _ = connection.stream().write_all(&version_2([1, 2, 3, 4]));
    assert_eq!(connection.read_to_end(), b"");
    eventually("it is counted", || {
        (refused(&weir, "proxy_untrusted") == 1).then_some(())
    });
}

#[test]
fn a_header_that_does_not_come_is_not_waited_for_long_and_others_are_served() {
    let upstream = Upstream::hello();
    let weir = start(&upstream, "127.0.0.1");
    let mut slow: Vec<Connection> = (0..50).map(|_| Connection::open(weir.proxy())).collect();
    for connection in &mut slow {
        connection.send("PROXY ");
    }
    let mut connection = Connection::open(weir.proxy());
    connection.send(version_2([1, 2, 3, 4])).send(GET);
    assert_eq!(connection.receive().expect("a response").status, 200);
    for mut connection in slow {
        assert_eq!(connection.read_to_end(), b"");
    }
    assert_eq!(refused(&weir, "proxy_timeout"), 50);
}

#[test]
fn more_connections_than_the_limit_are_closed() {
    let upstream = Upstream::hello();
    let config = listening(&upstream, json!({ "max_connections": 2 }), trusting());
    let weir = Weir::start(&config.to_string());
    let mut kept: Vec<Connection> = (0..2)
        .map(|_| {
            let mut connection = Connection::open(weir.proxy());
            connection.send(GET);
            assert_eq!(connection.receive().expect("a response").status, 200);
            connection
        })
        .collect();
    let mut third = Connection::open(weir.proxy());
    assert_eq!(third.read_to_end(), b"");
    eventually("it is counted", || {
        (refused(&weir, "limit") == 1).then_some(())
    });
    for connection in &mut kept {
        connection.send(GET);
        assert_eq!(connection.receive().expect("a response").status, 200);
    }
    kept.pop();
    eventually("there is a place again", || {
        let stream = TcpStream::connect(weir.proxy()).ok()?;
        let mut connection = Connection::over(stream);
        connection.stream().write_all(GET.as_bytes()).ok()?;
        (connection.receive()?.status == 200).then_some(())
    });
}
