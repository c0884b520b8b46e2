//! From requests to messages: keys, and none too large.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use sha2::Digest as _;

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
    fn no_item_is_lost_altered_or_too_large_as_json(signal in any_signal(), seed: u64, limit in 200_usize..6000, keyed: bool, snake: bool) {
        let mut generator = Generator::new(seed);
        generator.is_odd = false;
        let request = generator.request(signal);
        if check(signal.request(), &request).expect("well-formed").is_empty {
            return Ok(());
        }
        let (format, dialect) = if snake {
            (Format::JsonSnakeCase, Dialect::SnakeCase)
        } else {
            (Format::Json, Dialect::Otlp)
        };
        let as_protobuf = Plan { keyed, ..plan(signal) };
        let (whole, _) = messages(&as_protobuf, &request);
        let (messages, refused) = messages(&Plan { format, limit, alone: limit, ..as_protobuf }, &request);
        let mut too_large = 0;
        let mut sent = BTreeMap::new();
        for (key, payload) in &whole.0 {
            for (leaf, count) in leaves(signal, payload) {
                if as_json(signal, &leaf, dialect).len() > limit {
                    too_large += count;
                } else {
                    *sent.entry((key.map(|key| *key.as_bytes()), canonical(signal, &leaf))).or_default() += count;
                }
            }
        }
        prop_assert_eq!(usize::try_from(refused), Ok(too_large));
        let mut arrived: BTreeMap<_, usize> = BTreeMap::new();
        for (key, payload) in &messages.0 {
            prop_assert!(payload.len() <= limit);
            serde_json::from_slice::<serde::de::IgnoredAny>(payload).expect("JSON");
            let part = read::read_as(dialect, signal.request(), payload).expect("reads");
            for (leaf, count) in leaves(signal, &part) {
                *arrived.entry((key.map(|key| *key.as_bytes()), canonical(signal, &leaf))).or_default() += count;
            }
        }
        prop_assert_eq!(arrived, sent);
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

/// Attributes of a resource, what is hashed of them, and the first half of its SHA-256.
const GOLDEN_KEYS: [(&str, &str, &str); 16] = [
    (
        r#"{"key":"d","value":{"doubleValue":"NaN"}}"#,
        "d\0{\"doubleValue\":\"NaN\"}\n",
        "3486ceb1fc354ece2fa66ff5657e6f6c",
    ),
    (
        r#"{"key":"d","value":{"doubleValue":1e21}}"#,
        "d\0{\"doubleValue\":1e+21}\n",
        "73d285682a57929c37da032fc3fb590b",
    ),
    (
        r#"{"key":"d","value":{"doubleValue":1000000}}"#,
        "d\0{\"doubleValue\":1000000.0}\n",
        "4dd2e1775830553d0409d82be65803a9",
    ),
    (
        r#"{"key":"d","value":{"doubleValue":-0.0}}"#,
        "d\0{\"doubleValue\":-0.0}\n",
        "01c6b8b4e14fbd228d53f8b195adf783",
    ),
    (
        r#"{"key":"d","value":{"doubleValue":1e-7}}"#,
        "d\0{\"doubleValue\":1e-7}\n",
        "6c065d508de3ecd7f0dd3700fafd2a5d",
    ),
    (
        r#"{"key":"i","value":{"intValue":-9223372036854775808}}"#,
        "i\0{\"intValue\":\"-9223372036854775808\"}\n",
        "89377843c8592004f71179c2a095abc5",
    ),
    (
        r#"{"key":"b","value":{"boolValue":false}}"#,
        "b\0{\"boolValue\":false}\n",
        "d6204e0d952b59ed0534c136e8e30fd7",
    ),
    (
        r#"{"key":"b","value":{"bytesValue":"-_8"}}"#,
        "b\0{\"bytesValue\":\"+/8=\"}\n",
        "b507d2bf7daaf64202b8759de3825c44",
    ),
    (
        r#"{"key":"t","value":{"stringValue":"\u00e9\"\n/"}}"#,
        "t\0{\"stringValue\":\"é\\\"\\n/\"}\n",
        "8c370002bccb5de42ccfff76a41c9c39",
    ),
    (
        r#"{"key":"l","value":{"arrayValue":{"values":[{"intValue":"1"},{},{"stringValue":""}]}}}"#,
        "l\0{\"arrayValue\":{\"values\":[{\"intValue\":\"1\"},{},{\"stringValue\":\"\"}]}}\n",
        "b4f5fbb4e5ac6bbd4579d5c31d6e0f4f",
    ),
    (
        r#"{"key":"l","value":{"arrayValue":{}}}"#,
        "l\0{\"arrayValue\":{}}\n",
        "3985c42dd839af63931c66756de6406c",
    ),
    (
        r#"{"key":"m","value":{"kvlistValue":{"values":[{"key":"b","value":{"boolValue":true}},{"key":"a"}]}}}"#,
        "m\0{\"kvlistValue\":{\"values\":[{\"key\":\"b\",\"value\":{\"boolValue\":true}},{\"key\":\"a\"}]}}\n",
        "687bd2ed08a7ee89db754fc98ea8f2d6",
    ),
    (
        r#"{"key":"n","value":{"stringValue":"b"}},{"key":"n","value":{"stringValue":"a"}}"#,
        "n\0{\"stringValue\":\"a\"}\nn\0{\"stringValue\":\"b\"}\n",
        "ebdf60b22e3c93a2223f5f993df247a7",
    ),
    (
        r#"{"key":"n","value":{"stringValue":"a"}},{"key":"n","value":{"stringValue":"b"}}"#,
        "n\0{\"stringValue\":\"a\"}\nn\0{\"stringValue\":\"b\"}\n",
        "ebdf60b22e3c93a2223f5f993df247a7",
    ),
    (
        r#"{"key":"gone"},{"key":"","value":{"intValue":"0"}}"#,
        "\0{\"intValue\":\"0\"}\ngone\0{}\n",
        "61827d428a2104c87d56e9a9070fba73",
    ),
    (
        r#"{"key":"gone","value":{}}"#,
        "gone\0{}\n",
        "d249c7ad82e2db2f26bd13174c41165c",
    ),
];

/// The key of a request that has one.
fn key(signal: Signal, resource: &str) -> String {
    let items = match signal {
        Signal::Metrics => r#""scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[{}]}}]}]"#,
        _ => r#""scopeLogs":[{"logRecords":[{}]}]"#,
    };
    let name = if signal == Signal::Metrics {
        "resourceMetrics"
    } else {
        "resourceLogs"
    };
    let json = format!(r#"{{"{name}":[{{"resource":{resource},{items}}}]}}"#);
    let request = read::read(signal.request(), json.as_bytes()).unwrap();
    let plan = Plan {
        keyed: true,
        ..plan(signal)
    };
    let (messages, _) = messages(&plan, &request);
    let [(Some(key), _)] = messages.0[..] else {
        panic!("not one message with a key");
    };
    String::from_utf8(key.as_bytes().to_vec()).unwrap()
}

#[test]
fn keys_of_all_kinds_of_attributes_never_change() {
    // Each with what is hashed of it.
    for (attributes, hashed, expected) in GOLDEN_KEYS {
        let digest = sha2::Sha256::digest(hashed);
        let half: String = digest[..16].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(half, expected, "{hashed:?}");
        let resource = format!(r#"{{"attributes":[{attributes}],"droppedAttributesCount":3}}"#);
        for signal in [Signal::Metrics, Signal::Logs] {
            assert_eq!(key(signal, &resource), expected, "{attributes}");
        }
    }
    // Without attributes, and without a resource.
    let nothing = "e3b0c44298fc1c149afbf4c8996fb924";
    for resource in ["{}", "null", r#"{"attributes":[]}"#] {
        assert_eq!(key(Signal::Logs, resource), nothing, "{resource}");
    }
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
