//! `kill -9` at load, of Weir and of the broker, by each protocol and of each signal.

use serde_json::json;
use tempfile::TempDir;
use weir_tests::kafka::Kafka;

use crate::load::{Acknowledged, Load, wait_for};
use crate::{Otlp, own_kafka, shared};

/// A receiver with a spool in this folder.
fn durable(mut otlp: Otlp, folder: &TempDir) -> Otlp {
    otlp.config["data_dir"] = json!(folder.path());
    otlp.config["spool"] = json!({ "segment_bytes": "2MiB" });
    otlp.config["workers"] = json!(2);
    otlp
}

#[test]
fn a_kill_at_load_loses_nothing_that_was_acknowledged() {
    let folder = TempDir::new().expect("a folder");
    let otlp = durable(Otlp::new("otlp_protobuf"), &folder);
    let mut acknowledged = Acknowledged::default();
    for run in 0..4 {
        let mut weir = otlp.start();
        let load = Load::start(&weir, &run.to_string(), &[]);
        load.wait_for(15 + 11 * run);
        weir.signal("KILL");
        weir.wait();
        load.end(&mut acknowledged);
    }
    let _weir = otlp.start();
    wait_for(shared().address(), &otlp.topics, &acknowledged);
}

/// A broker that may be killed, and be back at its address.
struct Mortal {
    folder: TempDir,
    address: String,
    kafka: Option<Kafka>,
}

impl Mortal {
    fn start() -> (Self, [String; 3]) {
        let folder = TempDir::new().expect("a folder");
        let (kafka, topics) = own_kafka(&folder);
        let mortal = Self {
            folder,
            address: kafka.address().to_owned(),
            kafka: Some(kafka),
        };
        (mortal, topics)
    }

    fn kill(&mut self) {
        let kafka = self.kafka.take().expect("it lives");
        kafka.signal("KILL");
        kafka.stop();
    }

    fn revive(&mut self) {
        let (_, port) = self.address.rsplit_once(':').expect("a port");
        let kafka = Kafka::start(&self.folder, &[format!("--port={port}")]);
        self.kafka = Some(kafka);
    }
}

#[test]
fn with_a_spool_a_broker_that_dies_at_load_costs_nothing_even_with_a_kill_meanwhile() {
    let folder = TempDir::new().expect("a folder");
    let (mut broker, topics) = Mortal::start();
    let otlp = durable(Otlp::to(&broker.address, topics, "otlp_protobuf"), &folder);
    let mut acknowledged = Acknowledged::default();
    let mut weir = otlp.start();
    let load = Load::start(&weir, "first", &[]);
    load.wait_for(20);
    broker.kill();
    load.wait_for(20);
    broker.revive();
    load.wait_for(20);
    broker.kill();
    load.wait_for(20);
    weir.signal("KILL");
    weir.wait();
    load.end(&mut acknowledged);

    let weir = otlp.start();
    let load = Load::start(&weir, "second", &[]);
    load.wait_for(20);
    broker.revive();
    load.wait_for(20);
    load.end(&mut acknowledged);
    wait_for(&broker.address, &otlp.topics, &acknowledged);
    let metrics = weir.metrics();
    assert!(!metrics.contains("weir_otlp_dropped_total{"), "{metrics}");
}

#[test]
fn without_a_spool_what_is_acknowledged_around_a_brokers_death_is_in_its_topic() {
    let (mut broker, topics) = Mortal::start();
    let mut otlp = Otlp::to(&broker.address, topics, "otlp_protobuf");
    otlp.config["workers"] = json!(2);
    let mut weir = otlp.start();
    // What is not acknowledged in time is to be sent again.
    let load = Load::start(&weir, "run", &[503, 14]);
    load.wait_for(20);
    broker.kill();
    load.wait_for_refusals(1);
    broker.revive();
    load.wait_for(20);
    // What is under way has not been acknowledged, and nothing else is left to do.
    weir.signal("KILL");
    weir.wait();
    let mut acknowledged = Acknowledged::default();
    load.end(&mut acknowledged);
    wait_for(&broker.address, &otlp.topics, &acknowledged);
}
