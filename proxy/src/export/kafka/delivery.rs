//! The desk that callbacks report to: what was acknowledged, what came back, what is lost.
//!
//! It outlives clients: messages that one gave back are sent by the next, and those that are too
//! large for the topic are split anew by the exporter. What is refused for good waits here as
//! [`Letter`]s until it has been written elsewhere ([`super::dead_letter`]), or is lost. What is
//! logged of a message comes last: a log that breaks is not to leave it unsettled.

mod letters;
mod returned;

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{BorrowedHeaders, DeliveryResult, Message as _};

use super::encoding::payload_bytes;
use super::errors::{self, Problem, Verdict};
use super::kept::Record;
use super::parts::{Outcome, Parts};
use crate::config;
use crate::export::Feed;
use crate::export::log_limit::LogLimit;
use crate::export::source::{Place, Settled};
use crate::export::status::{Health, Meter, Reason};
use crate::health::State;
use crate::lock::lock;
pub(super) use letters::Letter;
pub(super) use returned::{Returned, size};

/// How often the same trouble is logged again.
const WRITE_FAILURES: Duration = Duration::from_secs(1);
const CONNECTION_FAILURES: Duration = Duration::from_mins(1);

/// librdkafka repeats a trouble that lasts each 30 seconds.
const CAUSE_AGE: Duration = Duration::from_mins(1);

pub(super) struct Desk {
    exporter: String,
    topic: String,
    /// As it is configured.
    max_message_bytes: usize,
    has_dead_letters: bool,
    /// Whether messages are made of records that are messages already.
    is_prepared: bool,
    meter: Arc<Meter>,
    health: Arc<Health>,
    settled: Settled,
    state: Mutex<Desktop>,
}

/// What goes with a message to librdkafka and comes back when it is settled: where it belongs, and
/// what it was made of, should it have to be made anew.
pub(super) struct Sent {
    pub(super) place: Place,
    /// `None` where it is the message itself, of a receiver's.
    pub(super) record: Option<Record>,
}

/// What is to be done about a message that came back.
pub(super) enum Back {
    Send(Sent, Returned),
    /// The topic does not take a payload of so many bytes: the trace is to be made anew, smaller.
    Split {
        record: Record,
        payload_bytes: usize,
    },
}

struct Desktop {
    acknowledged: u64,
    refused: u64,
    /// Of the client there is now.
    batch_bytes: usize,
    /// A batch was too large.
    shrink: bool,
    /// Most bytes of a message that the topic takes, where that was found out.
    topic_limit: Option<usize>,
    returned: BTreeMap<Place, Back>,
    parts: Parts,
    letters: VecDeque<Letter>,
    /// Why dead letters cannot be written now.
    letters_wait: Option<String>,
    /// The client refuses for ever.
    fatal: bool,
    /// Whether the health is known to be good.
    well: bool,
    /// The latest trouble with a broker.
    cause: Option<(Instant, String)>,
    write_failures: LogLimit,
    connection_failures: LogLimit,
}

impl Desk {
    pub(super) fn new(config: &config::Kafka, feed: &Feed) -> Arc<Self> {
        Arc::new(Self {
            exporter: feed.exporter.clone(),
            topic: config.topic.clone(),
            max_message_bytes: config.producer.max_message_bytes,
            has_dead_letters: config.dead_letter.is_some(),
            is_prepared: matches!(config.format, config::Format::Prepared(_)),
            meter: feed.meter.clone(),
            health: feed.health.clone(),
            settled: feed.source.settled(),
            state: Mutex::new(Desktop {
                acknowledged: 0,
                refused: 0,
                batch_bytes: config.producer.batch_bytes,
                shrink: false,
                topic_limit: None,
                returned: BTreeMap::new(),
                parts: Parts::default(),
                letters: VecDeque::new(),
                letters_wait: None,
                fatal: false,
                well: false,
                cause: None,
                write_failures: LogLimit::new(WRITE_FAILURES),
                connection_failures: LogLimit::new(CONNECTION_FAILURES),
            }),
        })
    }

