//! Segments and cursors that are not as they were written, and disks that do not obey.

use std::io;

use super::*;
use crate::export::spool::files::{Disk, FileSystem as _};
use crate::export::spool::keeper;

/// Where the records of a segment's first `count` texts begin and end.
fn places(count: usize) -> Vec<std::ops::Range<usize>> {
    let mut at = 0;
    (0..count)
        .map(|number| {
            let start = at;
            at += record::HEADER + text(number).len();
            start..at
        })
        .collect()
}

fn only_segment(files: &Faulty) -> PathBuf {
    let [segment] = &files.files(".seg")[..] else {
        panic!("one segment: {:?}", files.files(".seg"));
    };
    segment.clone()
}

#[test]
fn a_record_torn_anywhere_is_cut_and_those_before_it_are_delivered() {
    let files = left_behind(4);
    let path = only_segment(&files);
    let last = places(4).pop().unwrap();
    let whole = files.get(&path);
    for cut in last.clone() {
        for rest in [0, whole.len() - cut] {
            let files = files.restart(End::Kill);
            let mut bytes = whole[..cut].to_vec();
            bytes.resize(cut + rest, 0);
            files.put(&path, bytes);
            let exporter = Exporter::new(&open(&files), "a");
            assert_eq!(exporter.deliver(), texts(0..3), "cut at {cut}");
            assert_eq!(exporter.skipped(), 0, "cut at {cut}");
        }
    }
}

#[test]
fn a_byte_flipped_anywhere_costs_one_record_at_most() {
    let files = left_behind(4);
    let path = only_segment(&files);
    let whole = files.get(&path);
    let places = places(4);
    for at in 0..whole.len() {
        for mask in [0xff, 0x01, 0x80] {
            let files = files.restart(End::Kill);
            let mut bytes = whole.clone();
            bytes[at] ^= mask;
            files.put(&path, bytes);
            let exporter = Exporter::new(&open(&files), "a");
            let lost = places.iter().position(|place| place.contains(&at));
            let expected = texts((0..4).filter(|number| Some(*number) != lost));
            assert_eq!(exporter.deliver(), expected, "byte {at}");
            // Behind the last one there is no sequence that tells of it.
            let told = lost.is_some_and(|lost| lost < 3);
            assert_eq!(exporter.skipped(), u64::from(told), "byte {at}");
            let files = files.restart(End::Kill);
            assert!(Exporter::new(&open(&files), "a").deliver().is_empty());
        }
    }
}

#[test]
fn the_last_sequence_that_there_can_be_is_no_records() {
    let mut bytes = vec![0; record::HEADER + 3];
    record::seal(&mut bytes, u64::MAX - 1, 7);
    let whole = record::Parsed::Whole(u64::MAX - 1, 3);
    assert_eq!(record::parse(&bytes, 7), whole);
    record::seal(&mut bytes, u64::MAX, 7);
    assert_eq!(record::parse(&bytes, 7), record::Parsed::Bad);
}

#[test]
fn a_segment_that_is_missing_is_counted_and_the_rest_delivered() {
    for missing in 0..4 {
        let files = left_behind(30);
        let segments = files.files(".seg");
        assert!(segments.len() >= 4);
        let store = open(&files);
        files.remove(&segments[missing]).unwrap();
        let exporter = Exporter::new(&store, "a");
        let delivered = exporter.deliver();
        let lost = 30 - delivered.len() as u64;
        assert!((1..=8).contains(&lost), "{lost}");
        let told = if missing + 1 < segments.len() {
            lost
        } else {
            0
        };
        assert_eq!(exporter.skipped(), told, "segment {missing}");
        assert!(texts(0..30).starts_with(&delivered[..1]) || missing == 0);
    }
}

