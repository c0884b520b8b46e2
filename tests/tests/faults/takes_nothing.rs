//! A broker that answers, and takes nothing or less than before; and answers that nobody can read.

use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use weir_tests::kafka::{Kafka, shared, unique};
use weir_tests::link::Link;
use weir_tests::wait::eventually;

use crate::Faulty;

#[test]
fn a_topic_with_too_few_replicas_in_sync_is_said_and_gets_everything_once_there_are_enough() {
    let topic = shared().topic();
    let mut faulty = Faulty::start(shared().address(), &topic, |_| {});
    faulty.ask(50);
    faulty.wait_until_delivered();
    shared().configure_topic(&topic, &[("min.insync.replicas", "2")]);
    faulty.ask(200);
    // The broker answers, and librdkafka tries again for minutes and says nothing.
    let said = faulty.complaint("takes nothing of what is sent");
    assert!(said.contains(&topic), "{said}");
    assert!(said.contains("min.insync.replicas"), "{said}");
    assert_eq!(faulty.delivered(), 50);
    shared().configure_topic(&topic, &[("min.insync.replicas", "1")]);
    faulty.recover(shared().address(), &topic);
}

#[test]
fn a_limit_that_shrinks_and_grows_keeps_the_order_of_one_key() {
    let link = Link::new();
    let folder = TempDir::new().expect("a folder");
    let kafka = Kafka::start(&folder, &link.arguments());
    link.lead_to(&kafka);
    let topic = kafka.topic();
    // So that several batches are under way when one of them is refused.
    link.delay_answers(Duration::from_millis(20));
    let mut faulty = Faulty::start(&link.address().to_string(), &topic, |_| {});
    for limit in ["20000", "3000", "1000000", "6000", "2500", "1000000"] {
        faulty.ask(150);
        kafka.configure_topic(&topic, &[("max.message.bytes", limit)]);
        faulty.ask(150);
    }
    faulty.recover(kafka.address(), &topic);
}

#[test]
fn an_answer_that_cannot_be_read_loses_nothing() {
    let link = Link::new();
    let folder = TempDir::new().expect("a folder");
    let kafka = Kafka::start(&folder, &link.arguments());
    link.lead_to(&kafka);
    let topic = kafka.topic();
    let mut faulty = Faulty::start(&link.address().to_string(), &topic, |_| {});
    for round in 1..=3 {
        faulty.ask(20);
        link.garble_after_produce();
        faulty.ask(20);
        eventually("an answer is garbled", || {
            (link.garbled() == round).then_some(())
        });
    }
    faulty.recover(kafka.address(), &topic);
}

#[test]
fn a_topic_that_is_made_with_too_few_replicas_waits_from_the_start() {
    let topic = unique("lonely");
    shared().create_topic(&topic, &[("min.insync.replicas", "2")]);
    let mut faulty = Faulty::start(shared().address(), &topic, |kafka| {
        // There is no room in the client for all of them.
        kafka["buffer_bytes"] = json!("64KiB");
        kafka["producer"]["max_message_bytes"] = json!(10_000);
    });
    faulty.ask(200);
    faulty.complaint("min.insync.replicas");
    shared().configure_topic(&topic, &[("min.insync.replicas", "1")]);
    faulty.recover(shared().address(), &topic);
}