    pub(super) fn exporter(&self) -> &str {
        &self.exporter
    }

    /// The exporter's thread moves.
    pub(super) fn beat(&self) {
        self.health.beat();
    }

    /// What librdkafka counts begins anew.
    pub(super) fn client_begins(&self) {
        self.meter.client().begin();
    }

    pub(super) fn statistics(&self, statistics: &rdkafka::Statistics) {
        let statistics = super::statistics::of(statistics);
        self.meter.client().update(statistics);
    }

    /// Messages acknowledged so far.
    pub(super) fn acknowledged(&self) -> u64 {
        self.state().acknowledged
    }

    /// Messages that were acknowledged, and refused for good.
    pub(super) fn answered(&self) -> (u64, u64) {
        let state = self.state();
        (state.acknowledged, state.refused)
    }

    /// Whether the topic turned out to take less than was sent.
    pub(super) fn is_too_large(&self) -> bool {
        self.state().shrink
    }

    /// Notes how large a message the topic takes, where the brokers say it, and sends smaller
    /// batches from now on.
    pub(super) fn shrink(&self, topic_limit: Option<usize>) {
        let mut state = self.state();
        state.shrink = false;
        let half = (state.batch_bytes / 2).max(1);
        state.batch_bytes = match topic_limit {
            Some(limit) if payload_bytes(limit) < state.batch_bytes => payload_bytes(limit),
            _ => half,
        };
        if topic_limit.is_some() {
            state.topic_limit = topic_limit;
        }
    }

    /// Most bytes of a batch of the next client.
    pub(super) fn batch_bytes(&self) -> usize {
        self.state().batch_bytes
    }

    /// Most bytes of a payload.
    pub(super) fn payload_bytes(&self) -> usize {
        let limit = self.state().topic_limit.unwrap_or(usize::MAX);
        payload_bytes(limit.min(self.max_message_bytes))
    }

    /// Whether the client has to be replaced.
    pub(super) fn is_broken(&self) -> bool {
        let state = self.state();
        state.fatal || !state.returned.is_empty()
    }

    /// What came back, oldest first, for a new client to send.
    pub(super) fn take_returned(&self) -> BTreeMap<Place, Back> {
        let limit = self.payload_bytes();
        let mut state = self.state();
        state.fatal = false;
        let oversized = |(place, back): (&Place, &Back)| match back {
            Back::Send(_, message) if message.payload.len() > limit => Some(*place),
            _ => None,
        };
        let oversized: Vec<Place> = state.returned.iter().filter_map(oversized).collect();
        for place in oversized {
            // It may be gone, as the part of another.
            if let Some(Back::Send(sent, message)) = state.returned.remove(&place) {
                self.too_large(&mut state, sent, message);
            }
        }
        std::mem::take(&mut state.returned)
    }

    /// A message is larger than the topic takes: its trace is made anew, or it is refused where
    /// that cannot be done.
    fn too_large(&self, state: &mut Desktop, sent: Sent, message: Returned) {
        let record = sent.record.or_else(|| {
            let message = self.is_prepared.then_some(&message)?;
            message.as_record(sent.place.origin())
        });
        match record {
            Some(record) => self.split(state, sent.place, record, message.payload.len()),
            None => {
                let cause = errors::TOO_LARGE.to_owned();
                self.refuse_now(state, sent.place, message, Reason::TooLarge, cause);
            }
        }
    }

    /// Puts a trace aside to be made anew, in the place of all of it that came back. It counts as
    /// one message until [`Desk::settle`] is called for its place.
    fn split(&self, state: &mut Desktop, place: Place, record: Record, payload_bytes: usize) {
        let trace = place.trace();
        let others: Vec<Place> = state
            .returned
            .range(trace..=trace.part(usize::MAX))
            .map(|(place, _)| *place)
            .collect();
        if !state.parts.has(trace) {
            state.parts.add(trace, 1);
        }
        let mut payload_bytes = payload_bytes;
        for other in others {
            if let Some(Back::Split {
                payload_bytes: size,
                ..
            }) = state.returned.remove(&other)
            {
                payload_bytes = payload_bytes.min(size);
            }
            let _ = state.parts.settle(other, Outcome::Delivered);
            self.settled.settled(other);
        }
        let back = Back::Split {
            record,
            payload_bytes,
        };
        state.returned.insert(trace, back);
    }

