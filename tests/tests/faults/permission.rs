//! A right to write that is taken away and given back.

use serde_json::json;
use tempfile::TempDir;
use weir_tests::kafka::{Kafka, PASSWORD, USER};

use crate::Faulty;

#[test]
fn a_right_that_is_revoked_and_given_back_costs_nothing() {
    let folder = TempDir::new().expect("a folder");
    let kafka = Kafka::start(
        &folder,
        &[
            "--listener=SASL_PLAINTEXT",
            "--set=authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            // Who comes without a name is the test itself, and the broker.
            "--set=super.users=User:ANONYMOUS",
        ]
        .map(str::to_owned),
    );
    let topic = kafka.topic();
    let user = format!("User:{USER}");
    let right = |what: &str| {
        let of = ["--allow-principal", &user, "--topic", &topic];
        let operations = ["--operation", "Write", "--operation", "Describe", "--force"];
        kafka.acl(&[&[what][..], &of, &operations].concat());
    };
    right("--add");
    let mut faulty = Faulty::start(kafka.listener("SASL_PLAINTEXT"), &topic, |kafka| {
        kafka["sasl_enabled"] = json!(true);
        kafka["sasl"] = json!({
            "mechanism": "SCRAM-SHA-256",
            "username": USER,
            "password": PASSWORD,
        });
    });
    faulty.ask(50);
    faulty.wait_until_delivered();
    right("--remove");
    faulty.ask(200);
    faulty.complaint(&format!("not authorized to write to topic \"{topic}\""));
    faulty.ask(50);
    right("--add");
    faulty.recover(kafka.address(), &topic);
}
