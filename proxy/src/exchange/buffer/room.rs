//! How much memory bodies take at once, in the whole process: what is held of them, and windows of their
//! codings.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Most bytes of memory that bodies take at once in the process.
const HELD: usize = 512 << 20;

static RESERVED: AtomicUsize = AtomicUsize::new(0);

/// Room for a body, among all that are held; given back when dropped.
#[derive(Debug, Default)]
pub struct Room(usize);

impl Room {
    /// Makes it as large as `bytes`; `false` where there is no room left.
    pub(in crate::exchange) fn grow(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.0);
        if more == 0 {
            return true;
        }
        let fits = |reserved: usize| reserved.checked_add(more).filter(|sum| *sum <= HELD);
        let grown = RESERVED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        if grown.is_ok() {
            self.0 += more;
        }
        grown.is_ok()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0 == 0
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        RESERVED.fetch_sub(self.0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_and_given_back() {
        let mut first = Room::default();
        assert!(first.grow(HELD));
        let mut second = Room::default();
        assert!(!second.grow(1));
        assert!(first.grow(10), "it has more already");
        drop(first);
        assert!(second.grow(1));
    }
}
