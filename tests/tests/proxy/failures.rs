//! What goes wrong on either side, and what the other side sees of it.

use std::io::{Read as _, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use weir_tests::client::{self, Connection};
use weir_tests::service::nobody;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::{Setup, assert_problem};

const GET: &str = "GET / HTTP/1.1\r\nhost: test\r\n\r\n";
const ABORTED: &str = "weir_requests_aborted_total{route=\"all\"}";

/// Sends this much of a response and then nothing more, without closing.
fn stalls(stream: &mut TcpStream, sent: &str) {
    stream.write_all(sent.as_bytes()).expect("weir reads");
    loop {
        thread::park();
    }
}

/// Sends this much of a response and closes.
fn breaks(stream: &mut TcpStream, sent: &str) {
    stream.write_all(sent.as_bytes()).expect("weir reads");
    stream.shutdown(Shutdown::Both).expect("close");
}

fn failures(weir: &Weir, reason: &str) -> u64 {
    let name = "weir_upstream_failures_total";
    weir.count(&format!("{name}{{upstream=\"api\",reason=\"{reason}\"}}"))
}

#[test]
fn an_upstream_that_refuses_the_connection_is_answered_with_502() {
    let weir = Setup::to(format!("http://{}", nobody())).start();
    assert_problem(&weir.get("/", &[]), 502);
    assert_eq!(failures(&weir, "connect"), 1);
}

#[test]
fn an_upstream_that_lets_no_connection_through_is_answered_with_504() {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    listener.bind(&any.into()).expect("a port");
    listener.listen(0).expect("listen");
    let address = listener.local_addr().expect("an address").as_socket();
    let address = address.expect("an IP address");
    // Nobody accepts. Once the queue is full, the kernel neither answers nor refuses who comes.
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
        queued.push(stream);
    }
    let weir = Setup::to(format!("http://{address}"))
        .upstream("timeouts: { connect: 200ms }")
        .start();
    assert_problem(&weir.get("/", &[]), 504);
    assert_eq!(failures(&weir, "connect_timeout"), 1);
    assert_eq!(
        weir.count("weir_upstream_connects_total{upstream=\"api\"}"),
        0
    );
}

#[test]
fn an_upstream_that_closes_without_an_answer_is_answered_with_502() {
    let upstream = Upstream::new(|_, stream| breaks(stream, ""));
    let weir = Setup::to(upstream.url()).start();
    assert_problem(&weir.get("/", &[]), 502);
    assert_eq!(
        upstream.seen().len(),
        1,
        "nothing that was sent is sent again"
    );
    assert_eq!(failures(&weir, "protocol"), 1);
}

#[test]
fn an_upstream_that_answers_nonsense_is_answered_with_502() {
    let upstream = Upstream::new(|_, stream| breaks(stream, "SSH-2.0-OpenSSH_9.9\r\n"));
    let weir = Setup::to(upstream.url()).start();
    assert_problem(&weir.get("/", &[]), 502);
}

#[test]
fn an_upstream_that_never_answers_is_answered_with_504() {
    let upstream = Upstream::new(|_, stream| stalls(stream, ""));
    let weir = Setup::to(upstream.url())
        .upstream("timeouts: { response: 200ms }")
        .start();
    assert_problem(&weir.get("/", &[]), 504);
    assert_eq!(failures(&weir, "response_timeout"), 1);
}

#[test]
fn a_head_that_does_not_come_to_its_end_closes_the_connection() {
    let upstream = Upstream::hello();
    let weir = Setup::to(upstream.url())
        .listener("timeouts: { head: 200ms }")
        .start();
    for begun in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: test\r\n"] {
        let mut client = Connection::open(weir.proxy());
        // Ends only when Weir closes: the client keeps its side open.
        client.send(begun).read_to_end();
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn an_upload_that_stalls_is_answered_with_408() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let weir = Setup::to(format!("http://{address}"))
        .listener("timeouts: { body: 200ms }")
        .start();
    for stalled in ["", "3\r\nab", "0\r\n", "0\r\nx: y\r\nx: y"] {
        let mut client = Connection::open(weir.proxy());
        client.send(format!(
            "POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n{stalled}"
        ));
        let response = client.receive().expect("a response");
        assert_problem(&response, 408);
        assert_eq!(client.read_to_end(), b"");
        let mut upstream = Connection::over(listener.accept().expect("weir connected").0);
        upstream.read_head().expect("a head");
        // Never as if it were whole, though what it has of a chunk may have gone on.
        let sent = upstream.read_to_end();
        assert!(sent.starts_with(b"3\r\nabc\r\n"), "{stalled:?}: {sent:?}");
        assert!(!sent.ends_with(b"0\r\n\r\n"), "{stalled:?}: {sent:?}");
    }
}

