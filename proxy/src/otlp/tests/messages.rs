//! From requests to messages: keys, and none too large.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

use super::*;
use crate::config::otlp::Format;
use crate::otlp::again;
use crate::otlp::fuzz::{Messages, messages};
use crate::otlp::messages::Plan;

fn plan(signal: Signal) -> Plan {
    Plan {
        signal,
        format: Format::Protobuf,
        keyed: false,
        limit: 1_000_000,
        alone: 1_000_000,
    }
}

/// Leaves with what stands around each, counted.
fn leaves(signal: Signal, request: &[u8]) -> BTreeMap<Vec<u8>, usize> {
    let mut found = BTreeMap::new();
    let tree = Tree::new(signal.request(), request);
    for leaf in 0..tree.len() {
        let mut one = Vec::new();
        tree.write(&[leaf], &mut one);
        *found.entry(one).or_default() += 1;
    }
    found
}

fn merged(signal: Signal, messages: &Messages) -> BTreeMap<Vec<u8>, usize> {
    let mut all = BTreeMap::new();
    for (_, payload) in &messages.0 {
        for (leaf, count) in leaves(signal, payload) {
            *all.entry(leaf).or_default() += count;
        }
    }
    all
}

proptest! {
    #[test]
    fn no_item_is_lost_or_too_large(signal in any_signal(), seed: u64, limit in 80_usize..3000, keyed: bool) {
        let mut generator = Generator::new(seed);
        generator.is_odd = false;
        let request = generator.request(signal);
        if check(signal.request(), &request).expect("well-formed").is_empty {
            return Ok(());
        }
        let plan = Plan { limit, alone: limit, keyed, ..plan(signal) };
        let (messages, refused) = messages(&plan, &request);
        let all = leaves(signal, &request);
        let fitting: usize = all.iter().filter(|(leaf, _)| leaf.len() <= limit).map(|(_, n)| n).sum();
        let total: usize = all.values().sum();
        prop_assert_eq!(usize::try_from(refused), Ok(total - fitting));
        prop_assert!(messages.0.iter().all(|(_, payload)| payload.len() <= limit));
        let arrived = merged(signal, &messages);
        for (leaf, count) in &all {
            let expected = if leaf.len() <= limit { Some(count) } else { None };
            prop_assert_eq!(arrived.get(leaf), expected);
        }
    }

    #[test]
    fn json_messages_are_not_too_large_either(signal in any_signal(), seed: u64, snake: bool) {
        let mut generator = Generator::new(seed);
        generator.is_odd = false;
        let request = generator.request(signal);
        if check(signal.request(), &request).expect("well-formed").is_empty {
            return Ok(());
        }
        let format = if snake { Format::JsonSnakeCase } else { Format::Json };
        let plan = Plan { format, limit: 2000, alone: 2000, ..plan(signal) };
        let (messages, _) = messages(&plan, &request);
        for (_, payload) in &messages.0 {
            prop_assert!(payload.len() <= 2000);
            serde_json::from_slice::<serde_json::Value>(payload).expect("JSON");
        }
    }

    #[test]
    fn a_message_may_be_made_again_in_any_format(signal in any_signal(), seed: u64, limit in 200_usize..2000) {
        let mut generator = Generator::new(seed);
        generator.is_odd = false;
        let request = generator.request(signal);
        if check(signal.request(), &request).expect("well-formed").is_empty {
            return Ok(());
        }
        for format in [Format::Protobuf, Format::Json, Format::JsonSnakeCase] {
            let as_one = plan(signal);
            let (message, _) = messages(&Plan { format, ..as_one }, &request);
            let message = &message.0[0].1;
            let is_json = format != Format::Protobuf;
            let pieces = again::pieces(signal, message, is_json, (limit, limit));
            let mut arrived = Messages::default();
            for piece in pieces {
                prop_assert_eq!(piece.payload.len() > limit, piece.is_too_large);
                let protobuf = match format {
                    Format::Protobuf => piece.payload,
                    Format::Json => read::read(signal.request(), &piece.payload).expect("reads"),
                    Format::JsonSnakeCase => {
                        read::read_as(Dialect::SnakeCase, signal.request(), &piece.payload).expect("reads")
                    }
                };
                arrived.0.push((None, protobuf));
            }
            // JSON knows no unknown fields, and orders the others.
            let canonical = |leaves: BTreeMap<Vec<u8>, usize>| -> BTreeMap<Vec<u8>, usize> {
                let mut all = BTreeMap::new();
                for (leaf, count) in leaves {
                    *all.entry(canonical(signal, &leaf)).or_default() += count;
                }
                all
            };
            let sent = canonical(leaves(signal, &request));
            prop_assert_eq!(canonical(merged(signal, &arrived)), sent);
        }
    }

    #[test]
    fn a_key_has_one_trace_each(seed: u64) {
        let request = Generator::new(seed).request(Signal::Traces);
        if check(Signal::Traces.request(), &request).expect("well-formed").is_empty {
            return Ok(());
        }
        let plan = Plan { keyed: true, ..plan(Signal::Traces) };
        let (messages, _) = messages(&plan, &request);
        let mut seen = BTreeSet::new();
        for (key, payload) in &messages.0 {
            let decoded = ExportTraceServiceRequest::decode(&payload[..]).expect("protobuf");
            let spans = decoded.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|s| &s.spans);
            let ids: BTreeSet<String> = spans
                .map(|span| span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect())
                .collect();
            let key = key.map_or(String::new(), |key| String::from_utf8(key.as_bytes().to_vec()).expect("digits"));
            prop_assert_eq!(ids, BTreeSet::from([key.clone()]));
            prop_assert!(seen.insert(key));
        }
    }
}

