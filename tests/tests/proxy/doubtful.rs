//! Requests that two programs could read in two ways, row by row: refused before an upstream sees a
//! byte, or brought to one form, whose bytes are compared.

use std::net::TcpListener;

use weir_tests::client::Connection;
use weir_tests::recorder::Recorder;
use weir_tests::weir::Weir;

use crate::Setup;

/// What a client behind the request under test would smuggle in.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

const LAST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// What does not come to its end, and what stays idle, is soon ended by Weir.
fn start(listener: &str) -> (Recorder, Weir) {
    let recorder = Recorder::start();
    let keys = format!("timeouts: {{ head: 2s, body: 2s }}, {listener}");
    let weir = Setup::to(recorder.url())
        .listener(Box::leak(keys.into_boxed_str()))
        .start();
    (recorder, weir)
}

/// Sends the bytes on a connection of their own; gives the statuses that came until it was closed.
fn exchange(weir: &Weir, request: &[u8]) -> Vec<u16> {
    let mut client = Connection::open(weir.proxy());
    client.send(request);
    let mut statuses = Vec::new();
    while let Some(response) = client.receive() {
        statuses.push(response.status);
    }
    statuses
}

/// Asserts that each is refused with one of `allowed`, as the last of its connection, and that not a
/// byte of it reaches the upstream.
#[track_caller]
fn assert_refused(allowed: &[u16], requests: &[String]) {
    let (recorder, weir) = start("");
    for request in requests {
        let statuses = exchange(&weir, request.as_bytes());
        let [status] = statuses[..] else {
            panic!("{request:?}: {statuses:?}")
        };
        assert!(allowed.contains(&status), "{request:?}: {status}");
        assert_eq!(recorder.take(), "", "{request:?}");
    }
    // And it serves as ever.
    assert_eq!(exchange(&weir, LAST), [200]);
}

fn get(line: &str) -> String {
    format!("{line}\r\nhost: a\r\n\r\n{SMUGGLED}")
}

fn post(fields: &str, rest: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n{rest}{SMUGGLED}")
}

/// What reached the upstream, without the fields that Weir adds: the lines of each head in order of
/// the alphabet, and what stands behind them.
fn canonical(sent: &str) -> Vec<(Vec<String>, String)> {
    let mut rest = sent;
    let mut requests = Vec::new();
    while let Some((head, behind)) = rest.split_once("\r\n\r\n") {
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let added = ["traceparent:", "x-forwarded-"];
        let mut fields: Vec<String> = lines
            .filter(|line| !added.iter().any(|name| line.starts_with(name)))
            .map(str::to_owned)
            .collect();
        fields.sort_unstable();
        let next = behind.find(" HTTP/1.1\r\n").map_or(behind.len(), |at| {
            behind[..at].rfind("\r\n").map_or(0, |line| line + 2)
        });
        let (body, more) = behind.split_at(next);
        requests.push(([vec![first], fields].concat(), body.to_owned()));
        rest = more;
    }
    requests
}

/// Asserts what reaches the upstream of a request: its lines, and its body.
#[track_caller]
fn assert_forwarded(request: &str, lines: &[&str], body: &str) {
    let (recorder, weir) = start("");
    let statuses = exchange(&weir, request.as_bytes());
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let sent = recorder.take();
    let requests = canonical(&sent);
    let [(head, seen)] = &requests[..] else {
        panic!("{request:?} became {sent:?}")
    };
    assert_eq!(head, lines, "{request:?}");
    assert_eq!(seen, body, "{request:?}");
}

#[test]
fn a_length_that_is_said_in_two_ways_is_refused() {
    let lengths = [
        "content-length: 3\r\ncontent-length: 4\r\n",
        "content-length: 3, 3\r\n",
        "content-length: 3, 4\r\n",
        "content-length: +3\r\n",
        "content-length: -1\r\n",
        "content-length:\r\n",
        "content-length: 0x3\r\n",
        "content-length: 3 3\r\n",
        "content-length: 003\r\n",
        "content-length: 99999999999999999999\r\n",
        "content-length: 18446744073709551616\r\n",
    ];
    let requests = lengths.map(|fields| post(fields, "abc"));
    assert_refused(&[400], &requests);
}

