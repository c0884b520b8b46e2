//! Requests of each signal, by each protocol.

use std::collections::HashSet;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde::Serialize;
use serde_json::{Value, json};
use weir::otlp::Signal;
use weir::otlp::read::read;
use weir_tests::grpc::{Answer, call, frame};
use weir_tests::weir::Weir;

use crate::{JSON, PROTOBUF, post};

/// As metrics have them.
pub(crate) const PROTOCOLS: [&str; 3] = ["grpc", "http/protobuf", "http/json"];

/// Where a receiver listens.
#[derive(Clone, Copy)]
pub(crate) struct Doors {
    grpc: SocketAddr,
    http: SocketAddr,
}

impl Doors {
    pub(crate) fn of(weir: &Weir) -> Self {
        Self {
            grpc: weir.otlp("grpc"),
            http: weir.otlp("http"),
        }
    }

    /// Sends a request, given as OTLP/JSON. The error is the status of HTTP or of gRPC that it was
    /// answered with.
    pub(crate) fn export(self, signal: Signal, protocol: &str, request: &Value) -> Result<(), u16> {
        let answered = self.ask(signal, protocol, request);
        answered.map_err(|refused| refused.status)
    }

    /// Sends a request, given as OTLP/JSON.
    pub(crate) fn ask(
        self,
        signal: Signal,
        protocol: &str,
        request: &Value,
    ) -> Result<(), Refused> {
        let json = request.to_string().into_bytes();
        if protocol == "http/json" {
            return self.send(signal, protocol, &json);
        }
        let protobuf = read(signal.request(), &json).expect("OTLP/JSON");
        self.send(signal, protocol, &protobuf)
    }

    /// Sends these bytes as a request.
    pub(crate) fn send(self, signal: Signal, protocol: &str, body: &[u8]) -> Result<(), Refused> {
        let kind = match protocol {
            "grpc" => return self.call(signal, "application/grpc", body),
            "http/json" => JSON,
            _ => PROTOBUF,
        };
        let path = format!("/v1/{}", signal.as_str());
        let response = post(self.http, &path, kind, &[], body);
        match response.status {
            200 => Ok(()),
            status => Err(Refused {
                status,
                retry: (response.header("retry-after"))
                    .map(|seconds| seconds.parse().expect("seconds")),
            }),
        }
    }

    /// Sends these bytes by gRPC, with this media type.
    pub(crate) fn call(self, signal: Signal, kind: &str, message: &[u8]) -> Result<(), Refused> {
        let service = match signal {
            Signal::Traces => "trace.v1.TraceService",
            Signal::Metrics => "metrics.v1.MetricsService",
            Signal::Logs => "logs.v1.LogsService",
        };
        let path = format!("/opentelemetry.proto.collector.{service}/Export");
        let headers = [("content-type", kind), ("te", "trailers")];
        let answer = call(self.grpc, &path, &headers, frame(false, message));
        match answer.http {
            200 if answer.status() == 0 => Ok(()),
            200 => Err(Refused {
                status: answer.status().into(),
                retry: asked(&answer),
            }),
            status => Err(Refused {
                status,
                retry: None,
            }),
        }
    }
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Of HTTP, or of gRPC.
    pub(crate) status: u16,
    /// In how many seconds to send it again, where that is asked for.
    pub(crate) retry: Option<i64>,
}

/// It is to be sent again: as this status of HTTP says, or `UNAVAILABLE`, and a time with it.
#[track_caller]
pub(crate) fn assert_later(answered: Result<(), Refused>, protocol: &str, http: u16) {
    let refused = answered.expect_err("it has no room");
    let status = if protocol == "grpc" { 14 } else { http };
    assert_eq!(refused.status, status, "{protocol}");
    let retry = refused.retry.expect("a time");
    assert!(retry > 0, "{protocol}");
}

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

/// The delay that an answer of gRPC asks for, if it asks for one.
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

/// A request, as OTLP/JSON, of an item for each of these names.
pub(crate) fn items(signal: Signal, names: &[String]) -> Value {
    let names = names.iter();
    match signal {
        Signal::Traces => {
            let spans: Vec<_> = names.map(|name| json!({ "name": name })).collect();
            json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] })
        }
        Signal::Metrics => {
            let gauge = json!({ "dataPoints": [{ "asInt": "1" }] });
            let metrics: Vec<_> = names
                .map(|name| json!({ "name": name, "gauge": gauge }))
                .collect();
            json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": metrics }] }] })
        }
        Signal::Logs => {
            let records: Vec<_> = names
                .map(|name| json!({ "body": { "stringValue": name } }))
                .collect();
            json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": records }] }] })
        }
    }
}

/// All texts in a message of protobuf.
pub(crate) fn texts(signal: Signal, payload: &[u8]) -> HashSet<String> {
    fn decode<M: Message + Default + Serialize>(payload: &[u8]) -> Value {
        let message = M::decode(payload).expect("protobuf");
        serde_json::to_value(message).expect("JSON")
    }
    fn collect(value: &Value, found: &mut HashSet<String>) {
        match value {
            Value::String(text) => _ = found.insert(text.clone()),
            Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
            Value::Object(map) => map.values().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let value = match signal {
        Signal::Traces => decode::<ExportTraceServiceRequest>(payload),
        Signal::Metrics => decode::<ExportMetricsServiceRequest>(payload),
        Signal::Logs => decode::<ExportLogsServiceRequest>(payload),
    };
    let mut found = HashSet::new();
    collect(&value, &mut found);
    found
}
