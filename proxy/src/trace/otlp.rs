//! `format: otlp_json` and `otlp_protobuf`: one trace as one OTLP `ExportTraceServiceRequest`.
//!
//! Both say the same and are written straight to the output, not by way of the generated types,
//! which would cost an allocation a field. What is common to them is here.
//!
//! What OTLP has no field for becomes attributes and events: the request id is an attribute of the
//! root, captured request headers are too (by OpenTelemetry's convention for them), and a plugin's
//! log line is an event on its hook's span, or on that one's nearest ancestor that stays.

mod json;
mod protobuf;

pub use json::encode as encode_json;
pub use protobuf::encode as encode_protobuf;

use super::attributes::{self, Fields};
use super::{Kind, PluginLog, Span, SpanIndex, Trace, Value};
use crate::filter::Selection;

/// The key of the request id on the root.
const REQUEST_ID: &str = "weir.request.id";

/// The key, on the root, of how many texts were cut for the message to fit.
const TRUNCATED: &str = "weir.truncated";

/// Before the name of a captured request header, on the root.
const HEADER_PREFIX: &str = "http.request.header.";

/// The name of an event that is a plugin's log line, and its keys.
const LOG: &str = "log";
const LOG_SEVERITY: &str = "log.severity";
const LOG_MESSAGE: &str = "log.message";
const LOG_PLUGIN: &str = "weir.plugin.name";

/// What OTLP has on the root alone, as [attributes]; those of them that `selection` keeps.
fn root_attributes(trace: &Trace<'_>, selection: &Selection<'_>, out: &mut Vec<u8>) {
    let head = &trace.head;
    if !head.request_id.is_empty() && selection.keeps(REQUEST_ID.as_bytes()) {
        attributes::write(REQUEST_ID, &Value::Text(head.request_id), out);
    }
    if head.truncated > 0 {
        attributes::write(TRUNCATED, &Value::Integer(head.truncated.into()), out);
    }
    for (name, value) in selection.request_headers(trace) {
        attributes::write_list(&[HEADER_PREFIX, name].concat(), &[value], out);
    }
}

/// Gives `write` the events of a span, and behind them the log lines that end up on it: when, after
/// the anchor, a name, and attributes.
fn each_event<'t, 'r: 't>(
    trace: &Trace<'r>,
    span: &Span<'r>,
    lines: impl Iterator<Item = &'t PluginLog<'r>>,
    mut write: impl FnMut(u64, &str, Fields<'_>),
) {
    for event in trace.events_of(span) {
        write(event.time, event.name, event.attributes.iter());
    }
    let mut of = Vec::new();
    for line in lines {
        of.clear();
        for (key, value) in [
            (LOG_SEVERITY, line.level.as_str()),
            (LOG_MESSAGE, line.message),
            (LOG_PLUGIN, line.plugin),
        ] {
            attributes::write(key, &Value::Text(value), &mut of);
        }
        write(line.time, LOG, Fields::of(&of));
    }
}

/// `Span.SpanKind`
fn kind(kind: Kind) -> u8 {
    match kind {
        Kind::Plugin => 1,
        Kind::HttpRequest => 2,
        Kind::HttpClient | Kind::LlmCall | Kind::Retry => 3,
    }
}

/// `Span.flags`: those of the W3C context, and whether the parent is another process's.
fn flags(trace: &Trace<'_>, span: &Span<'_>) -> u32 {
    const HAS_IS_REMOTE: u32 = 0x100;
    const IS_REMOTE: u32 = 0x200;
    let is_remote = span.parent.is_none() && trace.head.parent.is_some();
    u32::from(trace.head.flags) | HAS_IS_REMOTE | if is_remote { IS_REMOTE } else { 0 }
}

/// The log lines of a trace by the span they end up on.
struct Logs<'t, 'r> {
    /// In order of spans.
    lines: Vec<(SpanIndex, &'t PluginLog<'r>)>,
    taken: usize,
}

impl<'t, 'r> Logs<'t, 'r> {
    fn new(trace: &'t Trace<'r>, selection: &Selection<'_>) -> Self {
        let lines = trace.plugin_logs.iter();
        let mut lines: Vec<_> = lines
            .map(|line| (selection.survivor(line.span), line))
            .collect();
        lines.sort_by_key(|(span, _)| *span);
        Self { lines, taken: 0 }
    }

    /// The lines of one span. Spans must be asked for in order.
    fn of(&mut self, span: SpanIndex) -> impl Iterator<Item = &'t PluginLog<'r>> {
        let rest = &self.lines[self.taken..];
        let before = rest.iter().take_while(|(of, _)| *of < span).count();
        self.taken += before;
        let rest = &rest[before..];
        let count = rest.iter().take_while(|(of, _)| *of == span).count();
        self.taken += count;
        rest[..count].iter().map(|(_, line)| *line)
    }
}

#[cfg(test)]
mod tests;
