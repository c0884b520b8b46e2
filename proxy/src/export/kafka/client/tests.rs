//! What a panic in a callback leaves behind, with a log that breaks at the first word.

use rdkafka::message::OwnedHeaders;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::export::Feed;
use crate::export::source::{self, Place};
use crate::export::status::Reason;
use crate::export::testing::{eventually, kafka};
use crate::health::State;

const MESSAGES: u64 = 10;

/// Calls this while the log of callbacks breaks; gives how often it did.
fn with_a_log_that_breaks(call: impl FnOnce()) -> u64 {
    let targets = &["librdkafka", "weir::export::kafka"];
    crate::testing::with_a_log_that_breaks(targets, call).1
}

fn feed() -> Feed {
    let meter = Arc::default();
    let (_, source) = source::memory(1 << 20, &meter, false);
    Feed {
        exporter: "kafka".to_owned(),
        source,
        meter,
        health: Arc::default(),
        stop: Stop::new(Arc::default()),
    }
}

/// Sends messages, to be answered with this error, while the log breaks.
fn deliver(feed: &Feed, error: Option<RDKafkaRespErr>) -> Arc<Desk> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("traces", 1, 1).unwrap();
    if let Some(error) = error {
        cluster.request_errors(RDKafkaApiKey::Produce, &[error; 100]);
    }
    let mut config = kafka(&cluster.bootstrap_servers(), "traces");
    // What becomes of one batch is nothing to the others.
    config.producer.acks = crate::config::Acks::One;
    let desk = Desk::new(&config, feed);
    let producer = Producer::new(&config, desk.clone()).unwrap();
    for number in 0..u32::try_from(MESSAGES).unwrap() {
        let sent = Sent {
            place: Place::of_record(number),
            record: None,
        };
        let message = Message {
            key: None,
            payload: b"a payload",
            headers: OwnedHeaders::new(),
        };
        producer.send(sent, message, &feed.stop);
    }
    let broke = with_a_log_that_breaks(|| {
        eventually("all are settled", || {
            producer.poll(Duration::from_millis(10));
            (producer.in_flight() == 0).then_some(())
        });
    });
    assert!(broke > 0, "nothing was logged");
    assert_eq!(feed.meter.in_flight.get(), 0);
    desk
}

#[test]
fn events_that_are_no_messages_do_not_stay_in_flight() {
    let feed = feed();
    // Nobody listens there, which librdkafka tells of.
    let config = kafka("127.0.0.1:1", "traces");
    let producer = Producer::new(&config, Desk::new(&config, &feed)).unwrap();
    eventually("an event waits", || {
        (producer.in_flight() > 0).then_some(())
    });
    eventually("none waits", || {
        producer.flush(Duration::from_millis(1));
        (producer.in_flight() == 0).then_some(())
    });
}

#[test]
fn an_acknowledgement_is_noted_though_its_callback_panics() {
    let feed = feed();
    let desk = deliver(&feed, None);
    assert_eq!(desk.answered(), (MESSAGES, 0));
    let status = feed.meter.status("kafka", &feed.health);
    assert_eq!(status.delivered, MESSAGES);
    assert_eq!(status.state, State::Ok);
    assert!(desk.is_broken(), "another client goes on");
    assert!(desk.take_returned().is_empty());
}

#[test]
fn what_comes_back_is_kept_though_its_callback_panics() {
    let feed = feed();
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    let desk = deliver(&feed, Some(error));
    assert_eq!(desk.answered(), (0, 0));
    assert_eq!(desk.take_returned().len() as u64, MESSAGES);
    let status = feed.meter.status("kafka", &feed.health);
    assert_eq!(
        status.dropped.map(|(_, count)| count),
        [0; Reason::ALL.len()]
    );
    assert!(matches!(status.state, State::Degraded(_)));
}

#[test]
fn what_is_refused_is_counted_once_though_its_callback_panics() {
    let feed = feed();
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION;
    let desk = deliver(&feed, Some(error));
    assert_eq!(desk.answered(), (0, MESSAGES));
    assert_eq!(feed.meter.dropped(Reason::Refused), MESSAGES);
    assert!(desk.take_returned().is_empty());
}

#[test]
fn no_callback_lets_a_panic_out() {
    let feed = feed();
    let desk = Desk::new(&kafka("127.0.0.1:1", "traces"), &feed);
    desk.recovered();
    let context = Context {
        desk: desk.clone(),
        events: AtomicU64::new(0),
    };
    let broke = with_a_log_that_breaks(|| {
        context.log(
            RDKafkaLogLevel::Error,
            "FAIL",
            "[thrd:127.0.0.1:1/bootstrap]: 127.0.0.1:1/bootstrap: Connect failed",
        );
        context.stats_raw(b"nonsense");
        assert!(!desk.is_broken(), "they change nothing of the client");
        context.error(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "");
    });
    assert_eq!(broke, 3);
    assert_eq!(context.events.load(Relaxed), 3);
    assert!(desk.cause().is_some());
    assert!(matches!(feed.health.get(), State::Degraded(_)));
    assert!(desk.is_broken(), "another client goes on");
}
