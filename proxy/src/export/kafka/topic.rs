//! Is the topic there? Asked before anything is sent, and again after trouble.

use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataPartition, MetadataTopic};

use super::certificate;
use super::client::Producer;
use super::client_config;
use super::errors::{self, Problem};
use crate::config;
use crate::export::stop::Stop;

/// Longest wait for a broker's answer before saying that there is none.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest wait for what is good to know.
const QUESTION: Duration = Duration::from_secs(3);

/// The first question within [`PATIENCE`]; trouble with brokers is looked at between them. Each waits
/// twice as long as the one before it, as a broker may be slow, up to the longest.
const STEP: Duration = Duration::from_millis(500);
const STEP_MAX: Duration = Duration::from_secs(4);

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
    let mut step = STEP;
    while Instant::now() < deadline && !stop.is_due() {
        match producer.topic_error(step) {
            Ok(None) => return Ok(()),
            Ok(Some(Code::UnknownTopicOrPartition | Code::UnknownTopic)) => {
                if !config.auto_create_topic {
                    return Err(Problem::MissingTopic(config.topic.clone()));
                }
                if !created {
                    create(config, &config.topic)?;
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
                    return Err(Problem::Broker(certificate::explain(cause, config)));
                }
                step = (2 * step).min(STEP_MAX);
            }
        }
    }
    let cause = cause.unwrap_or_else(|| format!("no answer from {}", config.brokers.join(", ")));
    Err(Problem::Broker(cause))
}

/// What the brokers say of a topic: its error, where it has one. One that nobody leads in any
/// partition has none of its own.
pub(super) fn look<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> KafkaResult<Option<RDKafkaErrorCode>> {
    let metadata = client.fetch_metadata(Some(topic), timeout)?;
    let Some(found) = find(&metadata, topic) else {
        return Ok(Some(RDKafkaErrorCode::UnknownTopicOrPartition));
    };
    let error = found.error().map(RDKafkaErrorCode::from);
    let partitions = found.partitions();
    let is_led = partitions.is_empty() || partitions.iter().any(|one| one.leader() >= 0);
    Ok(error.or((!is_led).then_some(RDKafkaErrorCode::LeaderNotAvailable)))
}

/// Partitions of a topic that no broker leads.
pub(super) fn leaderless<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> KafkaResult<Vec<i32>> {
    let metadata = client.fetch_metadata(Some(topic), timeout)?;
    let partitions = find(&metadata, topic).map_or(&[][..], MetadataTopic::partitions);
    let leaderless = partitions.iter().filter(|one| one.leader() < 0);
    Ok(leaderless.map(MetadataPartition::id).collect())
}

fn find<'m>(metadata: &'m Metadata, topic: &str) -> Option<&'m MetadataTopic> {
    metadata.topics().iter().find(|found| found.name() == topic)
}

/// Most bytes of a batch of messages that the topic takes; `None` where the brokers do not say.
pub(super) fn max_message_bytes(config: &config::Kafka) -> Option<usize> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
    let admin: AdminClient<DefaultClientContext> = client_config::admin(config).create().ok()?;
    let topic = [ResourceSpecifier::Topic(&config.topic)];
    let options = AdminOptions::new().request_timeout(Some(QUESTION));
    let described = runtime.block_on(admin.describe_configs(&topic, &options));
    let described = described.ok()?.into_iter().next()?.ok()?;
    described
        .get("max.message.bytes")?
        .value
        .as_ref()?
        .parse()
        .ok()
}

/// Makes a topic, with the brokers' own defaults.
pub(super) fn create(config: &config::Kafka, topic: &str) -> Result<(), Problem> {
    let fail =
        |reason: String| Problem::Broker(format!("cannot create topic \"{topic}\": {reason}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| fail(error.to_string()))?;
    let admin: AdminClient<DefaultClientContext> = client_config::admin(config)
        .create()
        .map_err(|error| fail(errors::client_cause(&error)))?;
    let new = NewTopic::new(
        topic,
        BROKER_DEFAULT,
        TopicReplication::Fixed(BROKER_DEFAULT),
    );
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let results = runtime
        .block_on(admin.create_topics([&new], &options))
        .map_err(|error| fail(errors::client_cause(&error)))?;
    match results.into_iter().next() {
        Some(Err((_, code))) if code != RDKafkaErrorCode::TopicAlreadyExists => {
            Err(fail(errors::describe(code)))
        }
        _ => {
            tracing::info!(topic, "topic created");
            Ok(())
        }
    }
}
