use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::trace::recorder::Recorder;
use crate::trace::{Kind, SpanIndex, Status as SpanStatus, record};

fn config(max_bytes: u64) -> config::Store {
    config::Store {
        max_bytes,
        max_age: Duration::from_hours(1),
        max_traces_per_second: 1000,
        filters: config::Filters::default(),
    }
}

/// A record of a request to a path, answered with a status after so long, through a plugin.
fn record(path: &str, status: u16, millis: u64, plugin: &str) -> Vec<u8> {
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    let mut recorder = Recorder::default();
    recorder.begin(None, start);
    let name = format!("plugin.{plugin}.prehook");
    let hook = recorder.span(&name, Kind::Plugin, SpanIndex::ROOT, at(0));
    recorder.attribute(hook, "weir.hook.decision", "proceed");
    recorder.end(hook, SpanStatus::Ok, "", at(0));
    recorder.attribute(SpanIndex::ROOT, "url.path", path);
    recorder.attribute(SpanIndex::ROOT, "http.response.status_code", status);
    recorder.rename(SpanIndex::ROOT, "GET hello");
    let outcome = if status >= 500 {
        SpanStatus::Error
    } else {
        SpanStatus::Unset
    };
    recorder.end(SpanIndex::ROOT, outcome, "", at(millis));
    let mut out = Vec::new();
    record::write(&recorder, &mut out);
    out
}

fn filter(query: &[(&str, &str)]) -> Filter {
    Filter::parse(query.iter().copied()).unwrap()
}

fn database(records: &[Vec<u8>]) -> Database {
    let mut database = Database::open(None).unwrap();
    let records = records.iter().map(Vec::as_slice);
    database.insert(records, |_, _| {}).unwrap();
    database
}

fn paths(database: &Database, query: &[(&str, &str)]) -> Vec<String> {
    let page = database.search(&filter(query), None, 100).unwrap();
    page.traces
        .into_iter()
        .map(|summary| summary.path)
        .collect()
}

#[test]
fn traces_are_found_by_what_is_known_of_them() {
    let database = database(&[
        record("/fast", 200, 1, "auth"),
        record("/slow", 200, 900, "auth"),
        record("/broken", 503, 20, "limits"),
        record("/gone", 404, 2, "auth"),
    ]);
    for (query, expected) in [
        (&[][..], &["/gone", "/broken", "/slow", "/fast"][..]),
        (&[("status", "5xx")], &["/broken"]),
        (&[("status", "404,503")], &["/gone", "/broken"]),
        (&[("failed", "true")], &["/broken"]),
        (&[("min_ms", "500")], &["/slow"]),
        (&[("max_ms", "1.5")], &["/fast"]),
        (&[("plugin", "limits")], &["/broken"]),
        (
            &[("route", "hello"), ("status", "2xx")],
            &["/slow", "/fast"],
        ),
        (&[("route", "other")], &[]),
        (&[("q", "SLO")], &["/slow"]),
        (&[("attribute", "url.path=/gone")], &["/gone"]),
        (
            &[("attribute", "weir.hook.decision=proceed"), ("q", "/fa")],
            &["/fast"],
        ),
        (&[("attribute", "no.such.key")], &[]),
        (&[("short_circuit", "true")], &[]),
        (&[("method", "get"), ("status", "4xx")], &["/gone"]),
        (&[("from", "99999999999999999")], &[]),
    ] {
        assert_eq!(paths(&database, query), expected, "{query:?}");
    }
}

#[test]
fn a_trace_is_found_by_its_id_or_a_part_of_it() {
    let database = database(&[record("/a", 200, 1, "auth"), record("/b", 200, 1, "auth")]);
    let page = database.search(&Filter::default(), None, 10).unwrap();
    let id = page.traces[0].trace_id.clone();
    assert_eq!(paths(&database, &[("q", &id[..12])]), ["/b"]);
    let (found, bytes) = database.trace(&id, None).unwrap().unwrap();
    assert_eq!(found[0].path, "/b");
    assert_eq!(record::read(&bytes).unwrap().head.trace_id.to_string(), id);
    assert!(database.trace("0000", None).unwrap().is_none());
}

#[test]
fn a_search_goes_on_where_the_last_ended() {
    let records: Vec<_> = (0..5)
        .map(|n| record(&format!("/{n}"), 200, 1, "a"))
        .collect();
    let database = database(&records);
    let mut before = None;
    let mut seen = Vec::new();
    loop {
        let page = database.search(&Filter::default(), before, 2).unwrap();
        seen.extend(page.traces.into_iter().map(|summary| summary.path));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["/4", "/3", "/2", "/1", "/0"]);
}

#[test]
fn a_query_that_makes_no_sense_is_refused_with_what_was_expected() {
    for (name, value) in [
        ("status", "teapot"),
        ("min_ms", "fast"),
        ("failed", "maybe"),
        ("from", "now"),
    ] {
        let refused = Filter::parse([(name, value)]).unwrap_err();
        assert_eq!(refused.parameter, name);
    }
}

