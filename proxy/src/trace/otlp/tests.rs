use std::fmt::Write;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue as Any, ArrayValue, InstrumentationScope, KeyValue,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Proto, Status};
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::config;
use crate::filter::Filters;
use crate::trace::attributes::Attributes;
use crate::trace::testing::{self, golden, records};
use crate::trace::{Value, record};

fn encoded(
    encode: impl Fn(&Trace<'_>, &Selection<'_>, &mut Vec<u8>),
    record: &[u8],
    selection: &Selection<'_>,
) -> Vec<u8> {
    let trace = record::read(record).expect("a record");
    let mut out = b"before".to_vec();
    encode(&trace, selection, &mut out);
    out.split_off(6)
}

fn decoded(record: &[u8], selection: &Selection<'_>) -> ExportTraceServiceRequest {
    let bytes = encoded(encode_protobuf, record, selection);
    let request = ExportTraceServiceRequest::decode(bytes.as_slice()).expect("a request");
    assert_eq!(
        request.encode_to_vec(),
        bytes,
        "written as the generated types write it"
    );
    request
}

#[test]
fn golden_files_show_what_is_sent() {
    for (name, record) in [
        ("plain", testing::plain()),
        ("short_circuit", testing::short_circuit()),
        ("error", testing::error()),
        ("full", testing::full()),
    ] {
        let json = encoded(encode_json, &record, &Selection::all());
        golden::assert_json_matches(&format!("{name}.otlp.json"), &json);

        let mut request = decoded(&record, &Selection::all());
        let of = &mut request.resource_spans[0];
        let version = text(golden::VERSION).value;
        of.resource.as_mut().expect("a resource").attributes[1].value =
            version.map(|value| Any { value: Some(value) });
        let scope = of.scope_spans[0].scope.as_mut().expect("a scope");
        golden::VERSION.clone_into(&mut scope.version);
        let mut hex = String::new();
        for line in request.encode_to_vec().chunks(32) {
            for byte in line {
                write!(hex, "{byte:02x}").expect("a string can be written");
            }
            hex.push('\n');
        }
        golden::assert_matches(&format!("{name}.otlp.pb.hex"), &hex);
    }
}

#[test]
fn log_lines_move_to_the_nearest_ancestor_that_stays() {
    let record = testing::full();
    let trace = record::read(&record).expect("a record");
    let filters = Filters::new(&config::Filters {
        plugin_span_filter: Some(config::PluginSpanFilter {
            include: true,
            plugins: Vec::new(),
        }),
        ..config::Filters::default()
    });
    let selection = filters.select(&trace).expect("not sampled out");
    let request = decoded(&record, &selection);
    let root = &request.resource_spans[0].scope_spans[0].spans[0];
    let names: Vec<_> = root
        .events
        .iter()
        .map(|event| event.name.as_str())
        .collect();
    assert_eq!(names, ["log", "log"]);
}

#[test]
fn secrets_and_messages_are_nowhere_when_filtered() {
    let record = testing::full();
    let trace = record::read(&record).expect("a record");
    let filters = Filters::new(&config::Filters {
        request_headers: vec!["*".to_owned()],
        disable_content_logging: true,
        excluded_attributes: vec!["log.message".to_owned(), REQUEST_ID.to_owned()],
        ..config::Filters::default()
    });
    let selection = filters.select(&trace).expect("not sampled out");
    for bytes in [
        encoded(encode_json, &record, &selection),
        encoded(encode_protobuf, &record, &selection),
    ] {
        let text = String::from_utf8_lossy(&bytes);
        for word in ["canary", "log.message", REQUEST_ID] {
            assert!(!text.contains(word), "{word} in {text}");
        }
        assert!(text.contains("REDACTED"));
    }
}

fn text(text: &str) -> Any {
    Any {
        value: Some(AnyValue::StringValue(text.to_owned())),
    }
}

fn list(texts: &[&str]) -> Any {
    let values = texts.iter().map(|value| text(value)).collect();
    Any {
        value: Some(AnyValue::ArrayValue(ArrayValue { values })),
    }
}

fn pair(key: &str, value: Any) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(value),
        ..KeyValue::default()
    }
}

fn any(value: &Value<'_>) -> Any {
    let value = match value {
        Value::Text(value) => return text(value),
        Value::List(texts) => return list(texts),
        Value::Boolean(value) => AnyValue::BoolValue(*value),
        Value::Integer(value) => AnyValue::IntValue(*value),
        Value::Float(value) => AnyValue::DoubleValue(*value),
    };
    Any { value: Some(value) }
}

