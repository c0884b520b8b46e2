//! A broker, a topic, and a configuration with a spool; and the count of what came to the topic.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use weir::demo::consumer::Consumer;
use weir_tests::config::{config, exporter};
use weir_tests::kafka::Kafka;
use weir_tests::load::target_of;
use weir_tests::trace::Trace;
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

use crate::Outcome;
use crate::progress::Progress;

/// What has not come after so long without any message is lost.
const SILENCE: Duration = Duration::from_mins(1);

/// After so long without any message, nothing more comes that was not asked for.
const PAUSE: Duration = Duration::from_secs(2);

/// See the module's documentation.
pub(crate) struct Scene {
    pub(crate) kafka: Kafka,
    pub(crate) config: Value,
    pub(crate) folder: TempDir,
    topic: String,
    _kafka_folder: TempDir,
}

impl Scene {
    pub(crate) fn new(upstream: &Upstream, arguments: &[String]) -> Self {
        let kafka_folder = TempDir::new().expect("a folder");
        let kafka = Kafka::start(&kafka_folder, arguments);
        let topic = kafka.topic();
        let folder = TempDir::new().expect("a folder");
        let mut config = config(upstream);
        config["workers"] = json!(2);
        config["data_dir"] = json!(folder.path());
        config["exporters"]["traces"] = exporter(&kafka, &topic);
        Self {
            kafka,
            config,
            folder,
            topic,
            _kafka_folder: kafka_folder,
        }
    }

    /// One whose broker cannot be reached yet, and the brokers to be.
    pub(crate) fn away(upstream: &Upstream) -> (Self, Value) {
        let mut scene = Self::new(upstream, &[]);
        let brokers = scene.kafka_keys()["brokers"].take();
        scene.kafka_keys()["brokers"] = json!(["127.0.0.1:1"]);
        (scene, brokers)
    }

    pub(crate) fn kafka_keys(&mut self) -> &mut Value {
        &mut self.config["exporters"]["traces"]["kafka"]
    }

    pub(crate) fn start(&self) -> Weir {
        Weir::start(&self.config.to_string())
    }

    /// Counts what came of requests whose responses were seen, while `weir` delivers. `under_way` is
    /// how many others may have left a trace, as their clients were cut off.
    pub(crate) fn outcome(
        &self,
        weir: &Weir,
        load: f64,
        sent: &[String],
        under_way: usize,
    ) -> Outcome {
        let arrivals = self.arrivals(sent);
        let found = sent.iter().filter(|id| arrivals.counts.contains_key(*id));
        let mut outcome = Outcome {
            load,
            sent: sent.len(),
            found: found.count(),
            doubled: arrivals.counts.values().map(|count| count - 1).sum(),
            ..Outcome::default()
        };
        let others = arrivals.counts.len() - outcome.found;
        outcome.demand(others <= under_way, format!("{others} traces are invented"));
        let altered = arrivals.altered;
        outcome.demand(altered == 0, format!("{altered} traces are altered"));
        let mib = weir.peak_bytes() >> 20;
        outcome.notes = format!("{mib} MiB of memory at most");
        outcome.demand(mib <= 256, "memory within 256 MiB");
        if outcome.lost() > 0 {
            let delivered = weir.count(r#"weir_export_delivered_total{exporter="traces"}"#);
            outcome.notes += &format!("; {delivered} were delivered, says the last Weir");
        }
        if let Some(trouble) = arrivals.trouble {
            outcome.notes += &format!("; the topic could not be read: {trouble}");
        }
        outcome
    }

    /// Reads the topic until all of `sent` were found and it ends, or there was silence.
    fn arrivals(&self, sent: &[String]) -> Arrivals {
        let consumer = Consumer::new(self.kafka.address(), &self.topic).expect("a topic");
        let mut missing: HashSet<&str> = sent.iter().map(String::as_str).collect();
        let mut arrivals = Arrivals::default();
        let mut last = Instant::now();
        let mut progress = Progress::new("reading the topic");
        while last.elapsed() < if missing.is_empty() { PAUSE } else { SILENCE } {
            let message = match consumer.recv(Duration::from_millis(200)) {
                Ok(Some(message)) => message,
                Ok(None) => continue,
                Err(error) => {
                    arrivals.trouble = Some(error.to_string());
                    continue;
                }
            };
            last = Instant::now();
            arrivals.trouble = None;
            let id = arrivals.note(&message.key, &Trace::new(&message.payload));
            missing.remove(id.as_str());
            progress.at(sent.len() - missing.len(), sent.len(), "traces");
        }
        arrivals
    }
}

/// What is in a topic.
#[derive(Default)]
struct Arrivals {
    /// How often each trace came, by its request's id.
    counts: HashMap<String, usize>,
    /// Traces that do not say what was asked for, and answered.
    altered: usize,
    /// Why there was nothing to be read in the end.
    trouble: Option<String>,
}

impl Arrivals {
    fn note(&mut self, key: &[u8], trace: &Trace) -> String {
        let id = trace.0["RequestID"].as_str().expect("an id").to_owned();
        let root = trace.root();
        let is_whole = trace.0["TraceID"].as_str().map(str::as_bytes) == Some(key)
            && root["Attributes"]["url.path"] == target_of(&id)
            && trace.spans().len() == 2;
        self.altered += usize::from(!is_whole);
        *self.counts.entry(id.clone()).or_default() += 1;
        id
    }
}
