//! A producer of librdkafka, and the context it calls.
//!
//! Callbacks run inside [`Producer::poll`] and [`Producer::flush`], so on the exporter's own
//! thread; what they have to say goes to the [`Desk`].

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::statistics::Statistics;

use super::callback::contained;
use super::client_config;
use super::delivery::{Desk, Returned, Sent, size};
use super::encoding::Message;
use super::errors::{self, Problem};
use super::pace::Pace;
use super::stall::{self, Watch};
use super::topic;
use crate::config;
use crate::export::stop::Stop;

#[cfg(test)]
mod tests;

/// Wait for room in librdkafka's queue.
const ROOM_WAIT: Duration = Duration::from_millis(20);

/// Most time between two looks at what has been answered, and longest wait for an answer before
/// more is given all the same: it may be for a partition that answers.
const PACE: Duration = Duration::from_millis(2);
const PACE_MAX: Duration = Duration::from_millis(100);

/// How long nothing is waited for after that.
const UNPACED: Duration = Duration::from_secs(1);

pub(super) struct Producer {
    inner: BaseProducer<Context>,
    desk: Arc<Desk>,
    topic: String,
    watch: RefCell<Watch>,
    pace: RefCell<Pace>,
    /// Messages that librdkafka took since the last run ended.
    taken: Cell<u64>,
}

impl Producer {
    pub(super) fn new(config: &config::Kafka, desk: Arc<Desk>) -> Result<Self, Problem> {
        desk.client_begins();
        let context = Context {
            desk: desk.clone(),
            events: AtomicU64::new(0),
        };
        let inner = client_config::producer(config, desk.batch_bytes())
            .create_with_context(context)
            .map_err(|error| Problem::Broker(errors::client_cause(&error)))?;
        Ok(Self {
            inner,
            desk,
            topic: config.topic.clone(),
            watch: RefCell::new(Watch::new(client_config::patience(config), Instant::now())),
            pace: RefCell::new(Pace::new(client_config::linger(config))),
            taken: Cell::new(0),
        })
    }

    /// Queues a message. Waits where librdkafka has no room; what cannot be sent now goes to the
    /// desk, as all that follows does.
    pub(super) fn send(&self, sent: Sent, message: Message<'_>, stop: &Stop) {
        let mut record: BaseRecord<'_, [u8], [u8], Box<Sent>> =
            BaseRecord::with_opaque_to(&self.topic, Box::new(sent))
                .payload(message.payload)
                .headers(message.headers);
        record.key = message.key;
        self.desk.sent(size(message.key, message.payload));
        let error = loop {
            if self.desk.is_broken() || stop.is_due() {
                break RDKafkaErrorCode::PurgeQueue;
            }
            match self.inner.send(record) {
                Ok(()) => return self.taken.set(self.taken.get() + 1),
                Err((error, same)) => {
                    record = same;
                    match error.rdkafka_error_code() {
                        Some(RDKafkaErrorCode::QueueFull) => {
                            self.poll(ROOM_WAIT);
                            self.look_at_waiting();
                        }
                        code => break code.unwrap_or(RDKafkaErrorCode::Fail),
                    }
                }
            }
        };
        let message = Returned {
            key: message.key.map(<[u8]>::to_owned),
            payload: message.payload.to_owned(),
            headers: record.headers.take().unwrap_or_default(),
        };
        self.desk.not_sent(*record.delivery_opaque, error, message);
    }

    /// As [`Producer::send`], with a message that came back.
    pub(super) fn send_again(&self, sent: Sent, message: Returned, stop: &Stop) {
        let message = Message {
            key: message.key.as_deref(),
            payload: &message.payload,
            headers: message.headers,
        };
        self.send(sent, message, stop);
    }

    /// What was sent since the last call was sent from `since` on.
    pub(super) fn run_ends(&self, since: Instant) {
        self.pace.borrow_mut().give(self.taken.take(), since);
    }

    /// Serves callbacks while what is in flight is better answered first, but not for long.
    pub(super) fn keep_pace(&self, stop: &Stop) {
        let until = Instant::now() + PACE_MAX;
        loop {
            let now = Instant::now();
            let in_flight = u64::try_from(self.in_flight()).unwrap_or(0);
            let mut pace = self.pace.borrow_mut();
            if !pace.is_behind(in_flight, now) || self.desk.is_broken() || stop.is_due() {
                return;
            }
            if now >= until {
                return pace.give_up(now + UNPACED);
            }
            drop(pace);
            self.poll(PACE);
        }
    }

