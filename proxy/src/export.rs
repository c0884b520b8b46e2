//! 10 — From finished traces to where they are delivered.
//!
//! Workers leave records in their [`handoff::Handoff`], which publishes them in chunks. Each
//! exporter has a bounded queue of chunks and a thread of its own, which decodes, filters, encodes
//! and sends. Nothing here makes a worker wait: what has no room is dropped and counted.

pub mod handoff;
pub(crate) mod kafka;
mod queue;
pub mod status;
mod stop;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use indexmap::IndexMap;

use crate::config;
use handoff::{Handoff, Set};
use queue::{Receiver, Sender};
use status::{Health, Meter, Reason, State, Status};
use stop::{Shutdown, Stop};

/// How long an exporter that a reload took away may go on delivering what it has.
const CLOSE_GRACE: Duration = Duration::from_secs(30);

/// Time past a deadline for threads to count what they still hold and end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Between a panic of an exporter and its next try.
const PANIC_PAUSE: Duration = Duration::from_secs(1);

/// The exporters of a running Weir: starts their threads, owns their queues.
#[derive(Debug)]
pub struct Exporters {
    set: Set,
    running: Mutex<IndexMap<String, Running>>,
    threads: Threads,
}

impl Exporters {
    /// Starts every enabled exporter. None is waited for: connecting is their own affair.
    pub fn start(config: &IndexMap<String, config::Exporter>) -> Self {
        let (alive, ended) = mpsc::channel();
        let exporters = Self {
            set: Set::default(),
            running: Mutex::default(),
            threads: Threads {
                shutdown: Arc::default(),
                alive: Mutex::new(Some(alive)),
                ended: Mutex::new(ended),
            },
        };
        exporters.apply(config);
        exporters
    }

    /// A worker's way to the exporters there are, now and after each reload.
    pub fn handoff(&self) -> Handoff {
        Handoff::new(self.set.clone())
    }

    /// Makes the running exporters those of `config`. One whose configuration is as before runs on;
    /// the others deliver what they have, and end.
    pub fn apply(&self, config: &IndexMap<String, config::Exporter>) {
        let mut running = lock(&self.running);
        let mut previous = std::mem::take(&mut *running);
        for (name, config) in config.iter().filter(|(_, config)| config.is_enabled()) {
            let exporter = match previous.swap_remove(name) {
                Some(unchanged) if unchanged.config == *config => unchanged,
                Some(changed) => {
                    changed.stop.by(Instant::now() + CLOSE_GRACE);
                    self.threads.start(name, config, changed.meter)
                }
                None => self.threads.start(name, config, Arc::default()),
            };
            running.insert(name.clone(), exporter);
        }
        for removed in previous.values() {
            removed.stop.by(Instant::now() + CLOSE_GRACE);
        }
        let senders = running.values().map(|running| running.sender.clone());
        self.set.store(Arc::new(senders.collect()));
    }

    /// How each exporter fares, in the order of the configuration.
    pub fn status(&self) -> Vec<Status> {
        lock(&self.running)
            .iter()
            .map(|(name, running)| running.status(name))
            .collect()
    }

    /// Delivers what there is until `deadline`, and counts the rest as dropped
    /// ([`Reason::Shutdown`]). Blocks; hand-offs still there are of no more use.
    pub fn shutdown(&self, deadline: Instant) -> Vec<Status> {
        self.threads.shutdown.by(deadline);
        self.set.store(Arc::default());
        let stopped: Vec<_> = lock(&self.running)
            .drain(..)
            .map(|(name, running)| (name, running.meter, running.health))
            .collect();
        self.threads.join(deadline + LAST_WORDS);
        stopped
            .into_iter()
            .map(|(name, meter, health)| meter.status(&name, health.get()))
            .collect()
    }
}

/// What an exporter's thread works with.
#[derive(Debug)]
struct Feed {
    exporter: String,
    chunks: Receiver,
    meter: Arc<Meter>,
    health: Arc<Health>,
    stop: Stop,
}

impl Feed {
    /// Counts what is still queued as lost.
    fn abandon(&self) {
        while let Ok(chunk) = self.chunks.try_recv() {
            self.meter.lose(Reason::Shutdown, chunk.len());
        }
    }
}

/// The outer side of an exporter's thread.
#[derive(Debug)]
struct Running {
    config: config::Exporter,
    sender: Sender,
    meter: Arc<Meter>,
    health: Arc<Health>,
    stop: Stop,
}

impl Running {
    fn status(&self, name: &str) -> Status {
        self.meter.status(name, self.health.get())
    }
}

/// Starts threads, and knows when all have ended.
#[derive(Debug)]
struct Threads {
    shutdown: Arc<Shutdown>,
    /// Each thread holds a clone while it runs.
    alive: Mutex<Option<mpsc::Sender<Infallible>>>,
    ended: Mutex<mpsc::Receiver<Infallible>>,
}

impl Threads {
    fn start(&self, name: &str, config: &config::Exporter, meter: Arc<Meter>) -> Running {
        let stop = Stop::new(self.shutdown.clone());
        let health = Arc::new(Health::default());
        let (sender, chunks) = queue::bounded(config.queue_bytes(), meter.clone());
        let feed = Feed {
            exporter: name.to_owned(),
            chunks,
            meter: meter.clone(),
            health: health.clone(),
            stop: stop.clone(),
        };
        let running = Running {
            config: config.clone(),
            sender,
            meter,
            health,
            stop,
        };
        let alive = lock(&self.alive).clone();
        let config = config.clone();
        let spawned = thread::Builder::new()
            .name(format!("export-{name}"))
            .spawn(move || {
                let _alive = alive;
                run(&config, &feed);
            });
        if let Err(error) = spawned {
            tracing::error!(exporter = name, %error, "no thread for an exporter");
            running.health.set(State::Degraded(error.to_string()));
        }
        running
    }

    /// Returns once all threads have ended, or at `deadline`.
    fn join(&self, deadline: Instant) {
        lock(&self.alive).take();
        // Nothing is ever sent: it ends with the last sender.
        let _ = lock(&self.ended).recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

/// An exporter's thread: runs until the exporter is stopped, whatever happens.
fn run(config: &config::Exporter, feed: &Feed) {
    let before = feed.meter.dropped(Reason::Shutdown);
    let export = || match config {
        config::Exporter::Kafka(config) => kafka::run(config, feed),
    };
    while panic::catch_unwind(AssertUnwindSafe(export)).is_err() {
        let message = "panicked; starting again";
        tracing::error!(exporter = feed.exporter, message);
        feed.health.set(State::Degraded(message.to_owned()));
        if feed.stop.wait(PANIC_PAUSE) {
            break;
        }
    }
    feed.abandon();
    let lost = feed.meter.dropped(Reason::Shutdown) - before;
    if lost > 0 {
        tracing::error!(
            exporter = feed.exporter,
            traces = lost,
            "stopped before all traces were delivered"
        );
    }
}

impl config::Exporter {
    pub(crate) fn is_enabled(&self) -> bool {
        match self {
            Self::Kafka(config) => config.enabled,
        }
    }

    /// Most bytes of chunks that may wait.
    fn queue_bytes(&self) -> usize {
        match self {
            Self::Kafka(config) => kafka::queue_bytes(config),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
