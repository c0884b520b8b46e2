//! `format: json`: one trace as one JSON object, laid out as Bifrost's Kafka connector has it.
//!
//! Keys are in Pascal case and none is ever left out. All is written straight to the output, in one
//! pass; the root, which stands there twice, is copied.

pub(crate) mod text;

use self::text::{Clock, close, float, integer, string, string_bytes};
use super::attributes::{Any, Attributes};
use super::{Event, Head, Kind, Span, SpanId, Status, Trace};
use crate::filter::Selection;
use crate::hex;

/// `Attributes` of a trace, with the object left open.
const SERVICE: &str = concat!(
    r#","Attributes":{"service.name":"weir","service.version":""#,
    env!("CARGO_PKG_VERSION"),
    r#"","#
);

/// Appends the JSON of what `selection` leaves of `trace`.
pub fn encode(trace: &Trace<'_>, selection: &Selection<'_>, out: &mut Vec<u8>) {
    let head = &trace.head;
    let root = trace.root();
    let mut spans = Spans {
        trace,
        selection,
        ids: Ids::new(head),
        clock: Clock::new(),
    };

    out.extend_from_slice(br#"{"RequestID":"#);
    string(head.request_id, out);
    out.extend_from_slice(br#","TraceID":""#);
    out.extend_from_slice(&hex::Digits::<32>::of(&head.trace_id.0).0);
    out.extend_from_slice(br#"","ParentID":""#);
    if let Some(parent) = head.parent {
        out.extend_from_slice(&hex::Digits::<16>::of(&parent.0).0);
    }
    out.extend_from_slice(br#"","RootSpan":"#);
    let start = out.len();
    spans.write(root, head.parent, out);
    let end = out.len();
    out.extend_from_slice(br#","Spans":["#);
    if selection.has_root() {
        out.extend_from_within(start..end);
        out.push(b',');
    }
    let others = usize::from(selection.has_root());
    for (_, span, parent) in selection.spans(trace).skip(others) {
        spans.write(span, parent, out);
        out.push(b',');
    }
    close(b']', out);
    out.extend_from_slice(br#","StartTime":"#);
    spans.time(root.start, out);
    out.extend_from_slice(br#","EndTime":"#);
    spans.time(root.end, out);
    out.extend_from_slice(SERVICE.as_bytes());
    if head.dropped > 0 {
        out.extend_from_slice(br#""weir.dropped":"#);
        integer(head.dropped, out);
        out.push(b',');
    }
    if head.truncated > 0 {
        out.extend_from_slice(br#""weir.truncated":"#);
        integer(head.truncated, out);
        out.push(b',');
    }
    close(b'}', out);
    request_headers(trace, selection, out);
    plugin_logs(trace, selection, out);
    out.push(b'}');
}

struct Spans<'a, 'r> {
    trace: &'a Trace<'r>,
    selection: &'a Selection<'a>,
    ids: Ids,
    clock: Clock,
}

impl<'r> Spans<'_, 'r> {
    fn write(&mut self, span: &Span<'r>, parent: Option<SpanId>, out: &mut Vec<u8>) {
        self.ids.write(span.id, parent, out);
        string(span.name, out);
        out.extend_from_slice(match span.kind {
            Kind::HttpRequest => br#","Kind":"http.request","StartTime":"#,
            Kind::Plugin => br#","Kind":"plugin","StartTime":"#,
            Kind::HttpClient => br#","Kind":"http.client","StartTime":"#,
            Kind::LlmCall => br#","Kind":"llm.call","StartTime":"#,
            Kind::Retry => br#","Kind":"retry","StartTime":"#,
        });
        self.time(span.start, out);
        out.extend_from_slice(br#","EndTime":"#);
        self.time(span.end, out);
        out.extend_from_slice(match span.status {
            Status::Unset => br#","Status":"unset","StatusMsg":"#,
            Status::Ok => br#","Status":"ok","StatusMsg":"#,
            Status::Error => br#","Status":"error","StatusMsg":"#,
        });
        string(span.message, out);
        out.extend_from_slice(br#","Attributes":"#);
        attributes(&span.attributes, self.selection, out);
        out.extend_from_slice(br#","Events":["#);
        for event in self.trace.events_of(span) {
            self.event(event, out);
            out.push(b',');
        }
        close(b']', out);
        out.push(b'}');
    }

    fn event(&mut self, event: &Event<'r>, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"Name":"#);
        string(event.name, out);
        out.extend_from_slice(br#","Timestamp":"#);
        self.time(event.time, out);
        out.extend_from_slice(br#","Attributes":"#);
        attributes(&event.attributes, self.selection, out);
        out.push(b'}');
    }

    fn time(&mut self, offset: u64, out: &mut Vec<u8>) {
        self.clock
            .write(self.trace.head.anchor.saturating_add(offset), out);
    }
}

/// A span's first members, filled in anew for each.
struct Ids([u8; Self::TEXT.len()]);

impl Ids {
    const TEXT: [u8; 111] = *br#"{"SpanID":"0000000000000000","ParentID":"0000000000000000","TraceID":"00000000000000000000000000000000","Name":"#;
    const SPAN: usize = 11;
    const PARENT: usize = Self::SPAN + 16 + 14;
    const TRACE: usize = Self::PARENT + 16 + 13;

    fn new(head: &Head<'_>) -> Self {
        let mut text = Self::TEXT;
        hex::write(&head.trace_id.0, &mut text[Self::TRACE..][..32]);
        Self(text)
    }

    fn write(&mut self, span: SpanId, parent: Option<SpanId>, out: &mut Vec<u8>) {
        hex::write(&span.0, &mut self.0[Self::SPAN..][..16]);
        if let Some(parent) = parent {
            hex::write(&parent.0, &mut self.0[Self::PARENT..][..16]);
            out.extend_from_slice(&self.0);
        } else {
            out.extend_from_slice(&self.0[..Self::PARENT]);
            out.extend_from_slice(&self.0[Self::PARENT + 16..]);
        }
    }
}

fn attributes(attributes: &Attributes<'_>, selection: &Selection<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    for attribute in attributes {
        if selection.keeps(attribute.key)
            && let Some(of) = attribute.value()
        {
            string_bytes(attribute.key, out);
            out.push(b':');
            value(of, out);
            out.push(b',');
        }
    }
    close(b'}', out);
}

fn value(value: Any<'_>, out: &mut Vec<u8>) {
    match value {
        Any::Text(text) => string_bytes(text, out),
        Any::Boolean(true) => out.extend_from_slice(b"true"),
        Any::Boolean(false) => out.extend_from_slice(b"false"),
        Any::Integer(number) => integer(number, out),
        Any::Float(number) => float(number, out),
        Any::List(texts) => {
            out.push(b'[');
            for text in texts {
                string_bytes(text, out);
                out.push(b',');
            }
            close(b']', out);
        }
    }
}

fn request_headers(trace: &Trace<'_>, selection: &Selection<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#","RequestHeaders":"#);
    let before = out.len();
    let headers = selection.request_headers(trace);
    for (name, value) in headers.filter(|_| selection.has_root()) {
        out.push(if out.len() == before { b'{' } else { b',' });
        string(name, out);
        out.push(b':');
        string(value, out);
    }
    if out.len() == before {
        out.extend_from_slice(b"null");
    } else {
        out.push(b'}');
    }
}

fn plugin_logs(trace: &Trace<'_>, selection: &Selection<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#","PluginLogs":"#);
    if trace.plugin_logs.is_empty() || !selection.has_root() {
        out.extend_from_slice(b"null");
        return;
    }
    out.push(b'[');
    for line in &trace.plugin_logs {
        out.extend_from_slice(br#"{"plugin_name":"#);
        string(line.plugin, out);
        out.extend_from_slice(br#","level":""#);
        out.extend_from_slice(line.level.as_str().as_bytes());
        out.extend_from_slice(br#"","message":"#);
        string(line.message, out);
        out.extend_from_slice(br#","timestamp":"#);
        integer(trace.head.anchor.saturating_add(line.time) / 1_000_000, out);
        out.extend_from_slice(b"},");
    }
    close(b']', out);
}

#[cfg(test)]
mod tests;
