//! Sizes: of messages, and of what waits.

use std::collections::HashSet;
use std::fs;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use weir::otlp::Signal;
use weir::otlp::read::read;
use weir_tests::client::Connection;
use weir_tests::kafka::unique;
use weir_tests::service::nobody;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::ways::{Doors, PROTOCOLS, assert_later, items};
use crate::{EXAMPLE, JSON, Otlp, PROTOBUF, post, request, shared, spans};

#[test]
fn a_request_too_large_for_a_message_becomes_several() {
    for (format, limit) in [("otlp_protobuf", 20_000), ("otlp_json", 50_000)] {
        let mut otlp = Otlp::new(format);
        otlp.kafka()["producer"] = json!({ "max_message_bytes": limit });
        let weir = otlp.start();
        let body = request(200, 3, 1000);
        let response = post(
            weir.otlp("http"),
            "/v1/traces",
            PROTOBUF,
            &[],
            &body.encode_to_vec(),
        );
        assert_eq!(response.status, 200);
        assert!(response.body.is_empty());
        let key = r#"weir_otlp_messages_total{signal="traces",protocol="http/protobuf"}"#;
        let count = usize::try_from(weir.count(key)).expect("few");
        assert!(count > 3);
        let mut names = HashSet::new();
        for message in otlp.traces(count) {
            assert!(message.payload.len() <= limit);
            if format == "otlp_protobuf" {
                let part = ExportTraceServiceRequest::decode(&message.payload[..]);
                let part = part.expect("protobuf");
                names.extend(spans(&part).map(|span| span.name.clone()));
            } else {
                let part: serde_json::Value =
                    serde_json::from_slice(&message.payload).expect("JSON");
                let spans = &part["resourceSpans"][0]["scopeSpans"][0]["spans"];
                for span in spans.as_array().expect("spans") {
                    names.insert(span["name"].as_str().expect("a name").to_owned());
                }
            }
        }
        assert_eq!(names.len(), 200);
    }
}

#[test]
fn an_item_too_large_for_any_message_is_told_by_partial_success() {
    let mut otlp = Otlp::new("otlp_protobuf");
    otlp.kafka()["producer"] = json!({ "max_message_bytes": 5000 });
    let weir = otlp.start();
    let mut body = request(6, 1, 100);
    let large = request(1, 1, 6000).resource_spans[0].scope_spans[0].spans[0].clone();
    body.resource_spans[0].scope_spans[0].spans.insert(3, large);
    let http = weir.otlp("http");
    let response = post(http, "/v1/traces", PROTOBUF, &[], &body.encode_to_vec());
    assert_eq!(response.status, 200);
    let response = ExportTraceServiceResponse::decode(&response.body[..]).expect("protobuf");
    let partial = response.partial_success.expect("partial success");
    assert_eq!(partial.rejected_spans, 1);
    assert!(partial.error_message.contains("max_message_bytes"));
    let key = r#"weir_otlp_messages_total{signal="traces",protocol="http/protobuf"}"#;
    let count = usize::try_from(weir.count(key)).expect("few");
    let arrived: usize = otlp
        .traces(count)
        .iter()
        .map(|message| {
            let part = ExportTraceServiceRequest::decode(&message.payload[..]);
            spans(&part.expect("protobuf")).count()
        })
        .sum();
    assert_eq!(arrived, 6);

    let json = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [{ "name": "x".repeat(6000) }] }] }] });
    let response = post(http, "/v1/traces", JSON, &[], json.to_string().as_bytes());
    assert_eq!(response.status, 200);
    assert_eq!(response.json()["partialSuccess"]["rejectedSpans"], "1");
}

#[test]
fn a_full_spool_refuses_and_keeps_what_it_has() {
    let folder = TempDir::new().expect("a folder");
    let mut otlp = Otlp::to(
        &nobody().to_string(),
        [(); 3].map(|()| shared().topic()),
        "otlp_protobuf",
    );
    otlp.config["data_dir"] = json!(folder.path());
    otlp.otlp()["queue_bytes"] = json!("8MiB");
    let mut weir = otlp.start();
    let doors = Doors::of(&weir);
    let filled = Signal::ALL.map(|signal| {
        let filling = items(signal, &vec!["x".repeat(20_000); 10]);
        let mut protocols = PROTOCOLS.into_iter().cycle().take(100);
        let acknowledged = protocols
            .position(|protocol| doors.export(signal, protocol, &filling).is_err())
            .expect("there is a bound");
        assert!(acknowledged > 10, "{acknowledged}");
        for protocol in PROTOCOLS {
            assert_later(doors.ask(signal, protocol, &filling), protocol, 503);
        }
        (signal, filling, acknowledged)
    });
    weir.signal("TERM");
    assert!(weir.wait().success());
    otlp.kafka()["brokers"] = json!([shared().address()]);
    let weir = otlp.start();
    let doors = Doors::of(&weir);
    for (signal, filling, acknowledged) in filled {
        let body = read(signal.request(), filling.to_string().as_bytes()).expect("OTLP/JSON");
        for message in shared().read(&otlp.topics[signal as usize], acknowledged) {
            assert_eq!(message.payload, body);
        }
        eventually("all that was acknowledged is delivered", || {
            (produced(&weir, signal) == acknowledged as u64).then_some(())
        });
        for protocol in PROTOCOLS {
            eventually("there is room again", || {
                doors.export(signal, protocol, &filling).ok()
            });
        }
    }
}

