use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::export::testing::eventually;
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

fn database(records: &[Vec<u8>]) -> Mutex<Database> {
    let mut database = Database::open(None).unwrap();
    let records = records.iter().map(Vec::as_slice);
    database.insert(records, |_, _| {}).unwrap();
    Mutex::new(database)
}

fn paths(database: &Mutex<Database>, query: &[(&str, &str)]) -> Vec<String> {
    let page = search::page(database, &filter(query), None, 100).unwrap();
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
    let page = search::page(&database, &Filter::default(), None, 10).unwrap();
    let id = page.traces[0].trace_id.clone();
    assert_eq!(paths(&database, &[("q", &id[..12])]), ["/b"]);
    let (found, bytes) = lock(&database).trace(&id, None).unwrap().unwrap();
    assert_eq!(found[0].path, "/b");
    assert_eq!(record::read(&bytes).unwrap().head.trace_id.to_string(), id);
    assert!(lock(&database).trace("0000", None).unwrap().is_none());
}

#[test]
fn one_of_many_requests_with_the_same_trace_id_is_found_by_its_number() {
    let repeated = record("/again", 200, 1, "auth");
    let mut records = vec![repeated; 150];
    records.push(record("/other", 200, 1, "auth"));
    let database = database(&records);
    let all = search::page(&database, &filter(&[("q", "/again")]), None, 200).unwrap();
    let (oldest, newest) = (&all.traces[149], &all.traces[0]);
    let trace = |id| lock(&database).trace(&oldest.trace_id, id).unwrap();
    let (found, _) = trace(Some(oldest.id)).unwrap();
    assert_eq!(found.len(), 101);
    assert_eq!(found[100], *oldest);
    let (found, _) = trace(Some(newest.id)).unwrap();
    assert_eq!((found.len(), &found[0]), (100, newest));
    // Another trace's.
    assert!(trace(Some(newest.id + 1)).is_none());
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
        let page = search::page(&database, &Filter::default(), before, 2).unwrap();
        seen.extend(page.traces.into_iter().map(|summary| summary.path));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["/4", "/3", "/2", "/1", "/0"]);
}

#[test]
fn a_search_leaves_the_database_free_between_its_parts() {
    let records: Vec<_> = (0..600)
        .map(|n| record(&format!("/{n}"), 200, 1, "a"))
        .collect();
    let database = database(&records);
    for query in [&[][..], &[("attribute", "weir.hook.decision")]] {
        let mut seen = 0;
        let scanned = search::scan(&database, &filter(query), None, |_| {
            seen += 1;
            database.try_lock().is_ok()
        });
        assert_eq!((scanned.unwrap(), seen), (600, 600), "{query:?}");
    }
}

#[test]
fn what_goes_or_comes_during_a_search_does_not_hinder_it() {
    let records: Vec<_> = (0..600)
        .map(|n| record(&format!("/{n}"), 200, 1, "a"))
        .collect();
    let database = database(&records);
    let late = record("/late", 200, 1, "a");
    let mut seen = Vec::new();
    search::scan(&database, &Filter::default(), None, |summary| {
        if seen.is_empty() {
            let mut database = lock(&database);
            let late = [late.as_slice()].into_iter();
            database.insert(late, |_, _| {}).unwrap();
            let half = database.bytes() / 2;
            database.prune(half, 0).unwrap();
        }
        seen.push(summary.path);
        true
    })
    .unwrap();
    assert_eq!(seen[0], "/599");
    assert!(seen.len() < 400, "{}", seen.len());
}

