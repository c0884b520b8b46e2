//! An exporter's thread for OTLP: many traces to one request, one request after the other, over one
//! connection to a collector.
//!
//! It begins with an empty request, by which it knows whether it is welcome, and takes nothing before
//! that is taken. What may be sent again is, by OTLP's rules ([`verdict`]), for as long as it takes;
//! meanwhile chunks wait in their source. What is too large is sent in smaller requests. What is
//! refused for good is lost, or becomes a line of a file ([`letters`]); and where that was no
//! fault of the traces, such as a wrong token, nothing more is sent until an empty request is
//! taken again.

mod backoff;
mod batch;
mod cause;
pub(crate) mod client;
mod delivery;
mod letters;
mod probe;
pub(crate) mod verdict;

use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use super::Feed;
use super::log_limit::LogLimit;
use super::source::{Place, Taken};
use super::status::Reason;
use crate::config;
use crate::health::State;
use backoff::Backoff;
use batch::{Batch, Encoder, Entry, Limits};
use client::Client;
use letters::Letters;

pub(super) use probe::probe;

/// Longest wait for a chunk.
const IDLE_WAIT: Duration = Duration::from_secs(1);

/// Pause after work, so that chunks gather: a worker then publishes without waking this thread.
const NAP: Duration = Duration::from_millis(5);

/// Most chunks between two looks at what else there is to do.
const RUN: usize = 64;

/// Between two looks at whether to end, while an answer is waited for.
const STEP: Duration = Duration::from_millis(100);

/// How often the same trouble is logged again.
const REFUSALS: Duration = Duration::from_secs(1);
const FAILURES: Duration = Duration::from_mins(1);

/// Between two tries to get a runtime.
const PAUSE: Duration = Duration::from_secs(1);

/// Most bytes of chunks that may wait in memory; the rest is for requests.
pub(super) fn queue_bytes(config: &config::OtlpExporter) -> usize {
    config.buffer_bytes - config.buffer_bytes / 4
}

pub(super) fn run(config: &config::OtlpExporter, feed: &Feed) {
    feed.source.begin();
    let runtime = loop {
        match runtime() {
            Ok(runtime) => break runtime,
            Err(error) => {
                feed.health.set(State::Degraded(error.to_string()));
                if feed.stop.wait(PAUSE) {
                    return;
                }
            }
        }
    };
    // Its clock is used outside of it, too.
    let _context = runtime.enter();
    let mut exporter = Exporter::new(config, feed, &runtime);
    // However it ends, what is left is counted.
    let _ = exporter.serve();
    exporter.abandon();
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// The exporter has to end before it has done what was asked.
struct Stopped;

struct Exporter<'a> {
    config: &'a config::OtlpExporter,
    feed: &'a Feed,
    runtime: &'a Runtime,
    client: Client<'a>,
    encoder: Encoder,
    letters: Option<Letters<'a>>,
    limits: Limits,
    backoff: Backoff,
    /// What is sent next.
    filling: Batch,
    /// Traces of the batch that is sent which are settled already.
    settled: u64,
    /// Traces taken and not settled when the exporter was stopped, beside those in `filling`.
    left: u64,
    failures: LogLimit,
    refusals: LogLimit,
    unreadable: LogLimit,
}

impl<'a> Exporter<'a> {
    fn new(config: &'a config::OtlpExporter, feed: &'a Feed, runtime: &'a Runtime) -> Self {
        Self {
            config,
            feed,
            runtime,
            client: Client::new(&config.to),
            encoder: Encoder::new(config),
            letters: Letters::new(&feed.exporter, config),
            limits: Limits {
                spans: config.batch_spans,
                bytes: config.batch_bytes,
            },
            backoff: Backoff::new(config),
            filling: Batch::default(),
            settled: 0,
            left: 0,
            failures: LogLimit::new(FAILURES),
            refusals: LogLimit::new(REFUSALS),
            unreadable: LogLimit::new(REFUSALS),
        }
    }

