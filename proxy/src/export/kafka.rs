//! An exporter's thread for Kafka, over librdkafka.
//!
//! It works in sessions: a client is built and the topic verified, with back-off until both
//! succeed; then chunks are taken, and each trace is sent as a message. What librdkafka gives back
//! without being refused for good (topic deleted, not authorised yet, a fatal error of the
//! idempotent producer) ends the session, and the next one begins by sending it again, in order.
//! Meanwhile chunks wait in their source. Nothing times out. Memory is bounded: a quarter of
//! `buffer_bytes` for librdkafka, and where there is no spool the rest for chunks.
//!
//! A trace that is too large for one message becomes several ([`encoding`]). Dead letters are not
//! here yet; their place is [`delivery`].

mod client;
mod client_config;
mod delivery;
mod encoding;
mod errors;
mod log_limit;
mod probe;
#[cfg(test)]
mod tests;
mod topic;

use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use super::Feed;
use super::source::Taken;
use super::status::{Reason, State};
use crate::config;
use client::Producer;
use delivery::Desk;
use encoding::{Encoded, Encoder};

pub(crate) use client_config::check_property;
pub(super) use client_config::queue_bytes;
pub(crate) use probe::probe;

/// Longest wait for a chunk while acknowledgements are outstanding, and while none are.
const BUSY_WAIT: Duration = Duration::from_millis(100);
const IDLE_WAIT: Duration = Duration::from_secs(1);

/// Pause after work, so that chunks gather: a worker then publishes without waking this thread.
const NAP: Duration = Duration::from_millis(5);

/// Most chunks between two looks at what else there is to do.
const RUN: usize = 64;

/// Waits between tries to connect.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

pub(super) fn run(config: &config::Kafka, feed: &Feed) {
    feed.source.begin();
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
    if !feed.source.is_durable() {
        let lost = exporter.desk.take_returned().len() as u64;
        feed.meter.lose(Reason::Shutdown, lost);
    }
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
            let idle = self.feed.source.is_empty() && !self.desk.is_broken();
            let closing = self.feed.stop.deadline().is_some();
            if self.feed.stop.is_due() || (idle && closing) || self.feed.may_leave() {
                return true;
            }
            self.feed.source.save(false);
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
            if self.feed.stop.is_due() || self.feed.may_leave() {
                return Ended::Closed;
            }
            let in_flight = producer.in_flight();
            let wait = if in_flight > 0 { BUSY_WAIT } else { IDLE_WAIT };
            match self.feed.source.recv(wait) {
                Ok(taken) => self.export_run(taken, producer),
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
                        && !self.feed.may_leave()
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
            self.feed.source.save(false);
            self.desk.summarise();
        }
    }

    /// Exports chunks while there are any, but not for ever.
    fn export_run(&mut self, first: Taken, producer: &mut Producer) {
        self.export(&first, producer);
        for _ in 0..RUN {
            if self.desk.is_broken() || self.feed.stop.is_due() {
                return;
            }
            let Some(taken) = self.feed.source.try_recv() else {
                return std::thread::sleep(NAP);
            };
            self.export(&taken, producer);
        }
    }

    fn export(&mut self, taken: &Taken, producer: &mut Producer) {
        let settled = self.feed.source.settled();
        let mut sent = 0;
        for record in taken.chunk.records() {
            let encoded = self.encoder.encode(record, |message, more| {
                let place = taken.place(sent, more);
                sent += 1;
                settled.sent(place);
                producer.send(place, message, &self.feed.stop);
            });
            match encoded {
                Ok(Encoded::Sent) => {}
                Ok(Encoded::SampledOut) => self.feed.meter.sampled_out(),
                Err(error) => {
                    self.feed.meter.lose(Reason::Invalid, 1);
                    tracing::error!(exporter = self.feed.exporter, %error, "a record does not decode");
                }
            }
        }
        settled.settled(taken.place(0, false));
        self.feed.meter.taken(taken.chunk.len());
        producer.poll_all();
    }
}