#[test]
fn a_client_that_stalls_has_its_own_time_and_not_the_upstreams() {
    let upstream = Upstream::hello();
    let weir = Setup::to(upstream.url())
        .listener("timeouts: { body: 1s }")
        .upstream("timeouts: { response: 100ms }")
        .start();
    let mut client = Connection::open(weir.proxy());
    client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 6\r\n\r\nabc");
    assert_problem(&client.receive().expect("a response"), 408);
    assert_eq!(failures(&weir, "upload"), 1);
    assert_eq!(failures(&weir, "response_timeout"), 0);
}

#[test]
fn an_upstream_that_does_not_read_the_upload_is_answered_with_504() {
    // Accepts, as the kernel does for it, and never reads.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let weir = Setup::to(format!("http://{address}"))
        .listener("timeouts: { body: 60s }")
        .upstream("timeouts: { response: 200ms }")
        .start();
    let mut client = Connection::open(weir.proxy());
    client.send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 1000000000\r\n\r\n");
    let mut upload = client.stream().try_clone().expect("clone");
    let uploading = thread::spawn(move || {
        let piece = vec![b'x'; 65536];
        // Ends when Weir closes: what it holds is bounded, so it does not take a gigabyte.
        while upload.write_all(&piece).is_ok() {}
    });
    assert_problem(&client.receive().expect("a response"), 504);
    drop(client);
    uploading.join().expect("Weir closed the connection");
    assert_eq!(failures(&weir, "response_timeout"), 1);
}

#[test]
fn an_upload_that_breaks_off_never_ends_for_the_upstream() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let weir = Setup::to(format!("http://{address}")).start();
    let mut client = Connection::open(weir.proxy());
    client.send("POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
    let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
    upstream.read_head().expect("a head");
    assert_eq!(upstream.read_chunk().as_deref(), Some(&b"abc"[..]));
    drop(client);
    assert_eq!(upstream.read_to_end(), b"");
}

#[test]
fn a_response_that_stalls_or_breaks_off_never_ends_for_the_client() {
    let length = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let within = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc";
    let garbage = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n";
    let upstream = Upstream::new(move |seen, stream| match seen.target.as_str() {
        "/stalls/length" => stalls(stream, length),
        "/stalls/chunked" => stalls(stream, chunked),
        "/breaks/length" => breaks(stream, length),
        "/breaks/chunked" => breaks(stream, chunked),
        "/breaks/within" => breaks(stream, within),
        _ => stalls(stream, garbage),
    });
    let weir = Setup::to(upstream.url())
        .upstream("timeouts: { body: 200ms }")
        .start();
    let ways = [
        "stalls/length",
        "stalls/chunked",
        "breaks/length",
        "breaks/chunked",
        "breaks/within",
        "garbage",
    ];
    for way in ways {
        let mut client = Connection::open(weir.proxy());
        client.send(format!("GET /{way} HTTP/1.1\r\nhost: test\r\n\r\n"));
        let response = client.receive().expect("a response");
        assert_eq!(response.status, 200, "{way}");
        assert!(!response.complete, "{way}");
    }
    let aborted = eventually("all are counted", || {
        let aborted = weir.count(ABORTED);
        (aborted >= 6).then_some(aborted)
    });
    assert_eq!(aborted, 6);
}