#[test]
fn the_oldest_go_when_there_are_too_many_bytes() {
    let records: Vec<_> = (0..200)
        .map(|n| record(&format!("/{n}"), 200, 1, "a"))
        .collect();
    let mut database = database(&records);
    let before = database.bytes();
    database.prune(before / 2, 0).unwrap();
    assert!(database.bytes() <= before / 2);
    let left = paths(&database, &[]);
    assert_eq!(left[0], "/199");
    assert!(!left.contains(&"/0".to_owned()));
    assert_eq!(database.count(), left.len() as u64);
}

#[test]
fn what_is_too_old_goes() {
    let mut database = database(&[record("/a", 200, 1, "a")]);
    database
        .prune(u64::MAX, microseconds(SystemTime::now()) + 1_000_000)
        .unwrap();
    assert_eq!(database.count(), 0);
    assert_eq!(database.bytes(), 0);
}

#[test]
fn what_is_too_old_goes_up_to_the_first_that_is_not() {
    let start = |record: &[u8]| Summary::of(&record::read(record).unwrap(), 0).start_us;
    let old = record("/old", 200, 1, "a");
    // The clock may be coarse.
    let young = std::iter::repeat_with(|| record("/young", 200, 1, "a"))
        .find(|young| start(young) > start(&old))
        .unwrap();
    let oldest = start(&young);
    let mut database = database(&[old, young]);
    database.prune(u64::MAX, oldest).unwrap();
    assert_eq!(paths(&database, &[]), ["/young"]);
    assert_eq!(database.count(), 1);
}

#[test]
fn a_histogram_counts_in_equal_parts() {
    let database = database(&[record("/a", 200, 1, "a"), record("/b", 500, 1, "a")]);
    let now = microseconds(SystemTime::now());
    let histogram = database
        .histogram(&Filter::default(), now - 60_000_000, now + 60_000_000, 4)
        .unwrap();
    assert_eq!(histogram.len(), 4);
    assert_eq!(histogram.iter().map(|bucket| bucket.count).sum::<u64>(), 2);
    assert_eq!(histogram.iter().map(|bucket| bucket.failed).sum::<u64>(), 1);
}

#[test]
fn a_file_survives_and_a_broken_one_is_put_aside() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    let mut database = Database::open(Some(&file)).unwrap();
    let first = record("/kept", 200, 1, "a");
    database
        .insert([first.as_slice()].into_iter(), |_, _| {})
        .unwrap();
    drop(database);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "others can read it");
    let database = Database::open(Some(&file)).unwrap();
    assert_eq!(paths(&database, &[]), ["/kept"]);
    drop(database);

    std::fs::write(
        &file,
        "this is no database, whatever its name may say of it",
    )
    .unwrap();
    let database = Database::open(Some(&file)).unwrap();
    assert_eq!(database.count(), 0);
    assert!(folder.path().join("store.db.broken").exists());
}

#[test]
fn a_record_that_does_not_decode_hinders_no_other() {
    let good = record("/good", 200, 1, "a");
    let mut database = Database::open(None).unwrap();
    let records: [&[u8]; 3] = [b"nonsense", &good, &good[..10]];
    let unreadable = database.insert(records.into_iter(), |_, _| {}).unwrap();
    assert_eq!(unreadable.len(), 2);
    assert_eq!(paths(&database, &[]), ["/good"]);
}

#[test]
fn a_record_that_does_not_decode_is_counted() {
    let (store, intake) = Store::start(&config(1 << 20), None, 1);
    let good = record("/good", 200, 1, "a");
    intake.leave(&[&good, b"nonsense", &good[..10]]);
    drop(intake);
    store.close();
    let status = store.status();
    assert_eq!((status.traces, status.skipped), (1, 2));
}

#[test]
fn who_follows_sees_what_the_filter_lets_through() {
    let tails = tail::Tails::default();
    let mut errors = tails.add(filter(&[("status", "5xx")])).unwrap();
    let mut by_attribute = tails.add(filter(&[("attribute", "url.path=/b")])).unwrap();
    for (path, status) in [("/a", 200), ("/b", 503)] {
        let bytes = record(path, status, 1, "a");
        let summary = Summary::of(&record::read(&bytes).unwrap(), bytes.len());
        tails.tell(&summary, &bytes);
    }
    assert_eq!(errors.summaries.try_recv().unwrap().path, "/b");
    assert!(errors.summaries.try_recv().is_err());
    assert_eq!(by_attribute.summaries.try_recv().unwrap().path, "/b");
    drop((errors, by_attribute));
    assert!(!tails.are_any());
}

#[test]
fn a_slow_follower_is_told_what_it_missed() {
    let tails = tail::Tails::default();
    let tail = tails.add(Filter::default()).unwrap();
    let bytes = record("/a", 200, 1, "a");
    let summary = Summary::of(&record::read(&bytes).unwrap(), bytes.len());
    for _ in 0..tail::QUEUE + 44 {
        tails.tell(&summary, &bytes);
    }
    assert_eq!(tail.missed(), 44);
    assert_eq!(tail.missed(), 0);
}

#[test]
fn a_store_takes_what_workers_leave_until_it_is_closed() {
    let (store, intake) = Store::start(&config(1 << 20), None, 1);
    assert!(!store.status().durable);
    drop(intake);
    store.close();
    let intake = store.adjust(&config(2 << 20), 1);
    assert_eq!(store.status().max_bytes, 2 << 20);
    drop(intake);
    store.close();
}
