//! Connections: kept on both sides, replaced when idle ones end, and drained at the end.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;

use weir_tests::client::{self, Connection};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::Setup;

const GET: &str = "GET / HTTP/1.1\r\nhost: test\r\n\r\n";

#[test]
fn connections_are_kept_on_both_sides() {
    let upstream = Upstream::hello();
    let weir = Setup::to(upstream.url()).start();
    let mut client = Connection::open(weir.proxy());
    for _ in 0..20 {
        let response = client.send(GET).receive().expect("a response");
        assert_eq!(response.text(), "hello");
        assert_eq!(response.header("connection"), None);
    }
    assert_eq!(upstream.connections(), 1);
    assert_eq!(
        weir.count("weir_upstream_connects_total{upstream=\"api\"}"),
        1
    );
}

#[test]
fn an_upload_leaves_both_connections_usable() {
    let upstream = Upstream::hello();
    let weir = Setup::to(upstream.url()).start();
    let mut client = Connection::open(weir.proxy());
    for framing in [
        "content-length: 3\r\n\r\nabc",
        "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n",
    ] {
        client.send(format!("POST / HTTP/1.1\r\nhost: test\r\n{framing}"));
        assert_eq!(
            client.receive().expect("a response").text(),
            "hello",
            "{framing}"
        );
        assert_eq!(
            upstream.seen().pop().expect("a request").body,
            b"abc",
            "{framing}"
        );
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::new(|seen, stream| {
        let len = seen.target.len();
        let response = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n{}",
            seen.target
        );
        stream.write_all(response.as_bytes()).expect("weir reads");
    });
    let weir = Setup::to(upstream.url()).start();
    let mut client = Connection::open(weir.proxy());
    client.send(
        ["/a", "/b", "/c"]
            .map(|path| format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"))
            .concat(),
    );
    for path in ["/a", "/b", "/c"] {
        assert_eq!(client.receive().expect("a response").text(), path);
    }
}

#[test]
fn a_connection_is_closed_where_the_client_asks_for_it() {
    let upstream = Upstream::hello();
    let weir = Setup::to(upstream.url()).start();
    let requests = [
        "GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\nhost: test\r\n\r\n",
    ];
    for request in requests {
        let mut client = Connection::open(weir.proxy());
        let response = client.send(request).receive().expect("a response");
        assert_eq!(
            (response.status, response.text()),
            (200, "hello".to_owned())
        );
        assert_eq!(client.read_to_end(), b"");
    }
    assert_eq!(
        upstream.connections(),
        1,
        "the upstream's connection is Weir's own affair"
    );
}

#[test]
fn an_idle_connection_that_the_upstream_closed_is_replaced() {
    let (close, closes) = mpsc::channel();
    let (closed, is_closed) = mpsc::channel();
    let closes = Mutex::new(closes);
    let upstream = Upstream::new(move |_, stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .expect("weir reads");
        closes.lock().expect("lock").recv().expect("the test tells");
        stream.shutdown(Shutdown::Write).expect("close");
        // Weir's own close says that it has noticed.
        assert_eq!(stream.read(&mut [0]).expect("a clean end"), 0);
        closed.send(()).expect("the test waits");
    });
    let weir = Setup::to(upstream.url()).start();
    let mut client = Connection::open(weir.proxy());
    for connections in 1..=5 {
        assert_eq!(client.send(GET).receive().expect("a response").status, 200);
        assert_eq!(upstream.connections(), connections);
        close.send(()).expect("the upstream waits");
        is_closed.recv().expect("weir closes");
    }
}

#[test]
fn an_upstream_that_closes_after_its_response_is_not_used_again() {
    let upstream = Upstream::new(|_, stream| {
        let response = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
        stream.write_all(response.as_bytes()).expect("weir reads");
    });
    let weir = Setup::to(upstream.url()).start();
    let mut client = Connection::open(weir.proxy());
    for connections in 1..=5 {
        assert_eq!(client.send(GET).receive().expect("a response").text(), "ok");
        assert_eq!(upstream.connections(), connections);
    }
}

