//! OTLP/JSON: the protobuf messages as JSON, with ids in hex, 64-bit integers as texts and enums as
//! numbers. What has its default value is left out.

use super::{
    HEADER_PREFIX, LOG, LOG_MESSAGE, LOG_PLUGIN, LOG_SEVERITY, Logs, REQUEST_ID, TRUNCATED,
};
use crate::filter::Selection;
use crate::trace::json::text::{close, float, integer, string};
use crate::trace::{
    Attribute, Event, Head, PluginLog, Span, SpanId, SpanIndex, Status, Trace, Value, hex,
};

const START: &str = concat!(
    r#"{"resourceSpans":[{"resource":{"attributes":["#,
    r#"{"key":"service.name","value":{"stringValue":"weir"}},"#,
    r#"{"key":"service.version","value":{"stringValue":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}}]},"scopeSpans":[{"scope":{"name":"weir","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""},"spans":["#
);

/// Appends OTLP/JSON of what `selection` leaves of `trace`.
pub fn encode(trace: &Trace<'_>, selection: &Selection<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(START.as_bytes());
    let trace_id = hex::Digits::of(&trace.head.trace_id.0);
    let mut logs = Logs::new(trace, selection);
    for (index, of, parent) in selection.spans(trace) {
        span(trace, &trace_id, of, parent, out);
        out.extend_from_slice(br#","attributes":["#);
        attributes(trace.attributes_of(of), selection, out);
        if index == SpanIndex::ROOT {
            root_attributes(trace, selection, out);
        }
        close(b']', out);
        if index == SpanIndex::ROOT && trace.head.dropped > 0 {
            out.extend_from_slice(br#","droppedAttributesCount":"#);
            integer(trace.head.dropped, out);
        }
        out.extend_from_slice(br#","events":["#);
        for of in trace.events_of(of) {
            event(&trace.head, of, selection, out);
        }
        for line in logs.of(index) {
            log(&trace.head, line, selection, out);
        }
        close(b']', out);
        out.extend_from_slice(b"},");
    }
    close(b']', out);
    out.extend_from_slice(b"}]}]}");
}

/// All of a span but its attributes and events; the object is left open.
fn span(
    trace: &Trace<'_>,
    trace_id: &hex::Digits<32>,
    span: &Span<'_>,
    parent: Option<SpanId>,
    out: &mut Vec<u8>,
) {
    let head = &trace.head;
    out.extend_from_slice(br#"{"traceId":""#);
    out.extend_from_slice(&trace_id.0);
    out.extend_from_slice(br#"","spanId":""#);
    out.extend_from_slice(&hex::Digits::<16>::of(&span.id.0).0);
    if let Some(parent) = parent {
        out.extend_from_slice(br#"","parentSpanId":""#);
        out.extend_from_slice(&hex::Digits::<16>::of(&parent.0).0);
    }
    out.extend_from_slice(br#"","traceState":"#);
    string(head.state, out);
    out.extend_from_slice(br#","flags":"#);
    integer(super::flags(trace, span), out);
    out.extend_from_slice(br#","name":"#);
    string(span.name, out);
    out.extend_from_slice(br#","kind":"#);
    integer(super::kind(span.kind), out);
    out.extend_from_slice(br#","startTimeUnixNano":""#);
    integer(head.anchor.saturating_add(span.start), out);
    out.extend_from_slice(br#"","endTimeUnixNano":""#);
    integer(head.anchor.saturating_add(span.end), out);
    out.extend_from_slice(br#"","status":{"#);
    if span.status != Status::Unset {
        out.extend_from_slice(br#""code":"#);
        integer(span.status as u8, out);
    }
    if !span.message.is_empty() {
        if span.status != Status::Unset {
            out.push(b',');
        }
        out.extend_from_slice(br#""message":"#);
        string(span.message, out);
    }
    out.push(b'}');
}

fn root_attributes(trace: &Trace<'_>, selection: &Selection<'_>, out: &mut Vec<u8>) {
    let id = trace.head.request_id;
    if !id.is_empty() && selection.keeps(REQUEST_ID) {
        attribute(REQUEST_ID, &Value::Text(id), out);
    }
    if trace.head.truncated > 0 {
        attribute(TRUNCATED, &Value::Integer(trace.head.truncated.into()), out);
    }
    for (name, value) in selection.request_headers(trace) {
        let key = [HEADER_PREFIX, name].concat();
        attribute(&key, &Value::List(vec![value]), out);
    }
}

fn event(head: &Head<'_>, event: &Event<'_>, selection: &Selection<'_>, out: &mut Vec<u8>) {
    event_start(head, event.time, event.name, out);
    attributes(&event.attributes, selection, out);
    close(b']', out);
    out.extend_from_slice(b"},");
}

fn log(head: &Head<'_>, line: &PluginLog<'_>, selection: &Selection<'_>, out: &mut Vec<u8>) {
    event_start(head, line.time, LOG, out);
    for (key, value) in [
        (LOG_SEVERITY, line.level.as_str()),
        (LOG_MESSAGE, line.message),
        (LOG_PLUGIN, line.plugin),
    ] {
        if selection.keeps(key) {
            attribute(key, &Value::Text(value), out);
        }
    }
    close(b']', out);
    out.extend_from_slice(b"},");
}

fn event_start(head: &Head<'_>, time: u64, name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"timeUnixNano":""#);
    integer(head.anchor.saturating_add(time), out);
    out.extend_from_slice(br#"","name":"#);
    string(name, out);
    out.extend_from_slice(br#","attributes":["#);
}

fn attributes(attributes: &[Attribute<'_>], selection: &Selection<'_>, out: &mut Vec<u8>) {
    for Attribute { key, value } in attributes {
        if selection.keeps(key) {
            attribute(key, value, out);
        }
    }
}

/// A `KeyValue` and a comma.
fn attribute(key: &str, of: &Value<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"key":"#);
    string(key, out);
    out.extend_from_slice(br#","value":"#);
    value(of, out);
    out.extend_from_slice(b"},");
}

/// An `AnyValue`.
fn value(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) => {
            out.extend_from_slice(br#"{"stringValue":"#);
            string(text, out);
            out.push(b'}');
        }
        Value::Boolean(true) => out.extend_from_slice(br#"{"boolValue":true}"#),
        Value::Boolean(false) => out.extend_from_slice(br#"{"boolValue":false}"#),
        Value::Integer(number) => {
            out.extend_from_slice(br#"{"intValue":""#);
            integer(*number, out);
            out.extend_from_slice(br#""}"#);
        }
        Value::Float(number) => {
            out.extend_from_slice(br#"{"doubleValue":"#);
            float(*number, out);
            out.push(b'}');
        }
        Value::List(texts) => {
            out.extend_from_slice(br#"{"arrayValue":{"values":["#);
            for text in texts {
                out.extend_from_slice(br#"{"stringValue":"#);
                string(text, out);
                out.extend_from_slice(b"},");
            }
            close(b']', out);
            out.extend_from_slice(b"}}");
        }
    }
}
