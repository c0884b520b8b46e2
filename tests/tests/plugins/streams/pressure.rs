//! Nothing piles up where whoever is to take a body does not.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::json;
use weir_tests::client::Connection;
use weir_tests::http2::{END_HEADERS, END_STREAM, Raw, frame, get_block_of};
use weir_tests::upstream::Upstream;

use super::{accept, facing, stand};

/// Writes up to a gigabyte, until nobody reads it: how many bytes were taken.
fn taken(stream: &mut TcpStream) -> usize {
    // A write that takes so long is one that nobody reads.
    stream
        .set_write_timeout(Some(Duration::from_secs(1)))
        .expect("a timeout");
    let block = vec![b'x'; 64 << 10];
    let mut total = 0_usize;
    while total < 1 << 30
        && let Ok(len) = stream.write(&block)
    {
        total += len;
    }
    total
}

/// A client begins to ask, reads the head of the response, and no more.
fn assert_held_back<C>(ask: impl FnOnce(SocketAddr) -> C) {
    let (wrote, written) = mpsc::channel();
    let upstream = Upstream::new(move |_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n");
        let _ = wrote.send(taken(stream));
    });
    let stand = stand(upstream, json!({ "response": "upper" }));
    let before = stand.weir.resident_bytes();
    let _client = ask(stand.weir.proxy());
    let total = written.recv().expect("the upstream gave up");
    assert!(total < 64 << 20, "{total} bytes went into the proxy");
    let grown = stand.weir.resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
}

#[test]
fn a_client_that_does_not_read_holds_the_upstream_back() {
    assert_held_back(|proxy| {
        let mut client = Connection::open(proxy);
        client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
        client.receive_head().expect("a head");
        client
    });
}

#[test]
fn a_stream_of_http_2_whose_window_does_not_open_holds_the_upstream_back() {
    const HEADERS: u8 = 1;
    const DATA: u8 = 0;
    assert_held_back(|proxy| {
        let mut client = Raw::open(proxy);
        let flags = END_STREAM | END_HEADERS;
        let head = frame(HEADERS, flags, 1, &get_block_of("/"));
        client.0.write_all(&head).expect("send");
        // All that the windows of a stream and a connection begin with.
        let mut left = 65_535;
        while left > 0 {
            let (kind, _, _, payload) = client.read().expect("a frame");
            if kind == DATA {
                assert!(payload.iter().all(|byte| *byte == b'X'));
                left -= payload.len();
            }
        }
        client
    });
}

#[test]
fn an_upstream_that_does_not_read_holds_the_client_back() {
    let (stand, listener) = facing(json!({ "request": "upper", "response": "pass" }));
    let before = stand.weir.resident_bytes();
    let mut client = Connection::open(stand.weir.proxy());
    client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 1073741824\r\n\r\n");
    let mut upstream = accept(&listener);
    upstream.read_head().expect("a head");
    let total = taken(client.stream());
    assert!(total < 64 << 20, "{total} bytes went into the proxy");
    let grown = stand.weir.resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
}