#[test]
fn sigterm_lets_a_request_end_and_then_exits_with_0() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let upstream = Upstream::new(move |_, stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n")
            .expect("weir reads");
        released
            .lock()
            .expect("lock")
            .recv()
            .expect("the test releases");
        stream.write_all(b"after.").expect("weir reads");
    });
    let mut weir = Setup::to(upstream.url()).start();
    let mut idle = Connection::open(weir.proxy());
    eventually("the idle connection is accepted", || {
        (weir.count("weir_connections_open") == 1).then_some(())
    });
    let mut client = Connection::open(weir.proxy());
    let head = client.send(GET).receive_head().expect("a head");
    assert_eq!(head.status, 200);

    weir.signal("TERM");
    eventually("it is not ready", || {
        (client::get(weir.admin(), "/readyz", &[]).status == 503).then_some(())
    });
    eventually("it accepts no more", || {
        TcpStream::connect(weir.proxy()).err()
    });
    assert_eq!(idle.read_to_end(), b"", "an idle connection ends at once");

    release.send(()).expect("the upstream waits");
    assert_eq!(client.read_exactly(6), b"after.");
    assert_eq!(client.read_to_end(), b"");
    assert_eq!(weir.wait().code(), Some(0));
}

#[test]
fn a_drain_waits_for_no_idle_connection_whatever_its_last_request_had() {
    let upstream = Upstream::hello();
    // Less than what is unread of a body is waited for.
    let setup = Setup::to(upstream.url()).rest("shutdown_grace: 1s");
    let mut weir = setup.start();
    let mut idle = Connection::open(weir.proxy());
    for framing in [
        "content-length: 3\r\n\r\nabc",
        "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ] {
        idle.send(format!("POST / HTTP/1.1\r\nhost: test\r\n{framing}"));
        assert_eq!(idle.receive().expect("a response").text(), "hello");
    }
    weir.signal("TERM");
    // The client sees the end, and keeps its side open.
    assert_eq!(idle.read_to_end(), b"");
    assert_eq!(weir.wait().code(), Some(0));
    assert!(!weir.logged("grace has passed"), "{:?}", weir.log());
    drop(idle);
}

#[test]
fn what_has_come_in_before_sigterm_is_answered() {
    let upstream = Upstream::hello();
    let mut weir = Setup::to(upstream.url()).start();
    let mut kept: Vec<_> = (0..10).map(|_| Connection::open(weir.proxy())).collect();
    for client in &mut kept {
        assert_eq!(client.send(GET).receive().expect("a response").status, 200);
    }

    // Weir stands still: connections wait to be accepted, requests to be read.
    weir.signal("STOP");
    let waiting = (0..200).map(|_| Connection::open(weir.proxy()));
    let mut clients: Vec<_> = waiting.chain(kept).collect();
    for client in &mut clients {
        client.send(GET);
    }
    weir.signal("TERM");
    weir.signal("CONT");
    for mut client in clients {
        assert_eq!(client.receive().expect("a response").status, 200);
        assert_eq!(client.read_to_end(), b"");
    }
    assert_eq!(weir.wait().code(), Some(0));
}

#[test]
fn a_head_that_sigterm_comes_into_is_answered_and_the_last() {
    let upstream = Upstream::hello();
    let mut weir = Setup::to(upstream.url()).start();
    let mut client = Connection::open(weir.proxy());
    client.send("GET / HTTP/1.1\r\nhost:");
    eventually("the connection is accepted", || {
        (weir.count("weir_connections_open") == 1).then_some(())
    });
    weir.signal("TERM");
    eventually("it accepts no more", || {
        TcpStream::connect(weir.proxy()).err()
    });
    let response = client.send(" test\r\n\r\n").receive();
    let response = response.expect("a response");
    assert_eq!(response.status, 200);
    assert_eq!(response.header("connection"), Some("close"));
    assert_eq!(client.read_to_end(), b"");
    assert_eq!(weir.wait().code(), Some(0));
}

/// With a grace, an upstream, and a client whose request that never answers.
fn never_answered(grace: &'static str) -> (Weir, Upstream, Connection) {
    let upstream = Upstream::new(|_, _| {
        loop {
            thread::park();
        }
    });
    let weir = Setup::to(upstream.url()).rest(grace).start();
    let mut client = Connection::open(weir.proxy());
    client.send(GET);
    eventually("the upstream has it", || {
        (upstream.seen().len() == 1).then_some(())
    });
    (weir, upstream, client)
}

#[test]
fn a_drain_ends_at_a_second_signal() {
    let (mut weir, _upstream, mut client) = never_answered("shutdown_grace: 1h");
    weir.signal("INT");
    weir.says("draining");
    weir.signal("INT");
    assert!(client.receive().is_none());
    assert_eq!(weir.wait().code(), Some(0));
    weir.says("asked again to stop");
}

#[test]
fn a_drain_takes_no_longer_than_its_grace() {
    let (mut weir, _upstream, mut client) = never_answered("shutdown_grace: 200ms");
    weir.signal("TERM");
    assert!(client.receive().is_none());
    assert_eq!(weir.wait().code(), Some(0));
    weir.says("grace has passed");
}
