//! Heads: what is stripped, what stays, and what is refused before an upstream sees a byte of it.

use std::io::Write;

use weir_tests::client::Connection;
use weir_tests::upstream::{Seen, Upstream};
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::{Setup, assert_problem};

fn only(upstream: &Upstream) -> Seen {
    let mut seen = upstream.seen();
    assert_eq!(seen.len(), 1, "{seen:#?}");
    seen.remove(0)
}

/// Asserts that Weir refuses these bytes, ends the connection, and calls no upstream.
#[track_caller]
fn assert_refused(weir: &Weir, upstream: &Upstream, status: u16, request: &str) {
    let before = upstream.seen().len();
    let mut client = Connection::open(weir.proxy());
    let response = client.send(request).receive().expect("a response");
    assert_eq!(response.status, status, "{request:?}");
    assert_eq!(client.read_to_end(), b"", "{request:?}");
    assert_eq!(upstream.seen().len(), before, "{request:?}");
}

#[test]
fn hop_by_hop_fields_of_a_request_are_stripped_and_host_is_kept() {
    let upstream = Upstream::hello();
    let weir = Setup::to(upstream.url()).start();
    let request = "GET /a?b=c HTTP/1.1\r\nHost: shop.example:8080\r\nConnection: keep-alive, X-Mine\r\n\
        Connection: host, content-length, x-other\r\nKeep-Alive: timeout=5\r\nX-Mine: 1\r\nX-Other: 2\r\n\
        Proxy-Connection: keep-alive\r\nTE: trailers\r\nTrailer: x-sum\r\nX-End-To-End: stays\r\n\r\n";
    let mut client = Connection::open(weir.proxy());
    assert_eq!(
        client.send(request).receive().expect("a response").status,
        200
    );
    let seen = only(&upstream);
    assert_eq!(seen.target, "/a?b=c");
    assert_eq!(seen.header("host"), Some("shop.example:8080"));
    assert_eq!(seen.header("x-end-to-end"), Some("stays"));
    assert_eq!(seen.header("trailer"), Some("x-sum"));
    let stripped = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "x-mine",
        "x-other",
    ];
    for name in stripped {
        assert_eq!(seen.header(name), None, "{name}");
    }
}

#[test]
fn an_upgrade_to_another_version_is_not_passed_on() {
    let upstream = Upstream::hello();
    let weir = Setup::to(upstream.url()).start();
    let response = weir.get("/", &["connection: upgrade", "upgrade: h2c"]);
    assert_eq!(response.status, 200);
    assert_eq!(only(&upstream).header("upgrade"), None);
    assert_eq!(only(&upstream).header("connection"), None);
}

#[test]
fn hop_by_hop_fields_of_a_response_are_stripped() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Mine\r\nKeep-Alive: timeout=5\r\nX-Mine: 1\r\n\
         Proxy-Connection: keep-alive\r\nX-End-To-End: stays\r\nContent-Length: 5\r\n\r\nhello",
    );
    let weir = Setup::to(upstream.url()).start();
    let mut client = Connection::open(weir.proxy());
    let request = "GET / HTTP/1.1\r\nhost: test\r\n\r\n";
    let response = client.send(request).receive().expect("a response");
    assert_eq!(response.text(), "hello");
    assert_eq!(response.header("x-end-to-end"), Some("stays"));
    for name in ["connection", "keep-alive", "proxy-connection", "x-mine"] {
        assert_eq!(response.header(name), None, "{name}");
    }
}

#[test]
fn an_absolute_target_rules_over_host() {
    let upstream = Upstream::hello();
    let weir = Setup::to(upstream.url()).start();
    let mut client = Connection::open(weir.proxy());
    client.send("GET http://shop.example:81/a?b=c HTTP/1.1\r\nhost: other.example\r\n\r\n");
    assert_eq!(client.receive().expect("a response").status, 200);
    let seen = only(&upstream);
    assert_eq!(seen.target, "/a?b=c");
    let hosts: Vec<_> = seen
        .headers
        .iter()
        .filter(|(name, _)| name == "host")
        .collect();
    assert_eq!(hosts, [&("host".to_owned(), "shop.example:81".to_owned())]);
}

#[test]
fn a_request_without_exactly_one_sane_host_is_refused() {
    let upstream = Upstream::hello();
    let weir = Setup::to(upstream.url()).start();
    for hosts in [
        "",
        "host: a\r\nhost: b\r\n",
        "host: a\r\nhost: a\r\n",
        "host:\r\n",
        "host: a b\r\n",
        "host: user@a\r\n",
        "host: a/b\r\n",
        "host: a,b\r\n",
        "host: a?b\r\n",
        "host: \u{e4}.example\r\n",
        "host: a:b:c\r\n",
        "host: [::1\r\n",
        "host: a%41\r\n",
    ] {
        let request = format!("GET / HTTP/1.1\r\n{hosts}\r\n");
        assert_refused(&weir, &upstream, 400, &request);
    }
    let userinfo = "GET http://user@a/ HTTP/1.1\r\nhost: a\r\n\r\n";
    assert_refused(&weir, &upstream, 400, userinfo);
}

