//! An exporter's thread for Kafka, over librdkafka.
//!
//! It works in sessions: a client is built and the topic verified, with back-off until both
//! succeed; then chunks are taken, and each trace is sent as a message. What librdkafka gives back
//! without being refused for good (topic deleted, not authorised yet, a fatal error of the
//! idempotent producer) ends the session, and the next one begins by sending it again, in order.
//! Meanwhile chunks wait in their source. Nothing times out. Memory is bounded: a quarter of
//! `buffer_bytes` for librdkafka, and where there is no spool the rest for chunks.
//!
//! A trace that is too large for one message becomes several ([`encoding`]), of the topic's own
//! limit where a broker turned out to take less than is configured. What is refused for good
//! becomes a [`dead_letter`], if those are wanted.

mod callback;
mod certificate;
mod client;
mod client_config;
pub(crate) mod consumer;
mod dead_letter;
mod delivery;
mod encoding;
mod errors;
mod heap;
mod kept;
mod pace;
mod parts;
mod probe;
mod stall;
mod statistics;
#[cfg(test)]
mod tests;
mod topic;

use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use super::Feed;
use super::log_limit::LogLimit;
use super::source::{Place, Taken};
use super::status::Reason;
use crate::config;
use crate::health::State;
use client::Producer;
use dead_letter::DeadLetters;
use delivery::{Back, Desk, Returned, Sent};
use encoding::{Encoded, Encoder, Part};
use kept::{Record, Room};

pub(super) use client_config::queue_bytes;
pub(crate) use client_config::{batch_wait, check_property, check_together, own_name};
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

/// How often records that cannot be read are logged again.
const UNREADABLE: Duration = Duration::from_secs(1);

pub(super) fn run(config: &config::Kafka, feed: &Feed) {
    heap::keep();
    feed.source.begin();
    let mut exporter = Exporter {
        config,
        feed,
        desk: Desk::new(config, feed),
        letters: DeadLetters::new(config),
        encoder: Encoder::new(config),
        // The other half is for records that are copied.
        room: Room::new(client_config::window_bytes(config) / 2),
        backoff: BACKOFF,
        unreadable: LogLimit::new(UNREADABLE),
    };
    while let Some(producer) = exporter.connect() {
        if let Ended::Closed = exporter.session(producer) {
            break;
        }
    }
    exporter.letters.close(&exporter.desk);
    exporter.desk.abandon(feed.source.is_durable());
}

