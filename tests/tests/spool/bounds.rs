//! A spool that is full, a disk that does not obey, a backlog larger than memory should be.

use std::fs;

use serde_json::{Value, json};
use weir_tests::client::Connection;
use weir_tests::kafka::shared;
use weir_tests::wait::eventually;

use crate::{Arrivals, Spooled, kill};
use weir_tests::load::{ask, ask_all, upstream};

/// A header that makes its trace large.
const LARGE: usize = 50_000;

pub(crate) fn dropped(weir: &weir_tests::weir::Weir, reason: &str) -> u64 {
    weir.count(&format!(
        r#"weir_export_dropped_total{{exporter="traces",reason="{reason}"}}"#
    ))
}

/// Sends requests with a large header; gives their ids.
pub(crate) fn ask_large(weir: &weir_tests::weir::Weir, count: usize, name: &str) -> Vec<String> {
    let mut connection = Connection::open(weir.proxy());
    let large = "x".repeat(LARGE);
    (0..count)
        .map(|index| {
            let id = format!("{name}-{index}");
            let headers = [("x-request-id", id.as_str()), ("x-large", &large)];
            assert!(ask(&mut connection, "/length", &headers), "{id}");
            id
        })
        .collect()
}

pub(crate) fn spooled_large(topic: &str) -> (Spooled, Value) {
    let mut spooled = Spooled::new(&upstream()).to(shared(), topic);
    let kafka = &mut spooled.config["exporters"]["traces"]["kafka"];
    kafka["request_headers"] = json!(["x-large"]);
    let brokers = kafka["brokers"].take();
    kafka["brokers"] = json!(["127.0.0.1:1"]);
    (spooled, brokers)
}

#[test]
fn a_full_spool_answers_and_counts_and_takes_traces_again_once_there_is_room() {
    let topic = shared().topic();
    let (mut spooled, brokers) = spooled_large(&topic);
    spooled.config["spool"] = json!({ "segment_bytes": "2MiB", "max_bytes": "6MiB" });
    let weir = spooled.start();
    let asked = ask_large(&weir, 200, "full");
    let lost = usize::try_from(dropped(&weir, "spool_full")).expect("a count");
    let kept = asked.len() - lost;
    assert!((80..=126).contains(&kept), "{kept}");
    assert_eq!(weir.count("weir_spool_bytes"), 6 << 20);
    assert!(weir.metrics().contains("\nweir_spool_unsynced_total 0\n"));
    let ready = weir.ready();
    assert_eq!(ready["spool"]["state"], "degraded");
    assert_eq!(
        ready["spool"]["message"],
        "spool: full: new traces are dropped"
    );

    spooled.config["exporters"]["traces"]["kafka"]["brokers"] = brokers;
    assert_eq!(weir.reload(&spooled.config.to_string()).status, 200);
    let mut arrivals = Arrivals::of(shared(), &topic);
    arrivals.wait_for(&asked[..kept]);
    assert_eq!(arrivals.ids, asked[..kept]);
    eventually("there is room", || {
        (weir.ready()["spool"]["state"] == "ok").then_some(())
    });
    let after = ask_large(&weir, 10, "after");
    arrivals.wait_for(&after);
}

#[test]
fn a_folder_that_cannot_be_written_costs_traces_and_no_answers_and_recovers() {
    let topic = shared().topic();
    let (spooled, _) = spooled_large(&topic);
    let weir = spooled.start();
    ask_large(&weir, 1, "before");
    let run = spooled.folder.path().join("spool/0000000001");
    let aside = spooled.folder.path().join("aside");
    // As a file system that goes away does: no new segment can be made.
    fs::rename(&run, &aside).expect("rename");
    ask_large(&weir, 200, "away");
    assert!(dropped(&weir, "spool_failed") > 0);
    let ready = weir.ready();
    assert_eq!(ready["spool"]["state"], "degraded");
    let message = ready["spool"]["message"].as_str().expect("a message");
    assert!(message.starts_with("spool: cannot "), "{message}");
    fs::rename(&aside, &run).expect("rename");
    eventually("traces are taken again", || {
        let before = dropped(&weir, "spool_failed");
        ask_large(&weir, 1, "again");
        (dropped(&weir, "spool_failed") == before).then_some(())
    });
}

