//! Bodies: streamed both ways, no further than the other side reads, and none where there is none.

use std::io::{ErrorKind, Read as _, Write};
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use weir_tests::client::Connection;
use weir_tests::upstream::Upstream;

use crate::Setup;

const GET: &str = "GET / HTTP/1.1\r\nhost: test\r\n\r\n";

/// An upstream that sends the first text, waits until it is told, and sends the second.
fn in_two_pieces(first: &'static str, told: Receiver<()>, second: &'static str) -> Upstream {
    let told = Mutex::new(told);
    Upstream::new(move |_, stream| {
        stream.write_all(first.as_bytes()).expect("weir reads");
        told.lock().expect("lock").recv().expect("the test tells");
        stream.write_all(second.as_bytes()).expect("weir reads");
    })
}

#[test]
fn a_chunk_reaches_the_client_before_the_upstream_sends_the_next() {
    let (tell, told) = mpsc::channel();
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";
    let upstream = in_two_pieces(head, told, "6\r\nsecond\r\n0\r\n\r\n");
    let weir = Setup::to(upstream.url()).start();
    let mut client = Connection::open(weir.proxy());
    let head = client.send(GET).receive_head().expect("a head");
    assert_eq!(head.header("transfer-encoding"), Some("chunked"));
    assert_eq!(client.read_chunk().as_deref(), Some(&b"first"[..]));
    tell.send(()).expect("the upstream waits");
    assert_eq!(client.read_chunk().as_deref(), Some(&b"second"[..]));
    assert_eq!(client.read_chunk().as_deref(), Some(&b""[..]));
}

#[test]
fn a_piece_of_a_body_of_known_length_reaches_the_client_before_the_next() {
    let (tell, told) = mpsc::channel();
    let upstream = in_two_pieces(
        "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nfirst",
        told,
        "second",
    );
    let weir = Setup::to(upstream.url()).start();
    let mut client = Connection::open(weir.proxy());
    let head = client.send(GET).receive_head().expect("a head");
    assert_eq!(head.header("content-length"), Some("11"));
    assert_eq!(head.header("transfer-encoding"), None);
    assert_eq!(client.read_exactly(5), b"first");
    tell.send(()).expect("the upstream waits");
    assert_eq!(client.read_exactly(6), b"second");
}

#[test]
fn a_chunk_reaches_the_upstream_before_the_client_sends_the_next() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let weir = Setup::to(format!("http://{address}")).start();
    let mut client = Connection::open(weir.proxy());
    client
        .send("POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
    let head = upstream.read_head().expect("a head");
    assert!(
        head.contains(&"transfer-encoding: chunked".to_owned()),
        "{head:?}"
    );
    assert_eq!(upstream.read_chunk().as_deref(), Some(&b"first"[..]));
    client.send("6\r\nsecond\r\n0\r\n\r\n");
    assert_eq!(upstream.read_chunk().as_deref(), Some(&b"second"[..]));
    assert_eq!(upstream.read_chunk().as_deref(), Some(&b""[..]));
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(client.receive().expect("a response").status, 200);
}

#[test]
fn a_piece_of_an_upload_of_known_length_reaches_the_upstream_before_the_next() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let weir = Setup::to(format!("http://{address}")).start();
    let mut client = Connection::open(weir.proxy());
    client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 11\r\n\r\nfirst");
    let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
    let head = upstream.read_head().expect("a head");
    assert!(head.contains(&"content-length: 11".to_owned()), "{head:?}");
    assert_eq!(upstream.read_exactly(5), b"first");
    client.send("second");
    assert_eq!(upstream.read_exactly(6), b"second");
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(client.receive().expect("a response").status, 200);
}

#[test]
fn a_slow_reader_of_a_large_body_holds_the_upstream_back() {
    const PIECE: &[u8] = &[b'x'; 1 << 14];
    const LEN: usize = 1 << 30;
    let (stalled, stalls) = mpsc::channel();
    let upstream = Upstream::new(move |_, stream| {
        // What fills every buffer on the way stops the writer.
        let patience = Some(Duration::from_secs(1));
        stream.set_write_timeout(patience).expect("a write timeout");
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LEN}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("weir reads");
        let mut sent = 0;
        while sent < LEN {
            match stream.write(PIECE) {
                Ok(len) => sent += len,
                Err(_) => break,
            }
        }
        let _ = stalled.send(sent);
    });
    let weir = Setup::to(upstream.url()).start();
    assert_eq!(weir.get("/nowhere-near", &["x: y"]).status, 200);
    let sent = stalls.recv().expect("the first client reads all");
    assert_eq!(sent, LEN);

    let before = weir.resident_bytes();
    let mut client = Connection::open(weir.proxy());
    client.send(GET).receive_head().expect("a head");
    client.read_exactly(1 << 20);
    let sent = stalls.recv().expect("the upstream stalls");
    assert!(
        sent < LEN / 8,
        "{sent} bytes were taken for a client that reads 1 MiB"
    );
    let grown = weir.resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more are in use");
}