    fn serve(&mut self) -> Result<(), Stopped> {
        self.greet()?;
        loop {
            if self.feed.stop.is_due() || self.feed.may_leave() {
                return Err(Stopped);
            }
            self.feed.health.beat();
            let due = self
                .filling
                .since()
                .map(|since| since + self.config.flush_interval);
            let wait = due.map_or(IDLE_WAIT, |due| {
                due.saturating_duration_since(Instant::now()).min(IDLE_WAIT)
            });
            match self.feed.source.recv(wait) {
                Ok(taken) => self.take_run(taken)?,
                Err(RecvTimeoutError::Timeout) => {
                    // The connection is looked after only while this thread waits for it.
                    self.runtime
                        .block_on(tokio::time::sleep(Duration::from_millis(1)));
                }
                Err(RecvTimeoutError::Disconnected) => return self.flush(),
            }
            if due.is_some_and(|due| due <= Instant::now()) {
                self.flush()?;
            }
            self.feed.source.save(false);
            self.summarise();
        }
    }

    /// Takes chunks while there are any, but not for ever.
    fn take_run(&mut self, first: Taken) -> Result<(), Stopped> {
        self.take(&first)?;
        for _ in 0..RUN {
            let Some(taken) = self.feed.source.try_recv() else {
                thread::sleep(NAP);
                break;
            };
            self.take(&taken)?;
        }
        Ok(())
    }

    /// Puts the traces of a chunk into requests, and sends those that are full.
    fn take(&mut self, taken: &Taken) -> Result<(), Stopped> {
        let records = taken.chunk.len();
        self.feed.meter.taken(records);
        for (index, record) in taken.chunk.records().enumerate() {
            if let Err(stopped) = self.add(taken.place(index), record) {
                self.left += records.saturating_sub(index as u64);
                return Err(stopped);
            }
        }
        self.feed.source.settled().settled(taken.place(0));
        Ok(())
    }

    fn add(&mut self, place: Place, record: &[u8]) -> Result<(), Stopped> {
        match self.encoder.piece(record) {
            Ok(Some(piece)) if piece.fits(&self.filling, self.limits) => {
                self.feed.source.settled().sent(place);
                let before = self.filling.held();
                let record = Arc::from(record);
                self.filling.push(Entry { place, record }, &piece);
                let held = self.filling.held() - before;
                self.feed.meter.in_flight.add(held);
                return Ok(());
            }
            // An empty batch has room.
            Ok(Some(_)) => {}
            Ok(None) => {
                self.feed.meter.sampled_out();
                return Ok(());
            }
            Err(error) => {
                let limit = &mut self.unreadable;
                self.feed.unreadable(place, &error, limit);
                return Ok(());
            }
        }
        self.flush()?;
        self.add(place, record)
    }

    /// Counts what was taken and will not be sent; with a spool, the next run sends it.
    fn abandon(&mut self) {
        self.feed.meter.in_flight.subtract(self.filling.held());
        let left = self.left + self.filling.len() as u64;
        if left > 0 && !self.feed.source.is_durable() {
            self.feed.meter.lose(Reason::Shutdown, left);
        }
    }

    fn well(&mut self) {
        self.backoff.reset();
        if self.feed.health.set(State::Ok) {
            tracing::info!(exporter = self.feed.exporter, "delivering by otlp");
        }
    }

    fn degrade(&mut self, message: String) {
        if let Some(count) = self.failures.permit(&message, "", Instant::now()) {
            tracing::error!(exporter = self.feed.exporter, count, "{message}");
        }
        self.feed.health.set(State::Degraded(message));
    }

    /// Logs the counts that the limits have held back.
    fn summarise(&mut self) {
        let exporter = &self.feed.exporter;
        self.refusals.due(Instant::now(), |message, _, count| {
            tracing::error!(exporter, count, "{message}");
        });
    }
}
