//! Segments and the streams that they make: what is known of the files, beside what is in them.
//!
//! A stream is what one worker of one run of Weir wrote: records with sequences 0, 1, 2, … over
//! segments. All that must be known of a segment is in its name and its records. Sequences alone
//! tell the order of segments: a worker that cannot wait makes one by itself while another is being
//! laid out, so that the one with the lesser ordinal may come behind.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use tokio::sync::watch;

use super::files::File;
use crate::lock::lock;

/// A value of `last` while more may be appended.
const OPEN: u64 = u64::MAX;

/// Most samples of a stream's age; past it every other one goes.
const SAMPLES: usize = 1024;

/// Which stream: the run of Weir, and the worker in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) generation: u64,
    pub(super) worker: u32,
}

/// The parts of a segment's file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) worker: u32,
    pub(super) ordinal: u64,
    /// Of the checksums.
    pub(super) salt: u32,
}

impl Name {
    pub(super) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(".seg")?.split('-');
        let name = Self {
            worker: parts.next()?.parse().ok()?,
            ordinal: parts.next()?.parse().ok()?,
            salt: u32::from_str_radix(parts.next()?, 16).ok()?,
        };
        parts.next().is_none().then_some(name)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            worker,
            ordinal,
            salt,
        } = self;
        write!(f, "{worker:04}-{ordinal:010}-{salt:08x}.seg")
    }
}

/// One file of a stream.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) name: Name,
    /// Bytes on the disk.
    pub(super) size: u64,
    /// Its number in its stream, in the order of records.
    pub(super) place: u64,
    /// No record in it has a lesser sequence; where that is not known, one that is in none before it.
    pub(super) first: u64,
    /// Whether its records say so.
    pub(super) is_known: bool,
    /// All its records have lesser sequences, as far as segments behind it tell.
    bound: u64,
    /// Where the last record ends.
    end: AtomicU64,
    /// One more than the last record's sequence, once that is known.
    last: AtomicU64,
    /// Where the last record ended when what comes behind it was prepared.
    prepared: AtomicU64,
    /// It could not be synced: nothing more may be written to it.
    condemned: AtomicBool,
}

impl Segment {
    /// One of this run's, to be appended to.
    fn new(path: PathBuf, name: Name, size: u64, first: u64) -> Self {
        Self {
            path,
            name,
            size,
            place: 0,
            first,
            is_known: true,
            bound: u64::MAX,
            end: AtomicU64::new(0),
            last: AtomicU64::new(OPEN),
            prepared: AtomicU64::new(0),
            condemned: AtomicBool::new(false),
        }
    }

    /// One of an earlier run's. Where its records end is found by reading it; where they begin, too,
    /// if the disk does not say it yet.
    pub(super) fn found(path: PathBuf, name: Name, size: u64, first: Option<u64>) -> Self {
        let segment = Self {
            is_known: first.is_some(),
            ..Self::new(path, name, size, first.unwrap_or(u64::MAX))
        };
        segment.grow(size);
        segment
    }

    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(super) fn grow(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    /// To be asked before [`Segment::end`], which then is final.
    pub(super) fn last(&self) -> Option<u64> {
        Some(self.last.load(Ordering::Acquire)).filter(|last| *last != OPEN)
    }

    pub(super) fn close(&self, last: u64) {
        self.last.store(last, Ordering::Release);
    }

    /// How many bytes were appended since this was last asked.
    pub(super) fn grown(&self) -> u64 {
        let end = self.end();
        end - self.prepared.swap(end, Ordering::Relaxed)
    }

    pub(super) fn is_condemned(&self) -> bool {
        self.condemned.load(Ordering::Relaxed)
    }

    pub(super) fn condemn(&self) {
        self.condemned.store(true, Ordering::Relaxed);
    }
}

/// A file that waits to become a segment.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) path: PathBuf,
    pub(super) name: Name,
    pub(super) size: u64,
    pub(super) file: Arc<dyn File>,
}

/// A segment of this run that is appended to, or whose bytes may not be on the disk yet.
#[derive(Clone, Debug)]
pub(super) struct Unsynced {
    pub(super) segment: Arc<Segment>,
    pub(super) file: Arc<dyn File>,
    /// Bytes that are.
    pub(super) synced: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) key: Key,
    pub(super) folder: PathBuf,
    segments: Mutex<VecDeque<Arc<Segment>>>,
    /// Segments that there were so far.
    places: AtomicU64,
    ordinal: AtomicU64,
    /// Sequence of the record to come; written by the worker alone.
    next: AtomicU64,
    /// Whether no more is appended.
    ended: AtomicBool,
    spare: Mutex<Option<Spare>>,
    unsynced: Mutex<Vec<Unsynced>>,
    /// One more than the last sequence that is on the disk.
    pub(super) synced: watch::Sender<u64>,
    /// When `next` was what, oldest first.
    samples: Mutex<VecDeque<(u64, SystemTime)>>,
}

