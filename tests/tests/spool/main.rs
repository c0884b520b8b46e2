//! With a `data_dir`, what a client has seen the end of reaches the topic: whatever is killed,
//! whatever is away.

mod bounds;
mod disk;
mod drains;
mod ends;
mod handover;
mod kills;
mod outages;
mod runs;
mod synced;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use weir::demo::consumer::Consumer;
use weir_tests::config::{config, exporter};
use weir_tests::kafka::Kafka;
use weir_tests::trace::Trace;
use weir_tests::upstream::Upstream;
use weir_tests::wait::{PATIENCE, eventually};
use weir_tests::weir::Weir;

/// A spool's folder with a configuration that uses it.
struct Spooled {
    folder: TempDir,
    config: Value,
}

impl Spooled {
    fn new(upstream: &Upstream) -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut config = config(upstream);
        config["data_dir"] = json!(folder.path());
        config["spool"] = json!({ "segment_bytes": "2MiB" });
        Self { folder, config }
    }

    /// Adds an exporter to a topic.
    fn to(mut self, kafka: &Kafka, topic: &str) -> Self {
        self.config["exporters"]["traces"] = exporter(kafka, topic);
        self
    }

    fn start(&self) -> Weir {
        Weir::start(&self.config.to_string())
    }

    /// Names of the files with this ending, in all of the spool.
    fn files(&self, ending: &str) -> Vec<String> {
        let name = |path: &PathBuf| Some(path.file_name()?.to_string_lossy().into_owned());
        self.paths(ending).iter().filter_map(name).collect()
    }

    /// The files with this ending, in all of the spool.
    fn paths(&self, ending: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().join("spool")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.to_string_lossy().ends_with(ending) {
                    found.push(path);
                }
            }
        }
        found
    }
}

/// Ends it as nothing else does.
fn kill(mut weir: Weir) {
    weir.signal("KILL");
    weir.wait();
}

/// Waits until exporters have delivered all that the spool has.
fn wait_until_delivered(weir: &Weir, traces: u64) {
    eventually("all is delivered", || {
        let delivered = weir.count(r#"weir_export_delivered_total{exporter="traces"}"#);
        (delivered >= traces).then_some(())
    });
}

/// What arrives in a topic, by request ids, in order.
struct Arrivals {
    consumer: Consumer,
    ids: Vec<String>,
    counts: HashMap<String, usize>,
}

impl Arrivals {
    fn of(kafka: &Kafka, topic: &str) -> Self {
        Self {
            consumer: Consumer::new(kafka.address(), topic).expect("the topic can be read"),
            ids: Vec::new(),
            counts: HashMap::new(),
        }
    }

    /// Reads on until all of these are there.
    fn wait_for(&mut self, ids: &[String]) {
        let mut missing: Vec<&String> = ids.iter().collect();
        let mut deadline = Instant::now() + PATIENCE;
        while !missing.is_empty() {
            assert!(
                Instant::now() < deadline,
                "{} of {} did not arrive: {missing:?}",
                missing.len(),
                ids.len()
            );
            // While messages come, the end of patience is not near.
            while self.read() {
                deadline = Instant::now() + PATIENCE;
            }
            missing.retain(|id| !self.counts.contains_key(*id));
        }
    }

    /// Reads the next message, if one comes soon.
    fn read(&mut self) -> bool {
        let message = self.consumer.recv(Duration::from_millis(100));
        // A broker that is stopped and started again breaks connections.
        let Ok(Some(message)) = message else {
            return false;
        };
        let trace = Trace::new(&message.payload);
        let id = trace.0["RequestID"].as_str().expect("an id").to_owned();
        *self.counts.entry(id.clone()).or_default() += 1;
        self.ids.push(id);
        true
    }

    /// How many came more than once.
    fn doubled(&self) -> usize {
        self.counts.values().filter(|count| **count > 1).count()
    }

    /// The first of each, in the order of their arrival.
    fn firsts(&self) -> Vec<&str> {
        let mut seen = std::collections::HashSet::new();
        let ids = self.ids.iter().map(String::as_str);
        ids.filter(|id| seen.insert(*id)).collect()
    }
}