#[test]
fn an_equal_length_twice_becomes_one() {
    let request = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 3\r\n\
                   connection: close\r\n\r\nabc";
    assert_forwarded(
        request,
        &["POST / HTTP/1.1", "content-length: 3", "host: a"],
        "abc",
    );
}

#[test]
fn a_length_beside_chunks_is_dropped_and_nothing_read_behind_them() {
    let length = 5 + SMUGGLED.len();
    for fields in [
        format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n"),
        format!("transfer-encoding: chunked\r\ncontent-length: {length}\r\n"),
    ] {
        assert_forwarded(
            &post(&fields, "3\r\nabc\r\n0\r\n\r\n"),
            &["POST / HTTP/1.1", "host: a", "transfer-encoding: chunked"],
            "3\r\nabc\r\n0\r\n\r\n",
        );
    }
}

#[test]
fn transfer_codings_other_than_chunked_are_refused() {
    let codings = [
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: identity, chunked\r\n",
        "transfer-encoding: ,chunked\r\n",
        "transfer-encoding: chunked,\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: \"chunked\"\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: \u{b}chunked\r\n",
    ];
    let mut requests: Vec<String> = codings
        .iter()
        .map(|fields| post(fields, "0\r\n\r\n"))
        .collect();
    requests.push(
        "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
    );
    assert_refused(&[400, 501], &requests);
}

#[test]
fn fields_that_are_malformed_are_refused() {
    let fields = [
        "x : a\r\n",
        "transfer-encoding : chunked\r\n",
        "x: a\r\n folded\r\n",
        " x: a\r\n",
        "x: a\rb\r\n",
        "x: a\0b\r\n",
        "x: a\u{1}b\r\n",
        "x: a\u{7f}b\r\n",
        "x y: a\r\n",
        "x(y): a\r\n",
        ": a\r\n",
        "x\r\n",
        "\u{e9}: a\r\n",
    ];
    let requests = fields.map(|fields| post(&format!("{fields}content-length: 0\r\n"), ""));
    assert_refused(&[400], &requests);
}

#[test]
fn a_line_that_ends_in_lf_alone_is_one_of_its_own_for_the_upstream_too() {
    assert_forwarded(
        "POST / HTTP/1.1\nhost: a\nx: 1\ncontent-length: 3\nconnection: close\n\nabc",
        &["POST / HTTP/1.1", "content-length: 3", "host: a", "x: 1"],
        "abc",
    );
}

#[test]
fn fields_with_an_underscore_are_dropped_refused_or_passed_as_configured() {
    let request = "POST / HTTP/1.1\r\nhost: a\r\nTransfer_Encoding: chunked\r\nx_a: 1\r\n\
                   Content_Length: 9\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc";
    assert_forwarded(
        request,
        &["POST / HTTP/1.1", "content-length: 3", "host: a"],
        "abc",
    );
    let (recorder, weir) = start("underscores: refuse");
    assert_eq!(exchange(&weir, request.as_bytes()), [400]);
    assert_eq!(recorder.take(), "");
    let (recorder, weir) = start("underscores: pass");
    assert_eq!(exchange(&weir, request.as_bytes()), [200]);
    assert!(recorder.take().contains("x_a: 1\r\n"));
}

#[test]
fn a_host_that_is_doubtful_is_refused() {
    let hosts = [
        "",
        "host:\r\n",
        "host: a\r\nhost: b\r\n",
        "host: a\r\nHost: a\r\n",
        "host: a b\r\n",
        "host: user@a\r\n",
        "host: a/b\r\n",
        "host: a, b\r\n",
        "host: a#b\r\n",
        "host: a\\b\r\n",
        "host: \u{e4}.example\r\n",
        "host: a:b:c\r\n",
        "host: a:80:80\r\n",
        "host: a:b\r\n",
        "host: :80\r\n",
        "host: [\r\n",
        "host: ]\r\n",
        "host: [::1\r\n",
        "host: ::1\r\n",
        "host: [::1]a\r\n",
        "host: [a]\r\n",
        "host: a%41\r\n",
    ];
    let mut requests: Vec<String> = hosts
        .iter()
        .map(|hosts| format!("GET / HTTP/1.1\r\n{hosts}\r\n{SMUGGLED}"))
        .collect();
    requests.push(get("GET http://user@b/ HTTP/1.1"));
    requests.push(get("GET http://user:pass@b/ HTTP/1.1"));
    requests.push(get("GET ftp://b/ HTTP/1.1"));
    requests.push(format!("GET http://b/ HTTP/1.1\r\n\r\n{SMUGGLED}"));
    assert_refused(&[400], &requests);
}

