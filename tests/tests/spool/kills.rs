//! `kill -9` at load.

use std::collections::HashSet;

use serde_json::json;
use weir_tests::client::Connection;
use weir_tests::kafka::{Kafka, shared};
use weir_tests::wait::eventually;

use crate::{Arrivals, Spooled, kill, wait_until_delivered};
use weir_tests::load::{Load, ask, upstream};

const CLIENTS: usize = 8;

/// How many traces of a run the cursor on the disk has passed, over all workers.
fn saved(spooled: &Spooled, run: usize) -> usize {
    let cursor = spooled.folder.path().join("spool/cursors/traces.cursor");
    // Before the first there is none.
    let cursor = std::fs::read_to_string(cursor).unwrap_or_default();
    let position = |line: &str| {
        let numbers: Vec<usize> = line
            .split(' ')
            .map_while(|word| word.parse().ok())
            .collect();
        match numbers[..] {
            [of, _worker, position] if of == run => Some(position),
            _ => None,
        }
    };
    cursor.lines().filter_map(position).sum()
}

#[test]
fn a_kill_at_load_loses_no_trace_of_a_response_whose_end_was_seen() {
    let topic = shared().topic();
    let mut spooled = Spooled::new(&upstream()).to(shared(), &topic);
    spooled.config["workers"] = json!(2);
    let mut seen = Vec::new();
    // What may come twice: all that no saved cursor has passed.
    let mut unsaved = 0;
    for run in 0..8 {
        let weir = spooled.start();
        let load = Load::start(weir.proxy(), CLIENTS, &format!("run{run}"));
        let until = 900 + 457 * run % 1500;
        eventually("the load is under way", || {
            (load.ended() >= until).then_some(())
        });
        kill(weir);
        let of_run = load.join();
        unsaved += of_run.len() + CLIENTS - saved(&spooled, run + 1);
        seen.extend(of_run);
    }
    let _weir = spooled.start();
    let mut arrivals = Arrivals::of(shared(), &topic);
    arrivals.wait_for(&seen);
    // Nothing is invented: beside what was seen, each client had one request under way at a kill.
    let seen_ids: HashSet<&String> = seen.iter().collect();
    let others = arrivals.counts.keys().filter(|id| !seen_ids.contains(id));
    assert!(others.count() <= 8 * CLIENTS);
    // What comes twice was in flight at a kill, or acknowledged since the cursor was saved.
    let doubled = arrivals.doubled();
    assert!(doubled <= unsaved, "{doubled} came twice of {unsaved}");
    assert!(doubled < seen.len() / 2, "{doubled} of {}", seen.len());
    assert!(arrivals.counts.values().all(|count| *count <= 8));
}

#[test]
fn what_was_delivered_is_not_delivered_again_by_the_next_run() {
    let topic = shared().topic();
    let spooled = Spooled::new(&upstream()).to(shared(), &topic);
    let weir = spooled.start();
    let first = weir_tests::load::ask_all(weir.proxy(), 50, "first");
    wait_until_delivered(&weir, 50);
    // The cursor is saved a moment after.
    eventually("the cursor is saved", || {
        (saved(&spooled, 1) == 50).then_some(())
    });
    kill(weir);
    let weir = spooled.start();
    let second = weir_tests::load::ask_all(weir.proxy(), 1, "second");
    let mut arrivals = Arrivals::of(shared(), &topic);
    arrivals.wait_for(&second);
    assert_eq!(arrivals.ids, [first, second].concat());
    eventually("the first run's folder is gone", || {
        (!spooled.folder.path().join("spool/0000000001").exists()).then_some(())
    });
}

#[test]
fn a_trace_sent_to_again_and_again_keeps_its_order_through_kills_and_an_outage() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut kafka = Kafka::start(&folder, &[]);
    let (address, topic) = (kafka.address().to_owned(), kafka.topic());
    let port = address.rsplit_once(':').expect("a port").1.to_owned();
    let mut spooled = Spooled::new(&upstream()).to(&kafka, &topic);
    spooled.config["workers"] = json!(2);
    // The connection is idle while the broker starts.
    spooled.config["listeners"][0]["timeouts"] = json!({ "head": "10m" });
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut next = 0;
    let mut seen = Vec::new();
    for run in 0..6 {
        let weir = spooled.start();
        let mut connection = Connection::open(weir.proxy());
        for turn in 0..120 {
            if turn == 60 && run == 2 {
                kafka.stop();
                kafka = Kafka::start(&folder, &[format!("--port={port}")]);
            }
            let id = format!("{next:08}");
            next += 1;
            let headers = [("traceparent", traceparent), ("x-request-id", id.as_str())];
            assert!(ask(&mut connection, "/length", &headers));
            seen.push(id);
        }
        kill(weir);
    }
    let _weir = spooled.start();
    let mut arrivals = Arrivals::of(&kafka, &topic);
    arrivals.wait_for(&seen);
    assert_eq!(arrivals.firsts(), seen);
}

#[test]
fn with_fsync_always_responses_wait_for_the_disk_and_nothing_is_lost() {
    let topic = shared().topic();
    let mut spooled = Spooled::new(&upstream()).to(shared(), &topic);
    spooled.config["spool"]["fsync"] = json!("always");
    let weir = spooled.start();
    let load = Load::start(weir.proxy(), CLIENTS, "always");
    eventually("the load is under way", || {
        (load.ended() >= 300).then_some(())
    });
    kill(weir);
    let seen = load.join();
    let _weir = spooled.start();
    Arrivals::of(shared(), &topic).wait_for(&seen);
}