    /// So many messages of a trace will be settled.
    pub(super) fn begin_parts(&self, place: Place, messages: usize) {
        self.state().parts.add(place, messages);
    }

    /// A trace that was put aside to be made anew has been.
    pub(super) fn split_settled(&self, place: Place) {
        self.settle(&mut self.state(), place, Outcome::Delivered);
    }

    /// Notes what became of a message.
    fn settle(&self, state: &mut Desktop, place: Place, outcome: Outcome) {
        let by_origin = self.meter.by_origin(place.origin());
        match state.parts.settle(place, outcome) {
            Some(Outcome::Delivered) => {
                self.meter.delivered();
                by_origin.delivered();
            }
            Some(Outcome::DeadLetter(reason)) => {
                self.meter.dead_letter(reason);
                by_origin.dead_letter(reason);
            }
            Some(Outcome::Lost(reason)) => {
                self.meter.lose(reason, 1);
                by_origin.lose(reason);
            }
            None => {}
        }
        match outcome {
            // What was kept elsewhere is safe.
            Outcome::Delivered | Outcome::DeadLetter(_) => self.settled.settled(place),
            Outcome::Lost(_) => self.settled.lost(place),
        }
    }

    /// Lets go of what came back and will not be sent, as the exporter ends; it is lost, unless
    /// `is_durable`.
    pub(super) fn abandon(&self, is_durable: bool) {
        let mut state = self.state();
        let letters = std::mem::take(&mut state.letters);
        for letter in &letters {
            self.meter.in_flight.subtract(letter.bytes());
        }
        let returned = std::mem::take(&mut state.returned);
        if is_durable {
            return;
        }
        let letters = letters.iter().map(|letter| letter.place);
        for place in returned.into_keys().chain(letters) {
            self.settle(&mut state, place, Outcome::Lost(Reason::Shutdown));
        }
    }

    /// The latest trouble with a broker, while it is fresh.
    pub(super) fn cause(&self) -> Option<String> {
        let state = self.state();
        let (since, cause) = state.cause.as_ref()?;
        (since.elapsed() < CAUSE_AGE).then(|| cause.clone())
    }

    pub(super) fn recovered(&self) {
        let mut state = self.state();
        state.well = true;
        if let Some(message) = &state.letters_wait {
            self.health.set(State::Degraded(message.clone()));
        } else if self.health.set(State::Ok) {
            tracing::info!(exporter = self.exporter, "delivering to kafka");
        }
    }

    pub(super) fn degrade(&self, problem: &Problem) {
        let message = problem.to_string();
        let mut state = self.state();
        state.well = false;
        self.health.set(State::Degraded(message.clone()));
        if let Some(count) = state
            .connection_failures
            .permit(&message, "", Instant::now())
        {
            tracing::error!(exporter = self.exporter, count, "{message}");
        }
    }

    /// Logs the counts that the limit has held back.
    pub(super) fn summarise(&self) {
        let exporter = &self.exporter;
        self.state()
            .write_failures
            .due(Instant::now(), |cause, trace, count| {
                tracing::error!(
                    exporter,
                    count,
                    "kafka plugin: failed to write trace {trace}: {cause}"
                );
            });
    }

    /// A message is on its way.
    pub(super) fn sent(&self, bytes: usize) {
        self.meter.in_flight.add(bytes);
    }

    /// Notes why a broker cannot be used; others may serve.
    pub(super) fn broker_failed(&self, reason: &str) {
        let cause = errors::broker_cause(reason);
        self.state().cause = Some((Instant::now(), cause));
    }