#[test]
fn a_cursor_that_is_stale_future_or_broken_loses_nothing() {
    let files = left_behind(16);
    let cursor = PathBuf::from("/data/spool/cursors/a.cursor");
    let whole = files.get(&cursor);
    // Broken: everything is delivered.
    for broken in [&whole[..whole.len() - 1], b"", b"weir cursor 1\nbase 99\n"] {
        let files = files.restart(End::Kill);
        files.put(&cursor, broken.to_vec());
        assert_eq!(Exporter::new(&open(&files), "a").deliver(), texts(0..16));
    }
    // Stale: of segments that are gone long since.
    let files = files.restart(End::Kill);
    Exporter::new(&open(&files), "a").deliver();
    let files = files.restart(End::Kill);
    files.put(&cursor, whole);
    let store = open(&files);
    let exporter = Exporter::new(&store, "a");
    let mut writer = Writer::new(store);
    append(&mut writer, 1).unwrap();
    assert_eq!(exporter.deliver(), texts([1]));
    assert_eq!(exporter.skipped(), 0);
    // Future: of runs that there were not. What is appended from now on is delivered.
    let files = files.restart(End::Kill);
    let mut future = super::cursor::Cursor::at(7);
    let key = |generation| super::segment::Key {
        generation,
        worker: 0,
    };
    future.set(key(70), 1_000_000);
    files.put(&cursor, future.encode().into_bytes());
    let store = open(&files);
    assert_eq!(store.generation, 71);
    let exporter = Exporter::new(&store, "a");
    let mut writer = Writer::new(store);
    append(&mut writer, 2).unwrap();
    assert_eq!(exporter.deliver(), texts([2]));
}

#[test]
fn a_cursor_past_the_end_of_its_segment_does_not_hold_it_back() {
    let files = left_behind(3);
    let cursor = PathBuf::from("/data/spool/cursors/a.cursor");
    let mut future = super::cursor::Cursor::at(1);
    let key = super::segment::Key {
        generation: 1,
        worker: 0,
    };
    future.set(key, 50);
    files.put(&cursor, future.encode().into_bytes());
    let exporter = Exporter::new(&open(&files), "a");
    assert!(exporter.deliver().is_empty());
    assert_eq!(files.files(".seg"), Vec::<PathBuf>::new());
}

/// An error of the kernel's, by its number.
fn error(number: i32) -> Option<io::Error> {
    Some(io::Error::from_raw_os_error(number))
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

#[test]
fn a_disk_that_takes_nothing_costs_traces_and_recovers() {
    for number in [EIO, ENOSPC, EROFS] {
        for failing in ["create", "write"] {
            let files = Faulty::default();
            let store = open(&files);
            let exporter = Exporter::new(&store, "a");
            let mut writer = Writer::new(store.clone());
            append(&mut writer, 0).unwrap();
            files.fail(move |operation, _| (operation == failing).then(|| error(number)).flatten());
            let mut lost = 0;
            for number in 1..12 {
                match append(&mut writer, number) {
                    Ok(()) => {}
                    Err(reason) => {
                        assert_eq!(reason, Reason::SpoolFailed);
                        lost += 1;
                    }
                }
            }
            assert!(lost > 0, "{failing}");
            assert!(store.status().problem.is_some());
            files.heal();
            crate::export::testing::eventually("it recovers", || append(&mut writer, 12).ok());
            let delivered = exporter.deliver();
            assert_eq!(delivered.len(), 13 - lost);
            assert_eq!(delivered.last(), Some(&text(12)));
            assert_eq!(exporter.skipped(), 0);
        }
    }
}

#[test]
fn a_place_that_cannot_be_prepared_is_not_written_to_and_loses_nothing() {
    let files = Faulty::default();
    let store = open(&files);
    let exporter = Exporter::new(&store, "a");
    let mut writer = Writer::new(store.clone());
    append(&mut writer, 0).unwrap();
    let condemned = only_segment(&files);
    files.fail(|operation, _| (operation == "prepare").then(|| error(EIO)).flatten());
    keeper::prepare(&store);
    // Neither is there a segment in reserve that would do the same.
    assert_eq!(files.files(".seg"), std::slice::from_ref(&condemned));
    let problem = store.status().problem.unwrap();
    assert!(
        problem.starts_with("spool: cannot write to /data"),
        "{problem}"
    );
    files.heal();
    let before = files.get(&condemned);
    (1..30).for_each(|number| append(&mut writer, number).unwrap());
    assert_eq!(files.get(&condemned), before);
    assert_eq!(exporter.deliver(), texts(0..30));
    assert_eq!(exporter.skipped(), 0);
}

#[test]
fn a_segment_cut_under_the_worker_costs_what_was_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let options = config::Spool {
        max_bytes: 64 << 20,
        segment_bytes: 1 << 20,
        fsync: Fsync::Never,
    };
    let (store, _) = Store::open(Arc::new(Disk), folder.path(), options, Claim::Alone).unwrap();
    let exporter = Exporter::new(&store, "a");
    let mut writer = Writer::new(store.clone());
    (0..10).for_each(|number| append(&mut writer, number).unwrap());
    let segment = store.streams()[0].at(0).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&segment.path);
    file.unwrap().set_len(0).unwrap();
    // Where segments are not mapped, the write makes the file longer again.
    let lost = append(&mut writer, 10) == Err(Reason::SpoolFailed);
    if lost {
        let problem = store.status().problem.unwrap();
        assert!(problem.starts_with("spool: cannot write to"), "{problem}");
        assert_eq!(append(&mut writer, 11), Err(Reason::SpoolFailed));
    }
    crate::export::testing::eventually("it recovers", || append(&mut writer, 12).ok());
    assert_eq!(exporter.deliver().last(), Some(&text(12)));
}

