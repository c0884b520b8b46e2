//! Limits: of bodies, of requests on a connection, of connections to an endpoint and who waits for
//! one.

use std::io::Write as _;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;

use weir_tests::client::{self, Connection};
use weir_tests::http2::{Client, run};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::{Weir, guest};

use crate::{Setup, assert_problem};

fn post(path: &str, len: usize) -> String {
    let body = "x".repeat(len);
    format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {len}\r\n\r\n{body}")
}

#[test]
fn a_body_that_says_it_is_too_large_is_refused_before_a_byte_of_it() {
    let upstream = Upstream::hello();
    let config = format!(
        "workers: 1\nadmin: {{ address: '127.0.0.1:0' }}\n\
         listeners: [{{ address: '127.0.0.1:0', max_body_bytes: 1KiB }}]\n\
         upstreams: {{ api: {{ endpoints: ['{}'] }} }}\n\
         routes:\n\
         - {{ match: {{ path: /large }}, upstream: api, max_body_bytes: 4KiB }}\n\
         - {{ match: {{ path: /small }}, upstream: api, max_body_bytes: 0B }}\n\
         - {{ upstream: api }}\n",
        upstream.url()
    );
    let weir = Weir::start(&config);
    for (path, fits) in [("/", 1024), ("/large", 4096), ("/small", 0)] {
        let mut client = Connection::open(weir.proxy());
        let answer = client.send(post(path, fits)).receive().expect("a response");
        assert_eq!(answer.status, 200, "{path}");
        let seen = upstream.seen().len();
        // The head is enough.
        let head = post(path, fits + 1).replace('x', "");
        let answer = client.send(head).receive().expect("a response");
        assert_problem(&answer, 413);
        assert_eq!(client.read_to_end(), b"", "{path}");
        assert_eq!(upstream.seen().len(), seen, "{path}");
    }
}

#[test]
fn a_body_that_turns_out_too_large_never_ends_for_the_upstream() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let weir = Setup::to(format!("http://{address}"))
        .listener("max_body_bytes: 5B")
        .start();
    let mut client = Connection::open(weir.proxy());
    client.send("POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
    let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
    upstream.read_head().expect("a head");
    assert_eq!(upstream.read_chunk().as_deref(), Some(&b"abc"[..]));
    client.send("3\r\ndef\r\n0\r\n\r\n");
    assert_problem(&client.receive().expect("a response"), 413);
    assert_eq!(upstream.read_to_end(), b"");
    let failures = "weir_upstream_failures_total{upstream=\"api\",reason=\"upload\"}";
    assert_eq!(weir.count(failures), 1);
}