#[test]
fn a_disk_that_takes_nothing_refuses_until_it_does_again() {
    let folder = TempDir::new().expect("a folder");
    let mut otlp = Otlp::new("otlp_protobuf");
    otlp.config["data_dir"] = json!(folder.path());
    otlp.config["spool"] = json!({ "segment_bytes": "2MiB" });
    let brokers = std::mem::replace(&mut otlp.kafka()["brokers"], json!([nobody().to_string()]));
    let weir = otlp.start();
    let body = request(10, 1, 20_000).encode_to_vec();
    let send = || post(weir.otlp("http"), "/v1/traces", PROTOBUF, &[], &body);
    assert_eq!(send().status, 200);
    let mut acknowledged = 1;

    let run = folder.path().join("otlp/traces/spool/0000000001");
    let aside = folder.path().join("aside");
    // As a file system that goes away does: no new segment can be made.
    fs::rename(&run, &aside).expect("rename");
    let refused = loop {
        let response = send();
        if response.status != 200 {
            break response;
        }
        acknowledged += 1;
        assert!(acknowledged < 100, "what there is of segments is full");
    };
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
    assert!(refused.text().contains("the disk takes nothing"));
    let doors = Doors::of(&weir);
    let traces: Value = serde_json::from_str(EXAMPLE).expect("JSON");
    // What is small may still have room behind the last.
    let filling = items(Signal::Traces, &["x".repeat(200_000)]);
    assert_later(doors.ask(Signal::Traces, "grpc", &filling), "grpc", 503);
    let key = r#"weir_otlp_refused_total{signal="traces",protocol="grpc",reason="spool_failed"}"#;
    assert_eq!(weir.count(key), 1);
    weir.says("spool: cannot ");
    // Other signals have folders of their own.
    let logs = items(Signal::Logs, &["elsewhere".to_owned()]);
    assert_eq!(doors.export(Signal::Logs, "grpc", &logs), Ok(()));

    fs::rename(&aside, &run).expect("rename");
    eventually("it takes requests again", || {
        (send().status == 200).then_some(())
    });
    assert_eq!(doors.export(Signal::Traces, "grpc", &traces), Ok(()));
    otlp.kafka()["brokers"] = brokers;
    assert_eq!(weir.reload(&otlp.config.to_string()).status, 200);
    let count = usize::try_from(acknowledged + 2).expect("few");
    let arrived = otlp.traces(count);
    for message in &arrived[..count - 1] {
        assert_eq!(message.payload, body);
    }
    let last = String::from_utf8_lossy(&arrived[count - 1].payload);
    assert!(last.contains("test-operation"), "{last}");
    eventually("no more was made of them", || {
        (produced(&weir, Signal::Traces) == acknowledged + 2).then_some(())
    });
}

/// Messages that Kafka has acknowledged.
fn produced(weir: &Weir, signal: Signal) -> u64 {
    let signal = signal.as_str();
    let of = |protocol: &&str| {
        weir.count(&format!(
            r#"weir_otlp_produced_total{{signal="{signal}",protocol="{protocol}"}}"#
        ))
    };
    PROTOCOLS.iter().map(of).sum()
}

#[test]
fn with_a_spool_a_queue_size_that_is_given_holds() {
    let folder = TempDir::new().expect("a folder");
    let mut otlp = Otlp::to(
        &nobody().to_string(),
        ["traces", "metrics", "logs"].map(str::to_owned),
        "otlp_protobuf",
    );
    otlp.config["data_dir"] = json!(folder.path());
    otlp.otlp()["queue_size"] = json!(3);
    let weir = otlp.start();
    let body = request(1, 1, 10).encode_to_vec();
    let answers: Vec<u16> = (0..5)
        .map(|_| post(weir.otlp("http"), "/v1/traces", PROTOBUF, &[], &body).status)
        .collect();
    assert_eq!(answers, [200, 200, 200, 429, 429]);
}

