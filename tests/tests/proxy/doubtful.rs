//! Requests that two programs could read in two ways, row by row: refused before an upstream sees a
//! byte, or brought to one form, whose bytes are compared.

mod tables;

use std::net::TcpListener;

use weir_tests::client::Connection;
use weir_tests::recorder::Recorder;
use weir_tests::weir::Weir;

use crate::Setup;
pub(super) use tables::all;
use tables::{SMUGGLED, post};

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
    assert_refused(&[400], &tables::lengths());
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
    assert_refused(&[400, 501], &tables::codings());
}

#[test]
fn fields_that_are_malformed_are_refused() {
    assert_refused(&[400], &tables::fields());
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
    assert_refused(&[400], &tables::hosts());
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
    assert_refused(&[400], &tables::targets());
    assert_refused(&[400, 501], &tables::connects());
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
    assert_refused(&[400], &tables::methods());
}

/// A chunked request, whose upstream may have seen a part of it, but never an end.
#[track_caller]
fn assert_aborted(requests: &[String]) {
    let (recorder, weir) = start("");
    for request in requests {
        let statuses = exchange(&weir, request.as_bytes());
        assert!(statuses.len() <= 1, "{request:?}: {statuses:?}");
        assert!(
            statuses.iter().all(|status| *status == 400),
            "{request:?}: {statuses:?}"
        );
        // What comes next comes by another connection.
        assert_eq!(exchange(&weir, LAST), [200]);
        let sent = recorder.take_apart();
        let (torn, whole): (Vec<_>, Vec<_>) = sent.iter().partition(|sent| sent.contains("POST"));
        assert_eq!(whole.len(), 1, "{request:?}: {sent:?}");
        for torn in torn {
            assert!(!torn.contains("\r\n0\r\n"), "{request:?}: {torn:?}");
            assert!(!torn.contains("GET"), "{request:?}: {torn:?}");
        }
        let smuggled = sent.iter().any(|sent| sent.contains("smuggled"));
        assert!(!smuggled, "{request:?}: {sent:?}");
    }
}

#[test]
fn a_bad_chunk_ends_the_request_without_an_end_for_the_upstream() {
    assert_aborted(&tables::chunks());
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
    for request in tables::padded() {
        assert_forwarded(
            &request,
            &["POST / HTTP/1.1", "host: a", "transfer-encoding: chunked"],
            "3\r\nabc\r\n0\r\n\r\n",
        );
    }
}

#[test]
fn trailers_that_frame_route_authorise_or_name_the_client_are_dropped() {
    let (recorder, weir) = start("");
    assert_eq!(exchange(&weir, tables::trailers().as_bytes()), [200]);
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
