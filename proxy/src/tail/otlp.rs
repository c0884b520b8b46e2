//! OTLP, as protobuf and as JSON, in the shape of `format: json`.
//!
//! One request may have spans of several traces: each becomes a trace.

use indexmap::IndexMap;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1 as proto;
use prost::Message as _;
use serde_json::{Map, Value, json};

use super::decode::Trace;
use crate::hex;

/// Numbers of `SpanKind`.
const SERVER: i64 = 2;
const CLIENT: i64 = 3;

/// Numbers of `StatusCode`.
const ERROR: i64 = 2;
const OK: i64 = 1;

pub(super) fn of_protobuf(payload: &[u8]) -> Result<Vec<Trace>, String> {
    let request = ExportTraceServiceRequest::decode(payload)
        .map_err(|error| format!("it is no ExportTraceServiceRequest: {error}"))?;
    let spans = request
        .resource_spans
        .into_iter()
        .flat_map(|resource| resource.scope_spans)
        .flat_map(|scope| scope.spans);
    traces(spans.map(of_span))
}

pub(super) fn of_json(request: &Value) -> Result<Vec<Trace>, String> {
    let items = |value: &Value, camel: &str, snake: &str| -> Vec<Value> {
        let items = value.get(camel).or_else(|| value.get(snake));
        items.and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let mut spans = Vec::new();
    for resource in items(request, "resourceSpans", "resource_spans") {
        for scope in items(&resource, "scopeSpans", "scope_spans") {
            for span in items(&scope, "spans", "spans") {
                spans.push(of_span_json(&span));
            }
        }
    }
    traces(spans.into_iter())
}

/// Groups spans by their traces.
fn traces(spans: impl Iterator<Item = Value>) -> Result<Vec<Trace>, String> {
    let mut traces: IndexMap<String, Vec<Value>> = IndexMap::new();
    for span in spans {
        let id = span["TraceID"].as_str().unwrap_or_default().to_owned();
        traces.entry(id).or_default().push(span);
    }
    if traces.is_empty() {
        return Err("it has no spans".to_owned());
    }
    Ok(traces
        .into_iter()
        .map(|(id, spans)| trace(&id, spans))
        .collect())
}

fn trace(id: &str, spans: Vec<Value>) -> Trace {
    let is_child = |span: &Value| {
        let parent = &span["ParentID"];
        parent != "" && spans.iter().any(|other| other["SpanID"] == *parent)
    };
    let root = spans.iter().find(|span| !is_child(span)).or(spans.first());
    let root = root.cloned().unwrap_or_default();
    let request = root["Attributes"].get("weir.request.id").cloned();
    Trace(json!({
        "RequestID": request.unwrap_or_else(|| "".into()),
        "TraceID": id,
        "ParentID": root["ParentID"],
        "RootSpan": root,
        "Spans": spans,
        "StartTime": root["StartTime"],
        "EndTime": root["EndTime"],
        "Attributes": {},
        "RequestHeaders": null,
        "PluginLogs": null,
    }))
}

fn kind(kind: i64, name: &str, has_parent: bool) -> &'static str {
    match kind {
        SERVER => "http.request",
        CLIENT => "http.client",
        _ if name.starts_with("plugin.") && has_parent => "plugin",
        _ => "internal",
    }
}

fn status(code: i64) -> &'static str {
    match code {
        OK => "ok",
        ERROR => "error",
        _ => "unset",
    }
}

fn time(nanos: u64) -> String {
    let time = jiff::Timestamp::from_nanosecond(nanos.into());
    time.map(|time| time.to_string()).unwrap_or_default()
}

fn of_span(span: proto::Span) -> Value {
    let said = span.status.unwrap_or_default();
    let parent = hex::text(&span.parent_span_id);
    let events: Vec<Value> = span
        .events
        .into_iter()
        .map(|event| {
            json!({
                "Name": event.name,
                "Timestamp": time(event.time_unix_nano),
                "Attributes": attributes(event.attributes),
            })
        })
        .collect();
    json!({
        "SpanID": hex::text(&span.span_id),
        "Kind": kind(span.kind.into(), &span.name, !parent.is_empty()),
        "ParentID": parent,
        "TraceID": hex::text(&span.trace_id),
        "Name": span.name,
        "StartTime": time(span.start_time_unix_nano),
        "EndTime": time(span.end_time_unix_nano),
        "Status": status(said.code.into()),
        "StatusMsg": said.message,
        "Attributes": attributes(span.attributes),
        "Events": events,
    })
}

