//! Reads a topic for people: all partitions, without a group, committing nothing.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::callback::contained;
use super::client_config;
use super::errors::{self, Problem};
use crate::config;
use crate::lock::lock;

/// Longest wait for the brokers' first answer.
const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(500);

/// Where in each partition to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Beginning,
    End,
    /// So many messages before the end.
    Last(u32),
}

pub(crate) struct Message {
    pub(crate) key: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) content_type: Option<String>,
    /// `weir-part`.
    pub(crate) part: Option<String>,
    /// With the root's id, in all parts of a trace.
    pub(crate) traceparent: Option<String>,
}

pub(crate) enum Event {
    Message(Message),
    /// All partitions have been read to where they ended.
    End,
    /// The brokers cannot be read from now; it is tried again.
    Trouble(String),
    /// Nothing came in time.
    Nothing,
}

pub(crate) struct Consumer {
    inner: BaseConsumer<Context>,
    /// Partitions whose end was not seen yet.
    unread: HashSet<i32>,
}

impl Consumer {
    /// Reads `config`'s topic.
    pub(crate) fn new(config: &config::Kafka, from: From) -> Result<Self, String> {
        Self::connect(config, from).map_err(|problem| problem.to_string())
    }

    fn connect(config: &config::Kafka, from: From) -> Result<Self, Problem> {
        let inner: BaseConsumer<Context> = client_config::consumer(config)
            .create_with_context(Context::default())
            .map_err(|error| Problem::Broker(errors::client_cause(&error)))?;
        let partitions = partitions(&inner, config)?;
        let offset = match from {
            From::Beginning => Offset::Beginning,
            From::End => Offset::End,
            From::Last(messages) => Offset::OffsetTail(messages.into()),
        };
        let mut assignment = TopicPartitionList::new();
        for partition in &partitions {
            assignment
                .add_partition_offset(&config.topic, *partition, offset)
                .map_err(|error| Problem::Broker(error.to_string()))?;
        }
        inner
            .assign(&assignment)
            .map_err(|error| Problem::Broker(error.to_string()))?;
        Ok(Self {
            inner,
            unread: partitions,
        })
    }

    pub(crate) fn next(&mut self, timeout: Duration) -> Event {
        match self.inner.poll(timeout) {
            None => Event::Nothing,
            Some(Ok(message)) => {
                let header = |name: &str| {
                    let headers = message.headers()?;
                    let header = headers.iter().find(|header| header.key == name)?;
                    Some(String::from_utf8_lossy(header.value?).into_owned())
                };
                Event::Message(Message {
                    key: message.key().unwrap_or_default().to_vec(),
                    payload: message.payload().unwrap_or_default().to_vec(),
                    content_type: header("content-type"),
                    part: header("weir-part"),
                    traceparent: header("traceparent"),
                })
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                let was_unread = self.unread.remove(&partition);
                if was_unread && self.unread.is_empty() {
                    Event::End
                } else {
                    Event::Nothing
                }
            }
            Some(Err(error)) => {
                let known = self.inner.context().cause();
                let code = error.rdkafka_error_code();
                Event::Trouble(known.unwrap_or_else(|| match code {
                    Some(code) => errors::describe(code),
                    None => error.to_string(),
                }))
            }
        }
    }
}

fn partitions(
    consumer: &BaseConsumer<Context>,
    config: &config::Kafka,
) -> Result<HashSet<i32>, Problem> {
    use RDKafkaErrorCode as Code;
    let topic = &config.topic;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(metadata) = consumer.fetch_metadata(Some(topic), STEP) {
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let error = found.and_then(MetadataTopic::error).map(Code::from);
            match (found, error) {
                (None, _) | (_, Some(Code::UnknownTopicOrPartition | Code::UnknownTopic)) => {
                    return Err(Problem::MissingTopic(topic.clone()));
                }
                (_, Some(Code::TopicAuthorizationFailed)) => {
                    let cause = format!("not authorized to read topic \"{topic}\"");
                    return Err(Problem::Broker(cause));
                }
                (Some(found), None) if !found.partitions().is_empty() => {
                    return Ok(found
                        .partitions()
                        .iter()
                        .map(MetadataPartition::id)
                        .collect());
                }
                _ => {}
            }
        }
        // Callbacks say why.
        let _ = consumer.poll(Duration::from_millis(50));
        if let Some(cause) = consumer.context().cause() {
            return Err(Problem::Broker(cause));
        }
        if Instant::now() >= deadline {
            let cause = lock(&consumer.context().hung_up).take();
            let silent = || format!("no answer from {}", config.brokers.join(", "));
            return Err(Problem::Broker(cause.unwrap_or_else(silent)));
        }
    }
}

/// Remembers why a broker cannot be used.
#[derive(Default)]
struct Context {
    cause: Mutex<Option<String>>,
    /// Why a broker hung up, which is no error by itself.
    hung_up: Mutex<Option<String>>,
}

impl Context {
    fn cause(&self) -> Option<String> {
        lock(&self.cause).clone()
    }
}

impl ClientContext for Context {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, facility: &str, line: &str) {
        contained(|| {
            tracing::debug!(target: "librdkafka", facility, "{line}");
            if facility == "FAIL"
                && let Some((_thread, reason)) = line.split_once("]: ")
            {
                *lock(&self.hung_up) = Some(errors::broker_cause(reason));
            }
        });
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            contained(|| {
                let cause = errors::broker_cause(reason);
                *lock(&self.cause) = Some(cause);
            });
        }
    }
}

impl ConsumerContext for Context {}
