//! 8 — Spans and traces: everything Weir did for one request.
//!
//! A [`recorder::Recorder`] notes spans while a request is under way, as bytes in one growing
//! buffer. When the response's end is ready, that buffer becomes a *record* ([`record`]): a flat,
//! self-contained form that is handed off to exporters, which decode it to the borrowed [`Trace`]
//! below, filter it and encode it. Nothing here does I/O.

pub mod attributes;
pub mod context;
pub mod json;
pub mod otlp;
pub mod record;
pub mod recorder;
pub mod split;
mod wire;

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use self::attributes::Attributes;
use crate::hex;

/// 16 bytes, not all zero; printed as 32 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

/// 8 bytes, not all zero; printed as 16 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(pub [u8; 8]);

impl TraceId {
    /// A new random id. Its last seven bytes are all random, which sampling builds on.
    pub fn random() -> Self {
        Self((fastrand::u128(..) | 1 << 127).to_be_bytes())
    }
}

impl SpanId {
    /// A new random id.
    pub fn random() -> Self {
        Self((fastrand::u64(..) | 1).to_be_bytes())
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(hex::Digits::<32>::of(&self.0).as_str())
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(hex::Digits::<16>::of(&self.0).as_str())
    }
}

/// What a span stands for (`Kind` of the JSON).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The inbound request; the root. SERVER in OTLP.
    HttpRequest = 0,
    /// A plugin's hook. INTERNAL in OTLP.
    Plugin = 1,
    /// A call to an upstream. CLIENT in OTLP.
    HttpClient = 2,
    /// A call recognised as generative AI. CLIENT in OTLP.
    LlmCall = 3,
    /// A further try of a call. CLIENT in OTLP.
    Retry = 4,
}

impl Kind {
    /// As in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HttpRequest => "http.request",
            Self::Plugin => "plugin",
            Self::HttpClient => "http.client",
            Self::LlmCall => "llm.call",
            Self::Retry => "retry",
        }
    }

    /// The plugin of a span of this kind and name.
    fn plugin(self, name: &str) -> Option<&str> {
        if self != Self::Plugin {
            return None;
        }
        let (plugin, _hook) = name.strip_prefix("plugin.")?.split_once('.')?;
        Some(plugin)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    Unset = 0,
    Ok = 1,
    Error = 2,
}

impl Status {
    /// As in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

/// Severity of a plugin's log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Level {
    Trace = 0,
    Debug = 1,
    Info = 2,
    Warn = 3,
    Error = 4,
}

impl Level {
    /// As in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Place of a span in its trace, in order of start; the root is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpanIndex(pub u16);

impl SpanIndex {
    pub const ROOT: Self = Self(0);

    pub fn get(self) -> usize {
        usize::from(self.0)
    }

    /// From a place in [`Trace::spans`], which has no more spans than an index can tell apart.
    pub(crate) fn from_usize(index: usize) -> Self {
        Self(u16::try_from(index).expect("a trace has at most 65535 spans"))
    }
}

/// A finished trace, borrowed from the bytes of its record.
///
/// Attributes stay as they are encoded until somebody looks at them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace<'r> {
    pub head: Head<'r>,
    /// In order of start; the first is the root. Never empty in a trace that was decoded.
    pub spans: Vec<Span<'r>>,
    pub events: Vec<Event<'r>>,
    /// Request headers that some exporter captures: lower-case name, values joined by `, `.
    pub request_headers: Vec<(&'r str, &'r str)>,
    pub plugin_logs: Vec<PluginLog<'r>>,
}

/// What is said once a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Head<'r> {
    pub trace_id: TraceId,
    /// The caller's span, from its `traceparent`.
    pub parent: Option<SpanId>,
    /// Flags of the W3C context that Weir sent on.
    pub flags: u8,
    /// `tracestate` as received, else empty.
    pub state: &'r str,
    pub request_id: &'r str,
    /// Nanoseconds since the Unix epoch at the root's start: the one wall-clock anchor.
    pub anchor: u64,
    /// Attributes, events or log lines that did not fit the recorder's bounds.
    pub dropped: u32,
    /// Texts that were cut for a message to fit.
    pub truncated: u32,
    /// Did some span end in error? It may be one that no exporter keeps.
    pub failed: bool,
}

impl Default for Head<'_> {
    fn default() -> Self {
        Self {
            trace_id: TraceId([0; 16]),
            parent: None,
            flags: 0,
            state: "",
            request_id: "",
            anchor: 0,
            dropped: 0,
            truncated: 0,
            failed: false,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Span<'r> {
    pub id: SpanId,
    /// `None` for the root only. A parent always stands before its children.
    pub parent: Option<SpanIndex>,
    pub kind: Kind,
    pub name: &'r str,
    /// Nanoseconds after the anchor, by the monotonic clock.
    pub start: u64,
    /// Nanoseconds after the anchor, not before `start`.
    pub end: u64,
    pub status: Status,
    /// Empty where there is none.
    pub message: &'r str,
    pub attributes: Attributes<'r>,
    /// Of [`Trace::events`].
    pub events: Range<u32>,
}

impl<'r> Span<'r> {
    /// The plugin whose hook this span is: `<name>` of `plugin.<name>.<hook>`.
    pub fn plugin(&self) -> Option<&'r str> {
        self.kind.plugin(self.name)
    }
}

/// A value as in OpenTelemetry, of the kinds that Weir records, as it is given to a recorder.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'r> {
    Text(&'r str),
    Boolean(bool),
    Integer(i64),
    Float(f64),
    /// Of texts.
    List(Vec<&'r str>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Event<'r> {
    pub name: &'r str,
    /// Nanoseconds after the anchor.
    pub time: u64,
    pub attributes: Attributes<'r>,
}

/// A line a plugin wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginLog<'r> {
    pub plugin: &'r str,
    /// The hook's span.
    pub span: SpanIndex,
    pub level: Level,
    pub message: &'r str,
    /// Nanoseconds after the anchor.
    pub time: u64,
}

impl<'r> Trace<'r> {
    pub fn root(&self) -> &Span<'r> {
        &self.spans[0]
    }

    pub fn events_of(&self, span: &Span<'r>) -> &[Event<'r>] {
        &self.events[span.events.start as usize..span.events.end as usize]
    }

    /// The root's duration.
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.root().end - self.root().start)
    }

    pub fn outcome(&self) -> Outcome {
        Outcome {
            trace_id: self.head.trace_id,
            failed: self.head.failed,
            duration: self.duration(),
        }
    }
}

/// What sampling asks of a finished trace.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub trace_id: TraceId,
    /// Did some span end in error?
    pub failed: bool,
    /// The root's.
    pub duration: Duration,
}

#[cfg(test)]
pub mod testing;