impl Stream {
    /// A worker's of this run.
    pub(super) fn new(key: Key, folder: PathBuf) -> Self {
        Self {
            key,
            folder,
            segments: Mutex::default(),
            places: AtomicU64::new(0),
            ordinal: AtomicU64::new(0),
            next: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            spare: Mutex::default(),
            unsynced: Mutex::default(),
            synced: watch::Sender::new(0),
            samples: Mutex::default(),
        }
    }

    /// One of an earlier run, last written to at `modified`. `segments` are in the order of their
    /// names, which is not always that of their records.
    pub(super) fn found(
        key: Key,
        folder: PathBuf,
        mut segments: Vec<Segment>,
        modified: SystemTime,
    ) -> Self {
        // What is not known is before what follows by its name.
        let mut next = u64::MAX;
        for segment in segments.iter_mut().rev() {
            if !segment.is_known {
                segment.first = next;
            }
            next = segment.first;
        }
        segments.sort_by_key(|segment| segment.first);
        let mut bound = u64::MAX;
        for segment in segments.iter_mut().rev() {
            segment.bound = bound;
            if segment.is_known {
                bound = segment.first;
            }
        }
        for pair in segments.windows(2) {
            // Else its end is found by reading it.
            if pair[1].is_known {
                pair[0].close(pair[1].first);
            }
        }
        let stream = Self::new(key, folder);
        let segments = segments.into_iter().map(|segment| stream.put(segment));
        let segments = segments.collect();
        stream.end();
        stream.next.store(u64::MAX, Ordering::Release);
        lock(&stream.samples).push_back((u64::MAX, modified));
        *lock(&stream.segments) = segments;
        stream
    }

    /// Gives a segment its place, behind all that there were.
    fn put(&self, segment: Segment) -> Arc<Segment> {
        let place = self.places.fetch_add(1, Ordering::Relaxed);
        Arc::new(Segment { place, ..segment })
    }

    pub(super) fn next(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    pub(super) fn advance(&self, next: u64) {
        self.next.store(next, Ordering::Release);
    }

    /// Notes that no more is appended.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn next_ordinal(&self) -> u64 {
        self.ordinal.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn spare(&self) -> MutexGuard<'_, Option<Spare>> {
        lock(&self.spare)
    }

    pub(super) fn unsynced(&self) -> MutexGuard<'_, Vec<Unsynced>> {
        lock(&self.unsynced)
    }

    /// Makes a file the segment that is appended to.
    pub(super) fn attach(&self, spare: Spare) -> (Arc<Segment>, Arc<dyn File>) {
        let segment = Segment::new(spare.path, spare.name, spare.size, self.next());
        let segment = self.put(segment);
        lock(&self.segments).push_back(segment.clone());
        self.unsynced().push(Unsynced {
            segment: segment.clone(),
            file: spare.file.clone(),
            synced: 0,
        });
        (segment, spare.file)
    }

    /// The segment in which a sequence is to be looked for.
    pub(super) fn at(&self, sequence: u64) -> Option<Arc<Segment>> {
        let segments = lock(&self.segments);
        let behind = segments.partition_point(|segment| segment.first <= sequence);
        segments.get(behind.saturating_sub(1)).cloned()
    }

    pub(super) fn after(&self, place: u64) -> Option<Arc<Segment>> {
        let segments = lock(&self.segments);
        let behind = segments.partition_point(|segment| segment.place <= place);
        segments.get(behind).cloned()
    }

    /// Whether [`Stream::release`] would give a segment.
    pub(super) fn would_release(&self, below: u64) -> bool {
        let segments = lock(&self.segments);
        segments.front().is_some_and(|front| is_below(front, below))
    }

    /// Takes out the first segment, if all in it is below that sequence. Nothing is above the
    /// greatest there is.
    pub(super) fn release(&self, below: u64) -> Option<Arc<Segment>> {
        let mut segments = lock(&self.segments);
        segments.pop_front_if(|front| is_below(front, below))
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.segments).is_empty()
    }

    /// Notes the time, so that the age of records can be told.
    pub(super) fn sample(&self, now: SystemTime) {
        let next = self.next();
        let mut samples = lock(&self.samples);
        if samples.back().is_none_or(|(last, _)| *last < next) {
            samples.push_back((next, now));
        }
        if samples.len() > SAMPLES {
            let mut odd = false;
            samples.retain(|_| {
                odd = !odd;
                odd
            });
        }
    }

    /// About when the record of a sequence was appended; `None` where it was not, or just now.
    pub(super) fn appended(&self, sequence: u64) -> Option<SystemTime> {
        let last = lock(&self.segments).back()?.last();
        if self.has_ended() && last.is_some_and(|last| last <= sequence) {
            return None;
        }
        let samples = lock(&self.samples);
        let found = samples.iter().find(|(next, _)| *next > sequence);
        found.map(|(_, time)| *time)
    }
}

fn is_below(segment: &Segment, below: u64) -> bool {
    segment.bound <= below || below == u64::MAX || segment.last().is_some_and(|last| last <= below)
}