fn attributes(attributes: Vec<KeyValue>) -> Map<String, Value> {
    let attributes = attributes.into_iter();
    attributes
        .map(|attribute| (attribute.key, any(attribute.value)))
        .collect()
}

fn any(value: Option<AnyValue>) -> Value {
    match value.and_then(|value| value.value) {
        Some(Any::StringValue(text)) => text.into(),
        Some(Any::BoolValue(value)) => value.into(),
        Some(Any::IntValue(value)) => value.into(),
        Some(Any::DoubleValue(value)) => value.into(),
        Some(Any::ArrayValue(array)) => array
            .values
            .into_iter()
            .map(|value| any(Some(value)))
            .collect(),
        Some(Any::KvlistValue(list)) => attributes(list.values).into(),
        Some(Any::BytesValue(bytes)) => hex::text(&bytes).into(),
        _ => Value::Null,
    }
}

fn of_span_json(span: &Value) -> Value {
    let get = |camel: &str, snake: &str| -> &Value {
        span.get(camel)
            .or_else(|| span.get(snake))
            .unwrap_or(&Value::Null)
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = text(&span["name"]);
    let parent = text(get("parentSpanId", "parent_span_id"));
    let code = &span["status"]["code"];
    let code = match code.as_str() {
        Some("STATUS_CODE_ERROR") => ERROR,
        Some("STATUS_CODE_OK") => OK,
        _ => code.as_i64().unwrap_or_default(),
    };
    let number = match span["kind"].as_str() {
        Some("SPAN_KIND_SERVER") => SERVER,
        Some("SPAN_KIND_CLIENT") => CLIENT,
        _ => span["kind"].as_i64().unwrap_or_default(),
    };
    let events: Vec<Value> = span["events"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|event| {
            let time = event
                .get("timeUnixNano")
                .or_else(|| event.get("time_unix_nano"));
            json!({
                "Name": event["name"],
                "Timestamp": nanos(time.unwrap_or(&Value::Null)),
                "Attributes": attributes_json(&event["attributes"]),
            })
        })
        .collect();
    json!({
        "SpanID": text(get("spanId", "span_id")),
        "Kind": kind(number, &name, !parent.is_empty()),
        "ParentID": parent,
        "TraceID": text(get("traceId", "trace_id")),
        "Name": name,
        "StartTime": nanos(get("startTimeUnixNano", "start_time_unix_nano")),
        "EndTime": nanos(get("endTimeUnixNano", "end_time_unix_nano")),
        "Status": status(code),
        "StatusMsg": text(&span["status"]["message"]),
        "Attributes": attributes_json(&span["attributes"]),
        "Events": events,
    })
}

/// OTLP writes 64-bit numbers as text.
fn nanos(value: &Value) -> String {
    let number = value.as_u64();
    let number = number.or_else(|| value.as_str()?.parse().ok());
    time(number.unwrap_or_default())
}

fn attributes_json(attributes: &Value) -> Map<String, Value> {
    let attributes = attributes.as_array().into_iter().flatten();
    attributes
        .filter_map(|attribute| {
            let key = attribute["key"].as_str()?;
            Some((key.to_owned(), any_json(&attribute["value"])))
        })
        .collect()
}

fn any_json(value: &Value) -> Value {
    let Some((kind, value)) = value.as_object().and_then(|value| value.iter().next()) else {
        return Value::Null;
    };
    match kind.as_str() {
        "intValue" | "int_value" => {
            let number = value.as_i64();
            let number = number.or_else(|| value.as_str()?.parse().ok());
            number.map_or(Value::Null, Value::from)
        }
        "arrayValue" | "array_value" => {
            let values = value["values"].as_array().into_iter().flatten();
            values.map(any_json).collect()
        }
        "kvlistValue" | "kvlist_value" => attributes_json(&value["values"]).into(),
        _ => value.clone(),
    }
}
