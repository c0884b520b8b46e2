//! A message, whatever its format, as traces of one shape: that of `format: json`.

use serde_json::Value;

use super::args::Format;
use super::otlp;
use crate::export::kafka::consumer::Message;

/// A trace, or a part of one, in the shape of `format: json`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trace(pub(super) Value);

/// What is looked at of a span. Times are nanoseconds since the epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span<'t> {
    pub(super) name: &'t str,
    pub(super) kind: &'t str,
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) is_error: bool,
    pub(super) message: &'t str,
}

pub(super) fn decode(message: &Message, format: Format) -> Result<Vec<Trace>, String> {
    let protobuf = message.content_type.as_deref() == Some("application/x-protobuf");
    if format == Format::OtlpProtobuf || format == Format::Auto && protobuf {
        return otlp::of_protobuf(&message.payload);
    }
    let value: Value =
        serde_json::from_slice(&message.payload).map_err(|error| error.to_string())?;
    let is_otlp = value.get("resourceSpans").is_some() || value.get("resource_spans").is_some();
    match format {
        Format::OtlpJson => otlp::of_json(&value),
        Format::Auto if is_otlp => otlp::of_json(&value),
        _ if value["TraceID"].is_string() && value["Spans"].is_array() => Ok(vec![Trace(value)]),
        _ => Err("it has no `TraceID` and `Spans`".to_owned()),
    }
}

impl Trace {
    pub(super) fn id(&self) -> &str {
        text(&self.0["TraceID"])
    }

    pub(super) fn spans(&self) -> impl Iterator<Item = Span<'_>> {
        let spans = self.0["Spans"].as_array();
        spans.into_iter().flatten().map(span)
    }

    pub(super) fn root(&self) -> Span<'_> {
        span(&self.0["RootSpan"])
    }

    /// An attribute of the root's.
    pub(super) fn attribute(&self, key: &str) -> Option<&Value> {
        self.0["RootSpan"]["Attributes"].get(key)
    }

    pub(super) fn status(&self) -> Option<u64> {
        self.attribute("http.response.status_code")?.as_u64()
    }

    /// From the first start to the last end.
    pub(super) fn times(&self) -> (i64, i64) {
        let root = self.root();
        self.spans()
            .fold((root.start, root.end), |(start, end), span| {
                (start.min(span.start), end.max(span.end))
            })
    }
}

fn span(span: &Value) -> Span<'_> {
    Span {
        name: text(&span["Name"]),
        kind: text(&span["Kind"]),
        start: time(&span["StartTime"]),
        end: time(&span["EndTime"]),
        is_error: span["Status"] == "error",
        message: text(&span["StatusMsg"]),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn time(value: &Value) -> i64 {
    let time: Option<jiff::Timestamp> = text(value).parse().ok();
    time.and_then(|time| i64::try_from(time.as_nanosecond()).ok())
        .unwrap_or_default()
}