    /// Messages sent and not acknowledged.
    pub(super) fn in_flight(&self) -> i32 {
        self.inner.in_flight_count()
    }

    /// Serves callbacks for all of `time`. The library's own wait is none for what is left below a
    /// millisecond: there it turns without rest.
    pub(super) fn poll(&self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            self.poll_all();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(PACE));
        }
    }

    /// Serves all callbacks that are due, without waiting.
    pub(super) fn poll_all(&self) {
        self.desk.beat();
        let events = || self.inner.client().context().events.load(Relaxed);
        loop {
            let before = events();
            self.inner.poll(Duration::ZERO);
            if events() == before {
                return;
            }
        }
    }

    /// Sends what is queued without lingering, and waits for acknowledgements.
    pub(super) fn flush(&self, time: Duration) {
        self.desk.beat();
        // Time running out is no error here: the caller looks at what is in flight.
        let _ = self.inner.flush(time);
        // Where there are no messages it returns at once, and leaves other events in the queue: they count
        // as in flight.
        self.poll_all();
    }

    /// Says so where brokers have taken nothing for too long.
    pub(super) fn look_at_waiting(&self) {
        let (acknowledged, in_flight) = (self.desk.acknowledged(), self.in_flight() > 0);
        let mut watch = self.watch.borrow_mut();
        if watch.is_stalled(acknowledged, in_flight, Instant::now()) && self.desk.is_well() {
            self.desk.degrade(&stall::problem(self, &self.topic));
        }
    }

    /// Why the client refuses for ever, where that is no matter of its own: an idempotent one whose user may
    /// see the topic and not write has no message that would say so.
    pub(super) fn forbidden(&self) -> Option<Problem> {
        let (code, _) = self.inner.client().fatal_error()?;
        let is_forbidden = code == RDKafkaErrorCode::ClusterAuthorizationFailed;
        is_forbidden.then(|| Problem::Broker(errors::write_cause(code, &self.topic)))
    }

    /// What the brokers say of the topic: its error, where it has one.
    pub(super) fn topic_error(&self, timeout: Duration) -> KafkaResult<Option<RDKafkaErrorCode>> {
        topic::look(self.inner.client(), &self.topic, timeout)
    }

    /// Partitions of the topic that no broker leads.
    pub(super) fn leaderless(&self, timeout: Duration) -> KafkaResult<Vec<i32>> {
        topic::leaderless(self.inner.client(), &self.topic, timeout)
    }

    pub(super) fn desk(&self) -> &Desk {
        &self.desk
    }
}

struct Context {
    desk: Arc<Desk>,
    /// Callbacks served.
    events: AtomicU64,
}

impl ClientContext for Context {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.events.fetch_add(1, Relaxed);
        contained(|| {
            // A broker that hangs up is logged as no error, though it may be why nothing works.
            if facility == "FAIL"
                && let Some((_thread, reason)) = line.split_once("]: ")
            {
                self.desk.broker_failed(reason);
            }
            // What matters is said once by the desk, in words people understand.
            let exporter = self.desk.exporter();
            tracing::debug!(target: "librdkafka", exporter, facility, "{line}");
        });
    }

    fn stats_raw(&self, json: &[u8]) {
        self.events.fetch_add(1, Relaxed);
        contained(|| match serde_json::from_slice::<Statistics>(json) {
            Ok(statistics) => self.desk.statistics(&statistics),
            Err(error) => tracing::debug!(%error, "statistics of librdkafka do not read"),
        });
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.fetch_add(1, Relaxed);
        let ended = contained(|| match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::Fatal) => self.desk.client_failed(),
            Some(RDKafkaErrorCode::AllBrokersDown) => self.desk.brokers_lost(),
            _ => self.desk.broker_failed(reason),
        });
        if !ended {
            self.desk.client_failed();
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent>) {
        self.events.fetch_add(1, Relaxed);
        if !contained(|| self.desk.delivery(result, *sent)) {
            // Another client sends what this one still has.
            self.desk.client_failed();
        }
    }
}
