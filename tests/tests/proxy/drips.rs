//! Bodies that drip. Each piece is sent as soon as the last has come through, so that no wait is long, and
//! it is the least rate alone that ends them.

use std::io::Write as _;
use std::net::TcpListener;
use std::thread;

use weir_tests::client::Connection;
use weir_tests::upstream::Upstream;
use weir_tests::weir::{Weir, guest};

use crate::{Setup, assert_problem};

/// More than come within the listener's half a second.
const MOST: usize = 1_000_000;

/// What no client sends in a second, but on the route `free`.
fn start(upstream: &str, listener: &str, rest: &str) -> Weir {
    let timeouts = "timeouts: { body: 500ms }, min_body_rate: 1GiB";
    Weir::start(&format!(
        "workers: 1\nadmin: {{ address: '127.0.0.1:0' }}\n\
         listeners: [{{ address: '127.0.0.1:0', {timeouts}, {listener} }}]\n\
         upstreams: {{ api: {{ endpoints: ['{upstream}'] }} }}\n\
         routes:\n\
         - {{ name: free, match: {{ path: /free }}, upstream: api, min_body_rate: 0B }}\n\
         - {{ name: all, upstream: api }}\n{rest}"
    ))
}

/// A Weir whose upstream is the test itself.
fn facing() -> (Weir, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (start(&format!("http://{address}"), "", ""), listener)
}

/// A client that has sent a head, with the field, and an upstream that has it.
fn begin(weir: &Weir, upstream: &TcpListener, path: &str, field: &str) -> (Connection, Connection) {
    let mut client = Connection::open(weir.proxy());
    client.send(format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n{field}\r\n\r\n1\r\nx\r\n"
    ));
    let mut upstream = Connection::over(upstream.accept().expect("weir connects").0);
    upstream.read_head().expect("a head");
    assert_eq!(upstream.read_chunk().as_deref(), Some(&b"x"[..]));
    (client, upstream)
}

/// Sends one byte after the other, each when the upstream has the last, until that sees the body break
/// off: how many came through, up to `most`.
fn drip(client: &mut Connection, upstream: &mut Connection, most: usize) -> usize {
    (0..most)
        .find(|_| {
            // It may be closed already.
            let _ = client.stream().write_all(b"1\r\nx\r\n");
            upstream.read_chunk().is_none()
        })
        .unwrap_or(most)
}

#[test]
fn a_body_that_drips_is_answered_with_408_unless_its_route_lets_it() {
    let (weir, listener) = facing();
    let mut most = 0;
    // There is no gRPC over HTTP/1.1.
    for field in ["x: y", "content-type: application/grpc"] {
        let (mut client, mut upstream) = begin(&weir, &listener, "/", field);
        let count = drip(&mut client, &mut upstream, MOST);
        assert!(count > 2, "it was silent after {count}");
        assert_problem(&client.receive().expect("a response"), 408);
        assert_eq!(client.read_to_end(), b"");
        most = most.max(count);
    }
    let failures = "weir_upstream_failures_total{upstream=\"api\",reason=\"upload\"}";
    assert_eq!(weir.count(failures), 2);

    let (mut client, mut upstream) = begin(&weir, &listener, "/free", "x: y");
    let count = drip(&mut client, &mut upstream, 2 * most);
    assert_eq!(count, 2 * most);
    client.send("0\r\n\r\n");
    assert_eq!(upstream.read_chunk().as_deref(), Some(&b""[..]));
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(client.receive().expect("a response").status, 200);
}

#[test]
fn a_body_that_drips_while_it_is_answered_is_cut_off() {
    let (weir, listener) = facing();
    let (mut client, mut upstream) = begin(&weir, &listener, "/", "x: y");
    upstream.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
    assert_eq!(client.receive_head().expect("a head").status, 200);
    let count = drip(&mut client, &mut upstream, MOST);
    assert!(count > 2, "it was silent after {count}");
    assert_eq!(client.read_chunk().as_deref(), Some(&b"abc"[..]));
    assert_eq!(client.read_to_end(), b"", "no end of the response");
}

/// Sends a piece after each few requests of another client, until there is an answer.
fn drip_unseen(weir: &Weir, client: &mut Connection, piece: &[u8]) {
    let mut other = Connection::open(weir.proxy());
    let count = (0..MOST).find(|_| {
        let _ = client.stream().write_all(piece);
        for _ in 0..4 {
            other.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
            assert_eq!(other.receive().expect("a response").text(), "hello");
        }
        let stream = client.stream();
        stream.set_nonblocking(true).expect("a socket");
        let is_answered = stream.peek(&mut [0]).is_ok();
        stream.set_nonblocking(false).expect("a socket");
        is_answered
    });
    assert!(count.expect("an answer") > 2);
}

#[test]
fn a_body_that_drips_while_a_plugin_has_it_held_is_answered_with_408() {
    let upstream = Upstream::hello();
    let module = guest("wrap").display().to_string();
    let plugins =
        format!("plugins: {{ wrap: {{ module: '{module}', config: {{ request: 1000000 }} }} }}");
    let weir = start(&upstream.url(), "plugins: [wrap]", &plugins);
    let mut client = Connection::open(weir.proxy());
    client.send("POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
    drip_unseen(&weir, &mut client, b"1\r\nx\r\n");
    assert_problem(&client.receive().expect("a response"), 408);
    assert!(upstream.seen().iter().all(|seen| seen.method == "GET"));
}

#[test]
fn trailers_that_drip_are_answered_with_408() {
    let upstream = Upstream::hello();
    let weir = start(&upstream.url(), "", "");
    for path in ["/", "/free"] {
        let mut client = Connection::open(weir.proxy());
        let head = format!("POST {path} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n");
        client.send(head + "\r\n3\r\nabc\r\n0\r\nx-sum: ");
        drip_unseen(&weir, &mut client, b"y");
        assert_problem(&client.receive().expect("a response"), 408);
    }
    assert!(upstream.seen().iter().all(|seen| seen.method == "GET"));
}

#[test]
fn a_client_is_not_slow_because_its_upstream_is() {
    // More than all sockets between them hold.
    const LEN: usize = 64 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let weir = Setup::to(format!("http://{address}"))
        .listener("timeouts: { body: 1s }, min_body_rate: 16MiB")
        .start();
    let mut client = Connection::open(weir.proxy());
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {LEN}\r\n\r\n"
    ));
    let mut upload = client.stream().try_clone().expect("clone");
    let uploading = thread::spawn(move || upload.write_all(&vec![b'x'; LEN]));
    let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
    upstream.read_head().expect("a head");
    // Each is waited for as long as a client may be, so that the upstream takes three times that.
    for _ in 0..3 {
        let mut silent = Connection::open(weir.proxy());
        silent.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 1\r\n\r\n");
        assert_problem(&silent.receive().expect("a response"), 408);
    }
    assert_eq!(upstream.read_exactly(LEN).len(), LEN);
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(client.receive().expect("a response").status, 200);
    uploading.join().expect("no panic").expect("all is sent");
}