#[test]
fn the_time_of_a_search_includes_both_its_ends() {
    let start = |record: &[u8]| Summary::of(&record::read(record).unwrap(), 0).start_us;
    let first = record("/first", 200, 1, "a");
    // The clock may be coarse.
    let after = |before: i64, path| {
        let mut records = std::iter::repeat_with(|| record(path, 200, 1, "a"));
        records.find(|one| start(one) > before + 1).unwrap()
    };
    let second = after(start(&first), "/second");
    let third = after(start(&second), "/third");
    let (early, middle, late) = (start(&first), start(&second), start(&third));
    let database = database(&[first, second, third]);
    for (from, to, expected) in [
        (None, None, &["/third", "/second", "/first"][..]),
        (Some(early), Some(late), &["/third", "/second", "/first"]),
        (Some(middle), None, &["/third", "/second"]),
        (Some(middle + 1), None, &["/third"]),
        (Some(late + 1), None, &[]),
        (None, Some(middle), &["/second", "/first"]),
        (None, Some(middle - 1), &["/first"]),
        (None, Some(early - 1), &[]),
        (Some(middle), Some(middle), &["/second"]),
        (Some(early + 1), Some(late - 1), &["/second"]),
        (Some(late), Some(early), &[]),
    ] {
        let given = [("from", from), ("to", to)];
        let given = given.map(|(name, time)| (name, time.map(|time| time.to_string())));
        let query: Vec<(&str, &str)> = given
            .iter()
            .filter_map(|(name, time)| Some((*name, time.as_deref()?)))
            .collect();
        assert_eq!(paths(&database, &query), expected, "{query:?}");
        // A histogram of all that time has no more than the filter lets through.
        let all = search::histogram(&database, &filter(&query), early, late + 1, 3).unwrap();
        let count: u64 = all.iter().map(|bucket| bucket.count).sum();
        assert_eq!(count, expected.len() as u64, "{query:?}");
    }
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
    let database = database(&records);
    let before = lock(&database).bytes();
    lock(&database).prune(before / 2, 0).unwrap();
    assert!(lock(&database).bytes() <= before / 2);
    let left = paths(&database, &[]);
    assert_eq!(left[0], "/199");
    assert!(!left.contains(&"/0".to_owned()));
    assert_eq!(lock(&database).count(), left.len() as u64);
}

#[test]
fn what_is_too_old_goes() {
    let database = database(&[record("/a", 200, 1, "a")]);
    lock(&database)
        .prune(u64::MAX, microseconds(SystemTime::now()) + 1_000_000)
        .unwrap();
    assert_eq!(lock(&database).count(), 0);
    assert_eq!(lock(&database).bytes(), 0);
}

#[test]
fn what_is_too_old_goes_up_to_the_first_that_is_not() {
    let start = |record: &[u8]| Summary::of(&record::read(record).unwrap(), 0).start_us;
    let old = record("/old", 200, 0, "a");
    // The clock may be coarse.
    let young = std::iter::repeat_with(|| record("/young", 200, 1, "a"))
        .find(|young| start(young) > start(&old))
        .unwrap();
    let oldest = start(&young);
    let database = database(&[old, young]);
    lock(&database).prune(u64::MAX, oldest).unwrap();
    assert_eq!(paths(&database, &[]), ["/young"]);
    assert_eq!(lock(&database).count(), 1);
}

/// Leaves two traces in a store, one after the other: once the second is there, the look at what is too old with
/// which its thread begins is over.
fn two(store: &Store, intake: &Intake) {
    for count in 1..=2 {
        intake.leave(&[&record("/early", 200, 1, "a")]);
        eventually("it is written", || {
            (store.status().traces == count).then_some(())
        });
    }
}

#[test]
fn a_running_store_looks_again_for_what_is_too_old() {
    let (store, intake) = Store::start_looking(&config(1 << 20), None, 1, Duration::ZERO);
    two(&store, &intake);
    lock(&store.shared.limits).age = Duration::ZERO;
    eventually("all are too old", || {
        (store.status().traces == 0).then_some(())
    });
    let found = store.search(&Filter::default(), None, 10).unwrap();
    assert!(found.traces.is_empty(), "{found:?}");
}

