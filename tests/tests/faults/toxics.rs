//! What networks do to connections, by Toxiproxy.

use serde_json::json;
use tempfile::TempDir;
use weir_tests::kafka::Kafka;
use weir_tests::toxiproxy::Toxiproxy;
use weir_tests::wait::eventually;

use crate::Faulty;

impl Faulty {
    /// Connections to brokers that ended so far.
    fn disconnects(&self) -> u64 {
        let metrics = self.weir.metrics();
        let lines = metrics
            .lines()
            .filter_map(|line| line.strip_prefix("weir_kafka_broker_disconnects_total{"));
        let counts = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
        counts.sum()
    }
}

#[test]
fn whatever_a_network_does_costs_nothing() {
    let toxiproxy = Toxiproxy::start();
    let folder = TempDir::new().expect("a folder");
    let kafka = Kafka::start(&folder, &toxiproxy.arguments());
    toxiproxy.lead_to(&kafka);
    let topic = kafka.topic();
    let address = toxiproxy.address().to_string();
    let mut faulty = Faulty::start(&address, &topic, |kafka| {
        kafka["producer"]["custom_config"] = json!({ "statistics.interval.ms": 100 });
    });
    faulty.ask(20);
    faulty.wait_until_delivered();

    // Slow in each way: everything arrives meanwhile.
    for (kind, attributes) in [
        ("latency", json!({ "latency": 150, "jitter": 100 })),
        ("bandwidth", json!({ "rate": 50 })),
        (
            "slicer",
            json!({ "average_size": 300, "size_variation": 200, "delay": 500 }),
        ),
        ("slow_close", json!({ "delay": 300 })),
    ] {
        for stream in ["upstream", "downstream"] {
            toxiproxy.add(kind, stream, &attributes);
            faulty.ask(40);
            faulty.wait_until_delivered();
            toxiproxy.remove();
        }
    }
    // Broken in each way: connections end, and what was under way comes by others.
    for (kind, attributes) in [
        ("reset_peer", json!({ "timeout": 0 })),
        ("timeout", json!({ "timeout": 300 })),
        ("limit_data", json!({ "bytes": 100 })),
    ] {
        for stream in ["upstream", "downstream"] {
            let before = faulty.disconnects();
            toxiproxy.add(kind, stream, &attributes);
            faulty.ask(40);
            eventually(&format!("connections end by {kind} {stream}"), || {
                // A connection that only a little passes over ends with what does not.
                faulty.ask(5);
                (faulty.disconnects() > before).then_some(())
            });
            faulty.ask(40);
            toxiproxy.remove();
            faulty.wait_until_delivered();
        }
    }
    faulty.recover(kafka.address(), &topic);
}
