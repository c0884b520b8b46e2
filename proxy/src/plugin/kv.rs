//! Values that all instances of a plugin share, over all workers: the store behind the contract's
//! `kv`, in memory, or in [`redis`].
//!
//! In memory, a plugin has one for as long as its name is in the configuration. It is bounded in
//! bytes; past that, values that were not used for long make room, so that a flood of keys harms only
//! the plugin that makes it. It is not on the way of requests whose plugins do not use it.

pub mod redis;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use indexmap::IndexMap;

use crate::lock::lock;

/// Locks that the keys of one store are spread over.
const SHARDS: usize = 16;

/// Most bytes of a key and its value.
pub const ENTRY_BYTES: usize = 64 << 10;

/// What an entry costs beside its key and value.
const OVERHEAD: usize = 96;

/// Longest time a value lives.
pub const LONGEST: Duration = Duration::from_hours(24);

/// How many entries are looked at for one that makes room.
const LOOKED_AT: usize = 8;

/// Why a value was not read or stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    TooLarge,
    NotANumber,
    /// Only in Redis.
    Unavailable(redis::Gone),
}

/// Where a plugin's values are.
#[derive(Clone)]
pub enum Store {
    Memory(Arc<Kv>),
    Redis(redis::Values),
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Kv {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    shard_bytes: usize,
    bytes: usize,
    /// Values that had still to live, and were taken out; not yet told.
    evicted: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    entries: IndexMap<String, Entry>,
    bytes: usize,
    /// Counts uses, for the oldest to be known.
    clock: u64,
    /// Where the search for room goes on.
    hand: usize,
}

#[derive(Debug)]
struct Entry {
    value: Vec<u8>,
    expires: Instant,
    used: u64,
}

impl Kv {
    /// A store of so many bytes, to the nearest that can be shared out.
    pub fn new(bytes: usize) -> Self {
        Self {
            shards: Default::default(),
            hasher: RandomState::new(),
            shard_bytes: bytes / SHARDS,
            bytes,
            evicted: AtomicU64::new(0),
        }
    }

    /// As it was made.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many values that had still to live made room for others, since this was last asked.
    pub fn take_evicted(&self) -> u64 {
        // Mostly none did: then nothing is written here that other workers read.
        match self.evicted.load(Relaxed) {
            0 => 0,
            _ => self.evicted.swap(0, Relaxed),
        }
    }

    pub fn get(&self, key: &str, now: Instant) -> Option<Vec<u8>> {
        self.shard(key)
            .live(key, now)
            .map(|entry| entry.value.clone())
    }

    pub fn set(&self, key: &str, value: &[u8], ttl: Duration, now: Instant) -> Result<(), Error> {
        let mut shard = self.shard(key);
        self.put(&mut shard, key, value, now + bounded(ttl), now)
    }

    /// Whether there was a value.
    pub fn delete(&self, key: &str, now: Instant) -> bool {
        let mut shard = self.shard(key);
        let was = shard.live(key, now).is_some();
        shard.remove(key);
        was
    }

    /// Adds to a number, and gives the sum. What is there keeps its time to live.
    pub fn add(&self, key: &str, delta: i64, ttl: Duration, now: Instant) -> Result<i64, Error> {
        let mut shard = self.shard(key);
        let (present, expires) = match shard.live(key, now) {
            None => (0, now + bounded(ttl)),
            Some(entry) => {
                let text = std::str::from_utf8(&entry.value).ok();
                let number = text.and_then(|text| text.parse().ok());
                (number.ok_or(Error::NotANumber)?, entry.expires)
            }
        };
        let sum: i64 = i64::checked_add(present, delta).ok_or(Error::NotANumber)?;
        self.put(&mut shard, key, sum.to_string().as_bytes(), expires, now)?;
        Ok(sum)
    }