#[test]
fn a_queue_size_holds_over_a_restart_until_what_was_left_is_delivered() {
    let folder = TempDir::new().expect("a folder");
    let mut otlp = Otlp::new("otlp_protobuf");
    otlp.config["data_dir"] = json!(folder.path());
    otlp.otlp()["queue_size"] = json!(3);
    let brokers = std::mem::replace(&mut otlp.kafka()["brokers"], json!([nobody().to_string()]));
    let body = request(1, 1, 10).encode_to_vec();
    let status = |weir: &Weir| post(weir.otlp("http"), "/v1/traces", PROTOBUF, &[], &body).status;
    let mut weir = otlp.start();
    assert_eq!([(); 4].map(|()| status(&weir)), [200, 200, 200, 429]);
    weir.signal("KILL");
    weir.wait();
    let mut weir = otlp.start();
    assert_eq!(status(&weir), 429);
    weir.signal("KILL");
    weir.wait();
    otlp.kafka()["brokers"] = brokers;
    let weir = otlp.start();
    otlp.traces(3);
    eventually("there is room again", || {
        (status(&weir) == 200).then_some(())
    });
}

#[test]
fn more_connections_than_the_limit_are_closed_and_a_reload_changes_it() {
    let mut otlp = Otlp::new("otlp_json");
    for door in ["grpc", "http"] {
        otlp.otlp()[door]["max_connections"] = json!(2);
    }
    let weir = otlp.start();
    let metric = |name: &str, door: &str, reason: &str| {
        weir.count(&format!(
            "weir_otlp_connections_{name}{{protocol=\"{door}\"{reason}}}"
        ))
    };
    let open = |door: &str, count: u64| {
        eventually("they are open", || {
            (metric("open", door, "") == count).then_some(())
        });
    };
    for door in ["grpc", "http"] {
        let kept = [(); 2].map(|()| Connection::open(weir.otlp(door)));
        open(door, 2);
        assert_eq!(Connection::open(weir.otlp(door)).read_to_end(), b"");
        assert_eq!(metric("refused_total", door, ",reason=\"limit\""), 1);
        drop(kept);
        open(door, 0);
    }
    let post = || {
        let (address, body) = (weir.otlp("http"), EXAMPLE.as_bytes());
        post(address, "/v1/traces", JSON, &[], body).status
    };
    assert_eq!(post(), 200);
    open("http", 0);

    otlp.otlp()["http"]["max_connections"] = json!(3);
    assert_eq!(weir.reload(&otlp.config.to_string()).status, 200);
    let kept = [(); 2].map(|()| Connection::open(weir.otlp("http")));
    open("http", 2);
    assert_eq!(post(), 200);
    drop(kept);
}

#[test]
fn what_kafka_refuses_for_good_is_kept_by_signal() {
    // Topics that take nothing without a key.
    let refusing = [("cleanup.policy", "compact")];
    let topics = ["refused-traces", "refused-metrics", "refused-logs"].map(unique);
    for topic in &topics {
        shared().create_topic(topic, &refusing);
    }
    let folder = TempDir::new().expect("a folder");
    let mut otlp = Otlp::to(shared().address(), topics, "otlp_json");
    otlp.config["data_dir"] = json!(folder.path().join("data"));
    otlp.kafka()["dead_letter"] = json!({ "file": folder.path().join("letters.jsonl") });
    let weir = otlp.start();
    let log = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"test-line"}}]}]}]}"#;
    for (signal, body, said, index) in [
        ("traces", EXAMPLE, "test-operation", 0),
        ("logs", log, "test-line", 2),
    ] {
        let path = format!("/v1/{signal}");
        let response = post(weir.otlp("http"), &path, JSON, &[], body.as_bytes());
        assert_eq!(response.status, 200);
        let key = format!(
            r#"weir_otlp_dead_letters_total{{signal="{signal}",protocol="http/json",reason="refused"}}"#
        );
        eventually("it is counted", || (weir.count(&key) == 1).then_some(()));
        let file = folder.path().join(format!("letters-{signal}.jsonl"));
        let text = std::fs::read_to_string(file).expect("a file");
        let letter: Value = serde_json::from_str(text.trim()).expect("one letter");
        assert_eq!(letter["topic"], otlp.topics[index]);
        assert!(letter["payload"].as_str().expect("text").contains(said));
    }
}
