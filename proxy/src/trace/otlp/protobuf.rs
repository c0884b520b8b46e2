//! OTLP in its binary form. Field numbers are those of `opentelemetry/proto/trace/v1/trace.proto`.
//!
//! Attributes are copied as they are. The length of a message stands before it: it is written into a
//! place kept for it, for a span two bytes wide, as spans mostly need.

use super::{LOG, Logs, log_attributes, root_attributes};
use crate::filter::Selection;
use crate::trace::attributes::{self, Attribute, Fields};
use crate::trace::wire::{
    bytes, bytes_field, fixed64_field, low_seven, text, varint, varint_field, varint_len,
};
use crate::trace::{Event, Head, PluginLog, Span, SpanId, Status, Trace, Value};

/// Appends OTLP protobuf of what `selection` leaves of `trace`.
pub fn encode(trace: &Trace<'_>, selection: &Selection<'_>, out: &mut Vec<u8>) {
    // ExportTraceServiceRequest.resource_spans
    message(bytes_field(1), 2, out, |out| {
        // ResourceSpans.resource
        message(bytes_field(1), 1, out, |out| {
            let mut of = Vec::new();
            attributes::write("service.name", &Value::Text("weir"), &mut of);
            let version = Value::Text(env!("CARGO_PKG_VERSION"));
            attributes::write("service.version", &version, &mut of);
            fields(bytes_field(1), Fields::of(&of), out);
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
    selection.attributes(&span.attributes, out);
    if span.parent.is_none() {
        root_attributes(trace, selection, out);
        if head.dropped > 0 {
            out.push(varint_field(10));
            varint(head.dropped.into(), out);
        }
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

fn event(head: &Head<'_>, of: &Event<'_>, selection: &Selection<'_>, out: &mut Vec<u8>) {
    noted(head, of.time, of.name, of.attributes.iter(), selection, out);
}

fn log(head: &Head<'_>, line: &PluginLog<'_>, selection: &Selection<'_>, out: &mut Vec<u8>) {
    let attributes = log_attributes(line);
    noted(
        head,
        line.time,
        LOG,
        Fields::of(&attributes),
        selection,
        out,
    );
}

fn noted(
    head: &Head<'_>,
    at: u64,
    name: &str,
    of: Fields<'_>,
    selection: &Selection<'_>,
    out: &mut Vec<u8>,
) {
    message(bytes_field(11), 1, out, |out| {
        time(fixed64_field(1), head, at, out);
        text(bytes_field(2), name, out);
        fields(bytes_field(3), of.filter(|of| selection.keeps(of.key)), out);
    });
}

/// Attributes of something that is no span, where they have another number.
fn fields<'r>(number: u8, of: impl Iterator<Item = Attribute<'r>>, out: &mut Vec<u8>) {
    for of in of {
        out.push(number);
        out.extend_from_slice(&of.as_field()[1..]);
    }
}

/// A message of a length not known before; `width` is the most likely one of the length itself.
fn message(field: u8, width: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(field);
    let at = out.len();
    out.resize(at + width, 0);
    write(out);
    let len = out.len() - at - width;
    if varint_len(len as u64) == width {
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