#[test]
fn an_answer_reaches_a_client_that_sends_to_its_end_before_it_reads() {
    const LEN: usize = 100 << 20;
    let upstream = Upstream::hello();
    let limited = Setup::to(upstream.url())
        .listener("max_body_bytes: 1MiB")
        .start();
    let guarded = Setup::to(upstream.url())
        .listener("plugins: [auth]")
        .rest("plugins: { auth: { module: 'builtin:key-auth', config: { keys: [k] } } }")
        .start();
    let length = format!("content-length: {LEN}\r\n\r\n");
    let chunk = format!("transfer-encoding: chunked\r\n\r\n{LEN:x}\r\n");
    for (weir, framing, status) in [
        (&limited, &length, 413),
        (&limited, &chunk, 413),
        (&guarded, &length, 401),
    ] {
        let mut client = Connection::open(weir.proxy());
        client.send(format!("POST / HTTP/1.1\r\nhost: test\r\n{framing}"));
        let piece = vec![b'x'; 1 << 16];
        for _ in 0..LEN / piece.len() {
            client.send(&piece);
        }
        let answer = client.receive().expect("a response");
        assert_eq!((answer.status, answer.complete), (status, true));
        assert_eq!(client.read_to_end(), b"");
        eventually("its connection is closed", || {
            (weir.count("weir_connections_open") == 0).then_some(())
        });
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn a_client_that_never_stops_sending_is_closed() {
    let upstream = Upstream::hello();
    let weir = Setup::to(upstream.url())
        .listener("max_body_bytes: 1MiB")
        .start();
    let mut client = Connection::open(weir.proxy());
    client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 1000000000000\r\n\r\n");
    let piece = vec![b'x'; 1 << 16];
    let mut pieces = 0..1 << 14;
    let closed = pieces.any(|_| client.stream().write_all(&piece).is_err());
    assert!(closed, "a gibibyte was taken");
    assert_eq!(weir.get("/", &[]).text(), "hello");
}

#[test]
fn a_body_of_http2_is_limited_too() {
    let upstream = Upstream::hello();
    let weir = Setup::to(upstream.url())
        .listener("max_body_bytes: 5B")
        .start();
    run(async {
        let client = Client::open(weir.proxy()).await;
        for (len, status) in [(5, 200), (6, 413)] {
            let request = http::Request::post("http://test/").body(()).expect("one");
            let mut sender = client.sender.clone().ready().await.expect("ready");
            let (response, mut body) = sender.send_request(request, false).expect("sent");
            body.send_data(bytes::Bytes::from(vec![b'x'; len]), true)
                .expect("sent");
            let response = response.await.expect("a response");
            assert_eq!(response.status().as_u16(), status, "{len}");
        }
    });
}

#[test]
fn a_held_body_is_limited_by_the_route_too() {
    let upstream = Upstream::hello();
    let module = guest("wrap").display().to_string();
    let plugins =
        format!("plugins: {{ wrap: {{ module: '{module}', config: {{ request: 1000 }} }} }}");
    let weir = Setup::to(upstream.url())
        .listener("plugins: [wrap], max_body_bytes: 3B")
        .rest(Box::leak(plugins.into_boxed_str()))
        .start();
    let chunked = |chunks: &str| {
        let head = "POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n";
        client::send(weir.proxy(), format!("{head}\r\n{chunks}"))
    };
    assert_eq!(client::send(weir.proxy(), post("/", 3)).status, 200);
    assert_eq!(chunked("3\r\nabc\r\n0\r\n\r\n").status, 200);
    assert_problem(&client::send(weir.proxy(), post("/", 4)), 413);
    assert_problem(&chunked("3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"), 413);
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn a_connection_ends_after_as_many_requests_as_it_may_have() {
    let upstream = Upstream::hello();
    let weir = Setup::to(upstream.url())
        .listener("max_requests_per_connection: 3")
        .start();
    let mut client = Connection::open(weir.proxy());
    for last in [false, false, true] {
        client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
        let answer = client.receive().expect("a response");
        assert_eq!(answer.text(), "hello");
        assert_eq!(answer.header("connection") == Some("close"), last);
    }
    assert_eq!(client.read_to_end(), b"");
    run(async {
        let client = Client::open(weir.proxy()).await;
        for _ in 0..3 {
            assert_eq!(client.get("/").await.expect("a response").status(), 200);
        }
        client.connection.await.expect("no panic").expect("GOAWAY");
    });
}

/// An upstream that answers when it is told to, and says how many requests it has.
fn gated() -> (Upstream, mpsc::Sender<()>, Arc<AtomicUsize>) {
    let (open, gate) = mpsc::channel::<()>();
    let (gate, under_way) = (Mutex::new(gate), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&under_way);
    let upstream = Upstream::new(move |_, stream| {
        counted.fetch_add(1, Ordering::SeqCst);
        let _ = gate.lock().expect("lock").recv();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    (upstream, open, under_way)
}

#[test]
fn requests_wait_for_a_connection_where_there_are_as_many_as_there_may_be() {
    let (upstream, open, under_way) = gated();
    let weir = Setup::to(upstream.url())
        .upstream("limits: { connections: 2, pending: 3 }, timeouts: { connect: 30s }")
        .start();
    let address = weir.proxy();
    let ask = move || client::get(address, "/", &[]).status;
    let mut clients: Vec<_> = (0..2).map(|_| thread::spawn(ask)).collect();
    eventually("both connections are used", || {
        (under_way.load(Ordering::SeqCst) == 2).then_some(())
    });
    clients.extend((0..3).map(|_| thread::spawn(ask)));
    eventually("three requests wait", || {
        let waiting = weir.count("weir_requests_active{route=\"all\"}");
        (waiting == 5).then_some(())
    });
    // Nobody else may wait.
    assert_problem(&weir.get("/", &[]), 503);
    assert_eq!(under_way.load(Ordering::SeqCst), 2);
    for _ in 0..5 {
        open.send(()).expect("the upstream waits");
    }
    for client in clients {
        assert_eq!(client.join().expect("a client"), 200);
    }
    assert_eq!(upstream.connections(), 2);
    let failures = "weir_upstream_failures_total{upstream=\"api\",reason=\"overload\"}";
    assert_eq!(weir.count(failures), 1);
}

#[test]
fn a_request_that_waits_in_vain_is_answered_with_503() {
    let (upstream, open, under_way) = gated();
    let weir = Setup::to(upstream.url())
        .upstream("limits: { connections: 1 }, timeouts: { connect: 200ms }")
        .start();
    let address = weir.proxy();
    let first = thread::spawn(move || client::get(address, "/", &[]).status);
    eventually("the connection is used", || {
        (under_way.load(Ordering::SeqCst) == 1).then_some(())
    });
    assert_problem(&weir.get("/", &[]), 503);
    open.send(()).expect("the upstream waits");
    assert_eq!(first.join().expect("a client"), 200);
    // The place is free again, for one request after the other.
    for _ in 0..3 {
        open.send(()).expect("the upstream waits");
        assert_eq!(weir.get("/", &[]).status, 200);
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_client_that_leaves_gives_its_place_away() {
    let (upstream, open, under_way) = gated();
    let weir = Setup::to(upstream.url())
        .upstream("limits: { connections: 1 }, timeouts: { connect: 30s }")
        .start();
    let mut leaving = Connection::open(weir.proxy());
    leaving.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    eventually("the connection is used", || {
        (under_way.load(Ordering::SeqCst) == 1).then_some(())
    });
    let address = weir.proxy();
    let next = thread::spawn(move || client::get(address, "/", &[]).status);
    drop(leaving);
    for _ in 0..2 {
        open.send(()).expect("the upstream waits");
    }
    assert_eq!(next.join().expect("a client"), 200);
    assert_eq!(upstream.connections(), 2);
}
