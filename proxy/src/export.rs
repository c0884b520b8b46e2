//! 10 — From finished traces to where they are delivered.
//!
//! Workers leave records in their [`handoff::Handoff`]: in the [`spool`] where there is one, else in
//! chunks for each exporter's bounded queue. Each exporter has a [`source`] of chunks and a thread of
//! its own, which decodes, filters, encodes and sends. Nothing here makes a worker wait: what has no
//! room is dropped and counted.

pub mod handoff;
pub(crate) mod kafka;
mod letter_file;
pub(crate) mod local;
mod log_limit;
pub mod metrics;
pub(crate) mod otlp;
pub mod outlet;
pub mod prepared;
mod queue;
mod source;
pub mod spool;
pub mod statistics;
pub mod status;
mod stop;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tickets;

use std::convert::Infallible;
use std::fmt::Display;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use indexmap::IndexMap;

use crate::config;
use crate::health::State;
use crate::lock::lock;
use handoff::{Handoff, Set};
use log_limit::LogLimit;
use source::{Place, Sender, Source};
use spool::Spool;
use status::{Fates, Health, Meter, Reason, Status};
use stop::{Shutdown, Stop};

/// How long an exporter that a reload took away may go on delivering what it has.
const CLOSE_GRACE: Duration = Duration::from_secs(30);

/// How long an exporter that a reload changed may wait for acknowledgements, where its successor
/// goes on by the spool.
const HANDOVER: Duration = Duration::from_secs(5);

/// Time past a deadline for threads to count what they still hold and end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Between a panic of an exporter and its next try.
const PANIC_PAUSE: Duration = Duration::from_secs(1);

/// The exporters of a running Weir: starts their threads, owns their sources and the spool.
#[derive(Debug)]
pub struct Exporters {
    set: Set,
    local: local::Link,
    running: Mutex<IndexMap<String, Running>>,
    threads: Threads,
}

impl Exporters {
    /// Starts every enabled exporter, with traces in `spool` or in memory. None is waited for:
    /// connecting is their own affair.
    pub fn start(config: &IndexMap<String, config::Exporter>, spool: Option<Spool>) -> Self {
        let (alive, ended) = mpsc::channel();
        let exporters = Self {
            set: Set::default(),
            local: local::Link::default(),
            running: Mutex::default(),
            threads: Threads {
                shutdown: Arc::default(),
                spool,
                alive: Mutex::new(Some(alive)),
                ended: Mutex::new(ended),
            },
        };
        exporters.apply(config);
        exporters
    }

    /// A worker's way to the exporters there are, now and after each reload.
    pub fn handoff(&self) -> Handoff {
        let writer = self.threads.spool.as_ref().map(Spool::writer);
        Handoff::new(
            self.set.clone(),
            writer,
            local::Local::new(self.local.clone()),
        )
    }

    /// Where workers leave traces for the local store, from now on; `None`: nowhere.
    pub(crate) fn keep_local(&self, intake: Option<local::Intake>) {
        self.local.store(intake.map(Arc::new));
    }

    /// Makes the running exporters those of `config`. One whose configuration is as before runs on;
    /// the others deliver what they have, and end. With a spool, a changed one leaves what it has
    /// to its successor.
    pub fn apply(&self, config: &IndexMap<String, config::Exporter>) {
        let mut running = lock(&self.running);
        let mut previous = std::mem::take(&mut *running);
        for (name, config) in config.iter().filter(|(_, config)| config.is_enabled()) {
            let exporter = match previous.swap_remove(name) {
                Some(unchanged) if unchanged.config == *config => unchanged,
                changed => self.threads.start(name, config, changed),
            };
            running.insert(name.clone(), exporter);
        }
        for removed in previous.values() {
            removed.stop.by(Instant::now() + CLOSE_GRACE);
        }
        let senders = running.values().map(|running| running.sender.clone());
        self.set.store(Arc::new(senders.collect()));
        if let Some(spool) = &self.threads.spool {
            let names = running.keys().chain(previous.keys());
            spool.store().retain(names.cloned().collect());
        }
    }

    /// How each exporter fares, in the order of the configuration.
    pub fn status(&self) -> Vec<Status> {
        lock(&self.running)
            .iter()
            .map(|(name, running)| {
                let mut status = running.status(name);
                if let Some(spool) = &self.threads.spool {
                    status.oldest = spool.store().oldest(name);
                }
                status
            })
            .collect()
    }

    /// What became of each exporter's messages, by the way that they came to a receiver.
    pub fn fates(&self) -> Vec<[Fates; prepared::ORIGINS]> {
        let running = lock(&self.running);
        running.iter().map(|(_, it)| it.meter.fates()).collect()
    }

    /// How the spool fares, where there is one.
    pub fn spool(&self) -> Option<spool::Status> {
        self.threads.spool.as_ref().map(Spool::status)
    }

    /// Delivers what there is until `deadline`. The rest stays in the spool; without one, it is
    /// counted as dropped ([`Reason::Shutdown`]). Blocks; hand-offs still there are of no more use.
    pub fn shutdown(&self, deadline: Instant) -> Vec<Status> {
        self.threads.shutdown.by(deadline);
        self.set.store(Arc::default());
        let stopped: Vec<_> = lock(&self.running)
            .drain(..)
            .map(|(name, running)| {
                if self.threads.spool.is_some() && running.health.get() != State::Ok {
                    // What it has is safe, and waiting would be in vain.
                    running.stop.by(Instant::now());
                }
                (name, running.meter, running.health)
            })
            .collect();
        self.threads.join(deadline + LAST_WORDS);
        if let Some(spool) = &self.threads.spool {
            spool.close();
        }
        stopped
            .into_iter()
            .map(|(name, meter, health)| meter.status(&name, &health))
            .collect()
    }
}

