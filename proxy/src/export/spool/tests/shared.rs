//! Several exporters, the bound, and who has the folder.

use std::sync::mpsc::RecvTimeoutError;

use super::*;
use crate::export::spool::files::{Disk, FileSystem as _};
use crate::export::spool::keeper;

#[test]
fn a_new_exporter_begins_at_the_tail_and_goes_on_there() {
    let files = left_behind(10);
    let store = open(&files);
    let old = Exporter::new(&store, "a");
    let mut writer = Writer::new(store.clone());
    append(&mut writer, 10).unwrap();
    let new = Exporter::new(&store, "b");
    append(&mut writer, 11).unwrap();
    assert_eq!(new.take().0, texts([11]));
    assert_eq!(old.deliver(), texts(0..12));
    let files = files.restart(End::Kill);
    let store = open(&files);
    assert_eq!(Exporter::new(&store, "b").deliver(), texts([11]));
    assert!(Exporter::new(&store, "a").deliver().is_empty());
}

#[test]
fn a_segment_that_was_laid_out_too_late_comes_behind_the_one_made_meanwhile() {
    let files = Faulty::default();
    let store = open(&files);
    let exporter = Exporter::new(&store, "a");
    let mut writer = Writer::new(store.clone());
    let stream = store.streams().remove(0);
    // The keeper has begun, and the worker does not wait for it.
    let late = store.create_segment(&stream).unwrap();
    append(&mut writer, 0).unwrap();
    *stream.spare() = Some(late);
    (1..30).for_each(|number| append(&mut writer, number).unwrap());
    assert_eq!(exporter.take().0, texts(0..30));
    assert_eq!(exporter.skipped(), 0);
    let store = open(&files.restart(End::Kill));
    let exporter = Exporter::new(&store, "a");
    assert_eq!(exporter.deliver(), texts(0..30));
    assert_eq!(exporter.skipped(), 0);
}

#[test]
fn what_one_exporter_needs_stays_for_it_alone() {
    let files = Faulty::default();
    let store = open(&files);
    let (dead, alive) = (
        Exporter::new(&store, "dead"),
        Exporter::new(&store, "alive"),
    );
    let mut writer = Writer::new(store.clone());
    (0..40).for_each(|number| append(&mut writer, number).unwrap());
    let segments = files.files(".seg").len();
    assert_eq!(alive.deliver(), texts(0..40));
    assert_eq!(files.files(".seg").len(), segments);
    assert_eq!(dead.deliver(), texts(0..40));
    assert_eq!(files.files(".seg").len(), 1, "the one that is appended to");
}

#[test]
fn a_removed_exporter_holds_nothing_back() {
    let files = left_behind(40);
    let store = open(&files);
    assert!(files.files(".seg").len() > 5);
    let exporter = Exporter::new(&store, "b");
    store.retain(vec!["b".to_owned()]);
    assert_eq!(files.files(".seg"), Vec::<PathBuf>::new());
    assert_eq!(files.files(".cursor").len(), 1);
    assert!(exporter.deliver().is_empty());
    assert_eq!(store.status().bytes, 0);
}

#[test]
fn a_full_spool_gives_up_the_newest_and_goes_on_once_there_is_room() {
    let files = Faulty::default();
    let mut options = options();
    options.max_bytes = 4 * SEGMENT;
    let store = open_with(&files, options).unwrap();
    let exporter = Exporter::new(&store, "a");
    let mut writer = Writer::new(store.clone());
    let kept = (0..200)
        .take_while(|number| append(&mut writer, *number).is_ok())
        .count();
    assert!(kept > 8 && kept < 40, "{kept}");
    assert_eq!(append(&mut writer, kept), Err(Reason::SpoolFull));
    assert_eq!(store.status().bytes, 4 * SEGMENT);
    assert_eq!(exporter.deliver(), texts(0..kept));
    append(&mut writer, kept).unwrap();
    assert_eq!(exporter.deliver(), texts([kept]));
    assert_eq!(exporter.skipped(), 0);
}

#[test]
fn what_earlier_runs_left_counts_against_the_bound() {
    let files = left_behind(40);
    let mut options = options();
    options.max_bytes = 4 * SEGMENT;
    let store = open_with(&files, options).unwrap();
    let exporter = Exporter::new(&store, "a");
    let mut writer = Writer::new(store);
    assert_eq!(append(&mut writer, 40), Err(Reason::SpoolFull));
    assert_eq!(exporter.deliver(), texts(0..40));
    append(&mut writer, 41).unwrap();
}

