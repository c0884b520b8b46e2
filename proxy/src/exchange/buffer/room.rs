//! How much memory bodies take at once, in the whole process: what is held of them, and apart from that
//! the windows of their codings, so that who fills one of these leaves the others free.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::plugin::Side;

/// Most bytes of memory that are taken at once in the process: of what is held, and of each side's windows.
const MOST: usize = 512 << 20;

static HELD: AtomicUsize = AtomicUsize::new(0);

/// By [`Side`].
static WINDOWS: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

/// Room for a body, among all that are held, or for windows; given back when dropped.
#[derive(Debug)]
pub struct Room {
    bytes: usize,
    of: &'static AtomicUsize,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            bytes: 0,
            of: &HELD,
        }
    }
}

impl Room {
    /// For what decoding takes, among all bodies of a side.
    pub(in crate::exchange) fn windows(side: Side) -> Self {
        Self {
            bytes: 0,
            of: &WINDOWS[side as usize],
        }
    }

    /// Makes it as large as `bytes`; `false` where there is no room left.
    pub(in crate::exchange) fn grow(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return true;
        }
        let fits = |reserved: usize| reserved.checked_add(more).filter(|sum| *sum <= MOST);
        let grown = self
            .of
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        if grown.is_ok() {
            self.bytes += more;
        }
        grown.is_ok()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_and_given_back() {
        // Others of the process are for other tests too.
        static OF: AtomicUsize = AtomicUsize::new(0);
        let room = || Room { bytes: 0, of: &OF };
        let mut first = room();
        assert!(first.grow(MOST));
        let mut second = room();
        assert!(!second.grow(1));
        assert!(first.grow(10), "it has more already");
        drop(first);
        assert!(second.grow(1));
    }

    #[test]
    fn what_is_held_and_the_windows_of_each_side_have_rooms_of_their_own() {
        let held = Room::default().of;
        let [request, response] =
            [Side::Request, Side::Response].map(|side| Room::windows(side).of);
        assert!(!std::ptr::eq(held, request));
        assert!(!std::ptr::eq(held, response));
        assert!(!std::ptr::eq(request, response));
    }
}