#[test]
fn connect_is_not_implemented() {
    let upstream = Upstream::hello();
    let weir = Setup::to(upstream.url()).start();
    let request = "CONNECT db.example:443 HTTP/1.1\r\nhost: db.example:443\r\n\r\n";
    assert_refused(&weir, &upstream, 501, request);
    assert_problem(&weir_tests::client::send(weir.proxy(), request), 501);
}

#[test]
fn what_cannot_be_expected_is_answered_with_417() {
    let upstream = Upstream::hello();
    let weir = Setup::to(upstream.url()).start();
    for fields in [
        "expect: miracles\r\n",
        "expect: 100-continue\r\nexpect: miracles\r\n",
        "expect: miracles\r\nconnection: expect\r\n",
    ] {
        let request = format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
        assert_refused(&weir, &upstream, 417, &request);
    }
}

#[test]
fn a_client_that_waits_is_told_to_continue_once_its_body_is_wanted() {
    let upstream = Upstream::hello();
    let plugins = "plugins: { auth: { module: 'builtin:key-auth', config: { keys: [k] } } }";
    let weir = Setup::to(upstream.url())
        .listener("plugins: [auth]")
        .rest(plugins)
        .start();
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n";
    // Who is answered without it keeps the body.
    let mut stranger = Connection::open(weir.proxy());
    let answer = stranger.send(format!("{head}\r\n")).receive();
    assert_eq!(answer.expect("a response").status, 401);
    let mut client = Connection::open(weir.proxy());
    client.send(format!("{head}x-api-key: k\r\n\r\n"));
    let answer = client.receive().expect("an interim response");
    assert_eq!(answer.status, 100);
    let answer = client.send("abc").receive().expect("a response");
    assert_eq!(answer.text(), "hello");
    let seen = only(&upstream);
    assert_eq!((seen.header("expect"), &seen.body[..]), (None, &b"abc"[..]));
}

#[test]
fn a_message_of_doubtful_length_is_refused_whole() {
    let upstream = Upstream::hello();
    let weir = Setup::to(upstream.url()).start();
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    for framing in [
        "content-length: 3\r\ncontent-length: 4\r\n",
        "content-length: 3, 4\r\n",
        "content-length: +3\r\n",
        "content-length: 0x3\r\n",
        "content-length: -1\r\n",
        "content-length:\r\n",
        "content-length: 99999999999999999999\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: chunked, gzip\r\n",
        "transfer-encoding: \"chunked\"\r\n",
        "transfer-encoding : chunked\r\n",
    ] {
        let request = format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n0\r\n\r\n{smuggled}");
        assert_refused(&weir, &upstream, 400, &request);
    }
}

#[test]
fn a_message_with_both_framings_smuggles_nothing() {
    let upstream = Upstream::hello();
    let weir = Setup::to(upstream.url()).start();
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    for framing in [
        format!(
            "content-length: {}\r\ntransfer-encoding: chunked\r\n",
            5 + smuggled.len()
        ),
        format!(
            "transfer-encoding: chunked\r\ncontent-length: {}\r\n",
            5 + smuggled.len()
        ),
    ] {
        let mut client = Connection::open(weir.proxy());
        client.send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n0\r\n\r\n{smuggled}"
        ));
        client.read_to_end();
    }
    for seen in upstream.seen() {
        assert_ne!(seen.target, "/smuggled");
        assert_eq!(seen.header("content-length"), None, "{seen:#?}");
    }
}

#[test]
fn a_bad_chunk_ends_the_request_and_the_upstream_never_sees_its_end() {
    let upstream = Upstream::hello();
    let weir = Setup::to(upstream.url()).start();
    for chunk in [
        "0x3\r\nabc\r\n0\r\n\r\n",
        "-1\r\nabc\r\n0\r\n\r\n",
        "g\r\nabc\r\n0\r\n\r\n",
        "ffffffffffffffff1\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
    ] {
        let mut client = Connection::open(weir.proxy());
        client.send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunk}\
             GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
        ));
        let response = client.receive().expect("a response");
        assert_eq!(response.status, 400, "{chunk:?}");
        assert_eq!(client.read_to_end(), b"", "{chunk:?}");
        assert_eq!(upstream.seen().len(), 0, "{chunk:?}");
    }
}

