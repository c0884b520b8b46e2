//! OTLP in its binary form. Field numbers are those of `opentelemetry/proto/trace/v1/trace.proto`.
//!
//! The length of a message stands before it. An attribute's is reckoned; a span's is written into a
//! place kept for it, two bytes wide, as spans mostly need.

use super::{
    HEADER_PREFIX, LOG, LOG_MESSAGE, LOG_PLUGIN, LOG_SEVERITY, Logs, REQUEST_ID, TRUNCATED,
};
use crate::filter::Selection;
use crate::trace::{Attribute, Event, Head, PluginLog, Span, SpanId, Status, Trace, Value};

/// A field's number and wire type, as one byte.
const fn varint_field(number: u8) -> u8 {
    number << 3
}

const fn fixed64_field(number: u8) -> u8 {
    number << 3 | 1
}

const fn bytes_field(number: u8) -> u8 {
    number << 3 | 2
}

/// Appends OTLP protobuf of what `selection` leaves of `trace`.
pub fn encode(trace: &Trace<'_>, selection: &Selection<'_>, out: &mut Vec<u8>) {
    // ExportTraceServiceRequest.resource_spans
    message(bytes_field(1), 2, out, |out| {
        // ResourceSpans.resource
        message(bytes_field(1), 1, out, |out| {
            attribute(bytes_field(1), "service.name", &Value::Text("weir"), out);
            let version = Value::Text(env!("CARGO_PKG_VERSION"));
            attribute(bytes_field(1), "service.version", &version, out);
        });
        // ResourceSpans.scope_spans
        message(bytes_field(2), 2, out, |out| {
            // ScopeSpans.scope
            message(bytes_field(1), 1, out, |out| {
                text(bytes_field(1), "weir", out);
                text(bytes_field(2), env!("CARGO_PKG_VERSION"), out);
            });
            let mut logs = Logs::new(trace, selection);
            for (index, of, parent) in selection.spans(trace) {
                // ScopeSpans.spans
                message(bytes_field(2), 2, out, |out| {
                    let logs = logs.of(index);
                    span(trace, selection, of, parent, logs, out);
                });
            }
        });
    });
}

fn span<'t, 'r: 't>(
    trace: &Trace<'r>,
    selection: &Selection<'_>,
    span: &Span<'r>,
    parent: Option<SpanId>,
    logs: impl Iterator<Item = &'t PluginLog<'r>>,
    out: &mut Vec<u8>,
) {
    let head = &trace.head;
    bytes(bytes_field(1), &head.trace_id.0, out);
    bytes(bytes_field(2), &span.id.0, out);
    if !head.state.is_empty() {
        text(bytes_field(3), head.state, out);
    }
    if let Some(parent) = parent {
        bytes(bytes_field(4), &parent.0, out);
    }
    if !span.name.is_empty() {
        text(bytes_field(5), span.name, out);
    }
    out.extend_from_slice(&[varint_field(6), super::kind(span.kind)]);
    time(fixed64_field(7), head, span.start, out);
    time(fixed64_field(8), head, span.end, out);
    for of in trace.attributes_of(span) {
        if selection.keeps(of.key) {
            attribute(bytes_field(9), of.key, &of.value, out);
        }
    }
    if span.parent.is_none() {
        root_attributes(trace, selection, out);
    }
    for of in trace.events_of(span) {
        event(head, of, selection, out);
    }
    for line in logs {
        log(head, line, selection, out);
    }
    message(bytes_field(15), 1, out, |out| {
        if !span.message.is_empty() {
            text(bytes_field(2), span.message, out);
        }
        if span.status != Status::Unset {
            out.extend_from_slice(&[varint_field(3), span.status as u8]);
        }
    });
    // Number 16, a fixed32: the one tag here that takes two bytes.
    out.extend_from_slice(&[0x85, 0x01]);
    out.extend_from_slice(&super::flags(trace, span).to_le_bytes());
}

fn root_attributes(trace: &Trace<'_>, selection: &Selection<'_>, out: &mut Vec<u8>) {
    let head = &trace.head;
    if !head.request_id.is_empty() && selection.keeps(REQUEST_ID) {
        attribute(
            bytes_field(9),
            REQUEST_ID,
            &Value::Text(head.request_id),
            out,
        );
    }
    if head.truncated > 0 {
        let count = Value::Integer(head.truncated.into());
        attribute(bytes_field(9), TRUNCATED, &count, out);
    }
    for (name, value) in selection.request_headers(trace) {
        let key = [HEADER_PREFIX, name].concat();
        attribute(bytes_field(9), &key, &Value::List(vec![value]), out);
    }
    if head.dropped > 0 {
        out.push(varint_field(10));
        varint(head.dropped.into(), out);
    }
}

fn event(head: &Head<'_>, event: &Event<'_>, selection: &Selection<'_>, out: &mut Vec<u8>) {
    message(bytes_field(11), 1, out, |out| {
        time(fixed64_field(1), head, event.time, out);
        text(bytes_field(2), event.name, out);
        for Attribute { key, value } in &event.attributes {
            if selection.keeps(key) {
                attribute(bytes_field(3), key, value, out);
            }
        }
    });
}

