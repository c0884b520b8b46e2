//! The spool over a file system that breaks.

mod broken;
mod crash;
mod holds;
mod shared;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::testing::{End, Faulty, Moment};
use super::*;
use crate::config::Fsync;
use crate::export::status::{Health, Meter, Reason};

/// Room for some of the records that [`text`] makes.
const SEGMENT: u64 = 400;

fn options() -> config::Spool {
    config::Spool {
        max_bytes: 1 << 20,
        segment_bytes: SEGMENT,
        fsync: Fsync::Always,
    }
}

fn try_open(files: &Faulty) -> Result<Arc<Store>, Error> {
    open_with(files, options())
}

fn open_with(files: &Faulty, options: config::Spool) -> Result<Arc<Store>, Error> {
    open_as(files, options, Claim::Alone)
}

fn open_as(files: &Faulty, options: config::Spool, claim: Claim) -> Result<Arc<Store>, Error> {
    let (mut store, _) = Store::open(Arc::new(files.clone()), Path::new("/data"), options, claim)?;
    Arc::get_mut(&mut store).unwrap().patience = Duration::ZERO;
    Ok(store)
}

fn open(files: &Faulty) -> Arc<Store> {
    try_open(files).unwrap()
}

/// The record of a number, of a length of its own.
fn text(number: usize) -> String {
    format!("{number} {}", "x".repeat(40 + number % 23))
}

fn append(writer: &mut Writer, number: usize) -> Result<(), Reason> {
    append_text(writer, &text(number))
}

fn append_text(writer: &mut Writer, text: &str) -> Result<(), Reason> {
    let written = writer.append(|out| {
        out.extend_from_slice(text.as_bytes());
        true
    });
    written.map(|_| ())
}

/// An exporter that takes and settles.
struct Exporter {
    reader: Reader,
    meter: Arc<Meter>,
    wake: Option<SyncSender<()>>,
}

impl Exporter {
    fn new(store: &Arc<Store>, name: &str) -> Self {
        let (wake, woken) = mpsc::sync_channel(1);
        let meter: Arc<Meter> = Arc::default();
        let leave = Arc::new(AtomicBool::new(false));
        let reader = Reader::new(store.clone(), name, meter.clone(), woken, leave);
        reader.begin();
        Self {
            reader,
            meter,
            wake: Some(wake),
        }
    }

    /// What is there, with the numbers by which it is settled.
    fn take(&self) -> (Vec<String>, Vec<u64>) {
        let (mut texts, mut numbers) = (Vec::new(), Vec::new());
        while let Some((chunk, number)) = self.reader.try_recv() {
            let records = chunk
                .records()
                .map(|record| String::from_utf8(record.to_vec()));
            texts.extend(records.map(Result::unwrap));
            numbers.push(number);
        }
        (texts, numbers)
    }

    fn settle(&self, numbers: &[u64]) {
        let ledger = self.reader.ledger();
        for number in numbers {
            ledger.settled(*number);
        }
    }

    /// Takes what is there, settles it and saves that.
    fn deliver(&self) -> Vec<String> {
        let (texts, numbers) = self.take();
        self.settle(&numbers);
        self.reader.save(true);
        texts
    }

    fn skipped(&self) -> u64 {
        self.meter
            .status("", &Health::default())
            .dropped(Reason::Corrupt)
    }
}

fn texts(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(text).collect()
}

/// A spool with these records, which an exporter `a` has not seen yet, when the process ends.
fn left_behind(count: usize) -> Faulty {
    let files = Faulty::default();
    let store = open(&files);
    let _exporter = Exporter::new(&store, "a");
    let mut writer = Writer::new(store);
    (0..count).for_each(|number| append(&mut writer, number).unwrap());
    files.restart(End::Kill)
}
