//! The tables of requests that two programs could read in two ways, each with another request behind it that is
//! one only where the first has ended before.

/// What a client behind the request under test would smuggle in.
pub(super) const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

fn get(line: &str) -> String {
    format!("{line}\r\nhost: a\r\n\r\n{SMUGGLED}")
}

pub(super) fn post(fields: &str, rest: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n{rest}{SMUGGLED}")
}

/// All of them.
pub(in super::super) fn all() -> Vec<String> {
    let tables = [
        lengths(),
        codings(),
        fields(),
        hosts(),
        targets(),
        connects(),
        methods(),
        chunks(),
        padded(),
        forwarded(),
        vec![trailers() + SMUGGLED],
    ];
    tables.concat()
}

pub(super) fn lengths() -> Vec<String> {
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
    lengths.map(|fields| post(fields, "abc")).to_vec()
}

pub(super) fn codings() -> Vec<String> {
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
    let mut requests = codings.map(|fields| post(fields, "0\r\n\r\n")).to_vec();
    requests.push(
        "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
    );
    requests
}

pub(super) fn fields() -> Vec<String> {
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
    let with = |fields| post(&format!("{fields}content-length: 0\r\n"), "");
    fields.map(with).to_vec()
}

pub(super) fn hosts() -> Vec<String> {
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
    let named = hosts.map(|hosts| format!("GET / HTTP/1.1\r\n{hosts}\r\n{SMUGGLED}"));
    let targets = [
        "GET http://user@b/ HTTP/1.1",
        "GET http://user:pass@b/ HTTP/1.1",
        "GET ftp://b/ HTTP/1.1",
    ];
    let unnamed = format!("GET http://b/ HTTP/1.1\r\n\r\n{SMUGGLED}");
    [&named[..], &targets.map(get), &[unnamed]].concat()
}

pub(super) fn targets() -> Vec<String> {
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
    targets.map(get).to_vec()
}

pub(super) fn connects() -> Vec<String> {
    ["CONNECT a:80 HTTP/1.1", "CONNECT / HTTP/1.1"]
        .map(get)
        .to_vec()
}

pub(super) fn methods() -> Vec<String> {
    let methods = [
        "get / HTTP/1.1",
        "Get / HTTP/1.1",
        "delete / HTTP/1.1",
        "G(T / HTTP/1.1",
        "\u{1} / HTTP/1.1",
        " GET / HTTP/1.1",
    ];
    methods.map(get).to_vec()
}

/// Of chunks that are none.
pub(super) fn chunks() -> Vec<String> {
    let chunks = [
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
    ];
    let chunked = |chunks| post("transfer-encoding: chunked\r\n", chunks);
    chunks.map(chunked).to_vec()
}

/// Of chunks that are framed anew. Nothing is behind them.
pub(super) fn padded() -> Vec<String> {
    let chunks = [
        "3;name=value\r\nabc\r\n0\r\n\r\n",
        "003\r\nabc\r\n000\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
    ];
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n";
    chunks.map(|chunks| format!("{head}\r\n{chunks}")).to_vec()
}

/// Without anything behind it.
pub(super) fn trailers() -> String {
    "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\
                   trailer: content-length, transfer-encoding, host, authorization, forwarded, \
                   x-forwarded-for, x_forwarded_for, x-forwarded-port, keep-alive\r\n\
                   \r\n3\r\nabc\r\n0\r\ncontent-length: 5\r\ntransfer-encoding: x\r\nhost: evil\r\n\
                   authorization: evil\r\nforwarded: for=evil\r\nx-forwarded-for: evil\r\n\
                   x_forwarded_for: evil\r\nx-forwarded-port: evil\r\nkeep-alive: evil\r\n\r\n"
        .to_owned()
}

/// Of targets, a host and a framing that have one form.
fn forwarded() -> Vec<String> {
    let targets = [
        "GET http://b:81/x?y HTTP/1.1",
        "GET /a?b#/../c HTTP/1.1",
        "GET /a//b HTTP/1.1",
        "GET /%61/b%2dc%2Ed/%7Ee/%2561/%40/%c3%a9?%61 HTTP/1.1",
    ];
    let mut requests = targets.map(get).to_vec();
    requests.push("GET / HTTP/1.0\r\n\r\n".to_owned());
    let length = "content-length: 3\r\n";
    requests.push(post(&format!("{length}{length}"), "abc"));
    requests.push(post(
        "Transfer_Encoding: chunked\r\ncontent-length: 3\r\n",
        "abc",
    ));
    requests
}