    /// Whether nothing is known to be wrong.
    pub(super) fn is_well(&self) -> bool {
        self.state().well
    }

    /// No broker is left to deliver to.
    pub(super) fn brokers_lost(&self) {
        // While connecting, the topic's check says what is wrong.
        if self.state().well {
            let cause = self.cause();
            let cause = cause.unwrap_or_else(|| "no broker can be reached".to_owned());
            self.degrade(&Problem::Broker(cause));
        }
    }

    /// The client refuses everything from now on.
    pub(super) fn client_failed(&self) {
        self.state().fatal = true;
    }

    /// Settles a message that librdkafka is done with.
    pub(super) fn delivery(&self, result: &DeliveryResult<'_>, sent: Sent) {
        let (error, message) = match result {
            Ok(message) => (None, message),
            Err((error, message)) => (
                Some(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
                message,
            ),
        };
        let key = message.key();
        let payload = message.payload().unwrap_or_default();
        match error {
            None => self.acknowledge(sent.place, size(key, payload)),
            Some(error) => {
                let headers = message.headers().map(BorrowedHeaders::detach);
                let message = Returned {
                    key: key.map(<[u8]>::to_owned),
                    payload: payload.to_owned(),
                    headers: headers.unwrap_or_default(),
                };
                self.not_sent(sent, error, message);
            }
        }
    }

    fn acknowledge(&self, place: Place, bytes: usize) {
        self.meter.in_flight.subtract(bytes);
        let mut state = self.state();
        self.settle(&mut state, place, Outcome::Delivered);
        state.acknowledged += 1;
        if !state.well {
            drop(state);
            self.recovered();
        }
    }

    /// Settles a message that was not sent: it is kept to be sent again, whole or in parts, or it
    /// is refused for good.
    pub(super) fn not_sent(&self, sent: Sent, error: RDKafkaErrorCode, message: Returned) {
        self.meter.in_flight.subtract(message.bytes());
        let mut state = self.state();
        let trace = sent.place.trace();
        if let Some(Back::Split { .. }) = state.returned.get(&trace) {
            // All of its trace is made anew.
            let _ = state.parts.settle(trace, Outcome::Delivered);
            self.settled.settled(sent.place);
            return;
        }
        let size = message.payload.len();
        match errors::verdict(error) {
            Verdict::Purged => {}
            Verdict::Later => {
                let cause = errors::write_cause(error, &self.topic);
                let trace = trace_of(&message).into_owned();
                state.returned.insert(sent.place, Back::Send(sent, message));
                state.well = false;
                self.health.set(State::Degraded(failure(&trace, &cause)));
                return self.log_failure(&mut state, &trace, &cause);
            }
            Verdict::TooLarge => {
                state.shrink = true;
                // A batch that is too large fails all in it. One this large was alone.
                if size >= state.batch_bytes.min(self.max_message_bytes) {
                    self.too_large(&mut state, sent, message);
                    return;
                }
            }
            Verdict::Refused => {
                let cause = errors::write_cause(error, &self.topic);
                return self.refuse_now(&mut state, sent.place, message, Reason::Refused, cause);
            }
        }
        state.returned.insert(sent.place, Back::Send(sent, message));
    }

    fn log_failure(&self, state: &mut Desktop, trace: &str, cause: &str) {
        let permit = state.write_failures.permit(cause, trace, Instant::now());
        if let Some(count) = permit {
            let message = failure(trace, cause);
            tracing::error!(exporter = self.exporter, count, "{message}");
        }
    }

    fn state(&self) -> MutexGuard<'_, Desktop> {
        lock(&self.state)
    }
}

/// What is said of a message that was not written.
fn failure(trace: &str, cause: &str) -> String {
    format!("kafka plugin: failed to write trace {trace}: {cause}")
}

fn trace_of(message: &Returned) -> Cow<'_, str> {
    let key = message.key.as_deref();
    key.map_or("without a key".into(), String::from_utf8_lossy)
}