#[test]
fn a_slow_upstream_holds_an_upload_back() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let weir = Setup::to(format!("http://{address}")).start();
    let before = weir.resident_bytes();
    let mut client = Connection::open(weir.proxy());
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n",
        1 << 30
    ));
    let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
    upstream.read_head().expect("a head");
    let patience = Some(Duration::from_secs(1));
    client
        .stream()
        .set_write_timeout(patience)
        .expect("a write timeout");
    let mut sent = 0;
    while let Ok(len) = client.stream().write(&[b'x'; 1 << 14]) {
        sent += len;
        assert!(
            sent < 1 << 27,
            "{sent} bytes were taken for an upstream that reads nothing"
        );
    }
    let grown = weir.resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more are in use");
}

#[test]
fn responses_without_a_body_have_none_and_keep_the_connection() {
    let upstream = Upstream::new(|seen, stream| {
        let response = match seen.target.as_str() {
            "/204" => "HTTP/1.1 204 No Content\r\nx-kept: yes\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\nx-kept: yes\r\netag: \"a\"\r\n\r\n",
            _ if seen.method == "HEAD" => {
                "HTTP/1.1 200 OK\r\nx-kept: yes\r\ncontent-length: 5\r\n\r\n"
            }
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        };
        stream.write_all(response.as_bytes()).expect("weir reads");
    });
    let weir = Setup::to(upstream.url()).start();
    let mut client = Connection::open(weir.proxy());
    for (method, target, status, len) in [
        ("GET", "/204", 204, None),
        ("GET", "/304", 304, None),
        ("HEAD", "/", 200, Some("5")),
    ] {
        client.send(format!("{method} {target} HTTP/1.1\r\nhost: test\r\n\r\n"));
        let response = client.receive_to(method).expect("a response");
        assert_eq!(response.status, status);
        assert_eq!(response.header("x-kept"), Some("yes"));
        assert_eq!(response.header("content-length"), len, "{method} {target}");
        assert_eq!(
            response.header("transfer-encoding"),
            None,
            "{method} {target}"
        );
        // A stray byte of a body would stand before this response.
        let next = client.send(GET).receive().expect("a response");
        assert_eq!(next.text(), "hello");
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_body_that_ends_with_the_upstreams_connection_is_whole() {
    let upstream = Upstream::new(|_, stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\n\r\nall of it")
            .expect("weir reads");
        stream.shutdown(std::net::Shutdown::Both).expect("close");
    });
    let weir = Setup::to(upstream.url()).start();
    let response = weir.get("/", &[]);
    assert!(response.complete);
    assert_eq!(response.text(), "all of it");
}

/// Whether the other side closes, in whatever way.
fn is_closed(connection: &mut Connection) -> bool {
    match connection.stream().read(&mut [0]) {
        Ok(len) => len == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

#[test]
fn a_response_before_the_end_of_its_request_reaches_the_client_and_ends_both_connections() {
    // The client falls silent, or goes on though the upstream takes nothing.
    for goes_on in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let weir = Setup::to(format!("http://{address}"))
            .listener("timeouts: { body: 1h, send: 1h }")
            .start();
        let mut client = Connection::open(weir.proxy());
        client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 1000000000000\r\n\r\nabc");
        let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
        upstream.read_head().expect("a head");
        assert_eq!(upstream.read_exactly(3), b"abc");
        let mut stream = client.stream().try_clone().expect("clone");
        stream
            .set_write_timeout(Some(Duration::from_secs(30)))
            .expect("a timeout");
        let upload = move || {
            let piece = vec![b'x'; 1 << 16];
            loop {
                if let Err(error) = stream.write_all(&piece) {
                    break error.kind();
                }
            }
        };
        let uploading = goes_on.then(|| thread::spawn(upload));
        upstream.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
        let response = client.receive().expect("a response");
        assert_eq!((response.status, response.text()), (403, "no".to_owned()));
        assert!(is_closed(&mut client));
        let stopped = uploading.map(|uploading| uploading.join().expect("the client"));
        assert_ne!(stopped, Some(ErrorKind::WouldBlock), "nobody took its body");
        // Behind what has come by then.
        upstream.read_to_end();
        assert!(is_closed(&mut upstream));
        // And the next request has a connection of its own.
        let next = thread::spawn(move || {
            let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
            upstream.read_head().expect("a head");
            upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        });
        assert_eq!(weir.get("/", &[]).text(), "ok");
        next.join().expect("the upstream");
    }
}
