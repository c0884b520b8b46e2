//! What tests of exporters share.

use std::thread;
use std::time::{Duration, Instant};

use super::handoff::Handoff;
use crate::config::{Compression, Exporter, Filters, Format, Kafka, Producer};
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

/// Hands over a request with one hook; gives its trace id.
pub(crate) fn hand_over(handoff: &Handoff, recorder: &mut Recorder) -> TraceId {
    let now = Instant::now();
    recorder.begin(None, now);
    recorder.rename(SpanIndex::ROOT, "GET /orders");
    let hook = recorder.span("plugin.auth.prehook", Kind::Plugin, SpanIndex::ROOT, now);
    recorder.attribute(hook, "weir.hook.decision", "continue");
    recorder.end(hook, Status::Ok, "", now);
    recorder.end(SpanIndex::ROOT, Status::Ok, "", now);
    handoff.append(|out| {
        record::write(recorder, out);
        true
    });
    recorder.trace_id()
}