/// Who writes thirty records, and their exporter, for whose cursor there is no room in files whose name ends so.
fn without_room_for_a_cursor(ending: &'static str) -> (Faulty, Writer, Exporter) {
    let files = Faulty::default();
    let store = open(&files);
    let exporter = Exporter::new(&store, "a");
    let mut writer = Writer::new(store);
    (0..30).for_each(|number| append(&mut writer, number).unwrap());
    files.fail(move |operation, path| {
        let path = path.to_string_lossy();
        let is_one = path.contains("cursors") && path.ends_with(ending);
        (is_one && operation == "write")
            .then(|| error(ENOSPC))
            .flatten()
    });
    (files, writer, exporter)
}

/// What is delivered by the next run, after a kill.
fn delivered_again(files: &Faulty) -> Vec<String> {
    let again = files.restart(End::Kill);
    Exporter::new(&open(&again), "a").deliver()
}

#[test]
fn a_cursor_that_cannot_be_saved_loses_nothing_and_is_saved_later() {
    let (files, _writer, exporter) = without_room_for_a_cursor("");
    let segments = files.files(".seg").len();
    assert_eq!(exporter.deliver(), texts(0..30));
    assert_eq!(files.files(".seg").len(), segments);
    assert_eq!(delivered_again(&files), texts(0..30));
    files.heal();
    exporter.reader.save(true);
    assert_eq!(files.files(".seg").len(), 1);
    assert!(delivered_again(&files).is_empty());
}

#[test]
fn on_a_disk_that_is_full_a_cursor_takes_the_room_of_the_one_before() {
    let (files, _writer, exporter) = without_room_for_a_cursor(".new");
    assert_eq!(exporter.deliver(), texts(0..30));
    assert_eq!(files.files(".seg").len(), 1);
    assert!(delivered_again(&files).is_empty());
}

#[test]
fn a_sync_that_failed_is_never_tried_again_on_that_file() {
    let files = Faulty::default();
    let store = open(&files);
    let exporter = Exporter::new(&store, "a");
    let mut writer = Writer::new(store.clone());
    append(&mut writer, 0).unwrap();
    let condemned = only_segment(&files);
    files.fail(|operation, _| (operation == "sync").then(|| error(EIO)).flatten());
    keeper::sync(&store);
    files.heal();
    append(&mut writer, 1).unwrap();
    keeper::sync(&store);
    keeper::sync(&store);
    let segments = files.files(".seg");
    assert_eq!(segments.len(), 2);
    let syncs = files.syncs();
    let count = |path: &PathBuf| syncs.iter().filter(|synced| *synced == path).count();
    assert_eq!(count(&condemned), 1);
    assert_eq!(count(&segments[1]), 1);
    assert_eq!(store.status().unsynced, 1);
    // Nobody waits for what will not come.
    assert_eq!(*store.streams()[0].synced.borrow(), 2);
    assert_eq!(exporter.deliver(), texts(0..2));
}

