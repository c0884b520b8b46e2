//! The desk that callbacks report to: what was acknowledged, what came back, what is lost.
//!
//! It outlives clients: messages that one gave back are sent by the next.

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{BorrowedHeaders, DeliveryResult, Message as _, OwnedHeaders};

use super::errors::{self, Problem, Verdict};
use super::log_limit::LogLimit;
use crate::config;
use crate::export::Feed;
use crate::export::source::{self, Settled};
use crate::export::status::{Health, Meter, Reason, State};

/// How often the same trouble is logged again.
const WRITE_FAILURES: Duration = Duration::from_secs(1);
const CONNECTION_FAILURES: Duration = Duration::from_mins(1);

/// librdkafka repeats a trouble that lasts each 30 seconds.
const CAUSE_AGE: Duration = Duration::from_mins(1);

pub(super) struct Desk {
    exporter: String,
    topic: String,
    max_message_bytes: usize,
    meter: Arc<Meter>,
    health: Arc<Health>,
    settled: Settled,
    state: Mutex<Desktop>,
}

/// A message that a client gave back.
pub(super) struct Returned {
    pub(super) key: Option<Vec<u8>>,
    pub(super) payload: Vec<u8>,
    pub(super) headers: OwnedHeaders,
}

struct Desktop {
    acknowledged: u64,
    /// Of the client there is now.
    batch_bytes: usize,
    /// A batch was too large.
    shrink: bool,
    returned: BTreeMap<usize, Returned>,
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
            meter: feed.meter.clone(),
            health: feed.health.clone(),
            settled: feed.source.settled(),
            state: Mutex::new(Desktop {
                acknowledged: 0,
                batch_bytes: config.producer.batch_bytes,
                shrink: false,
                returned: BTreeMap::new(),
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

    /// Messages acknowledged so far.
    pub(super) fn acknowledged(&self) -> u64 {
        self.state().acknowledged
    }

    /// Most bytes of a batch of the next client; less once a broker found one too large.
    pub(super) fn next_batch_bytes(&self) -> usize {
        let mut state = self.state();
        if std::mem::take(&mut state.shrink) {
            state.batch_bytes = (state.batch_bytes / 2).max(1);
        }
        state.batch_bytes
    }

    /// Whether the client has to be replaced.
    pub(super) fn is_broken(&self) -> bool {
        let state = self.state();
        state.fatal || !state.returned.is_empty()
    }

    /// What came back, oldest first, for a new client to send.
    pub(super) fn take_returned(&self) -> BTreeMap<usize, Returned> {
        let mut state = self.state();
        state.fatal = false;
        std::mem::take(&mut state.returned)
    }

    /// The latest trouble with a broker, while it is fresh.
    pub(super) fn cause(&self) -> Option<String> {
        let state = self.state();
        let (since, cause) = state.cause.as_ref()?;
        (since.elapsed() < CAUSE_AGE).then(|| cause.clone())
    }

    pub(super) fn recovered(&self) {
        self.state().well = true;
        if self.health.set(State::Ok) {
            tracing::info!(exporter = self.exporter, "delivering to kafka");
        }
    }

    pub(super) fn degrade(&self, problem: &Problem) {
        let message = problem.to_string();
        let mut state = self.state();
        state.well = false;
        if let Some(count) = state
            .connection_failures
            .permit(&message, "", Instant::now())
        {
            tracing::error!(exporter = self.exporter, count, "{message}");
        }
        self.health.set(State::Degraded(message));
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

    pub(super) fn sent(&self, bytes: usize) {
        self.meter.in_flight.add(bytes);
    }

    /// Notes why a broker cannot be used; others may serve.
    pub(super) fn broker_failed(&self, reason: &str) {
        let cause = errors::broker_cause(reason);
        self.state().cause = Some((Instant::now(), cause));
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
    pub(super) fn delivery(&self, result: &DeliveryResult<'_>, place: usize) {
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
            None => self.acknowledge(place, size(key, payload)),
            Some(error) => {
                let headers = message
                    .headers()
                    .map_or_else(OwnedHeaders::new, BorrowedHeaders::detach);
                let settled = panic::catch_unwind(AssertUnwindSafe(|| {
                    self.not_sent(place, error, key, payload, headers);
                }));
                if settled.is_err() {
                    self.meter.lose(Reason::Refused, 1);
                    self.settled.lost(place);
                }
            }
        }
    }

    fn acknowledge(&self, place: usize, bytes: usize) {
        self.meter.in_flight.subtract(bytes);
        if source::is_last(place) {
            self.meter.delivered();
        }
        self.settled.settled(place);
        let mut state = self.state();
        state.acknowledged += 1;
        if !state.well {
            drop(state);
            self.recovered();
        }
    }

    /// Settles a message that was not sent: it is kept to be sent again, or it is lost.
    pub(super) fn not_sent(
        &self,
        place: usize,
        error: RDKafkaErrorCode,
        key: Option<&[u8]>,
        payload: &[u8],
        headers: OwnedHeaders,
    ) {
        self.meter.in_flight.subtract(size(key, payload));
        let mut state = self.state();
        let lost = match errors::verdict(error) {
            Verdict::Purged | Verdict::Later => None,
            // A batch that is too large fails all in it: smaller ones find the one message.
            Verdict::TooLarge if payload.len() < state.batch_bytes.min(self.max_message_bytes) => {
                state.shrink = true;
                None
            }
            Verdict::TooLarge => Some(Reason::TooLarge),
            Verdict::Refused => Some(Reason::Refused),
        };
        if let Some(reason) = lost {
            self.meter.lose(reason, 1);
            self.settled.lost(place);
            self.log_failure(&mut state, error, key);
            return;
        }
        if errors::verdict(error) == Verdict::Later {
            let message = self.log_failure(&mut state, error, key);
            state.well = false;
            self.health.set(State::Degraded(message));
        }
        let message = Returned {
            key: key.map(<[u8]>::to_owned),
            payload: payload.to_owned(),
            headers,
        };
        state.returned.insert(place, message);
    }

    fn log_failure(
        &self,
        state: &mut Desktop,
        error: RDKafkaErrorCode,
        key: Option<&[u8]>,
    ) -> String {
        let cause = errors::write_cause(error, &self.topic);
        let trace = key.map_or("without a key".into(), String::from_utf8_lossy);
        let message = format!("kafka plugin: failed to write trace {trace}: {cause}");
        let permit = state.write_failures.permit(&cause, &trace, Instant::now());
        if let Some(count) = permit {
            tracing::error!(exporter = self.exporter, count, "{message}");
        }
        message
    }

    fn state(&self) -> MutexGuard<'_, Desktop> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of a message that count.
pub(super) fn size(key: Option<&[u8]>, payload: &[u8]) -> usize {
    key.map_or(0, <[u8]>::len) + payload.len()
}
