//! What has no room is refused in the protocol's own way, so that clients send it again.

use std::process::{Command, Stdio};
use std::thread;

use prost::Message as _;
use serde_json::json;
use tempfile::TempDir;
use weir::otlp::Signal;
use weir_tests::kafka::Kafka;
use weir_tests::link::Link;
use weir_tests::service::nobody;
use weir_tests::wait::eventually;

use crate::clients::{python, script};
use crate::ways::{Doors, PROTOCOLS, Refused, assert_later, items};
use crate::{Otlp, PROTOBUF, post, request};

#[test]
fn only_what_may_have_room_later_is_asked_for_again() {
    let folder = TempDir::new().expect("a folder");
    let topics = ["traces", "metrics", "logs"].map(str::to_owned);
    let mut otlp = Otlp::to(&nobody().to_string(), topics, "otlp_protobuf");
    otlp.config["data_dir"] = json!(folder.path());
    otlp.otlp()["queue_size"] = json!(1);
    for door in ["grpc", "http"] {
        otlp.otlp()[door]["max_body_bytes"] = json!("10KiB");
    }
    let weir = otlp.start();
    let doors = Doors::of(&weir);
    for signal in Signal::ALL {
        let large = items(signal, &["x".repeat(20_000)]);
        for protocol in PROTOCOLS {
            let status = |grpc, http| if protocol == "grpc" { grpc } else { http };
            let for_good = |status| {
                Err(Refused {
                    status,
                    retry: None,
                })
            };
            let answered = doors.ask(signal, protocol, &large);
            assert_eq!(answered, for_good(status(8, 413)), "{protocol}");
            let malformed = doors.send(signal, protocol, b"\x0a\x7fshort");
            assert_eq!(malformed, for_good(status(3, 400)), "{protocol}");
        }
        let one = items(signal, &["one".to_owned()]);
        // It can be seen coming.
        let messages = format!("weir_otlp_spool_messages{{signal=\"{}\"}}", signal.as_str());
        assert_eq!(weir.count(&messages), 0);
        assert_eq!(doors.ask(signal, "grpc", &one), Ok(()));
        assert_eq!(weir.count(&messages), 1);
        for protocol in PROTOCOLS {
            assert_later(doors.ask(signal, protocol, &one), protocol, 429);
        }
    }
}

#[test]
fn bytes_that_wait_are_bounded_too() {
    let topics = ["traces", "metrics", "logs"].map(str::to_owned);
    let mut otlp = Otlp::to(&nobody().to_string(), topics, "otlp_protobuf");
    otlp.otlp()["queue_bytes"] = json!("100KiB");
    let weir = otlp.start();
    let doors = Doors::of(&weir);
    let mut waiting = Vec::new();
    for (signal, protocol) in Signal::ALL.into_iter().zip(PROTOCOLS) {
        // Each signal has its own room.
        assert_eq!(doors.ask(signal, protocol, &items(signal, &[])), Ok(()));
        let large = items(signal, &vec!["x".repeat(3000); 30]);
        let asking = thread::spawn(move || doors.ask(signal, protocol, &large));
        waiting.push((protocol, asking));
        let bytes = format!("weir_otlp_queue_bytes{{signal=\"{}\"}}", signal.as_str());
        eventually("one waits", || (weir.count(&bytes) > 90_000).then_some(()));
        let more = items(signal, &vec!["x".repeat(3000); 10]);
        for protocol in PROTOCOLS {
            assert_later(doors.ask(signal, protocol, &more), protocol, 429);
        }
    }
    for (protocol, asking) in waiting {
        assert_later(asking.join().expect("no panic"), protocol, 503);
    }
}

#[test]
fn an_sdk_sends_again_what_was_pushed_back() {
    let folder = TempDir::new().expect("a folder");
    let link = Link::new();
    let kafka = Kafka::start(&folder, &link.arguments());
    link.lead_to(&kafka);
    for protocol in ["grpc", "http"] {
        let topics = [(); 3].map(|()| kafka.topic());
        let mut otlp = Otlp::to(&link.address().to_string(), topics, "otlp_json");
        otlp.otlp()["queue_size"] = json!(1);
        let weir = otlp.start();
        eventually("it delivers", || {
            (weir.ready()["receivers"][0]["state"] == "ok").then_some(())
        });
        link.close();
        let http = weir.otlp("http");
        let body = request(1, 1, 10).encode_to_vec();
        let first = thread::spawn(move || post(http, "/v1/traces", PROTOBUF, &[], &body));
        let requests = r#"weir_otlp_queue_requests{signal="traces"}"#;
        eventually("one waits", || (weir.count(requests) == 1).then_some(()));
        let sdk = Command::new(python())
            .arg(script("insistent.py"))
            .args([protocol, &format!("http://{}", weir.otlp(protocol))])
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python runs");
        let name = if protocol == "grpc" {
            "grpc"
        } else {
            "http/protobuf"
        };
        let refused = format!(
            r#"weir_otlp_refused_total{{signal="traces",protocol="{name}",reason="queue_full"}}"#
        );
        eventually("the SDK is refused", || {
            weir.metrics().contains(&refused).then_some(())
        });
        link.open();
        let output = sdk.wait_with_output().expect("it ends");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "SUCCESS");
        assert_eq!(first.join().expect("no panic").status, 200);
        let arrived = kafka.read(&otlp.topics[0], 2);
        let wanted = format!("insistent-{protocol}");
        let has = |message: &weir::demo::consumer::Message| {
            String::from_utf8_lossy(&message.payload).contains(&wanted)
        };
        assert!(arrived.iter().any(has));
    }
}
