//! OTLP/JSON: the protobuf messages as JSON, with ids in hex, 64-bit integers as texts and enums as
//! numbers. What has its default value is left out.

use super::{Logs, each_event, root_attributes};
use crate::filter::Selection;
use crate::hex;
use crate::trace::attributes::{Any, Fields};
use crate::trace::json::text::{close, float, integer, string, string_bytes};
use crate::trace::{Span, SpanId, SpanIndex, Status, Trace};

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
        attributes(of.attributes.iter(), selection, out);
        if index == SpanIndex::ROOT {
            let mut more = Vec::new();
            root_attributes(trace, selection, &mut more);
            // Filtered already, headers by rules of their own.
            attributes(Fields::of(&more), &Selection::all(), out);
        }
        close(b']', out);
        if index == SpanIndex::ROOT && trace.head.dropped > 0 {
            out.extend_from_slice(br#","droppedAttributesCount":"#);
            integer(trace.head.dropped, out);
        }
        out.extend_from_slice(br#","events":["#);
        each_event(trace, of, logs.of(index), |time, name, of| {
            out.extend_from_slice(br#"{"timeUnixNano":""#);
            integer(trace.head.anchor.saturating_add(time), out);
            out.extend_from_slice(br#"","name":"#);
            string(name, out);
            out.extend_from_slice(br#","attributes":["#);
            attributes(of, selection, out);
            close(b']', out);
            out.extend_from_slice(b"},");
        });
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

fn attributes(of: Fields<'_>, selection: &Selection<'_>, out: &mut Vec<u8>) {
    for attribute in of.filter(|of| selection.keeps(of.key)) {
        if let Some(of) = attribute.value() {
            // A `KeyValue` and a comma.
            out.extend_from_slice(br#"{"key":"#);
            string_bytes(attribute.key, out);
            out.extend_from_slice(br#","value":"#);
            value(of, out);
            out.extend_from_slice(b"},");
        }
    }
}

/// An `AnyValue`.
fn value(value: Any<'_>, out: &mut Vec<u8>) {
    match value {
        Any::Text(text) => {
            out.extend_from_slice(br#"{"stringValue":"#);
            string_bytes(text, out);
            out.push(b'}');
        }
        Any::Boolean(true) => out.extend_from_slice(br#"{"boolValue":true}"#),
        Any::Boolean(false) => out.extend_from_slice(br#"{"boolValue":false}"#),
        Any::Integer(number) => {
            out.extend_from_slice(br#"{"intValue":""#);
            integer(number, out);
            out.extend_from_slice(br#""}"#);
        }
        Any::Float(number) => {
            out.extend_from_slice(br#"{"doubleValue":"#);
            float(number, out);
            out.push(b'}');
        }
        Any::List(texts) => {
            out.extend_from_slice(br#"{"arrayValue":{"values":["#);
            for text in texts {
                out.extend_from_slice(br#"{"stringValue":"#);
                string_bytes(text, out);
                out.extend_from_slice(b"},");
            }
            close(b']', out);
            out.extend_from_slice(b"}}");
        }
    }
}
