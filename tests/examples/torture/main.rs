//! `make torture`: what takes too long for `make test`. A real Weir at full load, a real Kafka, and
//! everything that breaks them, again and again; then every trace is counted.
//!
//! Prints a table and exits with 1 if a trace whose response was seen is lost.

mod scenarios;

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use weir::demo::consumer::Consumer;
use weir_tests::config::{config, exporter};
use weir_tests::kafka::Kafka;
use weir_tests::trace::Trace;
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

const USAGE: &str = "\
usage: torture [--short] [SCENARIO…]

Scenarios, all by default:
  kills     Weir is killed at load, 200 times (--short: 10)
  outage    the broker hangs for 5 minutes at load (--short: 20 s)
  cuts      the connection is cut between messages and acknowledgements, 300 times (--short: 20)
  backlog   10 GiB wait on the disk for a broker (--short: 256 MiB)
  flips     bytes of the spool are flipped, 500 of them (--short: 40)";

/// How much of each.
#[derive(Clone, Copy, Debug)]
struct Amounts {
    kills: usize,
    outage: Duration,
    cuts: usize,
    backlog_bytes: u64,
    flips: usize,
}

const LONG: Amounts = Amounts {
    kills: 200,
    outage: Duration::from_mins(5),
    cuts: 300,
    backlog_bytes: 10 << 30,
    flips: 500,
};

const SHORT: Amounts = Amounts {
    kills: 10,
    outage: Duration::from_secs(20),
    cuts: 20,
    backlog_bytes: 256 << 20,
    flips: 40,
};

/// What came of a scenario.
struct Outcome {
    name: &'static str,
    /// What was done, in words.
    faults: String,
    /// Requests a second while there was load.
    load: f64,
    /// Responses whose end was seen.
    sent: usize,
    /// Of these, those whose trace is in the topic.
    found: usize,
    /// Messages that came again.
    doubled: usize,
    /// What may be lost: traces whose own bytes were broken.
    may_be_lost: usize,
    notes: String,
}

fn main() -> ExitCode {
    let mut amounts = LONG;
    let mut wanted: Vec<String> = Vec::new();
    for word in std::env::args().skip(1) {
        match word.as_str() {
            "--short" => amounts = SHORT,
            word if scenarios::ALL.iter().any(|(name, _)| *name == word) => {
                wanted.push(word.to_owned());
            }
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let mut outcomes = Vec::new();
    for (name, run) in scenarios::ALL {
        if wanted.is_empty() || wanted.iter().any(|one| one == name) {
            eprintln!("{name} …");
            let outcome = run(&amounts);
            eprintln!("{}", row(&outcome));
            outcomes.push(outcome);
        }
    }
    println!("| scenario | faults | requests/s | sent | found | lost | doubled | |");
    println!("|---|---|---|---|---|---|---|---|");
    for outcome in &outcomes {
        println!("{}", row(outcome));
    }
    let bad = |outcome: &Outcome| outcome.sent - outcome.found > outcome.may_be_lost;
    if outcomes.iter().any(bad) {
        eprintln!("traces are lost");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn row(outcome: &Outcome) -> String {
    let Outcome {
        name,
        faults,
        load,
        sent,
        found,
        doubled,
        notes,
        ..
    } = outcome;
    let lost = sent - found;
    format!("| {name} | {faults} | {load:.0} | {sent} | {found} | {lost} | {doubled} | {notes} |")
}

/// A broker, a topic, and a configuration with a spool.
struct Scene {
    kafka: Kafka,
    topic: String,
    config: Value,
    folder: TempDir,
    _kafka_folder: TempDir,
}

impl Scene {
    fn new(upstream: &Upstream, arguments: &[String]) -> Self {
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
            topic,
            config,
            folder,
            _kafka_folder: kafka_folder,
        }
    }

    fn kafka_keys(&mut self) -> &mut Value {
        &mut self.config["exporters"]["traces"]["kafka"]
    }

    fn start(&self) -> Weir {
        Weir::start(&self.config.to_string())
    }

    /// How often each trace is in the topic, by request ids: reads until all of `sent` were found,
    /// or nothing has come for a minute.
    fn arrivals(&self, sent: &[String]) -> HashMap<String, usize> {
        let consumer = Consumer::new(self.kafka.address(), &self.topic).expect("a topic");
        let mut missing: std::collections::HashSet<&str> =
            sent.iter().map(String::as_str).collect();
        let mut counts = HashMap::new();
        let mut quiet = Instant::now();
        while !missing.is_empty() && quiet.elapsed() < Duration::from_mins(1) {
            let Ok(Some(message)) = consumer.recv(Duration::from_millis(200)) else {
                continue;
            };
            quiet = Instant::now();
            let trace = Trace::new(&message.payload);
            let id = trace.0["RequestID"].as_str().expect("an id").to_owned();
            missing.remove(id.as_str());
            *counts.entry(id).or_default() += 1;
        }
        counts
    }

    fn outcome(&self, name: &'static str, load: f64, sent: &[String]) -> Outcome {
        let counts = self.arrivals(sent);
        let found = sent.iter().filter(|id| counts.contains_key(*id)).count();
        Outcome {
            name,
            faults: String::new(),
            load,
            sent: sent.len(),
            found,
            doubled: counts.values().map(|count| count - 1).sum(),
            may_be_lost: 0,
            notes: String::new(),
        }
    }
}