#[test]
fn a_routes_own_deadline_of_a_body_goes_before_its_upstreams() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let upstream = Upstream::new(move |seen, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc");
        if seen.target == "/patient" {
            let _ = released.lock().expect("lock").recv();
            let _ = stream.write_all(b"def");
        } else {
            // The connection is cut with its request.
            let _ = stream.read(&mut [0]);
        }
    });
    let endpoint = format!("endpoints: ['{}']", upstream.url());
    let weir = Weir::start(&format!(
        "workers: 1\nadmin: {{ address: '127.0.0.1:0' }}\n\
         listeners: [{{ address: '127.0.0.1:0' }}]\n\
         upstreams:\n  \
           quick: {{ {endpoint}, timeouts: {{ body: 300ms }} }}\n  \
           slow: {{ {endpoint}, timeouts: {{ body: 1h }} }}\n\
         routes:\n\
         - {{ name: patient, match: {{ path: /patient }}, upstream: quick, timeouts: {{ body: 1h }} }}\n\
         - {{ name: short, match: {{ path: /short }}, upstream: slow, timeouts: {{ body: 300ms }} }}\n\
         - {{ name: all, upstream: quick }}\n"
    ));
    let mut patient = Connection::open(weir.proxy());
    patient.send("GET /patient HTTP/1.1\r\nhost: test\r\n\r\n");
    assert_eq!(patient.receive_head().expect("a head").status, 200);
    assert_eq!(patient.read_exactly(3), b"abc");
    for target in ["/", "/short", "/", "/short"] {
        let cut = weir.get(target, &[]);
        assert_eq!((cut.status, cut.complete), (200, false), "{target}");
    }
    // It has waited for longer by now than its upstream has it.
    release.send(()).expect("the upstream waits");
    assert_eq!(patient.read_exactly(3), b"def");
    for (route, count) in [("patient", 0), ("short", 2), ("all", 2)] {
        let aborted = format!("weir_requests_aborted_total{{route=\"{route}\"}}");
        assert_eq!(weir.count(&aborted), count, "{route}");
    }
}

#[test]
fn more_requests_than_max_requests_are_answered_with_503() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let upstream = Upstream::new(move |seen, stream| {
        if seen.target == "/slow" {
            released
                .lock()
                .expect("lock")
                .recv()
                .expect("the test releases");
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .expect("weir reads");
    });
    let weir = Setup::to(upstream.url())
        .upstream("max_requests: 1")
        .start();
    let mut slow = Connection::open(weir.proxy());
    slow.send("GET /slow HTTP/1.1\r\nhost: test\r\n\r\n");
    eventually("the upstream has the first", || {
        (upstream.seen().len() == 1).then_some(())
    });
    let refused = weir.get("/", &[]);
    assert_problem(&refused, 503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    release.send(()).expect("the upstream waits");
    assert_eq!(slow.receive().expect("a response").status, 200);
    assert_eq!(weir.get("/", &[]).status, 200);
    assert_eq!(failures(&weir, "overload"), 1);
}

#[test]
fn a_client_that_leaves_while_it_waits_is_counted_as_aborted() {
    let upstream = Upstream::new(|_, stream| stalls(stream, ""));
    let weir = Setup::to(upstream.url()).start();
    let mut client = Connection::open(weir.proxy());
    client.send(GET);
    eventually("the upstream has it", || {
        (upstream.seen().len() == 1).then_some(())
    });
    drop(client);
    eventually("it is counted", || (weir.count(ABORTED) == 1).then_some(()));
    assert_eq!(weir.count("weir_requests_active{route=\"all\"}"), 0);
    assert_eq!(
        weir.count("weir_upstream_requests_active{upstream=\"api\"}"),
        0
    );
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_response_is_counted_as_aborted() {
    let upstream = Upstream::new(|_, stream| {
        stalls(stream, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc");
    });
    let weir = Setup::to(upstream.url()).start();
    let mut client = Connection::open(weir.proxy());
    client.send(GET).receive_head().expect("a head");
    assert_eq!(client.read_exactly(3), b"abc");
    drop(client);
    eventually("it is counted", || (weir.count(ABORTED) == 1).then_some(()));
    assert_eq!(
        weir.count("weir_requests_total{route=\"all\",status=\"2xx\"}"),
        0
    );
}

#[test]
fn the_failure_of_one_request_is_no_other_requests() {
    let upstream = Upstream::new(|seen, stream| match seen.target.as_str() {
        "/breaks" => breaks(stream, ""),
        _ => stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .expect("weir reads"),
    });
    let weir = Setup::to(upstream.url()).start();
    let mut client = Connection::open(weir.proxy());
    for _ in 0..5 {
        assert_eq!(client.send(GET).receive().expect("a response").text(), "ok");
        assert_problem(&client::get(weir.proxy(), "/breaks", &[]), 502);
    }
}