    /// Sets a value where the present one is as expected; whether it was.
    pub fn compare_and_set(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
        ttl: Duration,
        now: Instant,
    ) -> Result<bool, Error> {
        let mut shard = self.shard(key);
        let present = shard.live(key, now).map(|entry| entry.value.as_slice());
        if present != expected {
            return Ok(false);
        }
        self.put(&mut shard, key, value, now + bounded(ttl), now)?;
        Ok(true)
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, Shard> {
        let hash = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        lock(&self.shards[hash])
    }

    fn put(
        &self,
        shard: &mut Shard,
        key: &str,
        value: &[u8],
        expires: Instant,
        now: Instant,
    ) -> Result<(), Error> {
        let size = size(key, value);
        if key.len() + value.len() > ENTRY_BYTES || size > self.shard_bytes {
            return Err(Error::TooLarge);
        }
        shard.remove(key);
        while shard.bytes + size > self.shard_bytes {
            if shard.make_room(now) {
                self.evicted.fetch_add(1, Relaxed);
            }
        }
        shard.clock += 1;
        shard.bytes += size;
        let entry = Entry {
            value: value.to_vec(),
            expires,
            used: shard.clock,
        };
        shard.entries.insert(key.to_owned(), entry);
        Ok(())
    }
}

impl Shard {
    fn live(&mut self, key: &str, now: Instant) -> Option<&Entry> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        if entry.expires <= now {
            self.remove(key);
            return None;
        }
        entry.used = self.clock;
        self.entries.get(key)
    }

    fn remove(&mut self, key: &str) {
        if let Some(entry) = self.entries.swap_remove(key) {
            self.bytes -= size(key, &entry.value);
        }
    }

