//! A topic that takes less than before, or nothing; and answers that nobody can read.

use std::fs;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use weir_tests::kafka::Kafka;
use weir_tests::service::free_port;
use weir_tests::wait::eventually;

use crate::{Faulty, linked};

#[test]
fn a_limit_that_shrinks_and_grows_keeps_the_order_of_one_key() {
    let (link, _folder, kafka, topic) = linked();
    // So that several batches are under way when one of them is refused.
    link.delay_answers(Duration::from_millis(20));
    let mut faulty = Faulty::start(&link.address().to_string(), &topic, |_| {});
    for limit in ["20000", "3000", "1000000"] {
        faulty.ask(150);
        kafka.configure_topic(&topic, &[("max.message.bytes", limit)]);
        faulty.ask(150);
    }
    faulty.recover(kafka.address(), &topic);
}

#[test]
fn an_answer_that_cannot_be_read_loses_nothing() {
    let (link, _folder, kafka, topic) = linked();
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

/// A second broker in the cluster of the one whose folder is given first.
fn join(first: &TempDir, folder: &TempDir) -> Kafka {
    let properties = fs::read_to_string(first.path().join("server.properties")).expect("text");
    let voters = properties
        .lines()
        .find(|line| line.starts_with("controller.quorum.voters="))
        .expect("it has a controller");
    let port = free_port();
    Kafka::start(
        folder,
        &[
            format!("--port={port}"),
            format!("--set={voters}"),
            format!("--set=listeners=PLAINTEXT://127.0.0.1:{port}"),
            "--set=node.id=2".to_owned(),
            "--set=process.roles=broker".to_owned(),
            "--heap=256m".to_owned(),
        ],
    )
}

#[test]
fn a_real_topic_with_too_few_replicas_in_sync_is_said_and_gets_everything_once_there_are_enough() {
    let folders = [(); 2].map(|()| TempDir::new().expect("a folder"));
    let replicated = "--set=default.replication.factor=2".to_owned();
    let kafka = Kafka::start(&folders[0], &[replicated]);
    let other = join(&folders[0], &folders[1]);
    let topic = "replicated";
    let mut faulty = Faulty::start(kafka.address(), topic, |kafka| {
        kafka["auto_create_topic"] = json!(true);
    });
    faulty.ask(50);
    faulty.wait_until_delivered();
    other.stop();
    kafka.configure_topic(topic, &[("min.insync.replicas", "2")]);
    faulty.ask(100);
    assert_eq!(
        faulty.complaint("takes nothing"),
        format!(
            "kafka plugin: failed to connect/authenticate with broker: topic \"{topic}\" takes \
             nothing of what is sent: has it enough replicas in sync (`min.insync.replicas`)?"
        )
    );
    let delivered = faulty.delivered();
    faulty.ask(50);
    assert_eq!(faulty.delivered(), delivered);
    kafka.configure_topic(topic, &[("min.insync.replicas", "1")]);
    faulty.recover(kafka.address(), topic);
}
