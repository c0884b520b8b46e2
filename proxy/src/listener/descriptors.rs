//! What the process may still open. Connections are accepted only while more descriptors are free than
//! are kept for all else: connections to upstreams and brokers, the spool's files, the admin address.
//!
//! The limit is the process's, so there is one gate for all workers. It is asked for each connection,
//! not for each request.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// One of so many descriptors is kept free.
const KEPT: u64 = 8;

/// How long a count holds at most: others open and close without asking here.
const HOLDS: Duration = Duration::from_millis(100);

/// From one look to the next while there is no room.
const PAUSE: Duration = Duration::from_millis(20);

/// How often it is logged at most that there is none.
const TOLD: Duration = Duration::from_mins(1);

static GATE: Mutex<Gate> = Mutex::new(Gate {
    left: 0,
    counted: None,
    told: None,
    paused: false,
    pauses: 0,
});

/// Descriptors of the process.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    pub open: u64,
    /// The limit.
    pub most: u64,
}

/// How accepting fares.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    pub count: Count,
    /// Whether connections wait for want of descriptors.
    pub paused: bool,
    /// How often that began.
    pub pauses: u64,
}

/// Waits until there is room for another connection.
pub async fn room() {
    while !gate().admits(Instant::now(), Count::now) {
        tokio::time::sleep(PAUSE).await;
    }
}

pub fn status() -> Status {
    let (paused, pauses) = {
        let gate = gate();
        (gate.paused, gate.pauses)
    };
    Status {
        count: Count::now(),
        paused,
        pauses,
    }
}

/// Lets the process open as many as it may at all: what shells and systemd give by default is meant
/// for programs that use `select`.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of descriptors stays");
    }
}

fn gate() -> MutexGuard<'static, Gate> {
    GATE.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Gate {
    /// Connections that may be accepted before descriptors are counted again.
    left: u64,
    counted: Option<Instant>,
    /// When it was last logged that there is no room.
    told: Option<Instant>,
    paused: bool,
    pauses: u64,
}

impl Gate {
    /// Whether another connection may be accepted.
    fn admits(&mut self, now: Instant, count: impl FnOnce() -> Count) -> bool {
        let ago = |then: Option<Instant>| then.map(|then| now.saturating_duration_since(then));
        if self.left == 0 || ago(self.counted).is_none_or(|ago| ago >= HOLDS) {
            let count = count();
            // The other half is for what connections have Weir open, as those to upstreams.
            self.left = count.spare().div_ceil(2);
            self.counted = Some(now);
            if self.left == 0 && ago(self.told).is_none_or(|ago| ago >= TOLD) {
                self.told = Some(now);
                let Count { open, most } = count;
                tracing::warn!(
                    open,
                    most,
                    "too few descriptors: connections wait to be accepted"
                );
            }
        }
        let admits = self.left > 0;
        if !admits && !self.paused {
            self.pauses += 1;
        }
        self.paused = !admits;
        self.left = self.left.saturating_sub(1);
        admits
    }
}

impl Count {
    fn now() -> Self {
        let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self {
            open: open().unwrap_or(most),
            most,
        }
    }

    /// How many are free beyond those that are kept.
    fn spare(self) -> u64 {
        let free = self.most.saturating_sub(self.open);
        free.saturating_sub(self.most / KEPT)
    }
}

/// How many are open; `None` where there is not one left.
fn open() -> Option<u64> {
    // Linux 6.2 and later say it as the folder's size.
    match fs::metadata("/proc/self/fd").map(|folder| folder.len()) {
        Ok(len @ 1..) => Some(len),
        // Elsewhere the lowest that is free tells how many there are at the least.
        _ => {
            let lowest = File::open("/").ok()?;
            u64::try_from(lowest.as_raw_fd()).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate {
            left: 0,
            counted: None,
            told: None,
            paused: false,
            pauses: 0,
        }
    }

    fn of_eighty(open: u64) -> Count {
        Count { open, most: 80 }
    }

    #[test]
    fn an_eighth_is_kept_free() {
        assert_eq!(of_eighty(0).spare(), 70);
        assert_eq!(of_eighty(69).spare(), 1);
        assert_eq!(of_eighty(70).spare(), 0);
        assert_eq!(of_eighty(90).spare(), 0);
    }

    #[test]
    fn connections_alone_fill_all_but_what_is_kept() {
        let (mut gate, now, mut open) = (gate(), Instant::now(), 10);
        while gate.admits(now, || of_eighty(open)) {
            open += 1;
        }
        assert_eq!(open, 70);
        assert_eq!((gate.paused, gate.pauses), (true, 1));
    }

    #[test]
    fn a_connection_that_has_weir_open_another_leaves_what_is_kept() {
        let (mut gate, now, mut open) = (gate(), Instant::now(), 10);
        while gate.admits(now, || of_eighty(open)) {
            open += 2;
        }
        assert!((70..=71).contains(&open), "{open}");
    }

    #[test]
    fn it_goes_on_once_there_is_room_and_each_pause_counts() {
        let (mut gate, now) = (gate(), Instant::now());
        for pauses in 1..=3 {
            assert!(gate.admits(now, || of_eighty(69)));
            assert!(!gate.paused);
            for _ in 0..5 {
                assert!(!gate.admits(now, || of_eighty(70)));
            }
            assert_eq!((gate.paused, gate.pauses), (true, pauses));
        }
    }

    #[test]
    fn what_others_have_opened_meanwhile_is_seen_after_a_time() {
        let (mut gate, now) = (gate(), Instant::now());
        assert!(gate.admits(now, || of_eighty(10)));
        assert!(gate.admits(now, || panic!("counted just now")));
        assert!(!gate.admits(now + HOLDS, || of_eighty(75)));
    }

    #[test]
    fn descriptors_of_this_process_are_counted() {
        let before = Count::now();
        assert!(before.open >= 3 && before.open < before.most, "{before:?}");
        let files: Vec<_> = (0..50).map(|_| File::open("/").unwrap()).collect();
        assert!(Count::now().open >= 53);
        drop(files);
    }
}
