//! The same of messages that receivers made: whoever sent them waits for what becomes of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::export::outlet::Outlet;
use crate::export::prepared::{self, ContentType};
use crate::otlp::Signal;

/// A receiver's way to `exporters`.
struct Receiver {
    exporters: Arc<Exporters>,
    outlet: Outlet,
}

impl Receiver {
    fn new(mut config: config::Kafka) -> Self {
        config.format = config::Format::Prepared(Signal::Logs);
        let exporters = Arc::new(start(config));
        wait_until_connected(&exporters);
        let outlet = Outlet::new(exporters.clone());
        Self { exporters, outlet }
    }

    /// Sends a request's messages, which have no key; says whether it is acknowledged.
    fn request(&self, payloads: &[&[u8]]) -> bool {
        let mut bytes = Vec::new();
        let mut records = Vec::new();
        for payload in payloads {
            let start = bytes.len();
            prepared::write(ContentType::Json, 0, None, payload, &mut bytes);
            records.push(start..bytes.len());
        }
        let told = self.outlet.send(bytes, records, Box::new(())).unwrap();
        told.blocking_recv().unwrap()
    }
}

#[test]
fn a_request_is_acknowledged_only_if_all_of_it_was_delivered() {
    let cluster = cluster();
    let mut config = kafka(&cluster.bootstrap_servers(), "traces");
    config.producer.max_message_bytes = 4_000;
    let receiver = Receiver::new(config);
    assert!(receiver.request(&[b"{}", b"{}"]));
    // What has nothing in it cannot be made smaller.
    assert!(!receiver.request(&[b"{}", &[b' '; 4_000], b"{}"]));
    refuse(
        &cluster,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
        1,
    );
    assert!(!receiver.request(&[b"{}"]));
    assert!(receiver.request(&[b"{}"]));
    let status = status(&receiver.exporters);
    assert_eq!(status.delivered, 5);
    assert_eq!(status.dropped(Reason::TooLarge), 1);
    assert_eq!(status.dropped(Reason::Refused), 1);
}

#[test]
fn a_request_too_large_for_its_topic_is_refused_and_one_that_may_go_later_waits() {
    let cluster = cluster();
    let mut config = kafka(&cluster.bootstrap_servers(), "traces");
    // Each message is a batch of its own.
    config.producer.batch_bytes = 1;
    let receiver = Receiver::new(config);
    refuse(
        &cluster,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
        1,
    );
    assert!(!receiver.request(&[b"{}"]));
    refuse(
        &cluster,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        1,
    );
    assert!(receiver.request(&[b"{}", b"{}"]));
    let status = status(&receiver.exporters);
    assert_eq!(status.delivered, 2);
    assert_eq!(status.dropped(Reason::TooLarge), 1);
}

/// A logs request of so many records, each of about so many bytes.
fn logs(records: usize, bytes: usize) -> Vec<u8> {
    let record = |number| {
        let text = format!("{number} {}", "x".repeat(bytes));
        serde_json::json!({ "body": { "stringValue": text } })
    };
    let records: Vec<_> = (0..records).map(record).collect();
    serde_json::json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": records }] }] })
        .to_string()
        .into_bytes()
}

/// Waits until the records of these first words are in the topic, and no others.
fn wait_for_records<C: ClientContext>(cluster: &MockCluster<'_, C>, wanted: &[&str]) {
    let consumer = Consumer::new(&cluster.bootstrap_servers(), "traces").unwrap();
    let wanted: BTreeSet<String> = wanted.iter().map(|word| (*word).to_owned()).collect();
    let mut found = BTreeSet::new();
    eventually("all records arrive", || {
        let message = consumer.recv(Duration::from_millis(100)).unwrap()?;
        let logs: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        let records = &logs["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
        for record in records.as_array().unwrap() {
            let text = record["body"]["stringValue"].as_str().unwrap();
            found.insert(text.split(' ').next().unwrap().to_owned());
        }
        assert!(found.is_subset(&wanted), "{found:?}");
        (found == wanted).then_some(())
    });
}

#[test]
fn a_message_of_a_receivers_that_its_topic_does_not_take_is_parted() {
    let cluster = cluster();
    let mut config = kafka(&cluster.bootstrap_servers(), "traces");
    // Each message is a batch of its own.
    config.producer.batch_bytes = 1;
    let receiver = Receiver::new(config);
    // The whole, then one of the halves.
    refuse(
        &cluster,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
        2,
    );
    assert!(receiver.request(&[&logs(8, 100)]));
    let status = status(&receiver.exporters);
    assert_eq!((status.delivered, status.dropped(Reason::TooLarge)), (1, 0));
    wait_for_records(&cluster, &["0", "1", "2", "3", "4", "5", "6", "7"]);
}

#[test]
fn an_item_that_no_topic_takes_costs_no_other() {
    let cluster = cluster();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.jsonl");
    let mut config = kafka(&cluster.bootstrap_servers(), "traces");
    config.producer.max_message_bytes = 2_400;
    config.dead_letter = Some(config::DeadLetter::File {
        path: path.clone(),
        max_bytes: 1 << 30,
    });
    let receiver = Receiver::new(config);
    // Made when messages might be larger.
    let mut request: serde_json::Value = serde_json::from_slice(&logs(6, 100)).unwrap();
    let large: serde_json::Value = serde_json::from_slice(&logs(1, 4_000)).unwrap();
    let large = &large["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
    request["resourceLogs"][0]["scopeLogs"][0]["logRecords"][3] = large.clone();
    assert!(receiver.request(&[request.to_string().as_bytes()]));
    assert_eq!(status(&receiver.exporters).dead_letters(), 1);
    let letter = std::fs::read_to_string(path).unwrap();
    let letter: serde_json::Value = serde_json::from_str(&letter).unwrap();
    let payload: serde_json::Value =
        serde_json::from_str(letter["payload"].as_str().unwrap()).unwrap();
    let records_in_it = &payload["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
    assert_eq!(*records_in_it, serde_json::json!([large]));
    wait_for_records(&cluster, &["0", "1", "2", "4", "5"]);
}

#[test]
fn a_request_of_which_a_message_became_a_dead_letter_is_acknowledged() {
    let cluster = cluster();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.jsonl");
    let mut config = kafka(&cluster.bootstrap_servers(), "traces");
    config.dead_letter = Some(config::DeadLetter::File {
        path: path.clone(),
        max_bytes: 1 << 30,
    });
    let receiver = Receiver::new(config);
    refuse(
        &cluster,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
        1,
    );
    assert!(receiver.request(&[b"{}"]));
    assert_eq!(status(&receiver.exporters).dead_letters(), 1);
    let letter = std::fs::read_to_string(path).unwrap();
    let letter: serde_json::Value = serde_json::from_str(&letter).unwrap();
    assert_eq!(letter["key"], serde_json::Value::Null);
    assert_eq!(letter["payload"], "{}");
}
