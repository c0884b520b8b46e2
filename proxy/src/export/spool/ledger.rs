//! What an exporter has taken and what of it is settled. Only what has nothing unsettled before it
//! in its stream moves the cursor.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use super::segment::Key;
use crate::lock::lock;

/// Shared by who takes chunks and who hears of acknowledgements.
#[derive(Debug, Default)]
pub(in crate::export) struct Ledger(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    /// The number of the front entry. Numbers are never given again.
    first: u64,
    entries: VecDeque<Entry>,
    streams: BTreeMap<Key, VecDeque<u64>>,
    /// What the cursor does not know of yet.
    advanced: BTreeMap<Key, u64>,
}

/// A chunk.
#[derive(Debug)]
struct Entry {
    key: Key,
    /// Sequence behind its last record.
    end: u64,
    /// Messages that are not settled, and one more until the chunk has been exported whole.
    open: u32,
}

impl Ledger {
    /// Forgets what was taken: it will be taken again.
    pub(super) fn reset(&self) {
        let mut ledger = self.entries();
        ledger.first += ledger.entries.len() as u64;
        ledger.entries.clear();
        ledger.streams.clear();
        ledger.advanced.clear();
    }

    /// Notes a chunk, and gives its number. [`Ledger::settled`] says that it was exported whole.
    pub(super) fn begin(&self, key: Key, end: u64) -> u64 {
        let mut ledger = self.entries();
        let number = ledger.first + ledger.entries.len() as u64;
        ledger.entries.push_back(Entry { key, end, open: 1 });
        ledger.streams.entry(key).or_default().push_back(number);
        number
    }

    /// A message of a chunk was sent.
    pub(in crate::export) fn sent(&self, number: u64) {
        let mut ledger = self.entries();
        if let Some(entry) = ledger.entry(number) {
            entry.open += 1;
        }
    }

    /// A message of a chunk was acknowledged, or will never be.
    pub(in crate::export) fn settled(&self, number: u64) {
        let mut ledger = self.entries();
        let Some(entry) = ledger.entry(number) else {
            return;
        };
        entry.open = entry.open.saturating_sub(1);
        if entry.open == 0 {
            let key = entry.key;
            ledger.advance(key);
        }
    }

    /// Positions of streams that have advanced since the last call.
    pub(super) fn take_advanced(&self) -> BTreeMap<Key, u64> {
        std::mem::take(&mut self.entries().advanced)
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        lock(&self.0)
    }
}

impl Entries {
    fn entry(&mut self, number: u64) -> Option<&mut Entry> {
        let index = number.checked_sub(self.first)?;
        self.entries.get_mut(usize::try_from(index).ok()?)
    }

    fn advance(&mut self, key: Key) {
        let mut numbers = self.streams.remove(&key).unwrap_or_default();
        while let Some(number) = numbers.front()
            && let Some(entry) = self.entry(*number)
            && entry.open == 0
        {
            let end = entry.end;
            self.advanced.insert(key, end);
            numbers.pop_front();
        }
        self.streams.insert(key, numbers);
        while self.entries.pop_front_if(|entry| entry.open == 0).is_some() {
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Key = Key {
        generation: 1,
        worker: 0,
    };
    const B: Key = Key {
        generation: 1,
        worker: 1,
    };

    /// A chunk with so many messages, exported whole.
    fn chunk(ledger: &Ledger, key: Key, end: u64, messages: u32) -> u64 {
        let number = ledger.begin(key, end);
        (0..messages).for_each(|_| ledger.sent(number));
        ledger.settled(number);
        number
    }

    #[test]
    fn a_stream_advances_as_far_as_all_is_settled() {
        let ledger = Ledger::default();
        let first = chunk(&ledger, A, 10, 2);
        let second = chunk(&ledger, A, 20, 1);
        ledger.settled(second);
        ledger.settled(first);
        assert!(ledger.take_advanced().is_empty());
        ledger.settled(first);
        assert_eq!(ledger.take_advanced(), BTreeMap::from([(A, 20)]));
        assert!(ledger.take_advanced().is_empty());
    }

    #[test]
    fn a_stream_does_not_wait_for_another() {
        let ledger = Ledger::default();
        let stuck = chunk(&ledger, A, 10, 1);
        let other = chunk(&ledger, B, 5, 1);
        ledger.settled(other);
        assert_eq!(ledger.take_advanced(), BTreeMap::from([(B, 5)]));
        ledger.settled(stuck);
        assert_eq!(ledger.take_advanced(), BTreeMap::from([(A, 10)]));
    }

    #[test]
    fn a_chunk_without_messages_is_settled_at_once() {
        let ledger = Ledger::default();
        chunk(&ledger, A, 7, 0);
        assert_eq!(ledger.take_advanced(), BTreeMap::from([(A, 7)]));
    }

    #[test]
    fn a_chunk_is_not_settled_while_it_is_exported() {
        let ledger = Ledger::default();
        let number = ledger.begin(A, 3);
        ledger.sent(number);
        ledger.settled(number);
        assert!(ledger.take_advanced().is_empty());
        ledger.settled(number);
        assert_eq!(ledger.take_advanced(), BTreeMap::from([(A, 3)]));
    }

    #[test]
    fn what_was_sent_before_a_reset_settles_nothing_after_it() {
        let ledger = Ledger::default();
        let before = chunk(&ledger, A, 10, 1);
        ledger.reset();
        let after = chunk(&ledger, A, 10, 1);
        ledger.settled(before);
        assert!(ledger.take_advanced().is_empty());
        ledger.settled(after);
        assert_eq!(ledger.take_advanced(), BTreeMap::from([(A, 10)]));
    }
}
