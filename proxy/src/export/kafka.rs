//! An exporter's thread for Kafka, over librdkafka.
//!
//! It works in sessions: a client is built and the topic verified, with back-off until both
//! succeed; then chunks are taken, and each trace is sent as a message. What librdkafka gives back
//! without being refused for good (topic deleted, not authorised yet, a fatal error of the
//! idempotent producer) ends the session, and the next one begins by sending it again, in order.
//! Meanwhile chunks wait in their queue. Nothing times out: memory alone bounds what is kept, a
//! quarter of `buffer_bytes` for librdkafka and the rest for chunks.
//!
//! The splitter of traces that are too large and the dead letters are not here yet; their places
//! are [`client::Producer::send`] and [`delivery`].

mod client;
mod client_config;
mod delivery;
mod encoding;
mod errors;
mod log_limit;
#[cfg(test)]
mod tests;
mod topic;

use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use super::Feed;
use super::queue::Chunk;
use super::status::{Reason, State};
use crate::config;
use client::Producer;
use delivery::Desk;
use encoding::Encoder;

pub(crate) use client_config::check_property;
pub(super) use client_config::queue_bytes;

/// Longest wait for a chunk while acknowledgements are outstanding, and while none are.
const BUSY_WAIT: Duration = Duration::from_millis(100);
const IDLE_WAIT: Duration = Duration::from_secs(1);

/// Pause after work, so that chunks gather: a worker then publishes without waking this thread.
const NAP: Duration = Duration::from_millis(5);

/// Waits between tries to connect.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

pub(super) fn run(config: &config::Kafka, feed: &Feed) {
    let mut exporter = Exporter {
        config,
        feed,
        desk: Desk::new(config, feed),
        encoder: Encoder::new(config),
        backoff: BACKOFF,
    };
    while let Some(producer) = exporter.connect() {
        if let Ended::Closed = exporter.session(producer) {
            break;
        }
    }
    feed.meter
        .lose(Reason::Shutdown, exporter.desk.take_returned().len() as u64);
}

struct Exporter<'a> {
    config: &'a config::Kafka,
    feed: &'a Feed,
    desk: Arc<Desk>,
    encoder: Encoder,
    backoff: Duration,
}

/// How a session ended.
enum Ended {
    /// The exporter is to end.
    Closed,
    /// Messages came back, to be sent by a new client.
    Broken,
}

impl Exporter<'_> {
    /// A client whose topic is there; `None` when the exporter is to end.
    fn connect(&mut self) -> Option<Producer> {
        let mut built = None;
        loop {
            let producer = match built {
                Some(producer) => Ok(producer),
                None => Producer::new(self.config, self.desk.clone()),
            };
            let problem = match producer {
                Ok(producer) => match topic::verify(&producer, self.config, &self.feed.stop) {
                    Ok(()) => {
                        // What came back once is well when it has been delivered.
                        if !self.desk.is_broken() {
                            self.desk.recovered();
                        }
                        return Some(producer);
                    }
                    Err(problem) => {
                        built = Some(producer);
                        problem
                    }
                },
                Err(problem) => {
                    built = None;
                    problem
                }
            };
            self.desk.degrade(&problem);
            if self.back_off(built.as_ref()) {
                return None;
            }
        }
    }

    /// Waits before another try; says whether the exporter is to end instead.
    fn back_off(&mut self, producer: Option<&Producer>) -> bool {
        let until = Instant::now() + self.backoff;
        self.backoff = (2 * self.backoff).min(BACKOFF_MAX);
        while Instant::now() < until {
            let idle = self.feed.meter.queue.get() == 0 && !self.desk.is_broken();
            if self.feed.stop.is_due() || (idle && self.feed.stop.deadline().is_some()) {
                return true;
            }
            match producer {
                Some(producer) => producer.poll(BACKOFF.min(BUSY_WAIT)),
                None => std::thread::sleep(BACKOFF.min(BUSY_WAIT)),
            }
        }
        false
    }

    fn session(&mut self, mut producer: Producer) -> Ended {
        let acknowledged = self.desk.acknowledged();
        for message in self.desk.take_returned() {
            producer.send_again(message, &self.feed.stop);
        }
        let ended = self.serve(&mut producer);
        // What is still queued or in flight comes back to the desk.
        drop(producer);
        if let Ended::Broken = ended {
            if self.desk.acknowledged() > acknowledged {
                self.backoff = BACKOFF;
            }
            if self.back_off(None) {
                return Ended::Closed;
            }
        }
        ended
    }

    fn serve(&mut self, producer: &mut Producer) -> Ended {
        loop {
            if self.desk.is_broken() {
                return Ended::Broken;
            }
            if self.feed.stop.is_due() {
                return Ended::Closed;
            }
            let in_flight = producer.in_flight();
            let wait = if in_flight > 0 { BUSY_WAIT } else { IDLE_WAIT };
            match self.feed.chunks.recv(wait) {
                Ok(chunk) => {
                    self.export(&chunk, producer);
                    while !self.desk.is_broken()
                        && let Ok(chunk) = self.feed.chunks.try_recv()
                    {
                        self.export(&chunk, producer);
                    }
                    std::thread::sleep(NAP);
                }
                Err(RecvTimeoutError::Timeout) => {
                    // A connection lost while nothing is sent comes back only by being asked for.
                    if in_flight == 0 && matches!(self.feed.health.get(), State::Degraded(_)) {
                        match topic::verify(producer, self.config, &self.feed.stop) {
                            Ok(()) => self.desk.recovered(),
                            Err(problem) => self.desk.degrade(&problem),
                        }
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    while producer.in_flight() > 0
                        && !self.desk.is_broken()
                        && !self.feed.stop.is_due()
                    {
                        producer.flush(BUSY_WAIT);
                    }
                    return if self.desk.is_broken() {
                        Ended::Broken
                    } else {
                        Ended::Closed
                    };
                }
            }
            producer.poll_all();
            self.desk.summarise();
        }
    }

    fn export(&mut self, chunk: &Chunk, producer: &mut Producer) {
        for record in chunk.records() {
            match self.encoder.encode(record) {
                Ok(Some(message)) => producer.send(message, &self.feed.stop),
                Ok(None) => self.feed.meter.sampled_out(),
                Err(error) => {
                    self.feed.meter.lose(Reason::Invalid, 1);
                    tracing::error!(exporter = self.feed.exporter, %error, "a record does not decode");
                }
            }
        }
        self.feed.meter.taken(chunk.len());
        producer.poll_all();
    }
}
