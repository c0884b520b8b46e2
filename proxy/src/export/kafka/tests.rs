//! What becomes of messages that a broker does not take, against librdkafka's mock cluster.

mod receivers;

use std::time::{Duration, Instant};

use indexmap::IndexMap;
use rdkafka::ClientContext;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::config;
use crate::demo::consumer::Consumer;
use crate::export::Exporters;
use crate::export::status::{Reason, Status};
use crate::export::testing::{self, eventually, kafka};
use crate::health::State;
use crate::trace::recorder::Recorder;
use crate::trace::{Kind, SpanIndex, TraceId, record};

mod waiting;

fn start(config: config::Kafka) -> Exporters {
    let exporter = config::Exporter::Kafka(Box::new(config));
    Exporters::start(&IndexMap::from([("kafka".to_owned(), exporter)]), None)
}

fn hand_over(exporters: &Exporters, count: usize) -> Vec<TraceId> {
    let handoff = exporters.handoff();
    let mut recorder = Recorder::default();
    (0..count)
        .map(|_| testing::hand_over(&handoff, &mut recorder))
        .collect()
}

/// Keys of the first messages of the topic.
fn keys<C: ClientContext>(cluster: &MockCluster<'_, C>, count: usize) -> Vec<Vec<u8>> {
    let consumer = Consumer::new(&cluster.bootstrap_servers(), "traces").unwrap();
    let mut receive = || consumer.recv(Duration::from_millis(100)).unwrap();
    (0..count)
        .map(|_| eventually("a message arrives", &mut receive).key)
        .collect()
}

fn status(exporters: &Exporters) -> Status {
    exporters.status().remove(0)
}

fn wait_until_connected(exporters: &Exporters) {
    eventually("it is connected", || {
        (status(exporters).state == State::Ok).then_some(())
    });
}

fn wait_until_delivered(exporters: &Exporters, count: u64) {
    eventually("all is delivered", || {
        (status(exporters).delivered == count).then_some(())
    });
}

/// A cluster with the topic `traces`.
fn cluster() -> MockCluster<'static, impl ClientContext> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("traces", 1, 1).unwrap();
    cluster
}

fn refuse<C: ClientContext>(cluster: &MockCluster<'_, C>, error: RDKafkaRespErr, times: usize) {
    cluster.request_errors(RDKafkaApiKey::Produce, &vec![error; times]);
}

#[test]
fn a_batch_that_is_too_large_is_sent_in_smaller_ones() {
    let cluster = cluster();
    let exporters = start(kafka(&cluster.bootstrap_servers(), "traces"));
    wait_until_connected(&exporters);
    refuse(
        &cluster,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
        2,
    );
    hand_over(&exporters, 100);
    wait_until_delivered(&exporters, 100);
    assert_eq!(status(&exporters).dropped(Reason::TooLarge), 0);
}

#[test]
fn a_span_with_too_many_attributes_for_any_message_is_dropped_and_counted() {
    let cluster = cluster();
    let mut config = kafka(&cluster.bootstrap_servers(), "traces");
    config.producer.max_message_bytes = 4_000;
    let exporters = start(config);
    hand_over_what_is_too_large(&exporters);
    hand_over(&exporters, 1);
    wait_until_delivered(&exporters, 1);
    assert_eq!(status(&exporters).dropped(Reason::TooLarge), 1);
}

#[test]
fn records_that_cannot_be_read_are_counted_and_hinder_no_other() {
    let cluster = cluster();
    let exporters = start(kafka(&cluster.bootstrap_servers(), "traces"));
    let handoff = exporters.handoff();
    for _ in 0..3 {
        handoff.append(|out| {
            out.extend_from_slice(b"nonsense");
            true
        });
    }
    drop(handoff);
    hand_over(&exporters, 1);
    wait_until_delivered(&exporters, 1);
    assert_eq!(status(&exporters).dropped(Reason::Invalid), 3);
}

#[test]
fn what_may_be_allowed_later_is_kept_and_sent_again() {
    let cluster = cluster();
    let exporters = start(kafka(&cluster.bootstrap_servers(), "traces"));
    wait_until_connected(&exporters);
    let refusals = 3;
    refuse(
        &cluster,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        refusals,
    );
    hand_over(&exporters, 100);
    eventually("it says why it does not deliver", || {
        let State::Degraded(message) = status(&exporters).state else {
            return None;
        };
        assert!(
            message.starts_with("kafka plugin: failed to write trace "),
            "{message}"
        );
        assert!(
            message.ends_with(": not authorized to write to topic \"traces\""),
            "{message}"
        );
        Some(())
    });
    wait_until_delivered(&exporters, 100);
    wait_until_connected(&exporters);
    assert_eq!(
        status(&exporters).dropped.map(|(_, count)| count),
        [0; Reason::ALL.len()]
    );
}

