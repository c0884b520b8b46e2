//! What messages were made of, for as long as librdkafka has them: where a topic takes less than it
//! seemed to, their traces are made anew.
//!
//! A record stays where it is, in its chunk, which is kept with it. As a message that waits for long
//! so holds a whole chunk, these are counted: past a bound, records are copied.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::export::queue::Chunk;

/// A record of a trace that was sent.
#[derive(Clone)]
pub(super) enum Record {
    /// By its place among the chunk's.
    InChunk(Arc<Held>, usize),
    Own(Arc<[u8]>),
}

impl Record {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::InChunk(held, index) => held.chunk.records().nth(*index).unwrap_or_default(),
            Self::Own(bytes) => bytes,
        }
    }
}

/// A chunk of which records are kept.
pub(super) struct Held {
    chunk: Arc<Chunk>,
    all: Arc<AtomicUsize>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.chunk.size(), Relaxed);
    }
}

/// Room for chunks that are held.
pub(super) struct Room {
    /// Bytes of all that are.
    all: Arc<AtomicUsize>,
    most: usize,
}

impl Room {
    pub(super) fn new(most: usize) -> Self {
        Self {
            all: Arc::default(),
            most,
        }
    }

    /// Holds a chunk, where there is room for it.
    pub(super) fn hold(&self, chunk: &Arc<Chunk>) -> Option<Arc<Held>> {
        let size = chunk.size();
        // The exporter's thread alone holds more.
        if self.all.load(Relaxed).saturating_add(size) > self.most {
            return None;
        }
        self.all.fetch_add(size, Relaxed);
        Some(Arc::new(Held {
            chunk: Arc::clone(chunk),
            all: Arc::clone(&self.all),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_held_up_to_a_bound_for_as_long_as_somebody_has_a_record() {
        let chunk = || Arc::new(Chunk::new(b"abc".to_vec(), vec![0..1, 1..3]));
        let first = chunk();
        let room = Room::new(first.size());
        let record = Record::InChunk(room.hold(&first).unwrap(), 1);
        assert_eq!(record.bytes(), b"bc");
        assert!(room.hold(&chunk()).is_none());
        let same = record.clone();
        drop(record);
        assert!(room.hold(&chunk()).is_none());
        assert_eq!(same.bytes(), b"bc");
        drop(same);
        assert!(room.hold(&chunk()).is_some());
    }
}
