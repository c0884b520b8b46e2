//! Upstreams that do not say the truth about their responses: 502, and their connection is not used
//! again; never a response that another request gets.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::{Mutex, mpsc};

use weir_tests::client::{Connection, Response};
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

use crate::{Setup, assert_problem};

/// An upstream that answers `/lie` with these bytes, and all else truly.
fn liar(lie: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> (Upstream, Weir) {
    let upstream = Upstream::new(move |seen, stream| {
        if seen.target == "/lie" {
            lie(stream);
        } else {
            let truth = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\ntruth";
            let _ = stream.write_all(truth.as_bytes());
        }
    });
    let weir = Setup::to(upstream.url())
        .upstream("timeouts: { response: 5s }")
        .start();
    (upstream, weir)
}

fn ask(client: &mut Connection, target: &str) -> Response {
    ask_by("GET", client, target)
}

fn ask_by(method: &str, client: &mut Connection, target: &str) -> Response {
    client.send(format!("{method} {target} HTTP/1.1\r\nhost: test\r\n\r\n"));
    client.receive_to(method).expect("a response")
}

#[test]
fn a_response_of_doubtful_length_is_a_502_and_ends_its_connection() {
    let lies = [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 5, 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 5,\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nx y: a\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello",
        "HTTP/1.1 101 Switching Protocols\r\n\r\nhello",
        "HTTP/1.1 20 OK\r\n\r\n",
        "\0\0\0\0\0\0\0\0",
    ];
    for lie in lies {
        let (upstream, weir) = liar(move |stream| {
            let _ = stream.write_all(lie.as_bytes());
        });
        let mut client = Connection::open(weir.proxy());
        assert_eq!(ask(&mut client, "/truth").text(), "truth");
        let answer = ask(&mut client, "/lie");
        assert_problem(&answer, 502);
        assert_eq!(ask(&mut client, "/truth").text(), "truth", "{lie:?}");
        assert_eq!(upstream.connections(), 2, "{lie:?}");
        // Nor is it believed what a body would be that does not come.
        assert_eq!(ask_by("HEAD", &mut client, "/lie").status, 502, "{lie:?}");
        assert_eq!(ask(&mut client, "/truth").text(), "truth", "{lie:?}");
        assert_eq!(upstream.connections(), 3, "{lie:?}");
    }
}

#[test]
fn a_length_with_zeros_before_it_is_that_length() {
    let (upstream, weir) = liar(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 005\r\n\r\nhello");
    });
    let mut client = Connection::open(weir.proxy());
    for _ in 0..3 {
        assert_eq!(ask(&mut client, "/lie").text(), "hello");
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn bytes_behind_a_response_are_nobodys() {
    for lie in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\nevil",
    ] {
        let (upstream, weir) = liar(move |stream| {
            let _ = stream.write_all(lie.as_bytes());
        });
        let mut client = Connection::open(weir.proxy());
        let answer = ask(&mut client, "/lie");
        assert!(
            [204, 304].contains(&answer.status) || answer.text() == "hello",
            "{lie:?}: {answer:?}"
        );
        for _ in 0..3 {
            assert_eq!(ask(&mut client, "/truth").text(), "truth", "{lie:?}");
        }
        assert_eq!(upstream.connections(), 2, "{lie:?}");
    }
}

#[test]
fn a_body_behind_a_response_to_head_is_nobodys() {
    for lie in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\nevil",
    ] {
        let (upstream, weir) = liar(move |stream| {
            let _ = stream.write_all(lie.as_bytes());
        });
        let mut client = Connection::open(weir.proxy());
        let answer = ask_by("HEAD", &mut client, "/lie");
        assert!([200, 304].contains(&answer.status), "{lie:?}: {answer:?}");
        // A stray byte of it would stand before these.
        for _ in 0..3 {
            assert_eq!(ask(&mut client, "/truth").text(), "truth", "{lie:?}");
        }
        assert_eq!(upstream.connections(), 2, "{lie:?}");
    }
}

