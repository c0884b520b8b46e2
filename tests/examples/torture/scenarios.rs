//! What is done to Weir, its spool and its broker.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use weir_tests::link::Link;
use weir_tests::load::{Load, upstream};
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::progress::Progress;
use crate::scene::Scene;
use crate::{Amounts, Outcome};

pub(crate) type Scenario = fn(&Amounts) -> Outcome;

pub(crate) const ALL: [(&str, Scenario); 5] = [
    ("kills", kills),
    ("outage", outage),
    ("cuts", cuts),
    ("backlog", backlog),
    ("flips", flips),
];

const CLIENTS: usize = 16;

/// Bytes of the header that makes a trace large.
const LARGE: usize = 50_000;

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

/// Requests a second for some time; adds the ids of those whose response was seen.
fn load_for(weir: &Weir, time: Duration, name: &str, seen: &mut Vec<String>) -> f64 {
    let begun = Instant::now();
    let load = Load::start(weir.proxy(), CLIENTS, name);
    thread::sleep(time);
    let ended = load.ended();
    let time = begun.elapsed();
    seen.extend(load.join());
    rate(ended, time)
}

fn kills(amounts: &Amounts) -> Outcome {
    let scene = Scene::new(&upstream(), &[]);
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut seen = Vec::new();
    let weir = scene.start();
    let peak = load_for(&weir, amounts.calm, "calm", &mut seen);
    kill(weir);
    let calm = seen.len();
    let mut time = Duration::ZERO;
    let mut progress = Progress::new("kills");
    for run in 0..amounts.kills {
        progress.at(run, amounts.kills, "kills");
        let weir = scene.start();
        let begun = Instant::now();
        let load = Load::start(weir.proxy(), CLIENTS, &format!("run{run}"));
        thread::sleep(Duration::from_millis(100 + numbers.below(1400)));
        kill(weir);
        time += begun.elapsed();
        seen.extend(load.join());
    }
    let held = rate(seen.len() - calm, time);
    let weir = scene.start();
    let mut outcome = scene.outcome(&weir, held, &seen, (amounts.kills + 1) * CLIENTS);
    outcome.faults = format!("{} kills", amounts.kills);
    outcome.notes += &format!("; {peak:.0} requests/s without kills");
    let lost = outcome.lost();
    outcome.demand(lost == 0, format!("{lost} traces are lost"));
    outcome.demand(
        held >= peak / 2.0,
        "at least half of the load without kills",
    );
    outcome
}

fn outage(amounts: &Amounts) -> Outcome {
    let scene = Scene::new(&upstream(), &[]);
    let weir = scene.start();
    let mut seen = Vec::new();
    let peak = load_for(&weir, amounts.calm, "calm", &mut seen);
    let load = Load::start(weir.proxy(), CLIENTS, "outage");
    scene.kafka.signal("STOP");
    let begun = Instant::now();
    let mut progress = Progress::new("outage");
    while begun.elapsed() < amounts.outage {
        progress.at(begun.elapsed().as_secs(), amounts.outage.as_secs(), "s");
        thread::sleep(Duration::from_millis(100));
    }
    let held = rate(load.ended(), begun.elapsed());
    scene.kafka.signal("CONT");
    let back = Instant::now();
    eventually("it is well", || {
        (weir.ready()["exporters"][0]["state"] == "ok").then_some(())
    });
    let back = back.elapsed();
    seen.extend(load.join());
    let mut outcome = scene.outcome(&weir, held, &seen, 0);
    outcome.faults = format!("broker stopped for {} s", amounts.outage.as_secs());
    outcome.notes += &format!(
        "; {peak:.0} requests/s before; well {:.1} s after it went on",
        back.as_secs_f64()
    );
    let lost = outcome.lost();
    outcome.demand(lost == 0, format!("{lost} traces are lost"));
    outcome.demand(held >= peak / 2.0, "at least half of the load before");
    outcome.demand(back < Duration::from_mins(1), "well within a minute");
    outcome
}

