//! What JSON may look like, and what it must not.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use prost::Message as _;
use serde_json::{Value, json};

use super::*;
use crate::otlp::wire::MAX_DEPTH;

/// A traces request of one span.
fn span(span: Value) -> Vec<u8> {
    json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] })
        .to_string()
        .into_bytes()
}

fn read_span(of: Value) -> Result<opentelemetry_proto::tonic::trace::v1::Span, String> {
    let bytes = read::read(Signal::Traces.request(), &span(of)).map_err(|e| e.to_string())?;
    let request = ExportTraceServiceRequest::decode(&bytes[..]).expect("protobuf");
    Ok(request.resource_spans[0].scope_spans[0].spans[0].clone())
}

#[test]
fn numbers_may_be_texts_and_enums_names() {
    for (start, kind, count) in [
        (json!("1609459200000000000"), json!(2), json!(3)),
        (
            json!(1_609_459_200_000_000_000_u64),
            json!("SPAN_KIND_SERVER"),
            json!("3"),
        ),
        (json!("1.6094592e18"), json!(2.0), json!(3.0)),
    ] {
        let read = read_span(json!({
            "traceId": "5B8EFFF798038103D269B633813FC60C",
            "spanId": "eee19b7ec3c1b174",
            "startTimeUnixNano": start,
            "kind": kind,
            "droppedAttributesCount": count,
        }))
        .unwrap();
        assert_eq!(read.start_time_unix_nano, 1_609_459_200_000_000_000);
        assert_eq!(read.kind, 2);
        assert_eq!(read.dropped_attributes_count, 3);
        assert_eq!(read.trace_id[0], 0x5b);
    }
}

#[test]
fn doubles_keep_every_bit_both_ways() {
    let smallest = f64::from_bits(1);
    for (double, texts) in [
        (-0.0, &["-0.0", "-0", "-0e5", "-1e-400"][..]),
        (smallest, &["5e-324", "4.9E-324", "0.3e-323"][..]),
        (-smallest, &["-5e-324"][..]),
        (0.1 + 0.2, &["0.30000000000000004"][..]),
        (f64::MAX, &["1.7976931348623157e+308"][..]),
    ] {
        for text in texts
            .iter()
            .flat_map(|text| [(*text).to_owned(), format!("\"{text}\"")])
        {
            // Of a `oneof`, optional, and one that is left out where it is 0.
            let metrics = format!(
                r#"{{"gauge":{{"dataPoints":[{{"asDouble":{text}}}]}}}},
                   {{"histogram":{{"dataPoints":[{{"sum":{text}}}]}}}},
                   {{"summary":{{"dataPoints":[{{"sum":{text}}}]}}}}"#
            );
            let json = format!(
                r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{metrics}]}}]}}]}}"#
            );
            let request = read::read(Signal::Metrics.request(), json.as_bytes()).unwrap();
            let read = ExportMetricsServiceRequest::decode(&request[..]).unwrap();
            let metrics = &read.resource_metrics[0].scope_metrics[0].metrics;
            let doubles: Vec<u64> = metrics
                .iter()
                .map(|metric| match metric.data.as_ref().unwrap() {
                    Data::Gauge(gauge) => match gauge.data_points[0].value.unwrap() {
                        Number::AsDouble(double) => double.to_bits(),
                        Number::AsInt(_) => panic!("an integer"),
                    },
                    Data::Histogram(histogram) => histogram.data_points[0].sum.unwrap().to_bits(),
                    Data::Summary(summary) => summary.data_points[0].sum.to_bits(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(doubles, [double.to_bits(); 3], "{text}");
            for dialect in [Dialect::Otlp, Dialect::SnakeCase] {
                let json = as_json(Signal::Metrics, &request, dialect);
                let again = read::read_as(dialect, Signal::Metrics.request(), &json).unwrap();
                assert_eq!(again, request, "{}", String::from_utf8_lossy(&json));
                let written = String::from_utf8(json).unwrap();
                assert_eq!(
                    written.matches(&format!(":{}", texts[0])).count(),
                    3,
                    "{written}"
                );
            }
        }
    }
}

#[test]
fn unknown_names_and_null_are_passed_over() {
    let read = read_span(json!({
        "name": "known", "future": { "deep": [1, { "er": null }] }, "events": null, "status": null,
        "attributes": [{ "key": "k", "value": { "futureValue": 1 } }],
    }))
    .unwrap();
    assert_eq!(read.name, "known");
    assert!(read.events.is_empty() && read.status.is_none());
    assert_eq!(read.attributes[0].value.as_ref().unwrap().value, None);
}

#[test]
fn bytes_may_be_of_either_alphabet() {
    for text in ["+/8=", "-_8=", "+/8", "-_8"] {
        let attribute = json!({ "key": "k", "value": { "bytesValue": text } });
        let read = read_span(json!({ "attributes": [attribute] })).unwrap();
        let value = read.attributes[0].value.clone().unwrap().value.unwrap();
        let expected =
            opentelemetry_proto::tonic::common::v1::any_value::Value::BytesValue(vec![0xfb, 0xff]);
        assert_eq!(value, expected, "{text}");
    }
}

