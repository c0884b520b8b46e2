use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::*;
use crate::config;
use crate::filter::Filters;
use crate::trace::testing::{self, golden, records};
use crate::trace::{Level, Value, record};

fn encoded(record: &[u8], selection: &Selection<'_>) -> Vec<u8> {
    let trace = record::read(record).expect("a record");
    let mut out = Vec::new();
    encode(&trace, selection, &mut out);
    out
}

fn parsed(record: &[u8], selection: &Selection<'_>) -> Json {
    serde_json::from_slice(&encoded(record, selection)).expect("JSON")
}

#[test]
fn golden_files_show_what_is_sent() {
    for (name, record) in [
        ("plain.json", testing::plain()),
        ("short_circuit.json", testing::short_circuit()),
        ("error.json", testing::error()),
        ("full.json", testing::full()),
    ] {
        golden::assert_json_matches(name, &encoded(&record, &Selection::all()));
    }
}

#[test]
fn it_is_appended_to_what_is_there() {
    let record = testing::plain();
    let trace = record::read(&record).expect("a record");
    let mut out = b"before".to_vec();
    encode(&trace, &Selection::all(), &mut out);
    assert_eq!(out[6..], encoded(&record, &Selection::all()));
}

#[test]
fn secrets_and_messages_are_nowhere_when_filtered() {
    let record = testing::full();
    let trace = record::read(&record).expect("a record");
    let filters = Filters::new(&config::Filters {
        request_headers: vec!["*".to_owned()],
        disable_content_logging: true,
        excluded_attributes: vec!["gen_ai.usage.cost".to_owned()],
        ..config::Filters::default()
    });
    let selection = filters.select(&trace).expect("not sampled out");
    let text = String::from_utf8(encoded(&record, &selection)).expect("UTF-8");
    assert!(!text.contains("canary"), "{text}");
    assert!(!text.contains("gen_ai.usage.cost"), "{text}");
    assert!(text.contains(r#""authorization":"REDACTED""#), "{text}");
    assert!(text.contains(r#""gen_ai.usage.input_tokens":11"#), "{text}");
}

/// The same JSON, by way of values.
fn model(trace: &Trace<'_>, selection: &Selection<'_>) -> Json {
    let time = |offset: u64| {
        let time = i128::from(trace.head.anchor + offset);
        let time = jiff::Timestamp::from_nanosecond(time).expect("in range");
        json!(format!("{time:.9}"))
    };
    let attributes = |attributes: &Attributes<'_>| {
        let kept = attributes
            .pairs()
            .filter(|(key, _)| selection.keeps(key.as_bytes()));
        let members = kept.map(|(key, value)| {
            let value = match value {
                Value::Text(text) => json!(text),
                Value::Boolean(value) => json!(value),
                Value::Integer(value) => json!(value),
                Value::Float(value) => json!(value),
                Value::List(texts) => json!(texts),
            };
            (key.to_owned(), value)
        });
        Json::Object(members.collect())
    };
    let id = |id: Option<SpanId>| id.map_or(String::new(), |id| id.to_string());
    let spans: Vec<_> = selection
        .spans(trace)
        .map(|(_, span, parent)| {
            let events = trace.events_of(span).iter().map(|event| {
                json!({
                    "Name": event.name,
                    "Timestamp": time(event.time),
                    "Attributes": attributes(&event.attributes),
                })
            });
            json!({
                "SpanID": id(Some(span.id)),
                "ParentID": id(parent),
                "TraceID": trace.head.trace_id.to_string(),
                "Name": span.name,
                "Kind": span.kind.as_str(),
                "StartTime": time(span.start),
                "EndTime": time(span.end),
                "Status": span.status.as_str(),
                "StatusMsg": span.message,
                "Attributes": attributes(&span.attributes),
                "Events": events.collect::<Vec<_>>(),
            })
        })
        .collect();
    // Of headers that came twice a reader keeps the last.
    let headers: Map<_, _> = selection
        .request_headers(trace)
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    let lines: Vec<_> = trace
        .plugin_logs
        .iter()
        .map(|line| {
            json!({
                "plugin_name": line.plugin,
                "level": match line.level {
                    Level::Trace => "trace",
                    Level::Debug => "debug",
                    Level::Info => "info",
                    Level::Warn => "warn",
                    Level::Error => "error",
                },
                "message": line.message,
                "timestamp": (trace.head.anchor + line.time) / 1_000_000,
            })
        })
        .collect();
    json!({
        "RequestID": trace.head.request_id,
        "TraceID": trace.head.trace_id.to_string(),
        "ParentID": id(trace.head.parent),
        "RootSpan": spans[0],
        "Spans": spans,
        "StartTime": time(trace.root().start),
        "EndTime": time(trace.root().end),
        "Attributes": {"service.name": "weir", "service.version": env!("CARGO_PKG_VERSION")},
        "RequestHeaders": if headers.is_empty() { Json::Null } else { Json::Object(headers) },
        "PluginLogs": if lines.is_empty() { Json::Null } else { Json::Array(lines) },
    })
}

proptest! {
    #[test]
    fn any_trace_is_the_json_of_its_values(
        record in records(),
        dropped in proptest::collection::vec("[abc]", 0..3),
        disable_content_logging: bool,
    ) {
        let trace = record::read(&record).expect("a record");
        prop_assert_eq!(parsed(&record, &Selection::all()), model(&trace, &Selection::all()));

        let filters = Filters::new(&config::Filters {
            plugin_span_filter: Some(config::PluginSpanFilter { include: false, plugins: dropped }),
            request_headers: vec!["*a*".to_owned()],
            disable_content_logging,
            excluded_attributes: vec!["a".to_owned()],
            ..config::Filters::default()
        });
        let selection = filters.select(&trace).expect("not sampled out");
        prop_assert_eq!(parsed(&record, &selection), model(&trace, &selection));
    }
}
