//! A walk through one stream's records, from a sequence on, segment by segment.
//!
//! What is broken is passed over: sequences tell how many records it was.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::files::{File, FileSystem, read_full};
use super::record::{self, HEADER, Parsed};
use super::segment::{Segment, Stream};

/// Bytes read at once, unless one record has more.
const CHUNK: u64 = 64 * 1024;

#[derive(Debug)]
pub(super) struct Walk {
    pub(super) stream: Arc<Stream>,
    place: Option<Place>,
    /// Place of the segment that was last read to its end.
    behind: Option<u64>,
    /// The sequence that is wanted next.
    next: u64,
    /// Whether all there will ever be was read.
    done: bool,
    failing: Option<Instant>,
    /// How long a place is tried to be read until it is taken for broken.
    patience: Duration,
}

#[derive(Debug)]
struct Place {
    segment: Arc<Segment>,
    /// `None` where it is missing.
    file: Option<Arc<dyn File>>,
    offset: u64,
    /// Sequence behind the last record seen in this segment.
    seen: u64,
}

/// Records that follow each other.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    /// Payloads.
    pub(super) records: Vec<Range<usize>>,
    /// Sequence behind the last one.
    pub(super) end: u64,
    /// Records that are missing before or between them.
    pub(super) skipped: u64,
}

impl Walk {
    pub(super) fn new(stream: Arc<Stream>, next: u64, patience: Duration) -> Self {
        Self {
            stream,
            place: None,
            behind: None,
            next,
            done: false,
            failing: None,
            patience,
        }
    }

    /// How many records a stream of an earlier run has from a sequence on. Of its segments only the
    /// last is read, where the disk tells where that begins.
    pub(super) fn count(stream: Arc<Stream>, from: u64, files: &dyn FileSystem) -> u64 {
        let last = stream.at(u64::MAX).filter(|last| last.is_known);
        let start = last.map_or(from, |last| last.first.max(from));
        let mut walk = Self::new(stream, start, Duration::MAX);
        while let Ok(Some(_)) = walk.read(files) {}
        walk.next - from
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The next records; `None` where there are none now. After an error it may be tried again.
    pub(super) fn read(&mut self, files: &dyn FileSystem) -> io::Result<Option<Batch>> {
        let read = self.try_read(files);
        match read {
            Ok(_) => self.failing = None,
            Err(_) => _ = self.failing.get_or_insert_with(Instant::now),
        }
        read
    }

    fn is_tired(&self) -> bool {
        self.failing
            .is_some_and(|since| since.elapsed() >= self.patience)
    }

    fn try_read(&mut self, files: &dyn FileSystem) -> io::Result<Option<Batch>> {
        loop {
            let Some(mut place) = self.place.take() else {
                if self.enter(files)? {
                    continue;
                }
                return Ok(None);
            };
            let last = place.segment.last();
            let end = place.segment.end();
            if place.offset < end {
                let read = self.read_at(&mut place, end);
                self.place = Some(place);
                match read? {
                    Some(batch) => return Ok(Some(batch)),
                    None => continue,
                }
            }
            let last = match last {
                Some(last) => last,
                None if self.stream.has_ended() => {
                    // Of an earlier run: now its end is known.
                    place.segment.close(place.seen);
                    place.seen
                }
                None => {
                    self.place = Some(place);
                    return Ok(None);
                }
            };
            self.behind = Some(place.segment.place);
            if last > self.next {
                let skipped = last - self.next;
                self.next = last;
                return Ok(Some(Batch {
                    end: last,
                    skipped,
                    ..Batch::default()
                }));
            }
        }
    }

    /// Opens the segment to read next, if there is one.
    fn enter(&mut self, files: &dyn FileSystem) -> io::Result<bool> {
        let segment = match self.behind {
            Some(place) => self.stream.after(place),
            None => self.stream.at(self.next),
        };
        let Some(segment) = segment else {
            self.done = self.stream.has_ended();
            return Ok(false);
        };
        let file = match files.open(&segment.path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(_) if self.is_tired() => None,
            Err(error) => return Err(error),
        };
        self.place = Some(Place {
            offset: 0,
            seen: if segment.is_known {
                segment.first
            } else {
                self.next
            },
            segment,
            file,
        });
        Ok(true)
    }

    /// Records from the place on; `None` where the place has moved and there were none.
    fn read_at(&mut self, place: &mut Place, end: u64) -> io::Result<Option<Batch>> {
        let Some(file) = &place.file else {
            place.offset = u64::MAX;
            return Ok(None);
        };
        let salt = place.segment.name.salt;
        let mut wanted = CHUNK;
        let mut bytes = Vec::new();
        loop {
            let len = wanted.min(end - place.offset);
            bytes.resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
            match read_full(&**file, &mut bytes, place.offset) {
                Ok(got) => bytes.truncate(got),
                Err(_) if self.is_tired() => bytes.clear(),
                Err(error) => return Err(error),
            }
            match record::parse(&bytes, salt) {
                Parsed::Whole(..) => break,
                Parsed::Short(needed)
                    if needed > bytes.len()
                        && bytes.len() as u64 == len
                        && place.offset + needed as u64 <= end =>
                {
                    wanted = needed as u64;
                }
                Parsed::Short(_) | Parsed::Bad => {
                    let found = record::find(&**file, salt, place.offset + 1, end);
                    place.offset = found.map_or(end, |(at, _)| at);
                    return Ok(None);
                }
            }
        }
        let mut batch = Batch {
            end: self.next,
            ..Batch::default()
        };
        let mut at = 0;
        while let Parsed::Whole(sequence, len) = record::parse(&bytes[at..], salt) {
            let payload = at + HEADER..at + HEADER + len;
            at = payload.end;
            place.seen = place.seen.max(sequence + 1);
            if sequence >= batch.end {
                batch.skipped += sequence - batch.end;
                batch.end = sequence + 1;
                batch.records.push(payload);
            }
        }
        place.offset += at as u64;
        if batch.end == self.next {
            return Ok(None);
        }
        self.next = batch.end;
        batch.bytes = bytes;
        Ok(Some(batch))
    }
}