    /// Removes, of the next few entries, those that have expired, or else the one whose last use is
    /// longest ago; whether that had still to live.
    fn make_room(&mut self, now: Instant) -> bool {
        let mut oldest: Option<(u64, usize)> = None;
        for _ in 0..LOOKED_AT.min(self.entries.len()) {
            self.hand = (self.hand + 1) % self.entries.len();
            let entry = &self.entries[self.hand];
            if entry.expires <= now {
                oldest = Some((0, self.hand));
                break;
            }
            if oldest.is_none_or(|(used, _)| entry.used < used) {
                oldest = Some((entry.used, self.hand));
            }
        }
        let removed = oldest.and_then(|(_, index)| self.entries.swap_remove_index(index));
        match removed {
            Some((key, entry)) => {
                self.bytes -= size(&key, &entry.value);
                entry.expires > now
            }
            None => {
                self.bytes = 0;
                false
            }
        }
    }
}

fn size(key: &str, value: &[u8]) -> usize {
    key.len() + value.len() + OVERHEAD
}

fn bounded(ttl: Duration) -> Duration {
    if ttl.is_zero() {
        LONGEST
    } else {
        ttl.min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn store() -> (Kv, Instant) {
        (Kv::new(1 << 20), Instant::now())
    }

    fn entries(kv: &Kv) -> u64 {
        let shards = kv.shards.iter();
        let each = shards.map(|shard| shard.lock().unwrap().entries.len() as u64);
        each.sum()
    }

    #[test]
    fn a_value_lives_for_its_time() {
        let (kv, now) = store();
        kv.set("a", b"1", TTL, now).unwrap();
        assert_eq!(kv.get("a", now + TTL / 2), Some(b"1".to_vec()));
        assert_eq!(kv.get("a", now + TTL), None);
    }

    #[test]
    fn no_value_lives_longer_than_a_day() {
        let (kv, now) = store();
        for ttl in [Duration::ZERO, Duration::MAX] {
            kv.set("a", b"1", ttl, now).unwrap();
            assert_eq!(kv.get("a", now + LONGEST), None);
            assert_eq!(kv.get("a", now), None, "it is gone");
        }
    }

    #[test]
    fn a_value_is_deleted_once() {
        let (kv, now) = store();
        kv.set("a", b"1", TTL, now).unwrap();
        assert!(kv.delete("a", now));
        assert!(!kv.delete("a", now));
    }

    #[test]
    fn numbers_add_up_and_keep_their_time() {
        let (kv, now) = store();
        assert_eq!(kv.add("a", 2, TTL, now), Ok(2));
        assert_eq!(kv.add("a", -5, TTL, now + TTL / 2), Ok(-3));
        assert_eq!(kv.get("a", now), Some(b"-3".to_vec()));
        assert_eq!(kv.add("a", 1, TTL, now + TTL), Ok(1), "begun anew");
    }

    #[test]
    fn what_is_no_number_does_not_add_up() {
        let (kv, now) = store();
        kv.set("a", b"one", TTL, now).unwrap();
        assert_eq!(kv.add("a", 1, TTL, now), Err(Error::NotANumber));
        kv.set("b", i64::MAX.to_string().as_bytes(), TTL, now)
            .unwrap();
        assert_eq!(kv.add("b", 1, TTL, now), Err(Error::NotANumber));
        assert_eq!(kv.get("b", now), Some(i64::MAX.to_string().into_bytes()));
    }

    #[test]
    fn a_value_is_set_only_where_it_is_as_expected() {
        let (kv, now) = store();
        let swap = |expected, value| kv.compare_and_set("a", expected, value, TTL, now).unwrap();
        assert!(!swap(Some(b"1"), b"2"));
        assert!(swap(None, b"1"));
        assert!(!swap(None, b"2"));
        assert!(swap(Some(b"1"), b"2"));
        assert_eq!(kv.get("a", now), Some(b"2".to_vec()));
    }

    #[test]
    fn an_entry_is_bounded() {
        let (kv, now) = (Kv::new(4 << 20), Instant::now());
        let long = vec![0; ENTRY_BYTES];
        assert_eq!(kv.set("a", &long, TTL, now), Err(Error::TooLarge));
        assert_eq!(kv.set("a", &long[1..], TTL, now), Ok(()));
    }

    #[test]
    fn a_flood_makes_room_of_what_is_not_used() {
        let (kv, now) = store();
        kv.set("kept", b"1", TTL, now).unwrap();
        for n in 0..100_000 {
            kv.set(&format!("flood-{n}"), &[0; 100], TTL, now).unwrap();
            assert!(kv.get("kept", now).is_some(), "after {n}");
        }
        let bytes: usize = kv
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap().bytes)
            .sum();
        assert!(bytes <= 1 << 20, "{bytes}");
        assert!(kv.get("flood-99999", now).is_some());
        // All but those that are there still, with the one that was kept.
        assert_eq!(kv.take_evicted(), 100_001 - entries(&kv));
        assert_eq!(kv.take_evicted(), 0, "they are told once");
    }

    #[test]
    fn what_has_expired_makes_room_and_is_not_missed() {
        let (kv, now) = store();
        let later = now + TTL;
        for n in 0..4_000 {
            kv.set(&format!("old-{n}"), &[0; 100], TTL, now).unwrap();
        }
        for n in 0..3_000 {
            kv.set(&format!("new-{n}"), &[0; 100], TTL, later).unwrap();
        }
        assert!(entries(&kv) < 7_000, "not all had room");
        assert_eq!(kv.take_evicted(), 0);
    }

    #[test]
    fn bytes_are_counted_to_nothing() {
        let (kv, now) = store();
        for n in 0..1000 {
            kv.set(&n.to_string(), b"value", TTL, now).unwrap();
            kv.set(&n.to_string(), b"another", TTL, now).unwrap();
        }
        for n in 0..1000 {
            kv.delete(&n.to_string(), now);
        }
        let left = kv.shards.iter().map(|shard| shard.lock().unwrap().bytes);
        assert_eq!(left.sum::<usize>(), 0);
    }

    #[test]
    fn adding_from_many_threads_loses_nothing() {
        let (kv, now) = store();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..1000).for_each(|_| _ = kv.add("a", 1, TTL, now)));
            }
        });
        assert_eq!(kv.get("a", now), Some(b"8000".to_vec()));
    }

    #[test]
    fn swapping_from_many_threads_loses_nothing() {
        let (kv, now) = store();
        let add_one = || {
            let present = kv.get("a", now);
            let text = present
                .as_deref()
                .map_or("0", |bytes| std::str::from_utf8(bytes).expect("digits"));
            let next = text.parse::<u64>().expect("a number") + 1;
            let next = next.to_string();
            kv.compare_and_set("a", present.as_deref(), next.as_bytes(), TTL, now)
                .unwrap()
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..1000).for_each(|_| while !add_one() {}));
            }
        });
        assert_eq!(kv.get("a", now), Some(b"8000".to_vec()));
    }
}