#[test]
fn a_segment_that_is_cut_under_the_proxy_costs_traces_and_no_answers_and_recovers() {
    let topic = shared().topic();
    let (mut spooled, brokers) = spooled_large(&topic);
    let weir = spooled.start();
    let before = ask_large(&weir, 3, "before");
    // As a disk does that breaks: what is mapped is not there any more.
    let run = spooled.folder.path().join("spool/0000000001");
    for name in spooled.files(".seg") {
        let segment = fs::OpenOptions::new().write(true).open(run.join(name));
        segment
            .expect("a segment")
            .set_len(0)
            .expect("a file that can be cut");
    }
    ask_large(&weir, 5, "cut");
    // Where segments are not mapped, a write makes the file longer again, and nothing is lost.
    if dropped(&weir, "spool_failed") > 0 {
        let message = weir.ready()["spool"]["message"].to_string();
        assert!(message.starts_with("\"spool: cannot "), "{message}");
    }
    eventually("traces are taken again", || {
        let lost = dropped(&weir, "spool_failed");
        ask_large(&weir, 1, "again");
        (dropped(&weir, "spool_failed") == lost).then_some(())
    });
    let after = ask_large(&weir, 10, "after");

    // What was cut away is gone; the rest arrives.
    spooled.config["exporters"]["traces"]["kafka"]["brokers"] = brokers;
    assert_eq!(weir.reload(&spooled.config.to_string()).status, 200);
    let mut arrivals = Arrivals::of(shared(), &topic);
    arrivals.wait_for(&after);
    assert!(before.iter().all(|id| !arrivals.counts.contains_key(id)));
}

#[test]
fn a_byte_that_is_flipped_costs_one_trace_and_is_counted() {
    let topic = shared().topic();
    let mut spooled = Spooled::new(&upstream()).to(shared(), &topic);
    let kafka = &mut spooled.config["exporters"]["traces"]["kafka"];
    let brokers = std::mem::replace(&mut kafka["brokers"], json!(["127.0.0.1:1"]));
    let weir = spooled.start();
    let mut asked = ask_all(weir.proxy(), 20, "flip");
    kill(weir);
    let lost = asked.remove(7);
    let found = spooled.paths(".seg").into_iter().find_map(|path| {
        let bytes = fs::read(&path).expect("a segment");
        let mut windows = bytes.windows(lost.len());
        let at = windows.position(|found| found == lost.as_bytes())?;
        Some((path, bytes, at))
    });
    let (path, mut bytes, at) = found.expect("the trace is on the disk");
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("written");

    spooled.config["exporters"]["traces"]["kafka"]["brokers"] = brokers;
    let weir = spooled.start();
    let mut arrivals = Arrivals::of(shared(), &topic);
    arrivals.wait_for(&asked);
    assert_eq!(arrivals.ids, asked);
    eventually("it is counted", || {
        (dropped(&weir, "corrupt") == 1).then_some(())
    });
}

#[test]
fn a_backlog_takes_no_memory_and_a_start_does_not_wait_for_it() {
    let topic = shared().topic();
    let (mut spooled, brokers) = spooled_large(&topic);
    spooled.config["spool"]["segment_bytes"] = json!("32MiB");
    spooled.config["exporters"]["traces"]["kafka"]["buffer_bytes"] = json!("8MiB");
    let weir = spooled.start();
    let mut seen = ask_all(weir.proxy(), 3, "first");
    // 200 MB.
    seen.extend(ask_large(&weir, 4000, "backlog"));
    let bytes = weir.count("weir_spool_bytes");
    assert!(bytes > 200_000_000, "{bytes}");
    // Segments that are full are given back by a thread of their own.
    eventually("it holds little memory", || {
        (weir.resident_bytes() < 128 << 20).then_some(())
    });
    kill(weir);

    spooled.config["exporters"]["traces"]["kafka"]["brokers"] = brokers;
    let weir = spooled.start();
    assert_eq!(weir.get("/", &[]).text(), "hello");
    let mut arrivals = Arrivals::of(shared(), &topic);
    let mut most = 0;
    eventually("the backlog is delivered", || {
        for _ in 0..100 {
            arrivals.read();
        }
        most = most.max(weir.resident_bytes());
        (arrivals.ids.len() >= seen.len()).then_some(())
    });
    assert_eq!(arrivals.ids[..seen.len()], seen);
    assert!(most < 128 << 20, "{most}");
    eventually("the disk is free again", || {
        (weir.count("weir_spool_bytes") <= 64 << 20).then_some(())
    });
}
