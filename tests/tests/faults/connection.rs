//! A broker that hangs, and connections that break.

use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use weir_tests::kafka::{Kafka, shared, unique};
use weir_tests::wait::eventually;

use crate::{Faulty, TRACE, linked};

#[test]
fn a_broker_that_hangs_gets_everything_once_it_goes_on() {
    let folder = TempDir::new().expect("a folder");
    let kafka = Kafka::start(&folder, &[]);
    let topic = kafka.topic();
    let mut faulty = Faulty::start(kafka.address(), &topic, |_| {});
    faulty.ask(50);
    faulty.wait_until_delivered();
    kafka.signal("STOP");
    faulty.ask(200);
    // It is not only slow: requests to it have timed out.
    eventually("requests to the broker time out", || {
        let metrics = faulty.weir.metrics();
        let timeouts = metrics.lines().find_map(|line| {
            let line = line.strip_prefix("weir_kafka_broker_request_timeouts_total{")?;
            line.rsplit_once(' ')?.1.parse::<u64>().ok()
        });
        (timeouts? > 0).then_some(())
    });
    faulty.ask(50);
    assert_eq!(faulty.delivered(), 50);
    kafka.signal("CONT");
    faulty.recover(kafka.address(), &topic);
}

#[test]
fn a_connection_cut_between_a_message_and_its_acknowledgement_loses_and_doubles_nothing() {
    let (link, _folder, kafka, topic) = linked();
    let mut faulty = Faulty::start(&link.address().to_string(), &topic, |_| {});
    for round in 1..=5 {
        faulty.ask(20);
        link.cut_after_produce();
        faulty.ask(20);
        eventually("the connection is cut", || {
            (link.cuts() == round).then_some(())
        });
    }
    // The producer is idempotent: what it sends again, the broker knows.
    assert_eq!(faulty.recover(kafka.address(), &topic), 0);
}

#[test]
fn a_way_that_is_closed_and_opened_again_costs_nothing() {
    let (link, _folder, kafka, topic) = linked();
    let mut faulty = Faulty::start(&link.address().to_string(), &topic, |_| {});
    faulty.ask(50);
    faulty.wait_until_delivered();
    link.close();
    faulty.ask(200);
    let said = faulty.complaint("kafka plugin: failed to connect/authenticate with broker: ");
    assert!(!said.contains("does it expect TLS"), "{said}");
    link.open();
    faulty.recover(kafka.address(), &topic);
}

#[test]
fn a_topic_that_is_deleted_and_made_again_gets_all_that_was_not_delivered() {
    let topic = unique("again");
    shared().create_topic(&topic, &[]);
    let mut faulty = Faulty::start(shared().address(), &topic, |_| {});
    faulty.ask(50);
    faulty.wait_until_delivered();
    shared().delete_topic(&topic);
    // What was delivered is gone with the topic.
    faulty.asked.clear();
    let before = faulty.delivered();
    faulty.ask(100);
    faulty.complaint(&format!("topic \"{topic}\" does not exist"));
    // What was sent meanwhile came back.
    faulty.weir.says(&format!(
        "failed to write trace {TRACE}: topic \\\"{topic}\\\" is gone"
    ));
    assert_eq!(faulty.delivered(), before);
    shared().create_topic(&topic, &[]);
    faulty.recover(shared().address(), &topic);
}

#[test]
fn a_message_that_times_out_is_not_lost() {
    let (link, _folder, kafka, topic) = linked();
    let mut faulty = Faulty::start(&link.address().to_string(), &topic, |kafka| {
        kafka["producer"] = json!({ "message_timeout_ms": 500, "request_timeout_ms": 400 });
    });
    faulty.ask(50);
    faulty.wait_until_delivered();
    link.close();
    faulty.ask(50);
    faulty.weir.says("Message timed out");
    faulty.ask(50);
    link.open();
    // Those behind may have had time left, and the way be open before they are taken back.
    let (mut arrived, _) = faulty.recover_somehow(kafka.address(), &topic);
    arrived.sort_unstable();
    assert_eq!(arrived, faulty.asked);
    // They were given to another client.
    let retried = r#"weir_export_retried_total{exporter="traces"}"#;
    assert!(faulty.weir.count(retried) > 0);
}

#[test]
fn a_way_that_is_slow_costs_nothing() {
    let (link, _folder, kafka, topic) = linked();
    // Longer than the first question after the topic waits.
    link.delay_answers(Duration::from_millis(800));
    let mut faulty = Faulty::start(&link.address().to_string(), &topic, |_| {});
    for _ in 0..4 {
        faulty.ask(100);
    }
    faulty.recover(kafka.address(), &topic);
}
