//! Requests of each signal, by each protocol.

use std::collections::HashSet;
use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde::Serialize;
use serde_json::{Value, json};
use weir::otlp::Signal;
use weir::otlp::read::read;
use weir_tests::grpc::{call, frame};
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
        let json = request.to_string().into_bytes();
        let path = format!("/v1/{}", signal.as_str());
        let kind = match protocol {
            "http/json" => {
                let status = post(self.http, &path, JSON, &[], &json).status;
                return if status == 200 { Ok(()) } else { Err(status) };
            }
            kind => kind,
        };
        let protobuf = read(signal.request(), &json).expect("OTLP/JSON");
        if kind == "http/protobuf" {
            let status = post(self.http, &path, PROTOBUF, &[], &protobuf).status;
            return if status == 200 { Ok(()) } else { Err(status) };
        }
        let service = match signal {
            Signal::Traces => "trace.v1.TraceService",
            Signal::Metrics => "metrics.v1.MetricsService",
            Signal::Logs => "logs.v1.LogsService",
        };
        let path = format!("/opentelemetry.proto.collector.{service}/Export");
        let headers = [("content-type", "application/grpc"), ("te", "trailers")];
        match call(self.grpc, &path, &headers, frame(false, &protobuf)).status() {
            0 => Ok(()),
            status => Err(status.into()),
        }
    }
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
