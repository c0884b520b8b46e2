//! On a real disk, with what can be done to a file under its mapping.

use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use super::super::{Disk, FileSystem};
use super::*;

const LEN: u64 = 1 << 20;

/// A folder on a disk that is mapped.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let folders = [std::env::temp_dir(), PathBuf::from("/dev/shm")];
        let mut places = folders
            .iter()
            .map(|folder| Self(tempfile::tempdir_in(folder).unwrap()));
        let place = places.find(|place| writes_in_place(&fs::File::open(place.0.path()).unwrap()));
        place.expect("a file system that is mapped")
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("0000-0000000001-00000000.seg")
    }

    fn create(&self) -> Arc<dyn File> {
        Disk.create(&self.path(), LEN).unwrap()
    }

    fn map(&self) -> Mapped {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.path())
            .unwrap();
        file.set_len(LEN).unwrap();
        Mapped::new(file, LEN).expect("a disk that is mapped")
    }
}

fn truncate(path: &Path, len: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(len).unwrap();
}

#[test]
fn a_segment_is_mapped_and_what_is_written_is_in_the_file_at_once() {
    let place = Place::new();
    let file = place.create();
    assert_eq!(format!("{file:?}"), "Mapped { .. }");
    for (at, text) in [
        (0, "first"),
        (4090, "over a page's border"),
        (LEN - 4, "last"),
    ] {
        file.write_all_at(text.as_bytes(), at).unwrap();
        let other = std::fs::read(place.path()).unwrap();
        let at = usize::try_from(at).unwrap();
        assert_eq!(&other[at..at + text.len()], text.as_bytes());
        let mut read = vec![0; text.len()];
        assert_eq!(file.read_at(&mut read, at as u64).unwrap(), text.len());
        assert_eq!(read, text.as_bytes());
    }
    drop(file);
    assert_eq!(std::fs::read(place.path()).unwrap().len() as u64, LEN);
}

#[test]
fn preparing_and_syncing_change_no_byte() {
    let place = Place::new();
    let file = place.create();
    file.prepare(0..LEN).unwrap();
    file.write_all_at(&[1; 10_000], 5_000).unwrap();
    for range in [
        0..0,
        4_999..5_001,
        15_000..LEN,
        0..LEN,
        LEN..LEN,
        LEN..2 * LEN,
    ] {
        file.prepare(range.clone()).unwrap();
        file.sync(range).unwrap();
    }
    file.write_all_at(&[2; 10], 15_000).unwrap();
    let bytes = std::fs::read(place.path()).unwrap();
    assert!(bytes[..5_000].iter().all(|byte| *byte == 0));
    assert!(bytes[5_000..15_000].iter().all(|byte| *byte == 1));
    assert!(bytes[15_000..15_010].iter().all(|byte| *byte == 2));
    assert!(bytes[15_010..].iter().all(|byte| *byte == 0));
}

#[test]
fn nothing_is_written_past_the_end() {
    let file = Place::new().map();
    for (len, at) in [(1, LEN), (2, LEN - 1), (1, u64::MAX), (LEN + 1, 0)] {
        let bytes = vec![1; usize::try_from(len).unwrap()];
        assert!(file.write_all_at(&bytes, at).is_err(), "{len} at {at}");
    }
}

#[test]
fn what_the_disk_does_not_give_is_an_error_and_no_end_of_the_process() {
    let place = Place::new();
    let (file, neighbour) = (place.map(), Place::new());
    let neighbour = neighbour.map();
    file.write_all_at(b"kept", 0).unwrap();
    truncate(&place.path(), 4096);
    // The page that is left still takes something.
    file.write_all_at(b"kept too", 10).unwrap();
    assert!(file.write_all_at(&[1; 100], 8192).is_err());
    // From now on nothing is believed, also where there are pages.
    assert!(file.write_all_at(b"lost", 0).is_err());
    assert!(file.prepare(0..100).is_err());
    assert!(file.sync(0..100).is_err());
    let bytes = std::fs::read(place.path()).unwrap();
    assert_eq!(
        (&bytes[..4], &bytes[10..18]),
        (&b"kept"[..], &b"kept too"[..])
    );
    assert_eq!(bytes.len(), 4096);
    // It was nobody else's fault.
    neighbour.write_all_at(&[1; 100], 8192).unwrap();
    neighbour.sync(0..LEN).unwrap();
    drop(file);
    place.map().write_all_at(&[1; 100], 8192).unwrap();
}

#[test]
fn a_place_that_cannot_be_prepared_is_an_error_too() {
    let place = Place::new();
    let file = place.map();
    truncate(&place.path(), 0);
    assert!(file.prepare(0..LEN).is_err());
}

#[test]
fn faults_on_many_threads_are_errors_of_their_own_writes() {
    std::thread::scope(|scope| {
        for number in 0..8_u64 {
            scope.spawn(move || {
                for _ in 0..20 {
                    let place = Place::new();
                    let file = place.map();
                    let breaks = number % 2 == 0;
                    if breaks {
                        truncate(&place.path(), 0);
                    }
                    assert_eq!(file.write_all_at(&[1; 64], 40_000).is_err(), breaks);
                    assert_eq!(file.sync(0..LEN).is_err(), breaks);
                }
            });
        }
    });
}

/// Says to a process of this test's own that it is to fault.
const FAULT: &str = "WEIR_TEST_FAULT";

#[test]
fn a_fault_elsewhere_still_ends_the_process() {
    let place = Place::new();
    if std::env::var_os(FAULT).is_some() {
        // Its handler is there now.
        let guarded = place.map();
        let Mapped { guard, mapping, .. } = guarded;
        drop(guard);
        truncate(&place.path(), 0);
        let _ = mapping.write(&[1; 64], 40_000);
        return;
    }
    let own = std::thread::current().name().unwrap().to_owned();
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &own, "--nocapture"])
        .env(FAULT, "1")
        .output()
        .unwrap();
    assert_eq!(ended.status.signal(), Some(libc::SIGBUS), "{ended:?}");
}
