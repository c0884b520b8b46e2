//! Weir's own traces by OTLP: to Weir, to others, and to those that refuse, stall or are away.

mod answers;
mod compression;
mod reach;
mod secrets;

use std::io::Write as _;
use std::net::TcpStream;

use serde_json::{Value, json};
use weir_tests::config::config;
use weir_tests::upstream::{Seen, Upstream};
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

/// A collector's answer to what it takes.
const TAKEN: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

/// A configuration whose traces go to this exporter.
fn exporting(otlp: Value) -> Value {
    let mut config = config(&Upstream::hello());
    config["exporters"]["out"]["otlp"] = otlp;
    config
}

/// An exporter that sends at once, and tells what it sends in plain JSON.
fn json_to(collector: &Upstream) -> Value {
    json!({
        "endpoint": collector.url(),
        "protocol": "http_json",
        "compression": "none",
        "flush_interval": "1ms",
        "retry_backoff": "1ms",
        "retry_backoff_max": "10ms",
    })
}

/// A collector over HTTP/1.1 that takes empty requests, and answers others with the bytes that
/// `answer` gives for them.
fn collector(answer: impl Fn(&Value) -> String + Send + Sync + 'static) -> Upstream {
    Upstream::new(move |seen: &Seen, stream: &mut TcpStream| {
        let request = body(seen);
        let bytes = if spans(&request).is_empty() {
            TAKEN.to_owned()
        } else {
            answer(&request)
        };
        // Whoever asked may have been stopped.
        let _ = stream.write_all(bytes.as_bytes());
    })
}

/// A whole answer of HTTP.
fn answer(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn body(seen: &Seen) -> Value {
    serde_json::from_slice(&seen.body).expect("a request is JSON")
}

/// The requests that a collector saw, but for empty ones.
fn requests(collector: &Upstream) -> Vec<Value> {
    let seen = collector.seen();
    let bodies = seen.iter().map(body);
    bodies.filter(|body| !spans(body).is_empty()).collect()
}

/// The spans of a request.
fn spans(request: &Value) -> Vec<&Value> {
    let resources = request["resourceSpans"].as_array();
    resources
        .into_iter()
        .flatten()
        .flat_map(|resource| resource["scopeSpans"].as_array().into_iter().flatten())
        .flat_map(|scope| scope["spans"].as_array().into_iter().flatten())
        .collect()
}

/// One attribute of a span, where it is a text.
fn attribute<'s>(span: &'s Value, key: &str) -> Option<&'s str> {
    let mut attributes = span["attributes"].as_array().into_iter().flatten();
    let found = attributes.find(|attribute| attribute["key"] == key)?;
    found["value"]["stringValue"].as_str()
}

/// The request ids of the traces in a request.
fn ids(request: &Value) -> Vec<String> {
    let spans = spans(request);
    let ids = spans
        .iter()
        .filter_map(|span| attribute(span, "weir.request.id"));
    ids.map(str::to_owned).collect()
}

fn ask(weir: &Weir, target: &str, id: &str) {
    let response = weir.get(target, &[&format!("x-request-id: {id}")]);
    assert_eq!(response.status, 200);
}

fn count(weir: &Weir, name: &str) -> u64 {
    weir.count(&format!("weir_export_{name}_total{{exporter=\"out\"}}"))
}

fn counted(weir: &Weir, name: &str, reason: &str) -> u64 {
    let labels = format!("{{exporter=\"out\",reason=\"{reason}\"}}");
    weir.count(&format!("weir_export_{name}_total{labels}"))
}

/// Waits until the exporter is in this state, and gives what it says.
fn state(weir: &Weir, wanted: &str) -> String {
    eventually(&format!("the exporter is {wanted}"), || {
        let ready = weir.ready();
        let exporter = &ready["exporters"][0];
        assert_eq!(ready["status"], "ready");
        (exporter["state"] == wanted)
            .then(|| exporter["message"].as_str().unwrap_or_default().to_owned())
    })
}