/// The same request, by way of the generated types.
fn model(trace: &Trace<'_>, selection: &Selection<'_>) -> ExportTraceServiceRequest {
    let head = &trace.head;
    let pairs = |attributes: &Attributes<'_>| -> Vec<KeyValue> {
        let kept = attributes
            .pairs()
            .filter(|(key, _)| selection.keeps(key.as_bytes()));
        kept.map(|(key, value)| pair(key, any(&value))).collect()
    };
    let spans = selection.spans(trace).map(|(index, span, parent)| {
        let is_root = index == SpanIndex::ROOT;
        let mut attributes = pairs(&span.attributes);
        if is_root {
            if !head.request_id.is_empty() {
                attributes.push(pair("weir.request.id", text(head.request_id)));
            }
            for (name, value) in selection.request_headers(trace) {
                attributes.push(pair(&format!("http.request.header.{name}"), list(&[value])));
            }
        }
        let mut events: Vec<Event> = Vec::new();
        for event in trace.events_of(span) {
            events.push(Event {
                time_unix_nano: head.anchor + event.time,
                name: event.name.to_owned(),
                attributes: pairs(&event.attributes),
                dropped_attributes_count: 0,
            });
        }
        for line in &trace.plugin_logs {
            if selection.survivor(line.span) == index {
                events.push(Event {
                    time_unix_nano: head.anchor + line.time,
                    name: "log".to_owned(),
                    attributes: vec![
                        pair("log.severity", text(line.level.as_str())),
                        pair("log.message", text(line.message)),
                        pair("weir.plugin.name", text(line.plugin)),
                    ],
                    dropped_attributes_count: 0,
                });
            }
        }
        Proto {
            trace_id: head.trace_id.0.to_vec(),
            span_id: span.id.0.to_vec(),
            trace_state: head.state.to_owned(),
            parent_span_id: parent.map_or(Vec::new(), |parent| parent.0.to_vec()),
            flags: u32::from(head.flags)
                + if is_root && parent.is_some() {
                    0x300
                } else {
                    0x100
                },
            name: span.name.to_owned(),
            kind: match span.kind {
                Kind::HttpRequest => 2,
                Kind::Plugin => 1,
                _ => 3,
            },
            start_time_unix_nano: head.anchor + span.start,
            end_time_unix_nano: head.anchor + span.end,
            attributes,
            dropped_attributes_count: if is_root { head.dropped } else { 0 },
            events,
            status: Some(Status {
                message: span.message.to_owned(),
                code: span.status as i32,
            }),
            ..Proto::default()
        }
    });
    let version = env!("CARGO_PKG_VERSION");
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![
                    pair("service.name", text("weir")),
                    pair("service.version", text(version)),
                ],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "weir".to_owned(),
                    version: version.to_owned(),
                    ..InstrumentationScope::default()
                }),
                spans: spans.collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

fn assert_is_its_model(record: &[u8], selection: &Selection<'_>) {
    let trace = record::read(record).expect("a record");
    let model = model(&trace, selection);
    assert_eq!(decoded(record, selection), model);
    let json = encoded(encode_json, record, selection);
    let read: ExportTraceServiceRequest = serde_json::from_slice(&json).expect("OTLP/JSON");
    assert_eq!(read, model);
}

#[test]
fn fixed_traces_are_their_models() {
    for record in [testing::plain(), testing::short_circuit(), testing::error()] {
        assert_is_its_model(&record, &Selection::all());
    }
}

#[test]
fn large_spans_have_long_lengths() {
    let mut fixture = testing::Fixture::new(None);
    fixture
        .recorder
        .attribute(SpanIndex::ROOT, "large", "x".repeat(300_000).as_str());
    let hook = fixture.span("plugin.a.prehook", Kind::Plugin, SpanIndex::ROOT, 1);
    fixture
        .recorder
        .attribute(hook, "medium", "y".repeat(20_000).as_str());
    fixture.span("s", Kind::Plugin, hook, 2);
    assert_is_its_model(&fixture.finish(), &Selection::all());
}

proptest! {
    #[test]
    fn any_trace_is_its_model(
        record in records(),
        dropped in proptest::collection::vec("[abc]", 0..3),
    ) {
        assert_is_its_model(&record, &Selection::all());
        let trace = record::read(&record).expect("a record");
        let filters = Filters::new(&config::Filters {
            plugin_span_filter: Some(config::PluginSpanFilter { include: false, plugins: dropped }),
            request_headers: vec!["*a*".to_owned()],
            excluded_attributes: vec!["a".to_owned()],
            ..config::Filters::default()
        });
        let selection = filters.select(&trace).expect("not sampled out");
        assert_is_its_model(&record, &selection);
    }
}