#[test]
fn a_record_that_fits_in_no_segment_is_given_up_alone() {
    let store = open(&Faulty::default());
    let exporter = Exporter::new(&store, "a");
    let mut writer = Writer::new(store);
    append(&mut writer, 0).unwrap();
    let long = "x".repeat(400);
    assert_eq!(append_text(&mut writer, &long), Err(Reason::TooLarge));
    append(&mut writer, 1).unwrap();
    assert_eq!(exporter.deliver(), texts(0..2));
}

#[test]
fn a_segment_laid_out_ahead_is_used_and_one_left_over_goes() {
    let files = Faulty::default();
    let store = open(&files);
    let mut writer = Writer::new(store.clone());
    keeper::prepare(&store);
    let ahead = files.files(".seg");
    assert_eq!(ahead.len(), 1);
    append(&mut writer, 0).unwrap();
    assert_eq!(files.files(".seg"), ahead);
    keeper::prepare(&store);
    assert_eq!(files.files(".seg").len(), 2);
    drop(writer);
    keeper::prepare(&store);
    assert_eq!(files.files(".seg"), ahead);
}

#[test]
fn nothing_more_comes_once_the_exporter_is_taken_away_and_has_all() {
    let store = open(&Faulty::default());
    let mut exporter = Exporter::new(&store, "a");
    let mut writer = Writer::new(store);
    append(&mut writer, 0).unwrap();
    exporter.wake.take();
    let moment = Duration::from_secs(10);
    assert!(exporter.reader.recv(moment).is_ok());
    let ended = exporter.reader.recv(moment).unwrap_err();
    assert_eq!(ended, RecvTimeoutError::Disconnected);
    // What is appended later is not for it.
    append(&mut writer, 1).unwrap();
    assert!(exporter.reader.recv(moment).is_err());
}

#[test]
fn an_exporter_that_starts_again_gets_what_was_not_settled() {
    let store = open(&Faulty::default());
    let exporter = Exporter::new(&store, "a");
    let mut writer = Writer::new(store);
    append(&mut writer, 0).unwrap();
    exporter.deliver();
    append(&mut writer, 1).unwrap();
    let (_, stale) = exporter.take();
    exporter.reader.begin();
    exporter.settle(&stale);
    assert_eq!(exporter.take().0, texts([1]));
}

#[test]
fn a_cursor_is_not_moved_by_a_reader_that_was_replaced() {
    let files = Faulty::default();
    let store = open(&files);
    let before = Exporter::new(&store, "a");
    let mut writer = Writer::new(store.clone());
    append(&mut writer, 0).unwrap();
    let after = Exporter::new(&store, "a");
    before.deliver();
    before.reader.forget();
    let files = files.restart(End::Kill);
    assert_eq!(Exporter::new(&open(&files), "a").deliver(), texts([0]));
    assert_eq!(after.deliver(), texts([0]));
}

#[test]
fn a_second_process_is_told_who_has_the_folder() {
    let files = Faulty::default();
    let _store = open(&files);
    let refused = try_open(&files).unwrap_err().to_string();
    let owner = format!("process {}", std::process::id());
    assert_eq!(
        refused,
        format!(
            "`data_dir`: /data/spool is in use by {owner}: stop it, or give this one a folder of \
             its own"
        )
    );
}

#[test]
fn exporters_may_be_named_anything() {
    for name in ["a", "größer/../%2e", "A-b_c.d", ""] {
        let file = super::cursor::file_name(name);
        assert!(!file.contains('/'), "{file}");
        assert_eq!(super::cursor::exporter(&file).as_deref(), Some(name));
    }
}

