//! What is done to Weir, its spool and its broker.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use weir_tests::client::Connection;
use weir_tests::link::Link;
use weir_tests::load::{Load, ask, upstream};
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::{Amounts, Outcome, Scene};

pub(crate) type Scenario = fn(&Amounts) -> Outcome;

pub(crate) const ALL: [(&str, Scenario); 5] = [
    ("kills", kills),
    ("outage", outage),
    ("cuts", cuts),
    ("backlog", backlog),
    ("flips", flips),
];

const CLIENTS: usize = 8;

/// Numbers without a pattern, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(requests: usize, time: Duration) -> f64 {
    requests as f64 / time.as_secs_f64().max(1e-3)
}

fn kill(mut weir: Weir) {
    weir.signal("KILL");
    weir.wait();
}

fn kills(amounts: &Amounts) -> Outcome {
    let scene = Scene::new(&upstream(), &[]);
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let (mut seen, mut time) = (Vec::new(), Duration::ZERO);
    for run in 0..amounts.kills {
        let weir = scene.start();
        let begun = Instant::now();
        let load = Load::start(weir.proxy(), CLIENTS, &format!("run{run}"));
        thread::sleep(Duration::from_millis(100 + numbers.below(1400)));
        kill(weir);
        time += begun.elapsed();
        seen.extend(load.join());
    }
    let _weir = scene.start();
    Outcome {
        faults: format!("{} kills", amounts.kills),
        ..scene.outcome("kills", rate(seen.len(), time), &seen)
    }
}

fn outage(amounts: &Amounts) -> Outcome {
    let scene = Scene::new(&upstream(), &[]);
    let weir = scene.start();
    let begun = Instant::now();
    let load = Load::start(weir.proxy(), CLIENTS, "outage");
    thread::sleep(Duration::from_secs(5));
    scene.kafka.signal("STOP");
    thread::sleep(amounts.outage);
    let bytes = weir.resident_bytes();
    scene.kafka.signal("CONT");
    let back = Instant::now();
    eventually("it is well", || {
        (weir.ready()["exporters"][0]["state"] == "ok").then_some(())
    });
    let back = back.elapsed();
    let time = begun.elapsed();
    let seen = load.join();
    Outcome {
        faults: format!("broker stopped for {} s", amounts.outage.as_secs()),
        notes: format!(
            "{} MiB of memory meanwhile; back after {} s",
            bytes >> 20,
            back.as_secs()
        ),
        ..scene.outcome("outage", rate(seen.len(), time), &seen)
    }
}

fn cuts(amounts: &Amounts) -> Outcome {
    let link = Link::new();
    let mut scene = Scene::new(&upstream(), &link.arguments());
    link.lead_to(&scene.kafka);
    scene.kafka_keys()["brokers"] = json!([link.address().to_string()]);
    let weir = scene.start();
    let begun = Instant::now();
    let load = Load::start(weir.proxy(), CLIENTS, "cuts");
    for cut in 1..=amounts.cuts {
        link.cut_after_produce();
        eventually("the connection is cut", || {
            (link.cuts() >= cut).then_some(())
        });
    }
    let time = begun.elapsed();
    let seen = load.join();
    Outcome {
        faults: format!("{} cuts before an acknowledgement", link.cuts()),
        ..scene.outcome("cuts", rate(seen.len(), time), &seen)
    }
}

/// Sends requests with a large header until the spool has so many bytes; gives their ids.
fn fill(weir: &Weir, bytes: u64) -> Vec<String> {
    let mut connection = Connection::open(weir.proxy());
    let large = "x".repeat(50_000);
    let mut seen = Vec::new();
    while (seen.len() as u64) * 50_000 < bytes {
        let id = format!("backlog-{}", seen.len());
        let headers = [("x-request-id", id.as_str()), ("x-large", &large)];
        assert!(ask(&mut connection, "/length", &headers), "{id}");
        seen.push(id);
    }
    seen
}

/// A scene whose broker cannot be reached yet, and the brokers to be.
fn away() -> (Scene, serde_json::Value) {
    let mut scene = Scene::new(&upstream(), &[]);
    let kafka = scene.kafka_keys();
    kafka["request_headers"] = json!(["x-large"]);
    let brokers = kafka["brokers"].take();
    kafka["brokers"] = json!(["127.0.0.1:1"]);
    (scene, brokers)
}

fn backlog(amounts: &Amounts) -> Outcome {
    let (mut scene, brokers) = away();
    scene.config["spool"] =
        json!({ "max_bytes": format!("{}MiB", (amounts.backlog_bytes >> 20) + 1024) });
    let weir = scene.start();
    let begun = Instant::now();
    let seen = fill(&weir, amounts.backlog_bytes);
    let load = rate(seen.len(), begun.elapsed());
    kill(weir);
    scene.kafka_keys()["brokers"] = brokers;
    let begun = Instant::now();
    let weir = scene.start();
    let ready = begun.elapsed();
    let mut outcome = scene.outcome("backlog", load, &seen);
    outcome.faults = format!(
        "{} MiB waited, Weir was killed",
        amounts.backlog_bytes >> 20
    );
    outcome.notes = format!(
        "listens after {} ms; {} MiB of memory",
        ready.as_millis(),
        weir.resident_bytes() >> 20
    );
    outcome
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.join("spool")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "seg") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn flips(amounts: &Amounts) -> Outcome {
    let (mut scene, brokers) = away();
    scene.config["spool"] = json!({ "segment_bytes": "2MiB" });
    let weir = scene.start();
    let begun = Instant::now();
    let load = Load::start(weir.proxy(), CLIENTS, "flips");
    eventually("there is something to break", || {
        (load.ended() >= 20_000).then_some(())
    });
    kill(weir);
    let time = begun.elapsed();
    let seen = load.join();
    let segments = segments(scene.folder.path());
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    for _ in 0..amounts.flips {
        let at = usize::try_from(numbers.below(segments.len() as u64)).expect("an index");
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&segments[at])
            .expect("a segment");
        let length = file.metadata().expect("a length").len();
        let offset = numbers.below(length);
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).expect("a byte");
        byte[0] ^= 1 << numbers.below(8);
        file.write_all_at(&byte, offset).expect("a byte");
    }
    scene.kafka_keys()["brokers"] = brokers;
    let weir = scene.start();
    let mut outcome = scene.outcome("flips", rate(seen.len(), time), &seen);
    let said = weir.count(r#"weir_export_dropped_total{exporter="traces",reason="corrupt"}"#);
    outcome.faults = format!("{} bits of {} segments", amounts.flips, segments.len());
    outcome.notes = format!("{said} counted as corrupt");
    outcome.may_be_lost = amounts.flips;
    outcome
}
