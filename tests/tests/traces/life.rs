//! Traces of callers continued, of errors, of clients that leave.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};
use socket2::SockRef;
use weir_tests::client::{self, Connection};
use weir_tests::config::config;
use weir_tests::http2::{Raw, frame, get_block_of};
use weir_tests::kafka::shared;
use weir_tests::trace::Trace;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::{Weir, guest};

use crate::{first, start, trace_of, two_plugins};

#[test]
fn a_callers_trace_is_continued() {
    let upstream = Upstream::hello();
    let (weir, topic) = start(two_plugins(&upstream));
    let context = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
    weir.get(
        "/",
        &[
            &format!("traceparent: 00-{context}-01"),
            "tracestate: vendor=1",
        ],
    );
    let trace = first(&topic);
    assert_eq!(trace.0["TraceID"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(trace.0["ParentID"], "b7ad6b7169203331");
    assert_eq!(trace.root()["ParentID"], "b7ad6b7169203331");
    assert_eq!(upstream.seen()[0].header("tracestate"), Some("vendor=1"));
}

#[test]
fn the_upstream_gets_the_calls_span_as_parent() {
    let upstream = Upstream::hello();
    let (weir, topic) = start(two_plugins(&upstream));
    weir.get(
        "/",
        &["traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
    );
    let trace = first(&topic);
    let call = trace.span("GET")["SpanID"].as_str().expect("an id");
    let sent = upstream.seen()[0]
        .header("traceparent")
        .expect("a header")
        .to_owned();
    assert_eq!(
        sent,
        format!("00-0af7651916cd43dd8448eb211c80319c-{call}-01")
    );
}

#[test]
fn a_malformed_traceparent_begins_a_new_trace() {
    let trace = trace_of(
        config(&Upstream::hello()),
        &["traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01"],
    );
    assert_ne!(trace.0["TraceID"], "0".repeat(32));
    assert_eq!(trace.0["ParentID"], "");
}

#[test]
fn an_error_of_the_server_marks_the_root() {
    let unavailable = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    let trace = trace_of(config(&Upstream::answering(unavailable)), &[]);
    assert_eq!(trace.root()["Status"], "error");
    assert_eq!(trace.root()["Attributes"]["error.type"], "503");
    assert_eq!(trace.span("GET")["Status"], "error");
    assert_eq!(trace.attribute("GET", "error.type"), "503");
}

#[test]
fn an_error_of_the_clients_marks_the_call_alone() {
    let missing = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
    let trace = trace_of(config(&Upstream::answering(missing)), &[]);
    assert_eq!(trace.root()["Status"], "unset");
    assert_eq!(trace.root()["Attributes"].get("error.type"), None);
    assert_eq!(trace.span("GET")["Status"], "error");
}

#[test]
fn a_request_that_matches_no_route_is_named_by_its_method() {
    let mut config = config(&Upstream::hello());
    config["routes"][0]["match"] = json!({ "path": "/only" });
    let trace = trace_of(config, &[]);
    assert_eq!(trace.names(), ["GET"]);
    assert_eq!(trace.root()["Attributes"]["http.response.status_code"], 404);
}

/// Else a client could make as many names as it likes, each as long as its head may be.
#[test]
fn methods_that_nobody_registered_have_one_name() {
    let long = "M".repeat(50_000);
    for (method, name, attribute) in [
        ("PROPFIND", "PROPFIND", "PROPFIND"),
        ("SPY", "HTTP", "_OTHER"),
        (long.as_str(), "HTTP", "_OTHER"),
    ] {
        let mut config = config(&Upstream::hello());
        config["store"] = json!({});
        let (weir, topic) = start(config);
        let request = format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client::send(weir.proxy(), request).status, 200);
        let trace = first(&topic);
        assert_eq!(trace.names(), [format!("{name} all").as_str(), name]);
        let attributes = &trace.root()["Attributes"];
        assert_eq!(attributes["http.request.method"], attribute);
        let original = attributes.get("http.request.method_original");
        let original = original.map(|original| original.as_str().expect("a text"));
        let bounded = &method[..method.len().min(2048)];
        assert_eq!(original, (method != name).then_some(bounded));
        // Lists have what the client sent.
        let listed = eventually("it is kept", || {
            let listed = weir.api("/api/traces").json()["traces"][0]["method"].clone();
            listed.as_str().map(str::to_owned)
        });
        assert_eq!(listed, method[..method.len().min(32)]);
    }
}

#[test]
fn what_weir_refuses_before_it_routes_has_a_trace() {
    for (request, method, status) in [
        (
            "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n",
            "CONNECT",
            501,
        ),
        ("GET / HTTP/1.1\r\n\r\n", "GET", 400),
    ] {
        let (weir, topic) = start(config(&Upstream::hello()));
        assert_eq!(client::send(weir.proxy(), request).status, status);
        let trace = first(&topic);
        assert_eq!(trace.names(), [method]);
        let attributes = &trace.root()["Attributes"];
        assert_eq!(attributes["http.request.method"], method);
        assert_eq!(attributes["http.response.status_code"], status);
    }
}

#[track_caller]
fn assert_broken_off(trace: &Trace, reason: &str, message: &str) {
    let root = trace.root();
    assert_eq!(root["Status"], "error");
    assert_eq!(root["StatusMsg"], message);
    let attributes = &root["Attributes"];
    assert_eq!(attributes["error.type"], reason);
    assert_eq!(attributes.get("http.response.status_code"), None);
}

#[track_caller]
fn assert_abandoned(trace: &Trace) {
    assert_abandoned_by("GET", trace);
}

#[track_caller]
fn assert_abandoned_by(method: &str, trace: &Trace) {
    assert_broken_off(trace, "client_disconnected", "client disconnected");
    assert_eq!(trace.names(), [format!("{method} all").as_str(), method]);
}

#[test]
fn a_client_that_leaves_before_the_response_leaves_a_trace() {
    let upstream = Upstream::new(|_, _| {});
    let (weir, topic) = start(config(&upstream));
    let mut connection = Connection::open(weir.proxy());
    connection.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    eventually("the upstream is called", || upstream.seen().pop());
    drop(connection);
    assert_abandoned(&first(&topic));
}

#[test]
fn a_client_that_leaves_within_the_response_leaves_a_trace() {
    let upstream = Upstream::new(|_, stream| {
        let _ =
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n");
    });
    let (weir, topic) = start(config(&upstream));
    let mut connection = Connection::open(weir.proxy());
    connection.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    let mut byte = [0];
    (connection.stream().read_exact(&mut byte)).expect("the response begins");
    drop(connection);
    assert_abandoned(&first(&topic));
}

/// A listener in the place of the upstream: it has what it reads of a request.
fn facing() -> (TcpListener, Value) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut config = config(&Upstream::hello());
    config["upstreams"]["up"]["endpoints"] = json!([format!("http://{address}")]);
    (listener, config)
}

/// Takes a request, to the first piece of its body.
fn begun(listener: &TcpListener) -> Connection {
    let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
    upstream.read_head().expect("a head");
    assert_eq!(upstream.read_chunk().as_deref(), Some(&b"part"[..]));
    upstream
}

/// How a client says how long its body is, and the first piece of it.
const UPLOADS: [(&str, &str); 2] = [
    ("transfer-encoding: chunked", "4\r\npart\r\n"),
    ("content-length: 10", "part"),
];

/// Sends a request, and part of its body.
fn uploading(weir: &Weir, (field, part): (&str, &str)) -> Connection {
    let mut connection = Connection::open(weir.proxy());
    connection.send(format!(
        "POST / HTTP/1.1\r\nhost: test\r\n{field}\r\n\r\n{part}"
    ));
    connection
}

#[test]
fn a_client_that_leaves_in_mid_upload_leaves_a_trace() {
    let (listener, config) = facing();
    let (weir, topic) = start(config);
    for (count, (upload, resets)) in [(UPLOADS[0], false), (UPLOADS[1], false), (UPLOADS[1], true)]
        .into_iter()
        .enumerate()
    {
        let mut connection = uploading(&weir, upload);
        let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
        upstream.read_head().expect("a head");
        let part = upload.1.as_bytes();
        assert_eq!(upstream.read_exactly(part.len()), part);
        if resets {
            let stream = connection.stream();
            let socket = SockRef::from(&*stream);
            socket.set_linger(Some(Duration::ZERO)).expect("an option");
        }
        drop(connection);
        let trace = &shared().traces(&topic, count + 1)[count];
        assert_abandoned_by("POST", trace);
        // It is no failure of the upstream's.
        assert_eq!(trace.span("POST")["Status"], "error");
        assert_eq!(trace.attribute("POST", "error.type"), "upload");
    }
}

#[test]
fn a_client_that_leaves_in_mid_upload_leaves_a_trace_also_within_the_response() {
    let (listener, config) = facing();
    let (weir, topic) = start(config);
    let mut connection = uploading(&weir, UPLOADS[0]);
    let mut upstream = begun(&listener);
    upstream.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n");
    connection.receive_head().expect("the response begins");
    drop(connection);
    assert_abandoned_by("POST", &first(&topic));
}

#[test]
fn a_client_that_leaves_before_a_hook_has_its_body_leaves_a_trace() {
    let upstream = Upstream::hello();
    for upload in UPLOADS {
        let mut config = config(&upstream);
        config["plugins"]["wrap"] =
            json!({ "module": guest("wrap"), "config": { "request": 1000 } });
        config["routes"][0]["plugins"] = json!(["wrap"]);
        let (weir, topic) = start(config);
        drop(uploading(&weir, upload));
        assert_broken_off(&first(&topic), "client_disconnected", "client disconnected");
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a_body_that_is_malformed_is_answered_and_is_nobodys_leaving() {
    let (listener, config) = facing();
    let (weir, topic) = start(config);
    let mut connection = uploading(&weir, UPLOADS[0]);
    let _upstream = begun(&listener);
    connection.send("no length\r\n");
    assert_eq!(connection.receive().expect("an answer").status, 400);
    let trace = first(&topic);
    let attributes = &trace.root()["Attributes"];
    assert_eq!(attributes["http.response.status_code"], 400);
    assert_eq!(attributes.get("error.type"), None);
}

#[test]
fn what_a_shutdown_cuts_is_no_clients_leaving() {
    let (listener, config) = facing();
    let (mut weir, topic) = start(config);
    let ask = || {
        let mut connection = Connection::open(weir.proxy());
        connection.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
        let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
        upstream.read_head().expect("a head");
        (connection, upstream)
    };
    let _waiting = ask();
    let (mut client, mut upstream) = ask();
    upstream.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n");
    client.receive_head().expect("the response begins");
    let mut raw = Raw::open(weir.proxy());
    raw.0
        .write_all(&frame(1, 5, 1, &get_block_of("/")))
        .expect("send");
    let mut third = Connection::over(listener.accept().expect("weir connects").0);
    third.read_head().expect("a head");

    weir.signal("TERM");
    weir.says("draining");
    // The end of the grace, but now.
    weir.signal("TERM");
    assert_eq!(weir.wait().code(), Some(0));
    for trace in shared().traces(&topic, 3) {
        assert_broken_off(&trace, "shutdown", "cut by the shutdown");
    }
}

#[test]
fn a_stream_that_is_reset_leaves_a_trace_whether_it_was_asked_whole_or_not() {
    let (listener, config) = facing();
    let (weir, topic) = start(config);
    let mut raw = Raw::open(weir.proxy());
    raw.0
        .write_all(&frame(1, 5, 1, &get_block_of("/")))
        .expect("send");
    let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
    upstream.read_head().expect("a head");
    let cancel = |stream| frame(3, 0, stream, &[0, 0, 0, 8]);
    raw.0.write_all(&cancel(1)).expect("send");
    assert_abandoned(&first(&topic));

    let mut block = get_block_of("/");
    // `:method POST`.
    block[0] = 0x83;
    let upload = [frame(1, 4, 3, &block), frame(0, 0, 3, b"part")].concat();
    raw.0.write_all(&upload).expect("send");
    let _upstream = begun(&listener);
    raw.0.write_all(&cancel(3)).expect("send");
    assert_abandoned_by("POST", &shared().traces(&topic, 2)[1]);
}
