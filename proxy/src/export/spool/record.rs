//! How a record stands in a segment: a header with magic, length, sequence and checksum, then the
//! payload. Pure but for [`find`], which looks for the next whole record behind a broken one.
//!
//! The checksum covers length, sequence and payload, and begins with the segment's salt: nobody who
//! chooses what is in a payload can make it look like a record. The magic holds a byte that UTF-8
//! does not have, so texts are no candidates either.

use std::io;

use super::files::{File, read_full};

/// Bytes before a payload.
pub(super) const HEADER: usize = 20;

/// Longest record that is believed; traces are a little longer than 1 MiB at most.
const MAX: usize = 16 << 20;

/// Its last byte is the version of the format.
const MAGIC: [u8; 4] = [0xf5, b'w', b's', 1];

/// Bytes looked through at once.
const BLOCK: usize = 64 * 1024;

/// Bytes passed over where a disk does not give them.
const PAGE: u64 = 4096;

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A record of this sequence, whose payload has so many bytes.
    Whole(u64, usize),
    /// So many bytes are needed to tell.
    Short(usize),
    Bad,
}

/// Whether a record of so many bytes, header included, can be written.
pub(super) fn fits(len: u64, segment: u64) -> bool {
    len <= segment.min(MAX as u64)
}

/// Writes the header of a record whose payload stands behind its place.
pub(super) fn seal(record: &mut [u8], sequence: u64, salt: u32) {
    // Longer ones fit in no segment.
    let len = u32::try_from(record.len() - HEADER).unwrap_or(u32::MAX);
    record[..4].copy_from_slice(&MAGIC);
    record[4..8].copy_from_slice(&len.to_le_bytes());
    record[8..16].copy_from_slice(&sequence.to_le_bytes());
    let checksum = checksum(record, salt);
    record[16..HEADER].copy_from_slice(&checksum.to_le_bytes());
}

pub(super) fn parse(bytes: &[u8], salt: u32) -> Parsed {
    let Some(header) = bytes.first_chunk::<HEADER>() else {
        return Parsed::Short(HEADER);
    };
    let [
        m0,
        m1,
        m2,
        m3,
        l0,
        l1,
        l2,
        l3,
        s0,
        s1,
        s2,
        s3,
        s4,
        s5,
        s6,
        s7,
        c0,
        c1,
        c2,
        c3,
    ] = *header;
    if [m0, m1, m2, m3] != MAGIC {
        return Parsed::Bad;
    }
    let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if len > MAX {
        return Parsed::Bad;
    }
    let Some(record) = bytes.get(..HEADER + len) else {
        return Parsed::Short(HEADER + len);
    };
    let sequence = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
    // No writer comes to the last number there is: it has none behind it.
    if sequence == u64::MAX || checksum(record, salt) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Parsed::Bad;
    }
    Parsed::Whole(sequence, len)
}

fn checksum(record: &[u8], salt: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(&record[4..16]);
    hasher.update(&record[HEADER..]);
    hasher.finalize()
}

/// The first whole record from `from` to `end`: its place and sequence. What the disk does not give
/// is passed over.
pub(super) fn find(file: &dyn File, salt: u32, from: u64, end: u64) -> Option<(u64, u64)> {
    search(file, salt, from, end).ok()
}

/// Why there is no record.
#[derive(Debug)]
pub(super) enum Missing {
    /// Nothing was ever written.
    Empty,
    /// What there is is broken.
    Broken,
    /// The disk did not give all of it.
    Unread(io::Error),
}

/// As [`find`], saying why there is none.
pub(super) fn search(
    file: &dyn File,
    salt: u32,
    mut from: u64,
    end: u64,
) -> Result<(u64, u64), Missing> {
    let mut missing = Missing::Empty;
    let mut block = vec![0; BLOCK];
    while from < end {
        let wanted = usize::try_from(end - from).map_or(BLOCK, |left| left.min(BLOCK));
        let len = match read_full(file, &mut block[..wanted], from) {
            Ok(len) => len,
            Err(error) => {
                missing = Missing::Unread(error);
                from += PAGE;
                continue;
            }
        };
        let found = block[..len]
            .windows(MAGIC.len())
            .enumerate()
            .filter(|(_, window)| *window == MAGIC)
            .find_map(|(at, _)| {
                let at = from + at as u64;
                read(file, salt, at, end).map(|sequence| (at, sequence))
            });
        if let Some(found) = found {
            return Ok(found);
        }
        if matches!(missing, Missing::Empty) && block[..len].iter().any(|byte| *byte != 0) {
            missing = Missing::Broken;
        }
        if len < wanted || len < MAGIC.len() {
            return Err(missing);
        }
        // A magic may lie across the blocks' border.
        from += (len - MAGIC.len() + 1) as u64;
    }
    Err(missing)
}

/// The sequence of the record at `at`, if there is one.
fn read(file: &dyn File, salt: u32, at: u64, end: u64) -> Option<u64> {
    let mut wanted = HEADER;
    loop {
        if at + wanted as u64 > end {
            return None;
        }
        let mut bytes = vec![0; wanted];
        if read_full(file, &mut bytes, at).ok()? < wanted {
            return None;
        }
        match parse(&bytes, salt) {
            Parsed::Whole(sequence, _) => return Some(sequence),
            Parsed::Short(more) => wanted = more,
            Parsed::Bad => return None,
        }
    }
}