#[test]
fn what_cannot_be_synced_is_counted_once_and_delivered() {
    let files = Faulty::default();
    let store = open(&files);
    let exporter = Exporter::new(&store, "a");
    let mut writer = Writer::new(store.clone());
    append(&mut writer, 0).unwrap();
    keeper::sync(&store);
    assert_eq!(store.status().unsynced, 0);
    files.fail(|operation, _| (operation == "sync").then(|| error(EIO)).flatten());
    // Over some segments; what was synced before is not among them.
    (1..30).for_each(|number| append(&mut writer, number).unwrap());
    assert!(files.files(".seg").len() > 2);
    keeper::sync(&store);
    keeper::sync(&store);
    assert_eq!(store.status().unsynced, 29);
    assert_eq!(*store.streams()[0].synced.borrow(), 30);
    assert_eq!(exporter.deliver(), texts(0..30));
}

#[test]
fn a_place_that_cannot_be_read_is_passed_over() {
    let files = left_behind(16);
    let store = open(&files);
    let exporter = Exporter::new(&store, "a");
    let broken = files.files(".seg")[1].clone();
    files.fail(move |operation, path| {
        (operation == "read" && path == broken)
            .then(|| error(EIO))
            .flatten()
    });
    // The first look fails; one after that goes on.
    let mut delivered = exporter.deliver();
    delivered.extend(exporter.deliver());
    let lost = 16 - delivered.len() as u64;
    assert!(lost > 0 && lost < 8, "{lost}");
    assert_eq!(exporter.skipped(), lost);
    assert_eq!(delivered.last(), Some(&text(15)));
}

#[test]
fn segments_that_cannot_be_read_at_the_start_are_delivered_once_they_can() {
    let all = left_behind(40).files(".seg").len();
    assert!(all >= 5);
    // Each of them, all, and each with what an exporter has of it already.
    for (unread, delivered) in (0..all).map(|index| (Some(index), 0)).chain([
        (None, 0),
        (None, 13),
        (Some(1), 13),
        (Some(2), 13),
        (Some(2), 30),
    ]) {
        for operation in ["read", "open"] {
            let files = left_behind(40);
            let mut cursor = super::cursor::Cursor::at(1);
            let key = super::segment::Key {
                generation: 1,
                worker: 0,
            };
            cursor.set(key, delivered);
            let path = PathBuf::from("/data/spool/cursors/a.cursor");
            files.put(&path, cursor.encode().into_bytes());
            let segments = files.files(".seg");
            let broken = unread.map(|index| segments[index].clone());
            files.fail(move |done, path| {
                let is_segment = path.extension().is_some_and(|ending| ending == "seg");
                let is_meant = broken.as_ref().is_none_or(|broken| broken == path);
                (done == operation && is_segment && is_meant)
                    .then(|| error(EIO))
                    .flatten()
            });
            let store = open(&files);
            files.heal();
            let exporter = Exporter::new(&store, "a");
            let from = usize::try_from(delivered).unwrap();
            let what = format!("{unread:?} {operation} from {from}");
            assert_eq!(exporter.deliver(), texts(from..40), "{what}");
            assert_eq!(exporter.skipped(), 0, "{what}");
            assert_eq!(files.files(".seg"), Vec::<PathBuf>::new(), "{what}");
        }
    }
}

#[test]
fn a_folder_in_the_place_of_a_segment_holds_up_no_start() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        Store::open(
            Arc::new(super::files::Disk),
            folder.path(),
            options(),
            Claim::Alone,
        )
    };
    let (store, _) = open().unwrap();
    let exporter = Exporter::new(&store, "a");
    let mut writer = Writer::new(store);
    (0..20).for_each(|number| append(&mut writer, number).unwrap());
    drop((writer, exporter));
    let run = folder.path().join("spool/0000000001");
    let mut segments: Vec<PathBuf> = std::fs::read_dir(&run)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "seg"))
        .collect();
    segments.sort();
    std::fs::remove_file(&segments[1]).unwrap();
    std::fs::create_dir(&segments[1]).unwrap();
    let (mut store, _) = open().unwrap();
    Arc::get_mut(&mut store).unwrap().patience = Duration::ZERO;
    let exporter = Exporter::new(&store, "a");
    let mut delivered = exporter.deliver();
    delivered.extend(exporter.deliver());
    assert_eq!(delivered.first(), Some(&text(0)));
    assert_eq!(delivered.last(), Some(&text(19)));
    assert_eq!(delivered.len() as u64 + exporter.skipped(), 20);
}
