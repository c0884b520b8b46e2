//! What tests of exporters share.

use std::thread;
use std::time::{Duration, Instant};

use super::handoff::Handoff;
use crate::config::{
    Compression, Destination, Endpoint, Exporter, Filters, Format, Kafka, OtlpCompression,
    OtlpExporter, OtlpProtocol, Producer, Protocol,
};
use crate::trace::recorder::Recorder;
use crate::trace::{Kind, SpanIndex, Status, TraceId, record};

/// Longest wait of a test for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `done` gives something.
pub(crate) fn eventually<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(done) = done() {
            return done;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn kafka(brokers: &str, topic: &str) -> Kafka {
    Kafka {
        enabled: true,
        brokers: vec![brokers.to_owned()],
        topic: topic.to_owned(),
        format: Format::Json,
        tls: None,
        sasl: None,
        compression: Compression::None,
        batch_size: 100,
        flush_interval: Duration::from_millis(5),
        auto_create_topic: false,
        producer: Producer::default(),
        dead_letter: None,
        buffer_bytes: 64 << 20,
        filters: Filters::default(),
    }
}

pub(crate) fn exporter(brokers: &str, topic: &str) -> Exporter {
    Exporter::Kafka(Box::new(kafka(brokers, topic)))
}

/// By OTLP over gRPC to an endpoint, at once.
pub(crate) fn otlp(host: &str, port: u16) -> OtlpExporter {
    OtlpExporter {
        enabled: true,
        to: Destination {
            endpoint: Endpoint {
                protocol: Protocol::Http2,
                ..Endpoint::new(host, port)
            },
            path: "/v1/traces".to_owned(),
            protocol: OtlpProtocol::Grpc,
            headers: Vec::new(),
            compression: OtlpCompression::Gzip,
            timeout: Duration::from_secs(10),
        },
        batch_spans: 1000,
        batch_bytes: 1 << 20,
        flush_interval: Duration::from_millis(5),
        retry_backoff: Duration::from_millis(20),
        retry_backoff_max: Duration::from_millis(100),
        dead_letter: None,
        buffer_bytes: 64 << 20,
        filters: Filters::default(),
    }
}

/// Hands over a request with one hook; gives its trace id.
pub(crate) fn hand_over(handoff: &Handoff, recorder: &mut Recorder) -> TraceId {
    handoff.append(|out| {
        write(recorder, out);
        true
    });
    recorder.trace_id()
}

/// Appends the record of a request with one hook.
pub(crate) fn write(recorder: &mut Recorder, out: &mut Vec<u8>) {
    let now = Instant::now();
    recorder.begin(None, now);
    recorder.rename(SpanIndex::ROOT, "GET /orders");
    let hook = recorder.span("plugin.auth.prehook", Kind::Plugin, SpanIndex::ROOT, now);
    recorder.attribute(hook, "weir.hook.decision", "continue");
    recorder.end(hook, Status::Ok, "", now);
    recorder.end(SpanIndex::ROOT, Status::Ok, "", now);
    record::write(recorder, out);
}
