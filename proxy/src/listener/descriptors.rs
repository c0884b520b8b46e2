//! What the process may still open. Connections are accepted only while more descriptors are free than
//! are kept for all else: connections to upstreams and brokers, the spool's files, the admin address.
//!
//! The limit is the process's, so there is one gate for all workers. It is asked for each connection,
//! not for each request.

use std::fs;
use std::io;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::lock::lock;

/// One of so many descriptors is kept free.
const KEPT: u64 = 8;

/// Has an entry for each that the process has open.
const FOLDER: &str = "/proc/self/fd";

/// How long a count holds at most: others open and close without asking here.
const HOLDS: Duration = Duration::from_millis(100);

/// From one count to the next while there is no room.
const PAUSE: Duration = Duration::from_millis(20);

/// How often it is logged at most that there is none.
const TOLD: Duration = Duration::from_mins(1);

static GATE: Mutex<Gate> = Mutex::new(Gate::new());

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
    while !gate().admits(Instant::now(), limit(), open) {
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
    lock(&GATE)
}

struct Gate {
    /// Connections that may be accepted before descriptors are counted again.
    left: u64,
    counted: Option<Instant>,
    /// The limit then.
    most: u64,
    /// When it was last logged that there is no room.
    told: Option<Instant>,
    paused: bool,
    pauses: u64,
}

impl Gate {
    const fn new() -> Self {
        Self {
            left: 0,
            counted: None,
            most: 0,
            told: None,
            paused: false,
            pauses: 0,
        }
    }

    /// Whether another connection may be accepted, where the limit is `most`.
    fn admits(&mut self, now: Instant, most: u64, open: impl FnOnce() -> Option<u64>) -> bool {
        let is_past = |then: Option<Instant>, time: Duration| {
            then.is_none_or(|then| now.saturating_duration_since(then) >= time)
        };
        let used_up = self.left == 0 && !self.paused;
        let holds = if self.paused { PAUSE } else { HOLDS };
        if used_up || most != self.most || is_past(self.counted, holds) {
            let count = Count::of(open(), most);
            // The other half is for what connections have Weir open, as those to upstreams.
            self.left = count.spare().div_ceil(2);
            self.counted = Some(now);
            self.most = most;
            if self.left == 0 && is_past(self.told, TOLD) {
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
        Self::of(open(), limit())
    }

    /// `open` is `None` where there is not one left.
    fn of(open: Option<u64>, most: u64) -> Self {
        let open = open.unwrap_or(most);
        Self { open, most }
    }

    /// How many are free beyond those that are kept.
    fn spare(self) -> u64 {
        let free = self.most.saturating_sub(self.open);
        free.saturating_sub(self.most / KEPT)
    }
}

fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many are open; `None` where there is not one left.
fn open() -> Option<u64> {
    // Linux 6.2 and later say it as the folder's size.
    match fs::metadata(FOLDER).map(|folder| folder.len()) {
        Ok(len @ 1..) => Some(len),
        _ => listed(),
    }
}

/// As [`open`], one by one.
fn listed() -> Option<u64> {
    match fs::read_dir(FOLDER) {
        Ok(folder) => u64::try_from(folder.count()).ok(),
        // Where there is no such folder nobody knows, and the kernel refuses in the end.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(0),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn of_eighty(open: u64) -> Count {
        Count { open, most: 80 }
    }

    fn admits(gate: &mut Gate, now: Instant, open: u64) -> bool {
        gate.admits(now, 80, || Some(open))
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
        let (mut gate, now, mut open) = (Gate::new(), Instant::now(), 10);
        while admits(&mut gate, now, open) {
            open += 1;
        }
        assert_eq!(open, 70);
        assert_eq!((gate.paused, gate.pauses), (true, 1));
    }

    #[test]
    fn a_connection_that_has_weir_open_another_leaves_what_is_kept() {
        let (mut gate, now, mut open) = (Gate::new(), Instant::now(), 10);
        while admits(&mut gate, now, open) {
            open += 2;
        }
        assert!((70..=71).contains(&open), "{open}");
    }

    #[test]
    fn it_goes_on_once_there_is_room_and_each_pause_counts() {
        let (mut gate, mut now) = (Gate::new(), Instant::now());
        for pauses in 1..=3 {
            assert!(admits(&mut gate, now, 69));
            assert!(!gate.paused);
            for _ in 0..5 {
                assert!(!admits(&mut gate, now, 70));
            }
            assert_eq!((gate.paused, gate.pauses), (true, pauses));
            now += PAUSE;
        }
    }

    #[test]
    fn while_there_is_no_room_they_are_counted_once_a_pause() {
        let (mut gate, now) = (Gate::new(), Instant::now());
        assert!(!admits(&mut gate, now, 75));
        let soon = now + PAUSE / 2;
        assert!(!gate.admits(soon, 80, || panic!("counted just now")));
        assert!(admits(&mut gate, now + PAUSE, 10));
    }

    #[test]
    fn a_limit_that_is_lowered_holds_at_once() {
        let (mut gate, now) = (Gate::new(), Instant::now());
        assert!(gate.admits(now, 1000, || Some(75)));
        assert!(!admits(&mut gate, now, 75));
        assert!(gate.admits(now, 1000, || Some(75)));
    }

    #[test]
    fn where_not_one_is_left_nothing_is_accepted() {
        assert!(!Gate::new().admits(Instant::now(), 80, || None));
    }

    #[test]
    fn what_others_have_opened_meanwhile_is_seen_after_a_time() {
        let (mut gate, now) = (Gate::new(), Instant::now());
        assert!(admits(&mut gate, now, 10));
        assert!(gate.admits(now, 80, || panic!("counted just now")));
        assert!(!admits(&mut gate, now + HOLDS, 75));
    }

    #[test]
    fn descriptors_of_this_process_are_counted() {
        let before = Count::now();
        assert!(before.open >= 3 && before.open < before.most, "{before:?}");
        let mut files: Vec<_> = (0..100).map(|_| File::open("/").unwrap()).collect();
        // With holes.
        files.drain(..50);
        assert!(Count::now().open >= 53);
        assert!(listed().unwrap() >= 53);
        drop(files);
    }
}
