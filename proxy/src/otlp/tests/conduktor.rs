//! What Conduktor's OTLP source connector writes.
//!
//! `conduktor.json` has requests with every field of OTLP 1.0, and what the connector's printer writes of
//! them: `JsonFormat` of Java's protobuf 3.25.1 with its version of OTLP, as in its `OtlpReceiver.java`
//! (github.com/conduktor/kafka-connect-opentelemetry). `tests/services/conduktor` makes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;

const GOLDEN: &str = include_str!("conduktor.json");

/// JSON without the ways there are to write one number, texts being no numbers.
fn meaning(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(values) => values.iter().map(meaning).collect(),
        Value::Object(fields) => {
            let fields = fields.iter();
            fields
                .map(|(name, value)| (name.clone(), meaning(value)))
                .collect()
        }
        other => other.clone(),
    }
}

/// Every difference, with its place, so that a failure can be read.
fn differences(ours: &Value, theirs: &Value, place: &str, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(own), Value::Object(other)) => {
            let names = own
                .keys()
                .chain(other.keys().filter(|name| !own.contains_key(*name)));
            for name in names {
                let place = format!("{place}.{name}");
                match (own.get(name), other.get(name)) {
                    (Some(own), Some(other)) => differences(own, other, &place, found),
                    (own, other) => found.push(format!("{place}: {own:?}, not {other:?}")),
                }
            }
        }
        (Value::Array(own), Value::Array(other)) if own.len() == other.len() => {
            for (index, (own, other)) in own.iter().zip(other).enumerate() {
                differences(own, other, &format!("{place}[{index}]"), found);
            }
        }
        _ if ours == theirs => {}
        _ => found.push(format!("{place}: {ours}, not {theirs}")),
    }
}

#[test]
fn snake_case_is_byte_for_meaning_what_conduktors_connector_writes() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let mut seen = Vec::new();
    for case in golden.as_array().unwrap() {
        let mut signals = Signal::ALL.into_iter();
        let signal = signals.find(|signal| case["signal"] == signal.as_str());
        let signal = signal.expect("a signal");
        let request = STANDARD.decode(case["request"].as_str().unwrap()).unwrap();
        check(signal.request(), &request).expect("well-formed");
        let ours = as_json(signal, &request, Dialect::SnakeCase);
        let ours: Value = serde_json::from_slice(&ours).unwrap();
        let mut found = Vec::new();
        let (ours, theirs) = (meaning(&ours), meaning(&case["written"]));
        differences(&ours, &theirs, signal.as_str(), &mut found);
        assert!(found.is_empty(), "{found:#?}");
        seen.push((signal.as_str(), request.is_empty()));
    }
    for signal in Signal::ALL {
        for is_empty in [false, true] {
            assert!(seen.contains(&(signal.as_str(), is_empty)));
        }
    }
}