#[test]
fn a_head_larger_than_max_head_bytes_is_answered_with_431() {
    let upstream = Upstream::hello();
    let weir = Setup::to(upstream.url())
        .listener("max_head_bytes: 72KiB")
        .start();
    let head = |len: usize| {
        let start = "GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\nx: ";
        let padding = "x".repeat(len - start.len() - 4);
        format!("{start}{padding}\r\n\r\n")
    };
    let fits = weir_tests::client::send(weir.proxy(), head(72 << 10));
    assert_eq!(fits.status, 200);
    let large = weir_tests::client::send(weir.proxy(), head((72 << 10) + 1));
    assert_eq!(large.status, 431);
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn a_head_that_cannot_be_read_is_counted_by_its_reason() {
    let upstream = Upstream::hello();
    let weir = Setup::to(upstream.url())
        .listener("timeouts: { head: 200ms }, max_head_bytes: 72KiB")
        .start();
    let large = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "x".repeat(74_000)
    );
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(65_535));
    // The reason, what is sent, and what is answered; `None` where the client leaves.
    let bad = [
        (
            "malformed",
            "GET / HTTP/1.1\r\nno field\r\n\r\n",
            Some("400"),
        ),
        ("malformed", "\u{1}\r\n\r\n", Some("400")),
        ("too_large", &large, Some("431")),
        ("too_large", &long, Some("414")),
        ("incomplete", "GET / HTTP/1.1\r\nhost:", None),
        ("timeout", "GET / HTTP/1.1\r\nhost:", Some("")),
    ];
    for (_, sent, answered) in bad {
        let mut client = Connection::open(weir.proxy());
        client.send(sent);
        if let Some(status) = answered {
            let answer = String::from_utf8(client.read_to_end()).expect("text");
            assert_eq!(answer.split(' ').nth(1).unwrap_or_default(), status);
        }
    }
    // No requests at all: an idle connection's end, and a port that is only tried.
    Connection::open(weir.proxy()).read_to_end();
    drop(Connection::open(weir.proxy()));
    eventually("all have ended", || {
        let connections = weir.count("weir_connections_total");
        (connections == 8 && weir.count("weir_connections_open") == 0).then_some(())
    });
    for (reason, count) in [
        ("malformed", 2),
        ("too_large", 2),
        ("incomplete", 1),
        ("timeout", 1),
    ] {
        let labels = format!("listener=\"127.0.0.1:0\",reason=\"{reason}\"");
        let counted = weir.count(&format!("weir_http_bad_requests_total{{{labels}}}"));
        assert_eq!(counted, count, "{reason}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn the_upstream_continues_the_callers_trace() {
    let upstream = Upstream::hello();
    let weir = Setup::to(upstream.url()).start();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    weir.get(
        "/",
        &[&format!("traceparent: 00-{trace}-00f067aa0ba902b7-01")],
    );
    let seen = only(&upstream);
    let parts: Vec<_> = seen
        .header("traceparent")
        .expect("a context")
        .split('-')
        .collect();
    let [version, id, span, flags] = parts[..] else {
        panic!("{parts:?}")
    };
    assert_eq!((version, id, flags), ("00", trace, "01"));
    assert_ne!(span, "00f067aa0ba902b7");
    assert!(span.len() == 16 && span != "0000000000000000", "{span}");
}

#[test]
fn baggage_goes_on_as_it_is() {
    let upstream = Upstream::hello();
    let weir = Setup::to(upstream.url()).start();
    let baggage = "user=a%20b;secret, tier = gold";
    weir.get("/", &[&format!("baggage: {baggage}")]);
    assert_eq!(only(&upstream).header("baggage"), Some(baggage));
}

#[test]
fn a_malformed_traceparent_begins_a_trace_of_its_own() {
    let upstream = Upstream::hello();
    let weir = Setup::to(upstream.url()).start();
    let zeros = "00000000000000000000000000000000";
    for given in [
        "nonsense".to_owned(),
        format!("00-{zeros}-00f067aa0ba902b7-01"),
    ] {
        weir.get("/", &[&format!("traceparent: {given}")]);
        let seen = upstream.seen().pop().expect("a request");
        let id = seen
            .header("traceparent")
            .and_then(|context| context.split('-').nth(1));
        let id = id.expect("a trace id");
        assert!(id.len() == 32 && id != zeros, "{id}");
    }
}

#[test]
fn fields_with_several_values_keep_each_and_their_order() {
    let upstream = Upstream::new(|_, stream| {
        let response =
            "HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(response.as_bytes()).expect("weir reads");
    });
    let weir = Setup::to(upstream.url()).start();
    let response = weir.get("/", &["x: 1", "x: 2"]);
    let values = |headers: &[(String, String)], name: &str| -> Vec<String> {
        let named = headers.iter().filter(|(other, _)| other == name);
        named.map(|(_, value)| value.clone()).collect()
    };
    assert_eq!(values(&response.headers, "set-cookie"), ["a=1", "b=2"]);
    assert_eq!(values(&only(&upstream).headers, "x"), ["1", "2"]);
}

#[test]
fn a_refusal_is_a_problem_document() {
    let upstream = Upstream::hello();
    let weir = Setup::to(upstream.url()).start();
    let response = weir_tests::client::send(weir.proxy(), "GET / HTTP/1.1\r\n\r\n");
    assert_problem(&response, 400);
    assert_eq!(response.json()["detail"], "no Host");
}
