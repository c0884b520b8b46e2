use std::net::TcpListener;

use super::testing::{self, eventually, exporter, kafka};
use super::*;
use crate::demo::broker::Broker;
use crate::demo::consumer::{Consumer, Message};
use crate::trace::TraceId;
use crate::trace::recorder::Recorder;

type Set = IndexMap<String, config::Exporter>;

fn set(exporters: &[(&str, &config::Exporter)]) -> Set {
    exporters
        .iter()
        .map(|(name, exporter)| ((*name).to_owned(), (*exporter).clone()))
        .collect()
}

/// An address where nobody listens.
fn nowhere() -> String {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().to_string()
}

/// Hands over so many traces.
fn hand_over(exporters: &Exporters, count: usize) -> Vec<TraceId> {
    let handoff = exporters.handoff();
    let mut recorder = Recorder::default();
    (0..count)
        .map(|_| testing::hand_over(&handoff, &mut recorder))
        .collect()
}

fn read(broker: &Broker, topic: &str, count: usize) -> Vec<Message> {
    let consumer = Consumer::new(broker.bootstrap_servers(), topic).unwrap();
    (0..count)
        .map(|_| {
            eventually("a message arrives", || {
                consumer.recv(Duration::from_millis(100)).unwrap()
            })
        })
        .collect()
}

fn status(exporters: &Exporters, name: &str) -> Status {
    let statuses = exporters.status();
    statuses
        .into_iter()
        .find(|status| status.exporter == name)
        .unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

#[test]
fn each_trace_arrives_under_its_id_with_its_headers() {
    let broker = Broker::start(&["traces"]).unwrap();
    let target = exporter(broker.bootstrap_servers(), "traces");
    let exporters = Exporters::start(&set(&[("kafka", &target)]), None);
    let ids = hand_over(&exporters, 200);
    let messages = read(&broker, "traces", ids.len());
    for (message, id) in messages.iter().zip(&ids) {
        assert_eq!(message.key, id.to_string().as_bytes());
        assert_eq!(message.header("content-type"), Some("application/json"));
        assert_eq!(
            message.header("weir-version"),
            Some(env!("CARGO_PKG_VERSION"))
        );
        let traceparent = message.header("traceparent").unwrap();
        assert!(
            traceparent.starts_with(&format!("00-{id}-")),
            "{traceparent}"
        );
        let trace: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(trace["TraceID"], id.to_string());
    }
    let [status] = &exporters.shutdown(soon())[..] else {
        panic!("one exporter has one status");
    };
    assert_eq!((status.taken, status.delivered), (200, 200));
    assert_eq!(status.queue_bytes, 0);
}

#[test]
fn a_dead_exporter_harms_no_other() {
    let broker = Broker::start(&["traces"]).unwrap();
    let (dead, alive) = (
        exporter(&nowhere(), "traces"),
        exporter(broker.bootstrap_servers(), "traces"),
    );
    let exporters = Exporters::start(&set(&[("dead", &dead), ("alive", &alive)]), None);
    hand_over(&exporters, 50);
    assert_eq!(read(&broker, "traces", 50).len(), 50);
    eventually("the dead exporter says why", || {
        let State::Degraded(message) = status(&exporters, "dead").state else {
            return None;
        };
        assert!(
            message.starts_with("kafka plugin: failed to connect/authenticate with broker: ")
                && message.ends_with(": connection refused"),
            "{message}"
        );
        Some(())
    });
    let statuses = exporters.shutdown(Instant::now());
    assert_eq!(statuses[0].dropped(Reason::Shutdown), 50);
    assert_eq!(statuses[1].dropped(Reason::Shutdown), 0);
}

#[test]
fn what_the_buffer_cannot_keep_is_counted() {
    let mut target = kafka(&nowhere(), "traces");
    target.buffer_bytes = 256 * 1024;
    let target = config::Exporter::Kafka(Box::new(target));
    let exporters = Exporters::start(&set(&[("kafka", &target)]), None);
    hand_over(&exporters, 5000);
    let before = status(&exporters, "kafka");
    assert!(before.queue_bytes <= 256 * 1024);
    assert!(before.dropped(Reason::BufferFull) > 0);
    let [after] = &exporters.shutdown(Instant::now())[..] else {
        panic!("one exporter has one status");
    };
    let lost = after.dropped(Reason::BufferFull) + after.dropped(Reason::Shutdown);
    assert_eq!(lost, 5000);
}

#[test]
fn a_reload_keeps_what_is_unchanged_and_lets_the_rest_deliver() {
    let broker = Broker::start(&["kept", "changed", "removed"]).unwrap();
    let [kept, changed, removed] =
        ["kept", "changed", "removed"].map(|topic| exporter(broker.bootstrap_servers(), topic));
    let exporters = Exporters::start(
        &set(&[
            ("kept", &kept),
            ("changed", &changed),
            ("removed", &removed),
        ]),
        None,
    );
    let handoff = exporters.handoff();
    let mut recorder = Recorder::default();
    let mut append = || testing::hand_over(&handoff, &mut recorder);
    append();
    handoff.flush();

    let mut other = kafka(broker.bootstrap_servers(), "changed");
    other.batch_size = 1;
    let other = config::Exporter::Kafka(Box::new(other));
    let thread = |exporters: &Exporters| lock(&exporters.running)["kept"].health.clone();
    let before = thread(&exporters);
    exporters.apply(&set(&[("kept", &kept), ("changed", &other)]));
    assert!(Arc::ptr_eq(&before, &thread(&exporters)));
    append();
    handoff.flush();

    for (topic, count) in [("kept", 2), ("changed", 2), ("removed", 1)] {
        assert_eq!(read(&broker, topic, count).len(), count, "{topic}");
    }
    assert_eq!(exporters.status().len(), 2);
    let statuses = exporters.shutdown(soon());
    assert!(
        statuses.iter().all(|status| status.delivered == 2),
        "{statuses:?}"
    );
}

#[test]
fn disabled_exporters_are_not_started() {
    let mut target = kafka(&nowhere(), "traces");
    target.enabled = false;
    let target = config::Exporter::Kafka(Box::new(target));
    let exporters = Exporters::start(&set(&[("kafka", &target)]), None);
    assert!(!exporters.handoff().is_enabled());
    assert!(exporters.status().is_empty());
}

#[test]
fn a_shutdown_delivers_what_is_queued() {
    let broker = Broker::start(&["traces"]).unwrap();
    let mut target = kafka(broker.bootstrap_servers(), "traces");
    target.flush_interval = Duration::from_millis(500);
    let target = config::Exporter::Kafka(Box::new(target));
    let exporters = Exporters::start(&set(&[("kafka", &target)]), None);
    hand_over(&exporters, 150);
    let [status] = &exporters.shutdown(soon())[..] else {
        panic!("one exporter has one status");
    };
    assert_eq!(status.delivered, 150);
    assert_eq!(read(&broker, "traces", 150).len(), 150);
}

#[test]
fn an_exporter_that_panics_is_said_and_started_again() {
    let meter = Arc::default();
    let (_sender, source) = source::memory(0, &meter, false);
    let feed = Feed {
        exporter: "breaks".to_owned(),
        source,
        meter,
        health: Arc::default(),
        stop: Stop::new(Arc::default()),
    };
    let runs = std::cell::Cell::new(0);
    keep_running(&feed, || {
        runs.set(runs.get() + 1);
        assert!(runs.get() > 2, "it breaks");
        // What it says of itself now is its own affair.
        assert_eq!(
            feed.health.get(),
            State::Degraded("panicked; starting again".to_owned())
        );
    });
    assert_eq!(runs.get(), 3);
}
