//! Is the topic there? Asked before anything is sent, and again after trouble.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;

use super::client::Producer;
use super::client_config;
use super::errors::{self, Problem};
use crate::config;
use crate::export::stop::Stop;

/// Longest wait for a broker's answer before saying that there is none.
const PATIENCE: Duration = Duration::from_secs(10);

/// One request within [`PATIENCE`]; trouble with brokers is looked at between them.
const STEP: Duration = Duration::from_millis(500);

/// Between questions while a new topic becomes known to all brokers.
const SETTLE: Duration = Duration::from_millis(100);

/// The default of the broker, for partitions and for replicas.
const BROKER_DEFAULT: i32 = -1;

/// Makes sure that the topic is there; creates it where the configuration says so.
pub(super) fn verify(
    producer: &Producer,
    config: &config::Kafka,
    stop: &Stop,
) -> Result<(), Problem> {
    use RDKafkaErrorCode as Code;
    let deadline = Instant::now() + PATIENCE;
    let mut created = false;
    let mut cause = None;
    while Instant::now() < deadline && !stop.is_due() {
        match producer.topic_error(STEP) {
            Ok(None) => return Ok(()),
            Ok(Some(Code::UnknownTopicOrPartition | Code::UnknownTopic)) => {
                if !config.auto_create_topic {
                    return Err(Problem::MissingTopic(config.topic.clone()));
                }
                if !created {
                    create(config)?;
                    created = true;
                }
                producer.poll(SETTLE);
            }
            Ok(Some(Code::LeaderNotAvailable)) => {
                cause = Some(format!("topic \"{}\" has no leader", config.topic));
                producer.poll(SETTLE);
            }
            Ok(Some(code)) => {
                return Err(Problem::Broker(errors::write_cause(code, &config.topic)));
            }
            Err(_) => {
                producer.poll_all();
                if let Some(cause) = producer.desk().cause() {
                    return Err(Problem::Broker(cause));
                }
            }
        }
    }
    let cause = cause.unwrap_or_else(|| format!("no answer from {}", config.brokers.join(", ")));
    Err(Problem::Broker(cause))
}

fn create(config: &config::Kafka) -> Result<(), Problem> {
    let fail = |reason: String| {
        Problem::Broker(format!(
            "cannot create topic \"{}\": {reason}",
            config.topic
        ))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| fail(error.to_string()))?;
    let admin: AdminClient<DefaultClientContext> = client_config::admin(config)
        .create()
        .map_err(|error| fail(errors::client_cause(&error)))?;
    let topic = NewTopic::new(
        &config.topic,
        BROKER_DEFAULT,
        TopicReplication::Fixed(BROKER_DEFAULT),
    );
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let results = runtime
        .block_on(admin.create_topics([&topic], &options))
        .map_err(|error| fail(errors::client_cause(&error)))?;
    match results.into_iter().next() {
        Some(Err((_, code))) if code != RDKafkaErrorCode::TopicAlreadyExists => {
            Err(fail(errors::describe(code)))
        }
        _ => {
            tracing::info!(topic = config.topic, "topic created");
            Ok(())
        }
    }
}
