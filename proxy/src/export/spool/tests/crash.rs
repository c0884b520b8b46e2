//! The process ends before, amid and after each operation on a file.

use super::*;
use crate::export::spool::keeper;

/// What is known of a run when it ended.
#[derive(Default)]
struct Known {
    appended: Vec<String>,
    synced: Vec<String>,
    delivered: Vec<String>,
}

/// Two workers append and an exporter delivers, with some of it left at the end.
fn run(files: &Faulty, from: usize, known: &mut Known) {
    let Ok(store) = try_open(files) else {
        return;
    };
    let exporter = Exporter::new(&store, "a");
    if files.has_crashed() {
        return;
    }
    let mut writers = [Writer::new(store.clone()), Writer::new(store.clone())];
    for number in from..from + 24 {
        if append(&mut writers[number % 2], number).is_ok() {
            known.appended.push(text(number));
        }
        if number % 3 == 0 {
            keeper::prepare(&store);
        }
        if number % 4 == 0 {
            keeper::sync(&store);
            if !files.has_crashed() {
                known.synced = known.appended.clone();
            }
        }
        if number % 5 == 4 && number < from + 20 {
            let (texts, numbers) = exporter.take();
            known.delivered.extend(texts);
            exporter.settle(&numbers);
            exporter.reader.save(number % 2 == 0);
        }
    }
}

/// What the next run delivers, which must be all that the promise holds for, and nothing else.
fn check(files: &Faulty, end: End, known: &Known, place: &str) -> Faulty {
    let files = files.restart(end);
    let store = open(&files);
    let exporter = Exporter::new(&store, "a");
    let left = exporter.deliver();
    let all: BTreeSet<&String> = left.iter().chain(&known.delivered).collect();
    let promised = if end == End::Kill {
        &known.appended
    } else {
        &known.synced
    };
    for text in promised {
        assert!(all.contains(text), "{place}: {text} is lost");
    }
    let once: BTreeSet<&String> = left.iter().collect();
    assert_eq!(
        once.len(),
        left.len(),
        "{place}: delivered twice by one run"
    );
    let known_texts = texts(0..200);
    for text in &left {
        assert!(known_texts.contains(text), "{place}: {text} is invented");
    }
    assert_eq!(exporter.deliver(), Vec::<String>::new(), "{place}");
    files
}

fn crash_everywhere(end: End) {
    let files = Faulty::default();
    run(&files, 0, &mut Known::default());
    let operations = files.operations();
    assert!(operations > 60, "{operations}");
    for operation in 0..operations {
        for moment in [
            Moment::Before,
            Moment::Amid,
            Moment::AmidBackwards,
            Moment::After,
        ] {
            let place = format!("{end:?} {moment:?} operation {operation}");
            let files = Faulty::default();
            files.crash(operation, moment);
            let mut known = Known::default();
            run(&files, 0, &mut known);
            assert!(files.has_crashed(), "{place}");
            let files = check(&files, end, &known, &place);
            // Nothing is left for a third run.
            let known = Known {
                delivered: known.appended,
                ..Known::default()
            };
            let files = check(&files, End::Kill, &known, &place);
            assert_eq!(files.files(".seg"), Vec::<PathBuf>::new(), "{place}");
        }
    }
}

#[test]
fn a_kill_about_any_operation_loses_nothing_that_was_appended() {
    crash_everywhere(End::Kill);
}

#[test]
fn a_power_cut_about_any_operation_loses_nothing_that_was_synced() {
    crash_everywhere(End::Power);
    crash_everywhere(End::PowerNamesFirst);
}

#[test]
fn a_second_crash_while_the_first_is_drained_loses_nothing() {
    let first = Faulty::default();
    let mut known = Known::default();
    run(&first, 0, &mut known);
    let first = first.restart(End::Kill);
    let files = first.restart(End::Kill);
    run(&files, 24, &mut Known::default());
    let operations = files.operations();
    for operation in 0..operations {
        let files = first.restart(End::Kill);
        files.crash(operation, Moment::After);
        let mut both = Known {
            appended: known.appended.clone(),
            delivered: known.delivered.clone(),
            ..Known::default()
        };
        run(&files, 24, &mut both);
        check(&files, End::Kill, &both, &format!("operation {operation}"));
    }
}

#[test]
fn duplicates_come_only_from_what_was_not_saved() {
    let files = Faulty::default();
    let store = open(&files);
    let exporter = Exporter::new(&store, "a");
    let mut writer = Writer::new(store.clone());
    (0..10).for_each(|number| append(&mut writer, number).unwrap());
    assert_eq!(exporter.deliver(), texts(0..10));
    (10..15).for_each(|number| append(&mut writer, number).unwrap());
    // Taken and not acknowledged.
    assert_eq!(exporter.take().0, texts(10..15));
    let files = files.restart(End::Kill);
    assert_eq!(Exporter::new(&open(&files), "a").deliver(), texts(10..15));
}

#[test]
fn earlier_runs_are_delivered_first_whatever_the_number_of_workers() {
    let mut files = Faulty::default();
    let mut number = 0;
    for workers in [3, 1, 4, 2] {
        let store = open(&files);
        let _exporter = Exporter::new(&store, "a");
        for _ in 0..workers {
            let mut writer = Writer::new(store.clone());
            (number..number + 12).for_each(|number| append(&mut writer, number).unwrap());
            number += 12;
        }
        files = files.restart(End::Kill);
    }
    let store = open(&files);
    let delivered = Exporter::new(&store, "a").deliver();
    let mut runs = delivered.chunks(12 * 3);
    let sorted = |texts: &[String]| texts.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(sorted(runs.next().unwrap()), sorted(&texts(0..36)));
    assert_eq!(delivered[36..48], texts(36..48));
    assert_eq!(sorted(&delivered[48..96]), sorted(&texts(48..96)));
    assert_eq!(sorted(&delivered[96..]), sorted(&texts(96..120)));
    // Each worker's own stay in order.
    for worker in 0..10 {
        let own = texts(worker * 12..worker * 12 + 12);
        let places = own
            .iter()
            .map(|text| delivered.iter().position(|other| other == text).unwrap());
        assert!(places.is_sorted(), "worker {worker}");
    }
    drop(store);
    // Of the runs before, nothing is left.
    let runs = files.folders();
    let runs = runs
        .iter()
        .filter(|path| path.parent() == Some(Path::new("/data/spool")));
    assert_eq!(runs.count(), 2, "cursors and the last run");
}
