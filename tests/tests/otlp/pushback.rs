//! What has no room is refused in the protocol's own way, so that clients send it again.

use std::process::{Command, Stdio};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use prost::Message;
use serde_json::json;
use tempfile::TempDir;
use weir_tests::grpc::{Answer, call, frame};
use weir_tests::kafka::Kafka;
use weir_tests::link::Link;
use weir_tests::service::nobody;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::clients::{python, script};
use crate::{Otlp, PROTOBUF, post, request};

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// `google.rpc.Status` with what lies in it.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes, tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`, and the `google.protobuf.Duration` in it.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    delay: Option<Duration>,
}

#[derive(Clone, PartialEq, Message)]
struct Duration {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

/// The delay that an answer asks for, if it asks for one.
fn asked(answer: &Answer) -> Option<i64> {
    let details = STANDARD_NO_PAD.decode(answer.trailer("grpc-status-details-bin"));
    let status = Status::decode(&details.expect("base64")[..]).expect("a status");
    assert_eq!(status.code, i32::from(answer.status()));
    assert!(!status.message.is_empty());
    let is_retry = |any: &&Any| any.type_url == "type.googleapis.com/google.rpc.RetryInfo";
    let found = status.details.iter().find(is_retry)?;
    let info = RetryInfo::decode(&found.value[..]).expect("a delay");
    Some(info.delay.expect("a duration").seconds)
}

fn export(weir: &Weir, body: &[u8]) -> Answer {
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    call(weir.otlp("grpc"), TRACES, &headers, frame(false, body))
}

#[test]
fn only_what_may_have_room_later_is_asked_for_again() {
    let folder = TempDir::new().expect("a folder");
    let topics = ["traces", "metrics", "logs"].map(str::to_owned);
    let mut otlp = Otlp::to(&nobody().to_string(), topics, "otlp_protobuf");
    otlp.config["data_dir"] = json!(folder.path());
    otlp.otlp()["queue_size"] = json!(1);
    otlp.otlp()["grpc"]["max_body_bytes"] = json!("10KiB");
    let weir = otlp.start();
    let too_large = export(&weir, &request(20, 1, 1000).encode_to_vec());
    assert_eq!(too_large.status(), 8);
    assert_eq!(asked(&too_large), None);
    let malformed = export(&weir, b"\x0a\x7fshort");
    assert_eq!((malformed.status(), asked(&malformed)), (3, None));

    let body = request(1, 1, 10).encode_to_vec();
    assert_eq!(export(&weir, &body).status(), 0);

    let full = export(&weir, &body);
    assert_eq!(full.status(), 14);
    assert!(asked(&full).is_some_and(|seconds| seconds > 0));
    let full = post(weir.otlp("http"), "/v1/traces", PROTOBUF, &[], &body);
    assert_eq!(full.status, 429);
    let after = full.header("retry-after").expect("a delay");
    assert!(after.parse::<u32>().is_ok_and(|seconds| seconds > 0));
}

#[test]
fn bytes_that_wait_are_bounded_too() {
    let topics = ["traces", "metrics", "logs"].map(str::to_owned);
    let mut otlp = Otlp::to(&nobody().to_string(), topics, "otlp_protobuf");
    otlp.otlp()["queue_bytes"] = json!("100KiB");
    let weir = otlp.start();
    let http = weir.otlp("http");
    let large = request(30, 1, 3000).encode_to_vec();
    let waiting = thread::spawn(move || post(http, "/v1/traces", PROTOBUF, &[], &large));
    let bytes = r#"weir_otlp_queue_bytes{signal="traces"}"#;
    eventually("one waits", || (weir.count(bytes) > 90_000).then_some(()));
    let more = request(10, 1, 3000).encode_to_vec();
    assert_eq!(export(&weir, &more).status(), 14);
    // Each signal has its own room.
    let metrics = post(http, "/v1/metrics", PROTOBUF, &[], b"");
    assert_eq!(metrics.status, 200);
    assert_eq!(waiting.join().expect("no panic").status, 503);
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
