//! Dead letters in a topic, by a client of its own, which is made when there is something to send:
//! trouble with this topic is none of the exporter's own topic.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};

use super::{CAUSE, EXPORTER, KEY, REASON, TOPIC, WINDOW};
use crate::config;
use crate::export::kafka::callback::contained;
use crate::export::kafka::delivery::{Desk, Letter};
use crate::export::kafka::encoding::header;
use crate::export::kafka::errors::{self, Problem, Verdict};
use crate::export::kafka::{client_config, topic};
use crate::lock::lock;

pub(super) struct Topic<'a> {
    config: &'a config::Kafka,
    name: &'a str,
    client: Option<BaseProducer<Context>>,
    /// By what librdkafka calls them.
    sent: BTreeMap<usize, Letter>,
    next: usize,
}

impl<'a> Topic<'a> {
    pub(super) fn new(config: &'a config::Kafka, name: &'a str) -> Self {
        Self {
            config,
            name,
            client: None,
            sent: BTreeMap::new(),
            next: 0,
        }
    }

    /// Whether letters are on their way.
    pub(super) fn is_busy(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Serves callbacks for so long.
    pub(super) fn wait(&self, time: Duration) {
        if let Some(client) = &self.client {
            client.poll(time);
        }
    }

    /// Sends letters and settles those that are acknowledged; says whether all are.
    pub(super) fn deliver(&mut self, desk: &Desk) -> Result<bool, Problem> {
        if self.client.is_none() {
            self.client = Some(self.connect()?);
        }
        if let Some(client) = &self.client
            && self.sent.is_empty()
        {
            for letter in desk.take_letters(WINDOW) {
                let number = self.next;
                self.next += 1;
                let headers = self.headers(desk, &letter);
                let mut record: BaseRecord<'_, [u8], [u8], usize> =
                    BaseRecord::with_opaque_to(self.name, number)
                        .payload(letter.message.payload.as_slice())
                        .headers(headers);
                record.key = letter.message.key.as_deref();
                if let Err((error, _)) = client.send(record) {
                    let code = error.rdkafka_error_code();
                    let code = code.unwrap_or(RDKafkaErrorCode::Fail);
                    client.context().settled(number, Some(code));
                }
                self.sent.insert(number, letter);
            }
        }
        self.wait(Duration::ZERO);
        self.settle(desk)?;
        Ok(self.sent.is_empty() && !desk.has_letters())
    }

    fn settle(&mut self, desk: &Desk) -> Result<(), Problem> {
        let Some(client) = &self.client else {
            return Ok(());
        };
        let settled = std::mem::take(&mut client.context().state().settled);
        let mut problem = None;
        for (number, error) in settled {
            let Some(error) = error else {
                if let Some(letter) = self.sent.remove(&number) {
                    desk.letter_settled(&letter, true);
                }
                continue;
            };
            match errors::verdict(error) {
                Verdict::Purged | Verdict::Later => {
                    let known = client.context().state().cause.clone();
                    let cause = match error {
                        RDKafkaErrorCode::MessageTimedOut => known,
                        _ => None,
                    };
                    let cause = cause.unwrap_or_else(|| errors::write_cause(error, self.name));
                    problem = Some(self.problem(cause));
                }
                Verdict::TooLarge | Verdict::Refused => {
                    if let Some(letter) = self.sent.remove(&number) {
                        let cause = errors::write_cause(error, self.name);
                        let key = letter.message.key.as_deref();
                        let trace = key.map_or("without a key".into(), String::from_utf8_lossy);
                        tracing::error!(
                            exporter = desk.exporter(),
                            topic = self.name,
                            trace = %trace,
                            cause,
                            "a dead letter is refused too, and lost"
                        );
                        desk.letter_settled(&letter, false);
                    }
                }
            }
        }
        match problem {
            Some(problem) => {
                self.close(desk);
                Err(problem)
            }
            None => Ok(()),
        }
    }

    /// Gives back what is not acknowledged.
    pub(super) fn close(&mut self, desk: &Desk) {
        self.client = None;
        desk.put_back(std::mem::take(&mut self.sent).into_values());
    }

    fn connect(&self) -> Result<BaseProducer<Context>, Problem> {
        let client: BaseProducer<Context> = client_config::dead_letters(self.config)
            .create_with_context(Context::default())
            .map_err(|error| self.problem(errors::client_cause(&error)))?;
        match topic::look(client.client(), self.name, Duration::from_secs(2)) {
            Ok(None) => Ok(client),
            Ok(Some(
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic,
            )) if self.config.auto_create_topic => {
                topic::create(self.config, self.name)?;
                Ok(client)
            }
            Ok(Some(
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic,
            )) => Err(self.problem("it does not exist".to_owned())),
            Ok(Some(code)) => Err(self.problem(errors::write_cause(code, self.name))),
            Err(_) => {
                client.poll(Duration::ZERO);
                let cause = client.context().state().cause.clone();
                Err(self.problem(cause.unwrap_or_else(|| "no answer".to_owned())))
            }
        }
    }

    fn problem(&self, cause: String) -> Problem {
        Problem::DeadLetter {
            place: format!("topic \"{}\"", self.name),
            cause,
        }
    }

    fn headers(&self, desk: &Desk, letter: &Letter) -> OwnedHeaders {
        let said = [
            (REASON, letter.reason.as_str().as_bytes()),
            (CAUSE, letter.cause.as_bytes()),
            (EXPORTER, desk.exporter().as_bytes()),
            (TOPIC, self.config.topic.as_bytes()),
        ];
        let key = letter.message.key.as_deref().map(|key| (KEY, key));
        said.into_iter()
            .chain(key)
            .fold(letter.message.headers.clone(), |headers, (key, value)| {
                headers.insert(header(key, value))
            })
    }
}

#[derive(Default)]
struct Context(Mutex<State>);

#[derive(Default)]
struct State {
    /// What librdkafka is done with, with its error.
    settled: Vec<(usize, Option<RDKafkaErrorCode>)>,
    /// The latest trouble with a broker.
    cause: Option<String>,
}

impl Context {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    fn settled(&self, number: usize, error: Option<RDKafkaErrorCode>) {
        self.state().settled.push((number, error));
    }
}

impl ClientContext for Context {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, facility: &str, line: &str) {
        contained(|| tracing::debug!(target: "librdkafka", facility, "{line}"));
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            return;
        }
        contained(|| {
            let cause = errors::broker_cause(reason);
            self.state().cause = Some(cause);
        });
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let error = result.as_ref().err().map(|(error, _)| {
            let code = error.rdkafka_error_code();
            code.unwrap_or(RDKafkaErrorCode::Fail)
        });
        contained(|| self.settled(number, error));
    }
}