#[test]
fn bytes_that_come_when_nothing_was_asked_are_nobodys() {
    for lie in ["HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", "x"] {
        let (ended, has_ended) = mpsc::channel();
        let (lied, has_lied) = mpsc::channel();
        let has_ended = Mutex::new(has_ended);
        let (upstream, weir) = liar(move |stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
            has_ended.lock().expect("lock").recv().expect("the test");
            let _ = stream.write_all(lie.as_bytes());
            lied.send(()).expect("the test");
        });
        let mut client = Connection::open(weir.proxy());
        assert_eq!(ask(&mut client, "/lie").text(), "hello");
        // The connection is idle by now.
        ended.send(()).expect("the upstream waits");
        has_lied.recv().expect("the upstream");
        for _ in 0..3 {
            assert_eq!(ask(&mut client, "/truth").text(), "truth", "{lie:?}");
        }
        assert_eq!(upstream.connections(), 2, "{lie:?}");
    }
}

#[test]
fn chunks_that_are_malformed_cut_the_client_and_end_the_connection() {
    for chunks in [
        "5\r\nhelloX\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n",
        "-1\r\n",
        "5\nhello\r\n",
    ] {
        let (upstream, weir) = liar(move |stream| {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            let _ = stream.write_all(format!("{head}{chunks}").as_bytes());
        });
        let mut client = Connection::open(weir.proxy());
        client.send("GET /lie HTTP/1.1\r\nhost: test\r\n\r\n");
        let answer = client.receive();
        let whole = |answer: &Response| answer.status != 502 && answer.complete;
        assert!(
            !answer.as_ref().is_some_and(whole),
            "{chunks:?}: {answer:?}"
        );
        assert_eq!(weir.get("/truth", &[]).text(), "truth", "{chunks:?}");
        assert_eq!(upstream.connections(), 2, "{chunks:?}");
    }
}

#[test]
fn interim_responses_without_end_are_a_502_and_hold_nobody_else_up() {
    for request in [
        "GET /lie HTTP/1.1\r\nhost: test\r\n\r\n",
        "POST /lie HTTP/1.1\r\nhost: test\r\ncontent-length: 1\r\n\r\nx",
    ] {
        let (upstream, weir) = liar(|stream| {
            let interim = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(100);
            while stream.write_all(interim.as_bytes()).is_ok() {}
        });
        let mut flooded = Connection::open(weir.proxy());
        flooded.send(request);
        for _ in 0..20 {
            assert_eq!(weir.get("/truth", &[]).text(), "truth");
        }
        // Only a last response counts as an answer.
        assert_problem(&flooded.receive().expect("a response"), 502);
        assert_eq!(weir.get("/truth", &[]).text(), "truth");
        assert_eq!(upstream.connections(), 2);
        assert!(weir.resident_bytes() < 128 << 20);
    }
}

#[test]
fn some_interim_responses_and_a_large_body_behind_them_pass() {
    const LEN: usize = 4 << 20;
    let (upstream, weir) = liar(|stream| {
        let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(1000);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LEN}\r\n\r\n");
        let _ = stream.write_all((interim + &head + &"x".repeat(LEN)).as_bytes());
    });
    let mut client = Connection::open(weir.proxy());
    for request in [
        "GET /lie HTTP/1.1\r\nhost: test\r\n\r\n",
        "POST /lie HTTP/1.1\r\nhost: test\r\ncontent-length: 1\r\n\r\nx",
    ] {
        let answer = client.send(request).receive().expect("a response");
        assert_eq!((answer.status, answer.body.len()), (200, LEN));
        assert!(answer.complete);
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_head_without_measure_is_a_502() {
    let (upstream, weir) = liar(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        let field = format!("x: {}\r\n", "y".repeat(1000)).repeat(100);
        while stream.write_all(field.as_bytes()).is_ok() {}
    });
    assert_problem(&weir.get("/lie", &[]), 502);
    assert_eq!(weir.get("/truth", &[]).text(), "truth");
    assert_eq!(upstream.connections(), 2);
    assert!(weir.resident_bytes() < 128 << 20);
}