fn cuts(amounts: &Amounts) -> Outcome {
    let link = Link::new();
    let mut scene = Scene::new(&upstream(), &link.arguments());
    link.lead_to(&scene.kafka);
    scene.kafka_keys()["brokers"] = json!([link.address().to_string()]);
    let weir = scene.start();
    let begun = Instant::now();
    let load = Load::start(weir.proxy(), CLIENTS, "cuts");
    let mut progress = Progress::new("cuts");
    for cut in 1..=amounts.cuts {
        progress.at(cut - 1, amounts.cuts, "cuts");
        link.cut_after_produce();
        eventually("the connection is cut", || {
            (link.cuts() >= cut).then_some(())
        });
    }
    let held = rate(load.ended(), begun.elapsed());
    let seen = load.join();
    let mut outcome = scene.outcome(&weir, held, &seen, 0);
    outcome.faults = format!("{} cuts before an acknowledgement", link.cuts());
    let (lost, doubled) = (outcome.lost(), outcome.doubled);
    outcome.demand(lost == 0, format!("{lost} traces are lost"));
    // The producer is idempotent, and is not replaced.
    outcome.demand(doubled == 0, format!("{doubled} traces are doubled"));
    outcome
}

fn backlog(amounts: &Amounts) -> Outcome {
    let (mut scene, brokers) = Scene::away(&upstream());
    let mib = amounts.backlog_bytes >> 20;
    scene.config["spool"] = json!({ "max_bytes": format!("{}MiB", mib + 1024) });
    let keys = scene.kafka_keys();
    keys["request_headers"] = json!(["x-large"]);
    // So that the broker does not need as much of the disk again.
    keys["compression"] = json!("lz4");
    let weir = scene.start();
    let begun = Instant::now();
    let large = "x".repeat(LARGE);
    let load = Load::with(weir.proxy(), CLIENTS, "backlog", &[("x-large", &large)]);
    let mut progress = Progress::new("backlog");
    while ((load.ended() * LARGE) as u64) < amounts.backlog_bytes {
        progress.at((load.ended() * LARGE) >> 20, mib, "MiB on the disk");
        thread::sleep(Duration::from_millis(20));
    }
    let held = rate(load.ended(), begun.elapsed());
    let filling = weir.peak_bytes() >> 20;
    kill(weir);
    let seen = load.join();
    scene.kafka_keys()["brokers"] = brokers;
    let begun = Instant::now();
    let weir = scene.start();
    assert_eq!(
        weir.get("/length", &["x-request-id: first-0"]).text(),
        "hello"
    );
    let ready = begun.elapsed();
    let begun = Instant::now();
    let mut outcome = scene.outcome(&weir, held, &seen, CLIENTS + 1);
    outcome.faults = format!("{mib} MiB waited, Weir was killed");
    outcome.notes += &format!(
        ", {filling} while it grew; answers {} ms after the start; {:.0} traces/s delivered",
        ready.as_millis(),
        rate(outcome.found, begun.elapsed()),
    );
    let lost = outcome.lost();
    outcome.demand(lost == 0, format!("{lost} traces are lost"));
    outcome.demand(ready < Duration::from_secs(5), "ready within 5 s");
    outcome.demand(filling <= 256, "memory within 256 MiB");
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
    let (mut scene, brokers) = Scene::away(&upstream());
    scene.config["spool"] = json!({ "segment_bytes": "2MiB" });
    let weir = scene.start();
    let begun = Instant::now();
    let load = Load::start(weir.proxy(), CLIENTS, "flips");
    eventually("there is something to break", || {
        (load.ended() >= 20_000).then_some(())
    });
    let held = rate(load.ended(), begun.elapsed());
    kill(weir);
    let seen = load.join();
    let segments = segments(scene.folder.path());
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    for _ in 0..amounts.flips {
        let at = usize::try_from(numbers.below(segments.len() as u64)).expect("an index");
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).open(&segments[at]);
        let file = file.expect("a segment");
        let offset = numbers.below(file.metadata().expect("a length").len());
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).expect("a byte");
        byte[0] ^= 1 << numbers.below(8);
        file.write_all_at(&byte, offset).expect("a byte");
    }
    scene.kafka_keys()["brokers"] = brokers;
    let weir = scene.start();
    let mut outcome = scene.outcome(&weir, held, &seen, CLIENTS);
    let said = weir.count(r#"weir_export_dropped_total{exporter="traces",reason="corrupt"}"#);
    outcome.faults = format!("{} bits of {} segments", amounts.flips, segments.len());
    outcome.notes += &format!("; {said} counted as corrupt");
    let lost = outcome.lost();
    outcome.demand(lost <= amounts.flips, "a bit costs one trace at most");
    // The last record of a worker's is taken for torn, as nothing tells of it.
    outcome.demand(lost as u64 <= said + 2, "what is lost is counted");
    outcome
}
