//! Traces of callers continued, of errors, of clients that leave.

use std::io::Write as _;

use serde_json::json;
use weir_tests::client::{self, Connection};
use weir_tests::config::config;
use weir_tests::trace::Trace;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;

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

fn assert_abandoned(trace: &Trace) {
    assert_eq!(trace.root()["Status"], "error");
    assert_eq!(trace.root()["StatusMsg"], "client disconnected");
    assert_eq!(
        trace.root()["Attributes"]["error.type"],
        "client_disconnected"
    );
    assert_eq!(
        trace.root()["Attributes"].get("http.response.status_code"),
        None
    );
    assert_eq!(trace.names(), ["GET all", "GET"]);
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
    std::io::Read::read_exact(connection.stream(), &mut byte).expect("the response begins");
    drop(connection);
    assert_abandoned(&first(&topic));
}