#[test]
fn what_fits_goes_out_as_it_came_in() {
    let request = Generator::new(3).request(Signal::Traces);
    let (messages, refused) = messages(&plan(Signal::Traces), &request);
    assert_eq!(refused, 0);
    assert_eq!(messages.0, [(None, request)]);
}

/// A logs request of one record for each of these resources.
fn logs(resources: &[serde_json::Value]) -> Vec<u8> {
    let resources: Vec<_> = resources
        .iter()
        .map(|attributes| {
            serde_json::json!({
                "resource": { "attributes": attributes },
                "scopeLogs": [{ "logRecords": [{ "severityText": "x" }] }],
            })
        })
        .collect();
    let json = serde_json::json!({ "resourceLogs": resources }).to_string();
    read::read(Signal::Logs.request(), json.as_bytes()).unwrap()
}

#[test]
fn resources_of_the_same_attributes_have_one_key_which_never_changes() {
    let attribute =
        |key: &str, value: serde_json::Value| serde_json::json!({ "key": key, "value": value });
    let name = attribute("service.name", serde_json::json!({ "stringValue": "shop" }));
    let number = attribute("n", serde_json::json!({ "intValue": "1" }));
    let request = logs(&[
        serde_json::json!([name, number]),
        serde_json::json!([name]),
        serde_json::json!([number, name]),
    ]);
    let plan = Plan {
        keyed: true,
        ..plan(Signal::Logs)
    };
    let (messages, _) = messages(&plan, &request);
    let keys: Vec<_> = messages
        .0
        .iter()
        .map(|(key, payload)| {
            let key = key.expect("a key");
            let count = check(Signal::Logs.request(), payload).unwrap().items;
            (String::from_utf8(key.as_bytes().to_vec()).unwrap(), count)
        })
        .collect();
    // sha256("n\0{"intValue":"1"}\nservice.name\0{"stringValue":"shop"}\n"), the first half
    assert_eq!(
        keys,
        [
            ("18335b8fa95213bf43b21ee99286fcf3".to_owned(), 2),
            ("dd9ca7d370478f05d2b9f978ccbc8029".to_owned(), 1)
        ]
    );
}

#[test]
fn what_is_no_message_of_weirs_has_no_pieces() {
    for payload in [&b"{"[..], b"[]", b"\x0a\xff", b"{}", b""] {
        for is_json in [false, true] {
            let pieces = again::pieces(Signal::Traces, payload, is_json, (10, 10));
            assert_eq!(pieces, [], "{payload:?}");
        }
    }
}