/// What an exporter's thread works with.
#[derive(Debug)]
struct Feed {
    exporter: String,
    source: Source,
    meter: Arc<Meter>,
    health: Arc<Health>,
    stop: Stop,
}

impl Feed {
    /// Whether there is no use in waiting any longer: the exporter is to end, and what it cannot
    /// deliver now stays in the spool.
    fn may_leave(&self) -> bool {
        self.source.is_durable() && self.stop.deadline().is_some() && self.health.get() != State::Ok
    }

    /// A record that cannot be read is lost: it is counted, and told of as often as `limit` permits.
    fn unreadable(&self, place: Place, error: &impl Display, limit: &mut LogLimit) {
        let settled = self.source.settled();
        settled.sent(place);
        settled.lost(place);
        self.meter.lose(Reason::Invalid, 1);
        let exporter = &self.exporter;
        if let Some(count) = limit.permit("unreadable", "", Instant::now()) {
            tracing::error!(exporter, count, %error, "a record does not decode");
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
    /// Set where it is to leave what it has not taken to its successor.
    leave: Arc<AtomicBool>,
    /// Disconnected when its thread has ended.
    ended: mpsc::Receiver<Infallible>,
}

impl Running {
    fn status(&self, name: &str) -> Status {
        self.meter.status(name, &self.health)
    }
}

/// Starts threads, and knows when all have ended.
#[derive(Debug)]
struct Threads {
    shutdown: Arc<Shutdown>,
    spool: Option<Spool>,
    /// Each thread holds a clone while it runs.
    alive: Mutex<Option<mpsc::Sender<Infallible>>>,
    ended: Mutex<mpsc::Receiver<Infallible>>,
}

impl Threads {
    /// Starts an exporter, in the place of `before` where there was one of that name.
    fn start(&self, name: &str, config: &config::Exporter, before: Option<Running>) -> Running {
        let meter: Arc<Meter> = before
            .as_ref()
            .map_or_else(Arc::default, |before| before.meter.clone());
        let leave = Arc::default();
        let (sender, source) = match &self.spool {
            Some(spool) => source::spool(spool.store(), name, &meter, &leave),
            None => source::memory(config.queue_bytes(), &meter, config.has_tickets()),
        };
        let predecessor = before.and_then(|before| {
            if !source.is_durable() {
                before.stop.by(Instant::now() + CLOSE_GRACE);
                return None;
            }
            source::leave(&before.leave);
            before.stop.by(Instant::now() + HANDOVER);
            Some(before.ended)
        });
        let stop = Stop::new(self.shutdown.clone());
        let health = Arc::new(Health::default());
        let feed = Feed {
            exporter: name.to_owned(),
            source,
            meter: meter.clone(),
            health: health.clone(),
            stop: stop.clone(),
        };
        if predecessor.is_none() {
            // A new one gets all that is appended from now on.
            feed.source.begin();
        }
        let (own, ended) = mpsc::channel::<Infallible>();
        let alive = lock(&self.alive).clone();
        let config_of_thread = config.clone();
        let spawned = thread::Builder::new()
            .name(format!("export-{name}"))
            .spawn(move || {
                let _alive = (alive, own);
                if let Some(predecessor) = predecessor {
                    // Nothing is ever sent.
                    let _ = predecessor.recv();
                }
                run(&config_of_thread, &feed);
            });
        if let Err(error) = spawned {
            tracing::error!(exporter = name, %error, "no thread for an exporter");
            health.set(State::Degraded(error.to_string()));
        }
        Running {
            config: config.clone(),
            sender,
            meter,
            health,
            stop,
            leave,
            ended,
        }
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
    keep_running(feed, || match config {
        config::Exporter::Kafka(config) => kafka::run(config, feed),
        config::Exporter::Otlp(config) => otlp::run(config, feed),
    });
}

/// Runs what exports until it returns, and again where it panics.
fn keep_running(feed: &Feed, export: impl Fn()) {
    let before = feed.meter.dropped(Reason::Shutdown);
    while panic::catch_unwind(AssertUnwindSafe(&export)).is_err() {
        let message = "panicked; starting again";
        tracing::error!(exporter = feed.exporter, message);
        feed.health.set(State::Degraded(message.to_owned()));
        if feed.stop.wait(PANIC_PAUSE) {
            break;
        }
    }
    feed.source.abandon();
    feed.health.rest();
    if feed.stop.is_own() {
        feed.source.forget();
    }
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
            Self::Otlp(config) => config.enabled,
        }
    }

    /// Whether somebody waits for what it delivers.
    fn has_tickets(&self) -> bool {
        match self {
            Self::Kafka(config) => matches!(config.format, config::Format::Prepared(_)),
            Self::Otlp(_) => false,
        }
    }

    /// Most bytes of chunks that may wait.
    fn queue_bytes(&self) -> usize {
        match self {
            Self::Kafka(config) => kafka::queue_bytes(config),
            Self::Otlp(config) => otlp::queue_bytes(config),
        }
    }

    /// The key that says what it is.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Kafka(_) => "kafka",
            Self::Otlp(_) => "otlp",
        }
    }

    /// Tries once to reach its destination, and says how it went. Blocks.
    pub(crate) fn probe(&self) -> Result<String, String> {
        match self {
            Self::Kafka(config) => kafka::probe(config),
            Self::Otlp(config) => otlp::probe(config),
        }
    }
}