#[test]
fn a_host_that_http10_leaves_out_is_the_endpoints() {
    let (recorder, weir) = start("");
    assert_eq!(exchange(&weir, b"GET / HTTP/1.0\r\n\r\n"), [200]);
    let sent = canonical(&recorder.take());
    let host = recorder.url().replace("http://", "host: ");
    assert_eq!(sent[0].0, ["GET / HTTP/1.1", &host]);
}

#[test]
fn an_absolute_target_is_routed_and_sent_on_by_itself() {
    assert_forwarded(
        "GET http://b:81/x?y HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        &["GET /x?y HTTP/1.1", "host: b:81"],
        "",
    );
}

#[test]
fn targets_that_are_none_or_could_be_two_are_refused() {
    let targets = [
        "GET * HTTP/1.1",
        "GET a:80 HTTP/1.1",
        "GET x HTTP/1.1",
        "GET /%00 HTTP/1.1",
        "GET /%zz HTTP/1.1",
        "GET /% HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "GET /a/../b HTTP/1.1",
        "GET /a/./b HTTP/1.1",
        "GET /a/%2e%2e/b HTTP/1.1",
        "GET /a/.%2E/b HTTP/1.1",
        "GET /a%2fb HTTP/1.1",
        "GET /a%5cb HTTP/1.1",
        "GET /a/..;/b HTTP/1.1",
        "GET /a/%2e.;x=y/b HTTP/1.1",
        "GET /a\\b HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET /\u{1} HTTP/1.1",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / HTTP/11",
        "GET / http/1.1",
        "GET /",
    ];
    assert_refused(&[400], &targets.map(get));
    let connects = ["CONNECT a:80 HTTP/1.1", "CONNECT / HTTP/1.1"];
    assert_refused(&[400, 501], &connects.map(get));
}

#[test]
fn a_fragment_ends_the_target_for_everybody() {
    assert_forwarded(
        "GET /a?b#/../c HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        &["GET /a?b HTTP/1.1", "host: a"],
        "",
    );
    assert_forwarded(
        "GET /a//b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        &["GET /a//b HTTP/1.1", "host: a"],
        "",
    );
}

#[test]
fn an_escape_of_what_needs_none_is_undone_and_no_other() {
    assert_forwarded(
        "GET /%61/b%2dc%2Ed/%7Ee/%2561/%40/%c3%a9?%61 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        &["GET /a/b-c.d/~e/%2561/%40/%c3%a9?%61 HTTP/1.1", "host: a"],
        "",
    );
}

#[test]
fn a_method_in_lower_case_passes_by_no_rule() {
    let methods = ["get / HTTP/1.1", "Get / HTTP/1.1", "delete / HTTP/1.1"];
    assert_refused(&[400], &methods.map(get));
    let bad = ["G(T / HTTP/1.1", "\u{1} / HTTP/1.1", " GET / HTTP/1.1"];
    assert_refused(&[400], &bad.map(get));
}

/// A chunked request, whose upstream may have seen a part of it, but never an end.
#[track_caller]
fn assert_aborted(chunks: &[&str]) {
    let (recorder, weir) = start("");
    for chunks in chunks {
        let request = post("transfer-encoding: chunked\r\n", chunks);
        let statuses = exchange(&weir, request.as_bytes());
        assert!(statuses.len() <= 1, "{chunks:?}: {statuses:?}");
        assert!(
            statuses.iter().all(|status| *status == 400),
            "{chunks:?}: {statuses:?}"
        );
        // What comes next comes by another connection.
        assert_eq!(exchange(&weir, LAST), [200]);
        let sent = recorder.take_apart();
        let (torn, whole): (Vec<_>, Vec<_>) = sent.iter().partition(|sent| sent.contains("POST"));
        assert_eq!(whole.len(), 1, "{chunks:?}: {sent:?}");
        for torn in torn {
            assert!(!torn.contains("\r\n0\r\n"), "{chunks:?}: {torn:?}");
            assert!(!torn.contains("GET"), "{chunks:?}: {torn:?}");
        }
        let smuggled = sent.iter().any(|sent| sent.contains("smuggled"));
        assert!(!smuggled, "{chunks:?}: {sent:?}");
    }
}

