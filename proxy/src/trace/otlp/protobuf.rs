//! OTLP in its binary form. Field numbers are those of `opentelemetry/proto/trace/v1/trace.proto`.
//!
//! Attributes are copied as they are. The length of a message stands before it: it is written into a
//! place kept for it, for a span two bytes wide, as spans mostly need.

use super::{Logs, each_event, root_attributes};
use crate::filter::Selection;
use crate::otlp::wire::{put_nested, put_varint};
use crate::trace::attributes::{self, Attribute};
use crate::trace::wire::{bytes, bytes_field, fixed64_field, text, varint_field};
use crate::trace::{Head, PluginLog, Span, SpanId, Status, Trace, Value};

/// Appends OTLP protobuf of what `selection` leaves of `trace`.
pub fn encode(trace: &Trace<'_>, selection: &Selection<'_>, out: &mut Vec<u8>) {
    // ExportTraceServiceRequest.resource_spans
    message(bytes_field(1), 2, out, |out| {
        // ResourceSpans.resource
        message(bytes_field(1), 1, out, |out| {
            for (key, value) in [
                ("service.name", "weir"),
                ("service.version", env!("CARGO_PKG_VERSION")),
            ] {
                let at = out.len();
                attributes::write(key, &Value::Text(value), out);
                out[at] = bytes_field(1);
            }
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
            put_varint(head.dropped.into(), out);
        }
    }
    each_event(trace, span, logs, |at, name, attributes| {
        message(bytes_field(11), 1, out, |out| {
            time(fixed64_field(1), head, at, out);
            text(bytes_field(2), name, out);
            let kept = attributes.filter(|of| selection.keeps(of.key));
            fields(bytes_field(3), kept, out);
        });
    });
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

/// Attributes of something that is no span, where they have another number.
fn fields<'r>(number: u8, of: impl Iterator<Item = Attribute<'r>>, out: &mut Vec<u8>) {
    for of in of {
        out.push(number);
        out.extend_from_slice(&of.as_field()[1..]);
    }
}

/// A message; `width` is the most likely one of its length.
fn message(field: u8, width: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(field);
    put_nested(width, out, write);
}

fn time(field: u8, head: &Head<'_>, offset: u64, out: &mut Vec<u8>) {
    out.push(field);
    out.extend_from_slice(&head.anchor.saturating_add(offset).to_le_bytes());
}