#[test]
fn what_a_field_cannot_be_is_told_by_its_name() {
    for (value, words) in [
        (
            json!({ "traceId": "xyz" }),
            "traceId: has not 32 hexadecimal digits",
        ),
        (
            json!({ "spanId": "5b8efff798038103d269b633813fc60c" }),
            "spanId: has not 16",
        ),
        (json!({ "name": 1 }), "name: is no text"),
        (
            json!({ "kind": "SERVER" }),
            "kind: is neither a number nor the name of one",
        ),
        (
            json!({ "startTimeUnixNano": -1 }),
            "startTimeUnixNano: is no number of 64 bits",
        ),
        (
            json!({ "startTimeUnixNano": "18446744073709551616" }),
            "startTimeUnixNano: is no",
        ),
        (
            json!({ "startTimeUnixNano": 1.5 }),
            "startTimeUnixNano: is no number that it can be",
        ),
        (
            json!({ "droppedLinksCount": 4_294_967_296_u64 }),
            "droppedLinksCount: is no",
        ),
        (json!({ "attributes": {} }), "attributes: is no list"),
        (
            json!({ "attributes": [null] }),
            "attributes: has `null` in its list",
        ),
        (json!({ "status": [] }), "status: is no object"),
    ] {
        let error = read_span(value.clone()).unwrap_err();
        assert!(error.contains(words), "{value}: {error}");
    }
}

/// A request with one log record, whose body this is.
fn log_of(body: Vec<u8>) -> Vec<u8> {
    [5, 2, 2, 1].into_iter().fold(body, |within, number| {
        let mut outer = Vec::new();
        put_bytes(number, &within, &mut outer);
        outer
    })
}

#[test]
fn values_lie_in_one_another_only_so_deep() {
    let nested = |levels: usize| {
        let mut value = vec![];
        for _ in 0..levels {
            // AnyValue.array_value.values
            let mut list = Vec::new();
            put_bytes(1, &value, &mut list);
            value.clear();
            put_bytes(5, &list, &mut value);
        }
        log_of(value)
    };
    let logs = Signal::Logs.request();
    // Request, resource, scope and record lie around the first value.
    let most = (MAX_DEPTH - 5) / 2;
    assert!(check(logs, &nested(most)).is_ok());
    let error = check(logs, &nested(most + 1)).unwrap_err().to_string();
    assert!(error.ends_with("lies too deep in others"), "{error}");

    let mut json = json!({});
    for _ in 0..200 {
        json = json!({ "arrayValue": { "values": [json] } });
    }
    let json = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [{ "body": json }] }] }] });
    assert!(read::read(logs, json.to_string().as_bytes()).is_err());
}

#[test]
fn errors_of_protobuf_name_the_field() {
    let mut request = Vec::new();
    put_tag(1, 2, &mut request);
    put_nested(1, &mut request, |out| {
        put_tag(2, 2, out);
        put_nested(1, out, |out| {
            put_tag(2, 2, out);
            put_nested(1, out, |out| put_bytes(1, b"short", out));
        });
    });
    assert_eq!(
        check(Signal::Traces.request(), &request)
            .unwrap_err()
            .to_string(),
        "resource_spans.scope_spans.spans.trace_id: has neither 16 bytes nor none"
    );
}

#[test]
fn every_cut_of_a_request_is_refused_or_whole_fields() {
    let mut generator = Generator::new(7);
    generator.is_odd = false;
    let request = generator.request(Signal::Metrics);
    for len in 0..request.len() {
        let cut = &request[..len];
        if check(Signal::Metrics.request(), cut).is_ok() {
            canonical(Signal::Metrics, cut);
        }
    }
}

#[test]
fn what_some_of_protobufs_readers_refuse_is_refused() {
    let traces = Signal::Traces.request();
    // An unknown number: the largest there is, and one bit more.
    let number = |last: u8| [&[0x98, 0x4b], &[0xff; 9][..], &[last]].concat();
    assert!(check(traces, &number(1)).is_ok());
    canonical(Signal::Traces, &number(1));
    let error = check(traces, &number(2)).unwrap_err().to_string();
    assert_eq!(error, "has a number of more than 64 bits");
    // In a group, fields have numbers as elsewhere.
    let error = check(traces, &[0x0b + 0x10, 0, 0, 0x0c + 0x10]).unwrap_err();
    assert_eq!(error.to_string(), "has a field of an impossible number");
    // Groups lie in messages, and in one another.
    let groups = |within: usize, count: usize| {
        let mut bytes = [[0x7b].repeat(count), [0x7c].repeat(count)].concat();
        // The value of a log record's body: a list in a list.
        for level in 0..within {
            let mut outer = Vec::new();
            put_bytes(if level % 2 == 0 { 1 } else { 5 }, &bytes, &mut outer);
            bytes = outer;
        }
        log_of(bytes)
    };
    let logs = Signal::Logs.request();
    for within in [0, 2, 50, 80] {
        let room = MAX_DEPTH - 5 - within;
        assert!(check(logs, &groups(within, room)).is_ok(), "{within}");
        canonical(Signal::Logs, &groups(within, room));
        let error = check(logs, &groups(within, room + 1)).unwrap_err();
        let error = error.to_string();
        assert!(error.ends_with("lies too deep in others"), "{error}");
    }
}