#[test]
fn the_disk_does_what_the_spool_asks_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(
        folder.path(),
        &config::Spool {
            max_bytes: 8 << 20,
            segment_bytes: 2 << 20,
            fsync: Fsync::Always,
        },
        Claim::Alone,
    )
    .unwrap();
    let exporter = Exporter::new(spool.store(), "a");
    let mut writer = spool.writer();
    let hold = writer.append(|out| {
        out.extend_from_slice(b"held");
        true
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(hold.unwrap().expect("`always` waits").wait());
    assert_eq!(exporter.deliver(), ["held"]);
    let refused = Spool::open(folder.path(), &spool.store().options, Claim::Alone).unwrap_err();
    assert!(matches!(refused, Error::InUse { .. }), "{refused}");
    drop((writer, exporter));
    spool.close();
    drop(spool);

    let file = Disk.create(&folder.path().join("large"), 1 << 20).unwrap();
    assert_eq!(file.read_at(&mut [0; 8], (1 << 20) - 4).unwrap(), 4);
    let error = Disk
        .create(&folder.path().join("huge"), 1 << 50)
        .unwrap_err();
    assert!(!folder.path().join("huge").exists(), "{error}");
}

#[test]
fn ages_are_told_by_what_is_not_delivered() {
    let store = open(&Faulty::default());
    let exporter = Exporter::new(&store, "a");
    let mut writer = Writer::new(store.clone());
    append(&mut writer, 0).unwrap();
    assert_eq!(store.oldest("a"), Duration::ZERO);
    let hour = Duration::from_hours(1);
    let before = std::time::SystemTime::now() - hour;
    store.streams()[0].sample(before);
    assert!(store.oldest("a") >= hour);
    exporter.deliver();
    assert_eq!(store.oldest("a"), Duration::ZERO);
    assert_eq!(store.oldest("unknown"), Duration::ZERO);
}

#[test]
fn a_clock_that_jumps_by_a_day_changes_ages_alone() {
    let day = Duration::from_hours(24);
    let now = std::time::SystemTime::now();
    for jumps in [[now + day, now - day, now], [now - day, now, now + day]] {
        let store = open(&Faulty::default());
        let exporter = Exporter::new(&store, "a");
        let mut writer = Writer::new(store.clone());
        for (number, time) in jumps.into_iter().enumerate() {
            append(&mut writer, number).unwrap();
            store.streams()[0].sample(time);
        }
        // No age is less than nothing.
        assert!(store.oldest("a") <= 2 * day);
        assert_eq!(exporter.deliver(), texts(0..3));
        assert_eq!(store.oldest("a"), Duration::ZERO);
        assert_eq!(exporter.skipped(), 0);
    }
}

#[test]
fn a_reader_never_sees_half_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let options = config::Spool {
        max_bytes: 64 << 20,
        segment_bytes: 1 << 20,
        fsync: Fsync::Interval(Duration::from_millis(1)),
    };
    let spool = Spool::open(folder.path(), &options, Claim::Alone).unwrap();
    let exporter = Exporter::new(spool.store(), "a");
    let seen = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let mut writer = spool.writer();
        scope.spawn(move || (0..2_000).for_each(|n| append(&mut writer, n).unwrap()));
        let mut seen = seen.lock().unwrap();
        crate::export::testing::eventually("all is read", || {
            seen.extend(exporter.deliver());
            (seen.len() >= 2_000).then_some(())
        });
    });
    assert!(seen.into_inner().unwrap() == texts(0..2_000));
    assert_eq!(exporter.skipped(), 0);
}

#[test]
fn a_successor_appends_at_once_and_delivers_once_the_process_before_has_ended() {
    let files = left_behind(4);
    let old = open(&files);
    let of_old = Exporter::new(&old, "a");
    let mut writer = Writer::new(old.clone());
    (4..8).for_each(|number| append(&mut writer, number).unwrap());

    let refused = open_as(&files, options(), Claim::Alone).unwrap_err();
    assert!(matches!(refused, Error::InUse { .. }), "{refused}");
    let new = open_as(&files, options(), Claim::Successor).unwrap();
    new.retain(vec!["a".to_owned(), "b".to_owned()]);
    let (known, unknown) = (Exporter::new(&new, "a"), Exporter::new(&new, "b"));
    let mut successor = Writer::new(new.clone());
    append(&mut successor, 20).unwrap();
    new.take_over();
    assert!(known.take().0.is_empty());

    // Meanwhile the old one goes on, and not all of it is delivered.
    append(&mut writer, 8).unwrap();
    assert_eq!(of_old.deliver(), texts(0..9));
    append(&mut writer, 9).unwrap();
    drop((writer, of_old, old));
    new.take_over();
    append(&mut successor, 21).unwrap();
    assert_eq!(known.deliver(), texts([9, 20, 21]));
    assert_eq!(unknown.deliver(), texts([20, 21]));
    drop((known, unknown, successor));
    let segments = files.files(".seg");
    let bytes: u64 = segments
        .iter()
        .map(|path| files.get(path).len() as u64)
        .sum();
    assert_eq!(new.status().bytes, bytes);
}

#[test]
fn what_a_successor_has_when_it_is_killed_is_there_for_the_next() {
    let files = left_behind(2);
    let old = open(&files);
    let mut writer = Writer::new(old.clone());
    append(&mut writer, 2).unwrap();
    let new = open_as(&files, options(), Claim::Successor).unwrap();
    let mut successor = Writer::new(new.clone());
    append(&mut successor, 3).unwrap();
    let files = files.restart(End::Kill);
    let store = open(&files);
    assert_eq!(Exporter::new(&store, "a").deliver(), texts(0..4));
}
