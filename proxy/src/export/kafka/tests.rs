//! What becomes of messages that a broker does not take, against librdkafka's mock cluster.

use std::time::{Duration, Instant};

use indexmap::IndexMap;
use rdkafka::ClientContext;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::config;
use crate::demo::consumer::Consumer;
use crate::export::Exporters;
use crate::export::status::{Reason, State, Status};
use crate::export::testing::{self, eventually, kafka};
use crate::trace::recorder::Recorder;
use crate::trace::{SpanIndex, TraceId, record};

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
    testing::hand_over(&handoff, &mut recorder);
    handoff.flush();
    wait_until_delivered(&exporters, 1);
    assert_eq!(status(&exporters).dropped(Reason::TooLarge), 1);
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