fn log(head: &Head<'_>, line: &PluginLog<'_>, selection: &Selection<'_>, out: &mut Vec<u8>) {
    message(bytes_field(11), 1, out, |out| {
        time(fixed64_field(1), head, line.time, out);
        text(bytes_field(2), LOG, out);
        for (key, value) in [
            (LOG_SEVERITY, line.level.as_str()),
            (LOG_MESSAGE, line.message),
            (LOG_PLUGIN, line.plugin),
        ] {
            if selection.keeps(key) {
                attribute(bytes_field(3), key, &Value::Text(value), out);
            }
        }
    });
}

/// A `KeyValue`.
fn attribute(field: u8, key: &str, of: &Value<'_>, out: &mut Vec<u8>) {
    let value_len = value_len(of);
    let len = text_len(key) + 1 + varint_len(value_len) + value_len;
    if let Some(len) = one_byte(len) {
        short_attribute(field, len, key, of, value_len, out);
        return;
    }
    out.push(field);
    varint(len as u64, out);
    text(bytes_field(1), key, out);
    out.push(bytes_field(2));
    varint(value_len as u64, out);
    value(of, out);
}

/// One of less than 128 bytes, as most are: no length in it takes more than a byte.
fn short_attribute(
    field: u8,
    len: u8,
    key: &str,
    of: &Value<'_>,
    value_len: usize,
    out: &mut Vec<u8>,
) {
    out.reserve(2 + usize::from(len));
    let byte = |len: usize| low_seven(len as u64);
    out.extend_from_slice(&[field, len, bytes_field(1), byte(key.len())]);
    out.extend_from_slice(key.as_bytes());
    let tag = bytes_field(2);
    match of {
        Value::Text(text) => {
            let inner = bytes_field(1);
            out.extend_from_slice(&[tag, byte(value_len), inner, byte(text.len())]);
            out.extend_from_slice(text.as_bytes());
        }
        of => {
            out.extend_from_slice(&[tag, byte(value_len)]);
            value(of, out);
        }
    }
}

/// A length that takes one byte.
fn one_byte(len: usize) -> Option<u8> {
    u8::try_from(len).ok().filter(|len| *len < 0x80)
}

/// Bytes of an `AnyValue`.
fn value_len(value: &Value<'_>) -> usize {
    match value {
        Value::Text(text) => text_len(text),
        Value::Boolean(_) => 2,
        Value::Integer(number) => 1 + varint_len_u64(number.cast_unsigned()),
        Value::Float(_) => 9,
        Value::List(texts) => {
            let len = list_len(texts);
            1 + varint_len(len) + len
        }
    }
}

/// Bytes of an `ArrayValue`.
fn list_len(texts: &[&str]) -> usize {
    let lens = texts.iter().map(|text| text_len(text));
    lens.map(|len| 1 + varint_len(len) + len).sum()
}

/// An `AnyValue`.
fn value(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Text(value) => text(bytes_field(1), value, out),
        Value::Boolean(value) => out.extend_from_slice(&[varint_field(2), u8::from(*value)]),
        Value::Integer(value) => {
            out.push(varint_field(3));
            varint(value.cast_unsigned(), out);
        }
        Value::Float(value) => {
            out.push(fixed64_field(4));
            out.extend_from_slice(&value.to_le_bytes());
        }
        Value::List(texts) => {
            out.push(bytes_field(5));
            varint(list_len(texts) as u64, out);
            for value in texts {
                out.push(bytes_field(1));
                varint(text_len(value) as u64, out);
                text(bytes_field(1), value, out);
            }
        }
    }
}

/// A message of a length not known before; `width` is the most likely one of the length itself.
fn message(field: u8, width: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(field);
    let at = out.len();
    out.resize(at + width, 0);
    write(out);
    let len = out.len() - at - width;
    if varint_len(len) == width {
        let mut rest = len;
        for byte in &mut out[at..at + width] {
            *byte = low_seven(rest as u64) | 0x80;
            rest >>= 7;
        }
        out[at + width - 1] &= 0x7f;
    } else {
        let mut prefix = Vec::new();
        varint(len as u64, &mut prefix);
        out.splice(at..at + width, prefix);
    }
}

fn time(field: u8, head: &Head<'_>, offset: u64, out: &mut Vec<u8>) {
    out.push(field);
    out.extend_from_slice(&head.anchor.saturating_add(offset).to_le_bytes());
}

fn text(field: u8, text: &str, out: &mut Vec<u8>) {
    bytes(field, text.as_bytes(), out);
}

/// Bytes of a text with its tag and length.
fn text_len(text: &str) -> usize {
    1 + varint_len(text.len()) + text.len()
}

fn bytes(field: u8, bytes: &[u8], out: &mut Vec<u8>) {
    if let Some(len) = one_byte(bytes.len()) {
        out.extend_from_slice(&[field, len]);
    } else {
        out.push(field);
        varint(bytes.len() as u64, out);
    }
    out.extend_from_slice(bytes);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 10];
    let mut len = 0;
    for digit in &mut digits {
        *digit = low_seven(value) | 0x80;
        value >>= 7;
        len += 1;
        if value == 0 {
            *digit &= 0x7f;
            break;
        }
    }
    out.extend_from_slice(&digits[..len]);
}

fn low_seven(value: u64) -> u8 {
    (value & 0x7f) as u8
}

fn varint_len(value: usize) -> usize {
    varint_len_u64(value as u64)
}

fn varint_len_u64(value: u64) -> usize {
    // Seven bits a byte; zero takes one.
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}
