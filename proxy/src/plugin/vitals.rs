//! How many instances a plugin has, what memory they take, and whether calls of it are held back: for
//! who looks, over all workers. Written where one of these changes, which is not at every hook.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Of one plugin.
#[derive(Debug, Default)]
pub struct Vitals {
    instances: AtomicI64,
    /// Linear memory, in bytes.
    memory: AtomicI64,
    /// Workers whose breaker is open.
    open: AtomicI64,
}

/// What they were at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    pub instances: u64,
    pub memory: u64,
    pub open_breakers: u64,
}

impl Vitals {
    pub fn now(&self) -> Now {
        let read = |number: &AtomicI64| u64::try_from(number.load(Ordering::Relaxed)).unwrap_or(0);
        Now {
            instances: read(&self.instances),
            memory: read(&self.memory),
            open_breakers: read(&self.open),
        }
    }
}

/// Those of a plugin are those of its variants.
impl std::iter::Sum for Now {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            instances: sum.instances + one.instances,
            memory: sum.memory + one.memory,
            open_breakers: sum.open_breakers + one.open_breakers,
        })
    }
}

/// An instance that is counted until it is dropped.
pub(super) struct Counted {
    of: Arc<Vitals>,
    memory: usize,
}

impl Counted {
    pub(super) fn new(of: &Arc<Vitals>) -> Self {
        of.instances.fetch_add(1, Ordering::Relaxed);
        Self {
            of: Arc::clone(of),
            memory: 0,
        }
    }

    pub(super) fn has(&mut self, memory: usize) {
        if memory != self.memory {
            add(&self.of.memory, memory, self.memory);
            self.memory = memory;
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.of.instances.fetch_sub(1, Ordering::Relaxed);
        add(&self.of.memory, 0, self.memory);
    }
}

/// An open breaker, counted until it closes or its worker ends.
pub(super) struct Open(Arc<Vitals>);

impl Open {
    pub(super) fn new(of: &Arc<Vitals>) -> Self {
        of.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(of))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn add(to: &AtomicI64, now: usize, before: usize) {
    let size = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
    to.fetch_add(size(now) - size(before), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_counted_no_more() {
        let vitals = Arc::new(Vitals::default());
        let (mut one, mut two) = (Counted::new(&vitals), Counted::new(&vitals));
        one.has(100);
        two.has(50);
        one.has(80);
        let open = Open::new(&vitals);
        let expected = Now {
            instances: 2,
            memory: 130,
            open_breakers: 1,
        };
        assert_eq!(vitals.now(), expected);
        drop((one, open));
        assert_eq!((vitals.now().instances, vitals.now().memory), (1, 50));
        drop(two);
        assert_eq!(vitals.now(), Now::default());
    }
}
