use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message as _;
use serde_json::Value as Json;

use super::*;
use crate::trace::testing::{Fixture, records};
use crate::trace::{Kind, Level, SpanIndex, json, otlp, record};

/// Ids of span and parent, in order; the parent is empty where there is none.
type Ids = Vec<(String, String)>;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(of: &Json) -> String {
    of.as_str().unwrap_or_default().to_owned()
}

fn json_spans(part: &[u8]) -> Ids {
    let part: Json = serde_json::from_slice(part).expect("JSON");
    assert!(part["RootSpan"]["SpanID"].is_string());
    let spans = part["Spans"].as_array().expect("a list");
    let ids = |span: &Json| (text(&span["SpanID"]), text(&span["ParentID"]));
    spans.iter().map(ids).collect()
}

fn otlp_json_spans(part: &[u8]) -> Ids {
    let part: Json = serde_json::from_slice(part).expect("JSON");
    let spans = part.pointer("/resourceSpans/0/scopeSpans/0/spans");
    let spans = spans.and_then(Json::as_array).expect("a list");
    let ids = |span: &Json| (text(&span["spanId"]), text(&span["parentSpanId"]));
    spans.iter().map(ids).collect()
}

fn otlp_spans(part: &[u8]) -> Ids {
    let part = ExportTraceServiceRequest::decode(part).expect("protobuf");
    let spans = &part.resource_spans[0].scope_spans[0].spans;
    let ids = |span: &opentelemetry_proto::tonic::trace::v1::Span| {
        (hex(&span.span_id), hex(&span.parent_span_id))
    };
    spans.iter().map(ids).collect()
}

type Parse = fn(&[u8]) -> Ids;

const FORMATS: [(Encode, Parse); 3] = [
    (json::encode, json_spans),
    (otlp::encode_json, otlp_json_spans),
    (otlp::encode_protobuf, otlp_spans),
];

fn whole(record: &[u8], encode: Encode) -> Vec<u8> {
    let trace = record::read(record).expect("a record");
    let mut out = Vec::new();
    encode(&trace, &Selection::all(), &mut out);
    out
}

fn parts(record: &[u8], encode: Encode, limit: usize) -> Option<Vec<Vec<u8>>> {
    let mut trace = record::read(record).expect("a record");
    split(&mut trace, &Selection::all(), encode, limit)
}

/// A request through a hundred hooks, each with a text of so many bytes.
fn long(bytes: usize) -> Vec<u8> {
    let mut trace = Fixture::new(None);
    for hook in 0..100 {
        let span = trace.span("plugin.long.prehook", Kind::Plugin, SpanIndex::ROOT, hook);
        trace
            .recorder
            .attribute(span, "long", "ä".repeat(bytes / 2).as_str());
    }
    trace.finish()
}

#[test]
fn parts_fit_and_hold_all_spans_in_order() {
    let record = long(500);
    for (encode, spans) in FORMATS {
        let whole = whole(&record, encode);
        assert!(whole.len() > 50_000);
        let parts = parts(&record, encode, 10_000).expect("parts");
        assert!(parts.len() >= 5, "{} parts", parts.len());
        assert!(parts.iter().all(|part| part.len() <= 10_000));
        let all: Ids = parts.iter().flat_map(|part| spans(part)).collect();
        assert_eq!(all, spans(&whole));
        let said = |part: &[u8]| String::from_utf8_lossy(part).contains("weir.truncated");
        assert!(!parts.iter().any(|part| said(part)), "nothing was cut");
    }
}

#[test]
fn what_fits_is_one_part() {
    let record = long(0);
    for (encode, _) in FORMATS {
        let whole = whole(&record, encode);
        assert_eq!(parts(&record, encode, whole.len()), Some(vec![whole]));
    }
}

#[test]
fn a_span_that_is_too_large_has_its_longest_texts_cut_and_says_so() {
    let record = long(5_000);
    for (encode, spans) in FORMATS {
        let parts = parts(&record, encode, 3_000).expect("parts");
        assert!(parts.iter().all(|part| part.len() <= 3_000));
        let all: Ids = parts.iter().flat_map(|part| spans(part)).collect();
        assert_eq!(all, spans(&whole(&record, encode)));
        let first = String::from_utf8_lossy(&parts[0]);
        assert!(first.contains("weir.truncated"), "{first}");
    }
}

#[test]
fn a_span_that_fits_is_left_whole_beside_one_that_does_not() {
    let mut trace = Fixture::new(None);
    for (hook, bytes) in [(1, 3_000), (2, 8_000), (3, 3_000)] {
        let span = trace.span("plugin.a.prehook", Kind::Plugin, SpanIndex::ROOT, hook);
        let text = "X".repeat(bytes);
        trace.recorder.attribute(span, "long", text.as_str());
    }
    let logs = trace.span("plugin.b.prehook", Kind::Plugin, SpanIndex::ROOT, 4);
    let (line, at) = ("L".repeat(3_000), trace.at(5));
    trace.recorder.plugin_log(logs, "b", Level::Info, &line, at);
    let record = trace.finish();
    for (encode, _) in FORMATS {
        let parts = parts(&record, encode, 5_000).expect("parts");
        let text = String::from_utf8_lossy(&parts.concat()).into_owned();
        let runs = |letter: char| -> Vec<usize> {
            let runs = text.split(|other| other != letter).map(str::len);
            runs.filter(|bytes| *bytes > 100).collect()
        };
        assert_eq!(runs('X'), [3_000, 2_500, 3_000]);
        assert_eq!(runs('L'), [3_000]);
        assert!(text.contains("weir.truncated"));
    }
}

#[test]
fn a_root_that_is_too_large_is_cut_alone() {
    let mut trace = Fixture::new(None);
    let (large, small) = ("X".repeat(8_000), "X".repeat(2_500));
    trace
        .recorder
        .attribute(SpanIndex::ROOT, "long", large.as_str());
    let span = trace.span("plugin.a.prehook", Kind::Plugin, SpanIndex::ROOT, 1);
    trace.recorder.attribute(span, "long", small.as_str());
    let record = trace.finish();
    for (encode, _) in FORMATS {
        let parts = parts(&record, encode, 6_000).expect("parts");
        let whole = parts
            .iter()
            .any(|part| String::from_utf8_lossy(part).contains(&small));
        assert!(whole && parts.iter().all(|part| part.len() <= 6_000));
    }
}

#[test]
fn what_cannot_fit_is_told() {
    for (encode, _) in FORMATS {
        assert_eq!(parts(&long(100), encode, 100), None);
    }
}

proptest! {
    #[test]
    fn no_span_is_lost_or_doubled(record in records(), limit in 400..8_000_usize) {
        for (encode, spans) in FORMATS {
            if let Some(parts) = parts(&record, encode, limit) {
                prop_assert!(parts.iter().all(|part| part.len() <= limit));
                let all: Ids = parts.iter().flat_map(|part| spans(part)).collect();
                prop_assert_eq!(all, spans(&whole(&record, encode)));
            }
        }
    }
}
