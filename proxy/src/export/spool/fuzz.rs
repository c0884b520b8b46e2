//! What must hold of what a start finds on the disk, whatever its bytes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;

use super::cursor::Cursor;
use super::files::FileSystem as _;
use super::record::{self, HEADER, Parsed};
use super::segment::Name;
use super::testing::Faulty;
use super::{Claim, Reader, Store, folder};
use crate::config::{self, Fsync};
use crate::export::status::{Meter, Reason};

/// Of the segment: with it, checksums are plain ones.
const SALT: u32 = 0;

/// Reads the bytes as the segment that an earlier run left, and as a cursor.
///
/// # Panics
///
/// Where records are delivered that are not in it, or others are not; and where a cursor is not read as
/// it was written.
pub fn spool(bytes: &[u8]) {
    let (delivered, skipped) = delivered(bytes);
    let (whole, missing) = records(bytes);
    assert_eq!(delivered, whole);
    assert_eq!(skipped, missing);
    if let Ok(text) = str::from_utf8(bytes) {
        let sealed = format!("{text}crc {:08x}\n", crc32fast::hash(bytes));
        for text in [text, &sealed] {
            if let Some(cursor) = Cursor::parse(text) {
                assert_eq!(Cursor::parse(&cursor.encode()), Some(cursor));
            }
        }
    }
}

/// Payloads that an exporter gets which has seen nothing, and how many it is told that it does not.
fn delivered(segment: &[u8]) -> (Vec<Vec<u8>>, u64) {
    let files = Faulty::default();
    let spool = Path::new("/data/spool");
    let run = folder::of_run(spool, 1);
    let name = Name {
        worker: 0,
        ordinal: 1,
        salt: SALT,
    };
    files.create_folder(&run).expect("nothing fails");
    files.put(&run.join(name.to_string()), segment.to_vec());
    let cursor = Cursor::at(1).encode();
    files.put(&folder::cursors(spool).join("a.cursor"), cursor.into());
    let options = config::Spool {
        max_bytes: 1 << 30,
        segment_bytes: 1 << 20,
        fsync: Fsync::Never,
    };
    let opened = Store::open(Arc::new(files), Path::new("/data"), options, Claim::Alone);
    let (store, _nudged) = opened.expect("a segment is no reason not to start");
    let meter: Arc<Meter> = Arc::default();
    let (_wake, woken) = mpsc::sync_channel(1);
    let leave = Arc::new(AtomicBool::new(false));
    let reader = Reader::new(store, "a", meter.clone(), woken, leave);
    reader.begin();
    let mut payloads = Vec::new();
    while let Some((chunk, number)) = reader.try_recv() {
        payloads.extend(chunk.records().map(<[u8]>::to_vec));
        reader.ledger().settled(number);
    }
    reader.save(true);
    (payloads, meter.dropped(Reason::Corrupt))
}

/// The same of a plain reading: whole records that ascend, and the sequences missing between them.
fn records(segment: &[u8]) -> (Vec<Vec<u8>>, u64) {
    let (mut payloads, mut missing) = (Vec::new(), 0);
    let (mut at, mut next) = (0, 0);
    while at < segment.len() {
        match record::parse(&segment[at..], SALT) {
            Parsed::Whole(sequence, len) => {
                let payload = at + HEADER..at + HEADER + len;
                at = payload.end;
                if sequence >= next {
                    missing += sequence - next;
                    next = sequence + 1;
                    payloads.push(segment[payload].to_vec());
                }
            }
            Parsed::Short(_) | Parsed::Bad => at += 1,
        }
    }
    (payloads, missing)
}