struct Exporter<'a> {
    config: &'a config::Kafka,
    feed: &'a Feed,
    desk: Arc<Desk>,
    letters: DeadLetters<'a>,
    encoder: Encoder,
    room: Room,
    backoff: Duration,
    unreadable: LogLimit,
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
        if self.desk.is_too_large() {
            self.desk.shrink(topic::max_message_bytes(self.config));
            let limit = self.desk.payload_bytes();
            self.encoder.limit(limit, limit);
        }
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
        self.feed.health.beat();
        let until = Instant::now() + self.backoff;
        self.backoff = (2 * self.backoff).min(BACKOFF_MAX);
        while Instant::now() < until {
            let idle = self.feed.source.is_empty() && !self.desk.is_broken();
            let closing = self.feed.stop.deadline().is_some();
            if self.feed.stop.is_due() || (idle && closing) || self.feed.may_leave() {
                return true;
            }
            self.letters.deliver(&self.desk);
            self.feed.source.save(false);
            match producer {
                Some(producer) => producer.poll(BACKOFF.min(BUSY_WAIT)),
                None => std::thread::sleep(BACKOFF.min(BUSY_WAIT)),
            }
            self.feed.health.beat();
        }
        false
    }

    fn session(&mut self, mut producer: Producer) -> Ended {
        let (acknowledged, refused) = self.desk.answered();
        for (place, back) in self.desk.take_returned() {
            self.feed.meter.retried();
            match back {
                Back::Send(sent, message) => producer.send_again(sent, message, &self.feed.stop),
                Back::Split {
                    record,
                    payload_bytes,
                } => self.split(place, &record, payload_bytes, &producer),
            }
        }
        let ended = self.serve(&mut producer);
        if let Some(problem) = producer.forbidden() {
            self.desk.degrade(&problem);
        }
        // What is still queued or in flight comes back to the desk.
        drop(producer);
        if let Ended::Broken = ended {
            let now = self.desk.answered();
            let goes_on = now.0 > acknowledged || now.1 > refused;
            if goes_on {
                self.backoff = BACKOFF;
            }
            // There is no use in waiting where messages themselves were judged: their batch takes
            // its client with it.
            let judged = now.1 > refused || self.desk.is_too_large();
            if !(goes_on && judged) && self.back_off(None) {
                return Ended::Closed;
            }
        }
        ended
    }

    fn serve(&mut self, producer: &mut Producer) -> Ended {
        let mut has_more = false;
        loop {
            if self.desk.is_broken() {
                return Ended::Broken;
            }
            if self.feed.stop.is_due() || self.feed.may_leave() {
                return Ended::Closed;
            }
            let letters = self.letters.deliver(&self.desk);
            if letters && (self.letters.is_stuck() || self.desk.has_letters()) {
                // Nothing more is taken while there is no room for what is refused.
                producer.poll(BUSY_WAIT);
                self.feed.source.save(false);
                continue;
            }
            // What waits already is a large batch, and is not to pile up.
            if !std::mem::take(&mut has_more) {
                producer.keep_pace(&self.feed.stop);
            }
            let in_flight = producer.in_flight();
            let busy = in_flight > 0 || letters;
            let wait = if busy { BUSY_WAIT } else { IDLE_WAIT };
            match self.feed.source.recv(wait) {
                Ok(taken) => {
                    let since = Instant::now();
                    has_more = self.export_run(&taken, producer);
                    producer.run_ends(since);
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
                    while (producer.in_flight() > 0 || self.letters.deliver(&self.desk))
                        && !self.desk.is_broken()
                        && !self.feed.stop.is_due()
                        && !self.feed.may_leave()
                    {
                        if producer.in_flight() > 0 {
                            producer.flush(BUSY_WAIT);
                        } else {
                            producer.poll(BUSY_WAIT);
                        }
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
            producer.look_at_waiting();
        }
    }

    /// Exports chunks while there are any, but not for ever; says whether there may be more.
    fn export_run(&mut self, first: &Taken, producer: &mut Producer) -> bool {
        self.export(first, producer);
        for _ in 0..RUN {
            if self.desk.is_broken() || self.feed.stop.is_due() {
                return false;
            }
            let Some(taken) = self.feed.source.try_recv() else {
                std::thread::sleep(NAP);
                return false;
            };
            self.export(&taken, producer);
        }
        true
    }

    fn export(&mut self, taken: &Taken, producer: &mut Producer) {
        // A receiver's message is all that is needed to make it anew.
        let held = if self.encoder.is_prepared() {
            None
        } else {
            self.room.hold(&taken.chunk)
        };
        for (index, record) in taken.chunk.records().enumerate() {
            let place = taken.place(index).of(self.encoder.origin(record));
            let keep = || match &held {
                Some(held) => Record::InChunk(Arc::clone(held), index),
                None => Record::Own(Arc::from(record)),
            };
            match self.send(place, record, keep, producer, false) {
                Ok(Made::Messages | Made::Refused) => {}
                Ok(Made::Nothing) => self.feed.meter.sampled_out(),
                Err(error) => {
                    let limit = &mut self.unreadable;
                    self.feed.unreadable(place, &error, limit);
                }
            }
        }
        self.feed.source.settled().settled(taken.place(0));
        self.feed.meter.taken(taken.chunk.len());
        producer.poll_all();
    }

    /// Encodes a record and sends its messages; `again` where it was sent before. `keep` is called where
    /// it may be needed again.
    fn send(
        &mut self,
        place: Place,
        record: &[u8],
        keep: impl Fn() -> Record,
        producer: &Producer,
        again: bool,
    ) -> Result<Made, encoding::Error> {
        let settled = self.feed.source.settled();
        let is_prepared = self.encoder.is_prepared();
        let mut kept: Option<Record> = None;
        let mut begun = false;
        let mut begin = |part: Part| {
            if !begun && (part.count > 1 || again) {
                self.desk.begin_parts(place, part.count);
            }
            begun = true;
        };
        let encoded = self.encoder.encode(record, |message, part| {
            begin(part);
            // Of a whole message, the record is made again if that should be needed.
            let keeps = !is_prepared || part.count > 1 || again;
            let sent = Sent {
                place: place.part(part.index),
                record: keeps.then(|| kept.get_or_insert_with(&keep).clone()),
            };
            settled.sent(sent.place);
            producer.send(sent, message, &self.feed.stop);
        });
        let refused = match encoded? {
            Encoded::Sent => return Ok(Made::Messages),
            Encoded::SampledOut => return Ok(Made::Nothing),
            Encoded::TooLarge(refused) => refused,
        };
        let mut made = Made::Refused;
        for (part, message) in refused {
            if part.count > 1 {
                begin(part);
                made = Made::Messages;
            }
            if part.count > 1 || !again {
                settled.sent(place.part(part.index));
            }
            let message = Returned {
                key: message.key.map(<[u8]>::to_owned),
                payload: message.payload.to_owned(),
                headers: message.headers,
            };
            // No broker is asked.
            let cause = errors::TOO_LARGE.to_owned();
            let place = place.part(part.index);
            self.desk.refuse(place, message, Reason::TooLarge, cause);
        }
        Ok(made)
    }

    /// Sends a trace in smaller messages than the one of so many bytes that its topic did not take.
    fn split(&mut self, place: Place, record: &Record, payload_bytes: usize, producer: &Producer) {
        let limit = self.desk.payload_bytes();
        let alone = limit.min(payload_bytes.saturating_sub(1)).max(1);
        self.encoder
            .limit(limit.min(payload_bytes / 2).max(1), alone);
        match self.send(place, record.bytes(), || record.clone(), producer, true) {
            Ok(Made::Refused) => {}
            // It was encoded before: there is no other case but messages.
            Ok(Made::Messages | Made::Nothing) | Err(_) => self.desk.split_settled(place),
        }
        self.encoder.limit(limit, limit);
    }
}

/// What a record became.
enum Made {
    Messages,
    /// Sampling left it out.
    Nothing,
    Refused,
}
