//! Faults of a real broker and of the way to it. In each: every answer goes out as ever, nothing is
//! lost, the order of one key holds, and delivery comes back without a restart.

mod appearing;
mod certificates;
mod connection;
mod documentation;
mod parts;
mod permission;
mod takes_nothing;
mod toxics;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use weir::demo::consumer::Consumer;
use weir_tests::client::Connection;
use weir_tests::config::config;
use weir_tests::kafka::Kafka;
use weir_tests::link::Link;
use weir_tests::trace::Trace;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

/// All requests have this trace, so that all messages have one key.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Longest time from the end of a fault until all is delivered and well again.
const BACK: Duration = Duration::from_mins(1);

/// A broker of its own with a topic, which clients reach by the link alone; the folder is the broker's.
fn linked() -> (Link, TempDir, Kafka, String) {
    let link = Link::new();
    let folder = TempDir::new().expect("a folder");
    let kafka = Kafka::start(&folder, &link.arguments());
    link.lead_to(&kafka);
    let topic = kafka.topic();
    (link, folder, kafka, topic)
}

/// A Weir with a spool whose exporter goes to this address.
struct Faulty {
    weir: Weir,
    connection: Connection,
    asked: Vec<String>,
    _folder: TempDir,
}

impl Faulty {
    /// With a change of its exporter's keys.
    fn start(address: &str, topic: &str, change: impl FnOnce(&mut Value)) -> Self {
        Self::start_with(address, topic, |config| {
            change(&mut config["exporters"]["traces"]["kafka"]);
        })
    }

    /// With a change of its configuration.
    fn start_with(address: &str, topic: &str, change: impl FnOnce(&mut Value)) -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut config = config(&Upstream::hello());
        config["data_dir"] = json!(folder.path());
        config["spool"] = json!({ "segment_bytes": "2MiB" });
        // The connection is idle while a broker changes.
        config["listeners"][0]["timeouts"] = json!({ "head": "10m" });
        config["exporters"]["traces"]["kafka"] = json!({
            "brokers": [address],
            "topic": topic,
            "flush_interval_ms": 5,
            "producer": { "request_timeout_ms": 2000 },
        });
        change(&mut config);
        let weir = Weir::start(&config.to_string());
        Self {
            connection: Connection::open(weir.proxy()),
            weir,
            asked: Vec::new(),
            _folder: folder,
        }
    }

    /// Sends so many requests, one after the other; each is answered.
    fn ask(&mut self, count: usize) {
        for _ in 0..count {
            let id = format!("{:08}", self.asked.len());
            self.connection.send(format!(
                "GET / HTTP/1.1\r\nhost: test\r\nx-request-id: {id}\r\n\
                 traceparent: 00-{TRACE}-b7ad6b7169203331-01\r\n\r\n"
            ));
            let response = self.connection.receive().expect("an answer");
            assert_eq!((response.status, &*response.text()), (200, "hello"));
            self.asked.push(id);
        }
    }

    /// What the exporter says is wrong, once it does.
    fn complaint(&self, part: &str) -> String {
        eventually(&format!("it says {part:?}"), || {
            let exporter = self.weir.ready()["exporters"][0].clone();
            let message = exporter["message"].as_str()?.to_owned();
            message.contains(part).then_some(message)
        })
    }

    fn delivered(&self) -> u64 {
        self.weir
            .count(r#"weir_export_delivered_total{exporter="traces"}"#)
    }

    fn wait_until_delivered(&self) {
        eventually("all is delivered", || {
            (self.delivered() == self.asked.len() as u64).then_some(())
        });
    }

    /// Reads all that was asked for, in its order, once the fault has ended, and sees that it is well
    /// again in time; gives how many messages came more than once.
    fn recover(&self, address: &str, topic: &str) -> usize {
        let (firsts, doubled) = self.recover_somehow(address, topic);
        assert_eq!(firsts, self.asked);
        doubled
    }

    /// As [`Faulty::recover`], in whatever order; gives what came by the order in which it came first.
    fn recover_somehow(&self, address: &str, topic: &str) -> (Vec<String>, usize) {
        let mended = Instant::now();
        let consumer = Consumer::new(address, topic).expect("the topic can be read");
        let mut seen = HashSet::new();
        let (mut firsts, mut doubled) = (Vec::new(), 0);
        eventually("every trace arrives", || {
            while let Ok(Some(message)) = consumer.recv(Duration::from_millis(100)) {
                let trace = Trace::new(&message.payload);
                assert_eq!(trace.0["TraceID"], TRACE);
                let id = trace.0["RequestID"].as_str().expect("an id").to_owned();
                if seen.insert(id.clone()) {
                    firsts.push(id);
                } else {
                    doubled += 1;
                }
            }
            (firsts.len() >= self.asked.len()).then_some(())
        });
        eventually("it is well", || {
            (self.weir.ready()["exporters"][0]["state"] == "ok").then_some(())
        });
        let took = mended.elapsed();
        assert!(took < BACK, "it was back after {took:?}");
        let metrics = self.weir.metrics();
        let lost = metrics
            .lines()
            .filter(|line| line.starts_with("weir_export_dropped_total") && !line.ends_with(" 0"));
        assert_eq!(lost.count(), 0, "{metrics}");
        (firsts, doubled)
    }
}