#[test]
fn a_topic_without_a_leader_is_said() {
    let cluster = cluster();
    let leaderless = RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
    cluster.topic_error("traces", leaderless).unwrap();
    let exporters = start(kafka(&cluster.bootstrap_servers(), "traces"));
    let said = eventually("it says what is wrong", || match status(&exporters).state {
        State::Degraded(message) => Some(message),
        _ => None,
    });
    assert_eq!(
        said,
        "kafka plugin: failed to connect/authenticate with broker: topic \"traces\" has no leader"
    );
}

#[test]
fn what_is_refused_for_good_is_dropped_and_counted() {
    let cluster = cluster();
    let exporters = start(kafka(&cluster.bootstrap_servers(), "traces"));
    wait_until_connected(&exporters);
    refuse(
        &cluster,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
        1,
    );
    hand_over(&exporters, 1);
    eventually("the refusal is counted", || {
        (status(&exporters).dropped(Reason::Refused) == 1).then_some(())
    });
    hand_over(&exporters, 1);
    wait_until_delivered(&exporters, 1);
}

#[test]
fn a_fatal_error_of_the_client_is_survived_in_order() {
    let cluster = cluster();
    let exporters = start(kafka(&cluster.bootstrap_servers(), "traces"));
    wait_until_connected(&exporters);
    // Of the request that is first in line it is fatal for an idempotent producer.
    let out_of_order = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    refuse(&cluster, out_of_order, 1);
    let ids = hand_over(&exporters, 300);
    wait_until_delivered(&exporters, 300);
    assert_eq!(
        status(&exporters).dropped.map(|(_, count)| count),
        [0; Reason::ALL.len()]
    );
    let expected: Vec<_> = ids.iter().map(|id| id.to_string().into_bytes()).collect();
    assert_eq!(keys(&cluster, 300), expected);
}

#[test]
fn a_broker_that_was_away_gets_all_that_was_queued() {
    let cluster = cluster();
    let exporters = start(kafka(&cluster.bootstrap_servers(), "traces"));
    wait_until_connected(&exporters);
    cluster.broker_down(-1).unwrap();
    hand_over(&exporters, 100);
    eventually("the loss of the broker is seen", || {
        matches!(status(&exporters).state, State::Degraded(_)).then_some(())
    });
    cluster.broker_up(-1).unwrap();
    wait_until_delivered(&exporters, 100);
    wait_until_connected(&exporters);
    assert_eq!(keys(&cluster, 100).len(), 100);
}

/// A handed over trace that no message of the exporter's can carry.
fn hand_over_what_is_too_large(exporters: &Exporters) -> TraceId {
    let handoff = exporters.handoff();
    let mut recorder = Recorder::default();
    recorder.begin(None, Instant::now());
    for number in 0..200 {
        let key = format!("an.attribute.with.a.key.of.some.length.{number}");
        recorder.attribute(SpanIndex::ROOT, &key, true);
    }
    handoff.append(|out| {
        record::write(&recorder, out);
        true
    });
    recorder.trace_id()
}