#[test]
fn a_bad_chunk_ends_the_request_without_an_end_for_the_upstream() {
    assert_aborted(&[
        "0x3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "g\r\nabc\r\n0\r\n\r\n",
        "ffffffffffffffff1\r\nabc\r\n0\r\n\r\n",
        "10000000000000003\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nab\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\rX\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\r\nx : y\r\nno colon\r\n\r\n",
    ]);
}

/// As [`assert_aborted`], of what surely had begun: the upstream has a chunk before the bad one comes.
#[test]
fn a_bad_chunk_behind_one_that_was_sent_on_ends_the_upstreams_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let weir = Setup::to(format!("http://{address}")).start();
    for bad in [
        "g\r\n",
        "0x3\r\nabc\r\n",
        "3\r\nabcd\r\n",
        "fffffffffffffffff\r\n",
    ] {
        let mut client = Connection::open(weir.proxy());
        client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
        let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
        upstream.read_head().expect("a head");
        assert_eq!(upstream.read_chunk().as_deref(), Some(&b"abc"[..]));
        client.send(format!("{bad}0\r\n\r\n{SMUGGLED}"));
        assert_eq!(client.receive().expect("a response").status, 400, "{bad:?}");
        assert_eq!(client.read_to_end(), b"", "{bad:?}");
        // Closed: nothing else can come by it, nor has an end of the body come.
        let rest = upstream.read_to_end();
        let rest = String::from_utf8_lossy(&rest);
        assert!(!rest.contains("0\r\n\r\n"), "{bad:?}: {rest:?}");
        assert!(!rest.contains("GET"), "{bad:?}: {rest:?}");
    }
}

#[test]
fn chunks_are_framed_anew_without_what_their_sizes_were_padded_with() {
    for chunks in [
        "3;name=value\r\nabc\r\n0\r\n\r\n",
        "003\r\nabc\r\n000\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
    ] {
        let request = format!(
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n{chunks}"
        );
        assert_forwarded(
            &request,
            &["POST / HTTP/1.1", "host: a", "transfer-encoding: chunked"],
            "3\r\nabc\r\n0\r\n\r\n",
        );
    }
}

#[test]
fn trailers_that_frame_route_authorise_or_name_the_client_are_dropped() {
    let request = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\
                   trailer: content-length, transfer-encoding, host, authorization, forwarded, \
                   x-forwarded-for, x_forwarded_for, x-forwarded-port, keep-alive\r\n\
                   \r\n3\r\nabc\r\n0\r\ncontent-length: 5\r\ntransfer-encoding: x\r\nhost: evil\r\n\
                   authorization: evil\r\nforwarded: for=evil\r\nx-forwarded-for: evil\r\n\
                   x_forwarded_for: evil\r\nx-forwarded-port: evil\r\nkeep-alive: evil\r\n\r\n";
    let (recorder, weir) = start("");
    assert_eq!(exchange(&weir, request.as_bytes()), [200]);
    let sent = recorder.take();
    assert!(sent.ends_with("3\r\nabc\r\n0\r\n\r\n"), "{sent:?}");
    assert!(!sent.contains("evil"), "{sent:?}");
}

#[test]
fn trailers_that_never_end_are_refused() {
    let (recorder, weir) = start("");
    let mut client = Connection::open(weir.proxy());
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n");
    let trailer = format!("x: {}\r\n", "y".repeat(1000));
    for _ in 0..10_000 {
        client.send(&trailer);
    }
    // What came behind those that were too many was read for nothing.
    assert_eq!(client.receive().expect("a response").status, 400);
    assert_eq!(client.read_to_end(), b"");
    assert!(!recorder.take().contains("\r\n0\r\n"));
    assert_eq!(exchange(&weir, LAST), [200]);
}

#[test]
fn heads_without_measure_are_answered_with_431() {
    let (recorder, weir) = start("");
    let large = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "y".repeat(300 << 10)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nhost: a\r\n{}\r\n",
        "x: y\r\n".repeat(20_000)
    );
    for request in [large, many] {
        assert_eq!(exchange(&weir, request.as_bytes()), [431]);
    }
    assert_eq!(recorder.take(), "");
}
