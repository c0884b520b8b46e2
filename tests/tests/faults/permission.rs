//! Rights that are missing, taken away and given back.

use serde_json::{Value, json};
use tempfile::TempDir;
use weir_tests::kafka::{Kafka, PASSWORD, USER};
use weir_tests::wait::eventually;

use crate::Faulty;

/// A broker where users may do only what they are allowed to.
fn guarded(folder: &TempDir) -> Kafka {
    let arguments = [
        "--listener=SASL_PLAINTEXT",
        "--set=authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        // Who comes without a name is the test itself, and the broker.
        "--set=super.users=User:ANONYMOUS",
    ];
    Kafka::start(folder, &arguments.map(str::to_owned))
}

/// Adds or removes rights of the user's to a topic.
fn change(kafka: &Kafka, how: &str, topic: &str, operations: &[&str]) {
    let user = format!("User:{USER}");
    let mut words = vec![how, "--allow-principal", &user, "--topic", topic, "--force"];
    for operation in operations {
        words.extend(["--operation", operation]);
    }
    kafka.acl(&words);
}

fn come_as_user(kafka: &mut Value) {
    kafka["sasl_enabled"] = json!(true);
    kafka["sasl"] = json!({
        "mechanism": "SCRAM-SHA-256",
        "username": USER,
        "password": PASSWORD,
    });
}

#[test]
fn a_right_that_is_revoked_and_given_back_costs_nothing() {
    let folder = TempDir::new().expect("a folder");
    let kafka = guarded(&folder);
    let topic = kafka.topic();
    let right = |how: &str| change(&kafka, how, &topic, &["Write", "Describe"]);
    right("--add");
    let mut faulty = Faulty::start(kafka.listener("SASL_PLAINTEXT"), &topic, come_as_user);
    faulty.ask(50);
    faulty.wait_until_delivered();
    right("--remove");
    faulty.ask(200);
    faulty.complaint(&format!("not authorized to write to topic \"{topic}\""));
    faulty.ask(50);
    right("--add");
    faulty.recover(kafka.address(), &topic);
}

#[test]
fn rights_that_come_only_after_the_start_cost_nothing() {
    let folder = TempDir::new().expect("a folder");
    let kafka = guarded(&folder);
    let topic = kafka.topic();
    let mut faulty = Faulty::start(kafka.listener("SASL_PLAINTEXT"), &topic, come_as_user);
    faulty.ask(50);
    faulty.complaint(&format!("not authorized to write to topic \"{topic}\""));
    // To see the topic is not enough: no client gets as far as to send.
    change(&kafka, "--add", &topic, &["Describe"]);
    faulty.ask(50);
    let retried = r#"weir_export_retried_total{exporter="traces"}"#;
    eventually("clients are replaced", || {
        (faulty.weir.count(retried) > 0).then_some(())
    });
    faulty.complaint("not authorized by the cluster");
    assert_eq!(faulty.delivered(), 0);
    change(&kafka, "--add", &topic, &["Write"]);
    faulty.recover(kafka.address(), &topic);
}

#[test]
fn a_topic_that_may_not_be_created_is_said_and_gets_everything_once_it_is_there() {
    let folder = TempDir::new().expect("a folder");
    let kafka = guarded(&folder);
    let topic = "not-to-be-made";
    change(&kafka, "--add", topic, &["Write", "Describe"]);
    let mut faulty = Faulty::start(kafka.listener("SASL_PLAINTEXT"), topic, |kafka| {
        come_as_user(kafka);
        kafka["auto_create_topic"] = json!(true);
    });
    faulty.ask(50);
    let said = faulty.complaint(&format!("cannot create topic \"{topic}\": "));
    assert!(said.contains("authorization failed"), "{said}");
    kafka.create_topic(topic, &[]);
    faulty.recover(kafka.address(), topic);
}
