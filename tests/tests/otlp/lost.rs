//! What does not reach its topic is counted: by signal, by protocol, by reason.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;
use weir::otlp::Signal;
use weir_tests::kafka::unique;
use weir_tests::service::nobody;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::ways::{Doors, PROTOCOLS, items};
use crate::{JSON, Otlp, post, shared};

fn dropped(weir: &Weir, signal: Signal, protocol: &str, reason: &str) -> u64 {
    let signal = signal.as_str();
    weir.count(&format!(
        r#"weir_otlp_dropped_total{{signal="{signal}",protocol="{protocol}",reason="{reason}"}}"#
    ))
}

/// How many kinds of loss are counted.
fn kinds(weir: &Weir) -> usize {
    let metrics = weir.metrics();
    let lines = metrics.lines();
    lines
        .filter(|line| line.starts_with("weir_otlp_dropped_total{"))
        .count()
}

fn named(signal: Signal, name: &str) -> serde_json::Value {
    items(signal, &[name.to_owned()])
}

#[test]
fn what_kafka_refuses_for_good_is_counted_by_signal_and_protocol() {
    // Topics that take nothing without a key.
    let topics = ["keyed-traces", "keyed-metrics", "keyed-logs"].map(unique);
    for topic in &topics {
        shared().create_topic(topic, &[("cleanup.policy", "compact")]);
    }
    let folder = TempDir::new().expect("a folder");
    let mut otlp = Otlp::to(shared().address(), topics, "otlp_json");
    otlp.config["data_dir"] = json!(folder.path());
    otlp.kafka()["flush_interval_ms"] = json!(50);
    let weir = otlp.start();
    let doors = Doors::of(&weir);
    // So many of each that none is taken for another.
    let mut wanted = Vec::new();
    for signal in Signal::ALL {
        for protocol in PROTOCOLS {
            let count = wanted.len() + 1;
            for _ in 0..count {
                assert_eq!(
                    doors.export(signal, protocol, &named(signal, "lost")),
                    Ok(())
                );
            }
            wanted.push((signal, protocol, count as u64));
        }
    }
    for (signal, protocol, count) in wanted {
        eventually(&format!("{signal:?} by {protocol} are counted"), || {
            (dropped(&weir, signal, protocol, "refused") == count).then_some(())
        });
    }
    assert_eq!(kinds(&weir), 9);
}

#[test]
fn an_item_that_its_topic_does_not_take_is_counted_as_too_large() {
    let mut otlp = Otlp::new("otlp_protobuf");
    let small = unique("small-logs");
    shared().create_topic(&small, &[("max.message.bytes", "5000")]);
    let folder = TempDir::new().expect("a folder");
    otlp.config["data_dir"] = json!(folder.path());
    otlp.kafka()["logs_topic"] = json!(small);
    let weir = otlp.start();
    let large = named(Signal::Logs, &"x".repeat(8000));
    let doors = Doors::of(&weir);
    for protocol in ["grpc", "http/json"] {
        assert_eq!(doors.export(Signal::Logs, protocol, &large), Ok(()));
        eventually("it is counted", || {
            (dropped(&weir, Signal::Logs, protocol, "too_large") == 1).then_some(())
        });
    }
    assert_eq!(kinds(&weir), 2);
}

/// The segment that has a text in it, with its bytes and the text's place.
fn find(folder: &Path, text: &str) -> Option<(std::path::PathBuf, Vec<u8>, usize)> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    entries.map(|entry| entry.path()).find_map(|path| {
        if path.extension()? != "seg" {
            return None;
        }
        let bytes = fs::read(&path).expect("a segment");
        let mut windows = bytes.windows(text.len());
        let place = windows.position(|found| found == text.as_bytes())?;
        Some((path, bytes, place))
    })
}

#[test]
fn what_is_broken_in_the_spool_is_counted_once_and_the_rest_arrives() {
    let folder = TempDir::new().expect("a folder");
    let mut otlp = Otlp::new("otlp_json");
    otlp.config["data_dir"] = json!(folder.path());
    otlp.config["spool"] = json!({ "segment_bytes": "2MiB" });
    let brokers = std::mem::replace(&mut otlp.kafka()["brokers"], json!([nobody().to_string()]));
    let mut weir = otlp.start();
    for name in ["first", "broken", "last"] {
        let body = named(Signal::Traces, name).to_string();
        let response = post(weir.otlp("http"), "/v1/traces", JSON, &[], body.as_bytes());
        assert_eq!(response.status, 200);
    }
    weir.signal("KILL");
    weir.wait();
    let run = folder.path().join("otlp/traces/spool/0000000001");
    let (path, mut bytes, place) = find(&run, "broken").expect("it is on the disk");
    bytes[place] ^= 1;
    fs::write(path, bytes).expect("written");

    otlp.kafka()["brokers"] = brokers;
    let weir = otlp.start();
    let arrived = otlp.traces(2);
    for (message, name) in arrived.iter().zip(["first", "last"]) {
        let text = String::from_utf8_lossy(&message.payload);
        assert!(text.contains(name), "{text}");
    }
    // What it was nobody can tell.
    eventually("it is counted", || {
        (dropped(&weir, Signal::Traces, "unknown", "corrupt") == 1).then_some(())
    });
    assert_eq!(kinds(&weir), 1);
}