#[test]
fn a_running_store_lets_the_oldest_go_at_once_where_there_are_too_many_bytes() {
    const MOST: u64 = 64 << 10;
    let (store, intake) = Store::start_looking(&config(MOST), None, 1, Duration::MAX);
    two(&store, &intake);
    let records: Vec<_> = (0..200)
        .map(|n| record(&format!("/{n}"), 200, 1, "a"))
        .collect();
    let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    intake.leave(&records);
    let find = |path| {
        let found = store.search(&filter(&[("q", path)]), None, 1).unwrap();
        !found.traces.is_empty()
    };
    eventually("the newest is there, and not too much", || {
        (find("/199") && store.status().bytes <= MOST).then_some(())
    });
    assert!(!find("/early") && !find("/0"));
    let left = store.status();
    assert!(left.traces > 10 && left.bytes > MOST / 2, "{left:?}");
}

#[test]
fn what_lasted_longer_than_traces_are_kept_goes_when_its_end_is_old() {
    const HOUR: u64 = 3_600_000;
    let database = database(&[
        record("/short", 200, 1, "a"),
        record("/stream", 200, 2 * HOUR, "a"),
    ]);
    let now = microseconds(SystemTime::now());
    let after = |hours: u64| now + i64::try_from(hours * HOUR * 1000).unwrap();
    lock(&database).prune(u64::MAX, after(1)).unwrap();
    assert_eq!(paths(&database, &[]), ["/stream"]);
    lock(&database).prune(u64::MAX, after(3)).unwrap();
    assert_eq!(lock(&database).count(), 0);
}

#[test]
fn a_histogram_counts_in_equal_parts() {
    let database = database(&[record("/a", 200, 1, "a"), record("/b", 500, 1, "a")]);
    let now = microseconds(SystemTime::now());
    let minute = 60_000_000;
    let all = Filter::default();
    let histogram = search::histogram(&database, &all, now - minute, now + minute, 4).unwrap();
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
    let database = Mutex::new(Database::open(Some(&file)).unwrap());
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
fn two_processes_write_the_same_file_as_in_a_hand_over() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    let [mut before, mut after] = [(); 2].map(|()| Database::open(Some(&file)).unwrap());
    let insert = |database: &mut Database, path| {
        let record = record(path, 200, 1, "");
        database
            .insert(std::iter::once(&record[..]), |_, _| {})
            .unwrap();
    };
    insert(&mut before, "/first");
    insert(&mut after, "/second");
    insert(&mut before, "/third");
    assert_eq!((before.count(), after.count()), (3, 2));
    after.prune(0, 0).unwrap();
    assert_eq!((after.count(), after.bytes()), (0, 0));
    insert(&mut before, "/last");
    assert_eq!(before.count(), 1);
    assert_eq!(paths(&Mutex::new(before), &[]), ["/last"]);
}

#[test]
fn a_record_that_does_not_decode_hinders_no_other() {
    let good = record("/good", 200, 1, "a");
    let mut database = Database::open(None).unwrap();
    let records: [&[u8]; 3] = [b"nonsense", &good, &good[..10]];
    let unreadable = database.insert(records.into_iter(), |_, _| {}).unwrap();
    assert_eq!(unreadable.len(), 2);
    assert_eq!(paths(&Mutex::new(database), &[]), ["/good"]);
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
fn how_the_store_fares_is_told_while_the_database_is_busy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    let mut database = Database::open(Some(&file)).unwrap();
    let one = record("/a", 200, 1, "a");
    database
        .insert([one.as_slice()].into_iter(), |_, _| {})
        .unwrap();
    let bytes = database.bytes();
    drop(database);
    let (store, _intake) = Store::start(&config(1 << 20), Some(folder.path()), 1);
    let busy = lock(&store.shared.database);
    let status = store.status();
    assert_eq!((status.traces, status.bytes), (1, bytes));
    assert!(status.durable);
    drop(busy);
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
