//! Schemas of answers that no type is written for: traces as [`json`](crate::trace::json) encodes them,
//! events, and the `OpenAPI` document itself.

use schemars::generate::SchemaGenerator;
use schemars::{Schema, json_schema};
use serde_json::{Map, Value, json};

use crate::store::Summary;

/// A trace, and the summaries of all requests with its id.
pub(super) fn one(generator: &mut SchemaGenerator) -> Schema {
    let summary = generator.subschema_for::<Summary>();
    object(&json!({
        "requests": { "type": "array", "items": summary, "minItems": 1 },
        "trace": trace(),
    }))
}

/// What an exporter sends of a trace, and what it would without filters.
pub(super) fn message(_: &mut SchemaGenerator) -> Schema {
    let otlp = json!({
        "type": "object",
        "description": "OTLP's, in JSON.",
        "required": ["resourceSpans"],
        "properties": { "resourceSpans": list(json!({ "type": "object" })) },
        "additionalProperties": false,
    });
    let either = json!({ "anyOf": [trace(), otlp] });
    json_schema!({
        "type": "object",
        "required": ["whole"],
        "properties": {
            "whole": either,
            "message": either,
            "sampled_out": { "const": true },
        },
        "additionalProperties": false,
        "oneOf": [{ "required": ["message"] }, { "required": ["sampled_out"] }],
    })
}

/// An event of those who follow traces.
pub(super) fn event(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "An event: `trace` with a summary, or `missed` with a `count`, both as JSON.",
        "required": ["event", "data"],
        "properties": {
            "event": { "enum": ["trace", "missed"] },
            "data": { "type": "string" },
        },
    })
}

/// The document of the API.
pub(super) fn document(_: &mut SchemaGenerator) -> Schema {
    let operation = json!({
        "type": "object",
        "required": ["operationId", "summary", "parameters", "responses"],
    });
    json_schema!({
        "type": "object",
        "required": ["openapi", "info", "components", "security", "paths"],
        "properties": {
            "openapi": { "const": "3.1.0" },
            "info": { "type": "object", "required": ["title", "version"] },
            "components": { "type": "object", "required": ["schemas", "securitySchemes"] },
            "security": list(json!({ "type": "object" })),
            "paths": {
                "type": "object",
                "propertyNames": { "pattern": "^/api/" },
                "additionalProperties": {
                    "type": "object",
                    "propertyNames": { "enum": ["get", "post"] },
                    "additionalProperties": operation,
                },
            },
        },
        "additionalProperties": false,
    })
}

/// See docs/traces.md.
fn trace() -> Value {
    let text = || json!({ "type": "string" });
    let attributes = json!({
        "type": "object",
        "additionalProperties": {
            "type": ["string", "number", "boolean", "array"],
            "items": text(),
        },
    });
    let event = object(&json!({
        "Name": text(),
        "Timestamp": time(),
        "Attributes": attributes,
    }));
    let span = object(&json!({
        "SpanID": digits("{16}"),
        "ParentID": digits("{16}|"),
        "TraceID": digits("{32}"),
        "Name": text(),
        "Kind": { "enum": ["http.request", "plugin", "http.client", "llm.call", "retry"] },
        "StartTime": time(),
        "EndTime": time(),
        "Status": { "enum": ["unset", "ok", "error"] },
        "StatusMsg": text(),
        "Attributes": attributes,
        "Events": list(event.into()),
    }));
    let span = Value::from(span);
    let line = object(&json!({
        "plugin_name": text(),
        "level": text(),
        "message": text(),
        "timestamp": { "type": "integer" },
    }));
    let trace = object(&json!({
        "RequestID": text(),
        "TraceID": digits("{32}"),
        "ParentID": digits("{16}|"),
        "RootSpan": span,
        "Spans": list(span),
        "StartTime": time(),
        "EndTime": time(),
        "Attributes": attributes,
        "RequestHeaders": { "type": ["object", "null"], "additionalProperties": text() },
        "PluginLogs": { "type": ["array", "null"], "items": Value::from(line) },
    }));
    trace.into()
}

fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

/// Hexadecimal, as many as `times` says.
fn digits(times: &str) -> Value {
    json!({ "type": "string", "pattern": format!("^([0-9a-f]{times})$") })
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

/// It has all of these members, and no others.
fn object(members: &Value) -> Schema {
    let names = members.as_object().into_iter().flat_map(Map::keys);
    let names: Vec<&String> = names.collect();
    json_schema!({
        "type": "object",
        "required": names,
        "properties": members,
        "additionalProperties": false,
    })
}