#[test]
fn what_is_refused_for_good_goes_to_the_file_of_dead_letters() {
    let cluster = cluster();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead/letters.jsonl");
    let mut config = kafka(&cluster.bootstrap_servers(), "traces");
    config.producer.max_message_bytes = 4_000;
    config.dead_letter = Some(config::DeadLetter::File {
        path: path.clone(),
        max_bytes: 1 << 30,
    });
    let exporters = start(config);
    wait_until_connected(&exporters);
    let too_large = hand_over_what_is_too_large(&exporters);
    eventually("it is kept", || {
        (status(&exporters).dead_letters() == 1).then_some(())
    });
    refuse(
        &cluster,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
        1,
    );
    let refused = hand_over(&exporters, 1).remove(0);
    eventually("it is kept", || {
        (status(&exporters).dead_letters() == 2).then_some(())
    });
    hand_over(&exporters, 1);
    wait_until_delivered(&exporters, 1);
    let status = status(&exporters);
    assert_eq!(status.dropped(Reason::TooLarge), 0);
    assert_eq!(status.dropped(Reason::Refused), 0);
    let text = std::fs::read_to_string(path).unwrap();
    let letters: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(letters.len(), 2);
    for (letter, (id, reason, cause)) in letters.iter().zip([
        (
            too_large,
            "too_large",
            "larger than the topic or producer.max_message_bytes allows",
        ),
        (refused, "refused", "Policy violation"),
    ]) {
        assert_eq!(letter["key"], id.to_string());
        assert_eq!(letter["reason"], reason);
        assert_eq!(letter["cause"], cause);
        assert_eq!(letter["topic"], "traces");
        assert_eq!(letter["exporter"], "kafka");
        let headers = &letter["headers"];
        assert_eq!(headers["content-type"], "application/json");
        let trace: serde_json::Value =
            serde_json::from_str(letter["payload"].as_str().unwrap()).unwrap();
        assert_eq!(trace["TraceID"], id.to_string());
    }
}

#[test]
fn letters_that_cannot_be_written_wait_and_are_written_in_the_end() {
    let cluster = cluster();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.jsonl");
    // A folder stands in the file's place.
    std::fs::create_dir(&path).unwrap();
    let mut config = kafka(&cluster.bootstrap_servers(), "traces");
    config.producer.max_message_bytes = 4_000;
    config.dead_letter = Some(config::DeadLetter::File {
        path: path.clone(),
        max_bytes: 1 << 30,
    });
    let exporters = start(config);
    wait_until_connected(&exporters);
    hand_over_what_is_too_large(&exporters);
    let begin = format!(
        "kafka plugin: failed to write dead letters to {}: ",
        path.display()
    );
    eventually("it says why", || match status(&exporters).state {
        State::Degraded(message) => message.starts_with(&begin).then_some(()),
        _ => None,
    });
    assert_eq!(status(&exporters).dead_letters(), 0);
    std::fs::remove_dir(&path).unwrap();
    eventually("it is kept", || {
        (status(&exporters).dead_letters() == 1).then_some(())
    });
    wait_until_connected(&exporters);
    let last_error = status(&exporters).last_error.unwrap();
    assert!(last_error.message.starts_with(&begin), "{last_error:?}");
}

#[test]
fn parts_of_one_trace_that_are_lost_are_one_lost_trace() {
    let cluster = cluster();
    let mut config = kafka(&cluster.bootstrap_servers(), "traces");
    config.producer.max_message_bytes = 4_000;
    // Each part is a request of its own, and what becomes of one is nothing to the others.
    config.batch_size = 1;
    config.producer.acks = config::Acks::One;
    let exporters = start(config);
    wait_until_connected(&exporters);
    refuse(
        &cluster,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
        3,
    );
    let handoff = exporters.handoff();
    let mut recorder = Recorder::default();
    let now = Instant::now();
    recorder.begin(None, now);
    for _ in 0..20 {
        let hook = recorder.span("plugin.auth.prehook", Kind::Plugin, SpanIndex::ROOT, now);
        recorder.attribute(hook, "said", "x".repeat(1000).as_str());
    }
    handoff.append(|out| {
        record::write(&recorder, out);
        true
    });
    drop(handoff);
    eventually("the loss is counted", || {
        (status(&exporters).dropped(Reason::Refused) > 0).then_some(())
    });
    hand_over(&exporters, 1);
    wait_until_delivered(&exporters, 1);
    assert_eq!(status(&exporters).dropped(Reason::Refused), 1);
}

#[test]
fn the_client_tells_its_statistics() {
    let cluster = cluster();
    let mut config = kafka(&cluster.bootstrap_servers(), "traces");
    let value = config::Secret::new("50".to_owned());
    let properties = &mut config.producer.custom_config;
    properties.insert("statistics.interval.ms".to_owned(), value);
    let exporters = start(config);
    hand_over(&exporters, 100);
    wait_until_delivered(&exporters, 100);
    let address = cluster.bootstrap_servers();
    eventually("the broker is told of", || {
        let client = status(&exporters).client?;
        let broker = client.brokers.get(&address)?;
        let totals = broker.totals;
        (broker.is_up && totals.connects > 0 && totals.requests > 0 && totals.sent_bytes > 1000)
            .then_some(())
    });
}