#[test]
fn defaults_are_printed_in_snake_case_only() {
    let request = read::read(Signal::Traces.request(), &span(json!({ "name": "n" }))).unwrap();
    let otlp: Value =
        serde_json::from_slice(&as_json(Signal::Traces, &request, Dialect::Otlp)).unwrap();
    let snake: Value =
        serde_json::from_slice(&as_json(Signal::Traces, &request, Dialect::SnakeCase)).unwrap();
    assert_eq!(
        otlp["resourceSpans"][0]["scopeSpans"][0]["spans"][0],
        json!({ "name": "n" })
    );
    assert_eq!(
        snake,
        json!({ "resource_spans": [{
            "schema_url": "",
            "scope_spans": [{ "schema_url": "", "spans": [{
                "trace_id": "", "span_id": "", "trace_state": "", "parent_span_id": "",
                "name": "n", "kind": "SPAN_KIND_UNSPECIFIED",
                "start_time_unix_nano": "0", "end_time_unix_nano": "0", "attributes": [],
                "dropped_attributes_count": 0, "events": [], "dropped_events_count": 0,
                "links": [], "dropped_links_count": 0,
            }] }],
        }] })
    );
}

#[test]
fn what_came_after_the_first_version_is_printed_in_snake_case_where_it_is_set() {
    let printed = |signal: Signal, request: Value| -> Value {
        let request = request.to_string();
        let request = read::read(signal.request(), request.as_bytes()).unwrap();
        serde_json::from_slice(&as_json(signal, &request, Dialect::SnakeCase)).unwrap()
    };
    let traces = |flags: u32, strindex: i32| {
        let resource = json!({ "attributes": [{ "key": "k", "keyStrindex": strindex }] });
        let span = json!({ "flags": flags, "links": [{ "flags": flags }] });
        let spans = json!([{ "spans": [span] }]);
        let request = json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": spans }] });
        printed(Signal::Traces, request)["resource_spans"][0].clone()
    };
    let attribute = |traces: &Value| traces["resource"]["attributes"][0].clone();
    let span = |traces: &Value| traces["scope_spans"][0]["spans"][0].clone();
    let (unset, set) = (traces(0, 0), traces(257, 3));
    assert_eq!(attribute(&unset), json!({ "key": "k" }));
    assert_eq!(attribute(&set), json!({ "key": "k", "key_strindex": 3 }));
    assert_eq!(unset["resource"].get("entity_refs"), None);
    assert_eq!(span(&unset).get("flags"), None);
    assert_eq!(span(&unset)["links"][0].get("flags"), None);
    assert_eq!(span(&set)["flags"], 257);
    assert_eq!(span(&set)["links"][0]["flags"], 257);

    let logs = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [{}, { "eventName": "e" }] }] }] });
    let logs = printed(Signal::Logs, logs);
    let records = &logs["resource_logs"][0]["scope_logs"][0]["log_records"];
    // Flags of log records were there from the beginning.
    assert_eq!(records[0]["flags"], 0);
    assert_eq!(records[0].get("event_name"), None);
    assert_eq!(records[1]["event_name"], "e");
}

#[test]
fn a_small_body_is_not_of_millions_of_messages() {
    // Spans of two bytes each, as a compressed body of a few kilobytes may hold.
    let spans = |count: usize| {
        let spans = [0x12, 0].repeat(count);
        let mut scope = Vec::new();
        put_bytes(2, &spans, &mut scope);
        let mut request = Vec::new();
        put_bytes(1, &scope, &mut request);
        request
    };
    let traces = Signal::Traces.request();
    assert_eq!(check(traces, &spans(10_000)).unwrap().items, 10_000);
    let error = check(traces, &spans(100_000)).unwrap_err().to_string();
    assert_eq!(
        error,
        "resource_spans.scope_spans.spans: is one of too many messages with next to nothing in them"
    );
    // Values may be as small as they like.
    let nulls = [0x0a, 0].repeat(100_000);
    let mut message = nulls;
    for number in [5, 5, 2, 2, 1] {
        let mut outer = Vec::new();
        put_bytes(number, &message, &mut outer);
        message = outer;
    }
    assert!(check(Signal::Logs.request(), &message).is_ok());
}
