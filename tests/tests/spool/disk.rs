//! A disk that is full, as the kernel has it: a small one of Weir's own.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use weir_tests::kafka::shared;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::bounds::{ask_large, dropped, spooled_large};
use crate::{Arrivals, Spooled};

const DISK: u64 = 24 << 20;

/// What a disk that is full is to be said with.
const WAY_OUT: &str =
    "No space left on device (os error 28): make room there, or lower `spool.max_bytes`";

/// Weir with a spool on a disk of its own, whose exporter's broker is away; `None` where nobody may mount one.
struct Small {
    spooled: Spooled,
    brokers: Value,
    topic: String,
    weir: Weir,
}

impl Small {
    fn start() -> Option<Self> {
        let topic = shared().topic();
        let (spooled, brokers) = spooled_large(&topic);
        let config = spooled.config.to_string();
        let weir = Weir::with_disk(&config, spooled.folder.path(), DISK);
        if weir.is_none() {
            // Past what keeps the output of tests that pass.
            let why = "not tested: a disk that is full, for nobody may mount one here";
            let _ = writeln!(std::io::stderr(), "{why}");
        }
        let weir = weir?;
        Some(Self {
            spooled,
            brokers,
            topic,
            weir,
        })
    }

    /// The disk's folder, as others find it.
    fn disk(&self) -> PathBuf {
        self.weir.inside(self.spooled.folder.path())
    }

    /// Somebody else takes all that is left.
    fn fill(&self) -> PathBuf {
        let path = self.disk().join("of-somebody-else");
        let mut file = File::create(&path).expect("a file");
        while file.write_all(&[1; 4096]).is_ok() {}
        path
    }

    /// Asks until the disk has no more room; gives the ids of those whose traces it has.
    fn ask_until_full(&self) -> Vec<String> {
        let mut asked = ask_large(&self.weir, 200, "full");
        let lost = usize::try_from(dropped(&self.weir, "spool_failed")).expect("a count");
        assert!(lost > 0, "the disk is not full");
        asked.truncate(asked.len() - lost);
        asked
    }

    fn broker_comes_back(&mut self) {
        let brokers = &mut self.spooled.config["exporters"]["traces"]["kafka"]["brokers"];
        *brokers = self.brokers.clone();
        let reloaded = self.weir.reload(&self.spooled.config.to_string());
        assert_eq!(reloaded.status, 200);
    }

    /// Waits until traces are taken, and gives the ids of some.
    fn ask_again(&self) -> Vec<String> {
        eventually("traces are taken again", || {
            let before = dropped(&self.weir, "spool_failed");
            ask_large(&self.weir, 1, "again");
            (dropped(&self.weir, "spool_failed") == before).then_some(())
        });
        ask_large(&self.weir, 10, "after")
    }
}

fn segments(disk: &Path) -> usize {
    let run = fs::read_dir(disk.join("spool/0000000001")).expect("a folder");
    let paths = run.flatten().map(|entry| entry.path());
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "seg");
    paths.filter(is_segment).count()
}

#[test]
fn a_disk_that_is_full_costs_traces_and_no_answers_says_the_way_out_and_recovers() {
    let Some(mut small) = Small::start() else {
        return;
    };
    let mut kept = ask_large(&small.weir, 20, "before");
    assert_eq!(dropped(&small.weir, "spool_failed"), 0);
    let filler = small.fill();
    kept.extend(small.ask_until_full());
    let spool = small.weir.ready()["spool"].clone();
    assert_eq!(spool["state"], "degraded");
    let said = spool["message"].as_str().expect("a message");
    assert!(said.starts_with("spool: cannot create "), "{said}");
    assert!(said.ends_with(WAY_OUT), "{said}");
    small.weir.says(WAY_OUT);

    fs::remove_file(filler).expect("room");
    kept.extend(small.ask_again());
    let lost = dropped(&small.weir, "spool_failed");
    small.broker_comes_back();
    Arrivals::of(shared(), &small.topic).wait_for(&kept);
    assert_eq!(dropped(&small.weir, "spool_failed"), lost);
}

#[test]
fn a_disk_that_stays_full_is_given_back_what_has_been_delivered() {
    let Some(mut small) = Small::start() else {
        return;
    };
    let mut kept = ask_large(&small.weir, 200, "before");
    assert_eq!(dropped(&small.weir, "spool_failed"), 0);
    small.fill();
    kept.extend(small.ask_until_full());
    assert!(segments(&small.disk()) >= 6);

    // There is no room for a cursor either.
    small.broker_comes_back();
    let mut arrivals = Arrivals::of(shared(), &small.topic);
    arrivals.wait_for(&kept);
    eventually("segments are removed", || {
        (segments(&small.disk()) <= 3).then_some(())
    });
    let after = small.ask_again();
    arrivals.wait_for(&after);
}
