//! From the exporter's configuration to librdkafka's properties.

use std::time::Duration;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};

use super::errors;
use crate::config::{Acks, Compression, Kafka, Partitioner, Producer, Sasl, Secret, Tls};

/// Least memory that a message of librdkafka's takes; bounds their number.
const LEAST_MESSAGE_BYTES: usize = 512;

/// What of `buffer_bytes` is for chunks.
pub(in crate::export) fn queue_bytes(config: &Kafka) -> usize {
    config.buffer_bytes - config.buffer_bytes / 4
}

/// What of `buffer_bytes` is for messages that librdkafka holds; never less than one message. As
/// much is for what they are made of, should they have to be made anew.
pub(super) fn window_bytes(config: &Kafka) -> usize {
    (config.buffer_bytes / 8).max(config.producer.max_message_bytes + 1024)
}

/// How often librdkafka says how it fares.
const STATISTICS: Duration = Duration::from_secs(5);

/// Properties of a producer whose batches have at most `batch_bytes`.
pub(super) fn producer(config: &Kafka, batch_bytes: usize) -> ClientConfig {
    let mut client = common(config);
    let window = window_bytes(config);
    let producer = &config.producer;
    let mut set = |property: &str, value: &dyn ToString| {
        client.set(property, value.to_string());
    };
    set("acks", &acks(producer.acks));
    set("enable.idempotence", &is_idempotent(producer));
    // A topic is made by the admin API or not at all, whatever the broker would do by itself.
    set("allow.auto.create.topics", &false);
    set("message.timeout.ms", &producer.message_timeout.as_millis());
    set("message.max.bytes", &producer.max_message_bytes);
    set("message.send.max.retries", &producer.retries);
    set("retry.backoff.ms", &producer.retry_backoff.as_millis());
    set(
        "retry.backoff.max.ms",
        &producer.retry_backoff_max.as_millis(),
    );
    set("batch.num.messages", &config.batch_size);
    set("batch.size", &batch_bytes);
    set("queue.buffering.max.ms", &config.flush_interval.as_millis());
    set("queue.buffering.max.kbytes", &window.div_ceil(1024));
    set(
        "queue.buffering.max.messages",
        &(window / LEAST_MESSAGE_BYTES),
    );
    set("request.timeout.ms", &producer.request_timeout.as_millis());
    set("compression.type", &compression(config.compression));
    set("statistics.interval.ms", &STATISTICS.as_millis());
    set("partitioner", &partitioner(producer.partitioner));
    customise(&mut client, producer);
    if batch_bytes < producer.batch_bytes {
        // The topic turned out to take no more, whatever the configuration says.
        client.set("batch.size", batch_bytes.to_string());
    }
    if is_set(&client, "enable.idempotence") && client.get(GAPLESS).is_none() {
        // Else what was sent behind a batch that is refused would come before what is made of it.
        client.set(GAPLESS, "true");
    }
    client
}

/// How long a message may wait for its batch, and then for the broker's answer.
pub(super) fn patience(config: &Kafka) -> Duration {
    let client = producer(config, config.producer.batch_bytes);
    millis(&client, "queue.buffering.max.ms") + millis(&client, "request.timeout.ms")
}

/// How long a message of an idempotent producer may wait for its batch; `None` where it is no such.
pub(super) fn linger(config: &Kafka) -> Option<Duration> {
    let client = producer(config, config.producer.batch_bytes);
    is_set(&client, "enable.idempotence").then(|| millis(&client, "queue.buffering.max.ms"))
}

fn is_set(client: &ClientConfig, property: &str) -> bool {
    matches!(client.get(property), Some("true" | "1"))
}

fn millis(client: &ClientConfig, property: &str) -> Duration {
    // A linger may be a part of one.
    let value = client
        .get(property)
        .and_then(|value| value.parse::<f64>().ok());
    let seconds = value.unwrap_or_default() / 1000.0;
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// Whether a client is to refuse everything once it could not write a batch.
const GAPLESS: &str = "enable.gapless.guarantee";

/// The idempotent producer wants the acknowledgement of all, and to try again.
fn is_idempotent(producer: &Producer) -> bool {
    let mut custom = producer.custom_config.keys();
    let overruled = custom.any(|property| {
        matches!(
            own_name(property),
            "acks" | "message.send.max.retries" | "enable.idempotence"
        )
    });
    producer.acks == Acks::All && producer.retries > 0 && !overruled
}

fn acks(acks: Acks) -> &'static str {
    match acks {
        Acks::None => "0",
        Acks::One => "1",
        Acks::All => "all",
    }
}

fn compression(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "none",
        Compression::Gzip => "gzip",
        Compression::Snappy => "snappy",
        Compression::Lz4 => "lz4",
        Compression::Zstd => "zstd",
    }
}

fn partitioner(partitioner: Partitioner) -> &'static str {
    match partitioner {
        Partitioner::Consistent => "consistent",
        Partitioner::ConsistentRandom => "consistent_random",
        Partitioner::Murmur2 => "murmur2",
        Partitioner::Murmur2Random => "murmur2_random",
        Partitioner::Fnv1a => "fnv1a",
        Partitioner::Fnv1aRandom => "fnv1a_random",
    }
}

/// Properties that librdkafka has by two names: the one that is set here, and the other. Of both,
/// librdkafka would keep either, as a [`ClientConfig`] has no order.
const TWO_NAMES: [(&str, &str); 8] = [
    ("acks", "request.required.acks"),
    ("bootstrap.servers", "metadata.broker.list"),
    ("compression.type", "compression.codec"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("message.send.max.retries", "retries"),
    ("message.timeout.ms", "delivery.timeout.ms"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("sasl.mechanism", "sasl.mechanisms"),
];

/// The name by which a property is set here.
pub(crate) fn own_name(property: &str) -> &str {
    let twice = TWO_NAMES.iter().find(|(_, other)| *other == property);
    twice.map_or(property, |(own, _)| own)
}

fn customise(client: &mut ClientConfig, producer: &Producer) {
    for (property, value) in &producer.custom_config {
        client.set(own_name(property), value.expose());
    }
}

/// Properties by which nothing would be delivered, or nobody would know: why Weir cannot do with them.
const REFUSED: [(&str, &str, &str); 2] = [
    (
        "delivery.report.only.error",
        "false",
        "would leave Weir without acknowledgements",
    ),
    (
        "transactional.id",
        "",
        "is of no use: Weir does not produce in transactions",
    ),
];

/// Whether librdkafka has this property and takes this value, and Weir can do with it; else why not,
/// without the value, which may be a secret.
pub(crate) fn check_property(name: &str, value: &str) -> Result<(), String> {
    let refused = REFUSED.iter().find(|(refused, ..)| *refused == name);
    if let Some((_, harmless, reason)) = refused
        && value != *harmless
    {
        return Err((*reason).to_owned());
    }
    let mut client = ClientConfig::new();
    client.set(name, value);
    match client.create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(_, description, ..)) => Err(
            match description.strip_prefix("No such configuration property") {
                Some(_) => "is no property of librdkafka".to_owned(),
                None => format!("librdkafka refuses it: {}", description.replace(value, "…")),
            },
        ),
        Err(error) => Err(error.to_string()),
    }
}

/// How long a message may wait for its batch.
pub(crate) fn batch_wait(config: &Kafka) -> Duration {
    let client = producer(config, config.producer.batch_bytes);
    millis(&client, "queue.buffering.max.ms")
}

/// Whether librdkafka takes an exporter's own properties beside those of `custom_config`; else why
/// not. Nobody is connected to.
pub(crate) fn check_together(config: &Kafka) -> Result<(), String> {
    let custom = &config.producer.custom_config;
    let mut client = producer(config, config.producer.batch_bytes);
    for property in [
        "bootstrap.servers",
        "ssl.ca.pem",
        "ssl.ca.location",
        "ssl.certificate.pem",
        "ssl.key.pem",
    ] {
        if property == "bootstrap.servers" || !custom.contains_key(property) {
            client.remove(property);
        }
    }
    let made: Result<BaseProducer<Quiet>, _> = client.create_with_context(Quiet);
    made.map(drop).map_err(|error| {
        let cause = errors::client_cause(&error);
        let secrets = custom.values().map(Secret::expose);
        let secrets = secrets.filter(|value| may_be_secret(value));
        secrets.fold(cause, |cause, value| cause.replace(value, "…"))
    })
}

fn may_be_secret(value: &str) -> bool {
    let is_plain = matches!(value, "true" | "false") || value.parse::<f64>().is_ok();
    value.len() > 3 && !is_plain
}

/// Says nothing.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Quiet {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// Properties of a consumer that reads for people. Of `custom_config`, librdkafka leaves aside what
/// is for producers.
pub(super) fn consumer(config: &Kafka) -> ClientConfig {
    let mut client = common(config);
    client
        // Never used: partitions are assigned, nothing is committed.
        .set("group.id", "weir-traces-tail")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "100")
        .set("fetch.message.max.bytes", "16777216");
    customise(&mut client, &config.producer);
    client
}

/// Most bytes of a dead letter: what no other topic takes may be taken there.
const LETTER_BYTES: usize = 64 << 20;

/// How long librdkafka tries to deliver a dead letter before a new client does.
const LETTER_TIMEOUT: &str = "10000";

/// Properties of the producer of dead letters. Each is a batch of its own: the topic's limit is one of
/// batches, and a letter that fits shall not be refused with others.
pub(super) fn dead_letters(config: &Kafka) -> ClientConfig {
    let mut client = producer(config, config.producer.batch_bytes);
    client
        .set("message.max.bytes", LETTER_BYTES.to_string())
        .set(
            "queue.buffering.max.kbytes",
            (2 * LETTER_BYTES / 1024).to_string(),
        )
        .set("batch.num.messages", "1")
        .set("queue.buffering.max.ms", "5")
        .set("message.timeout.ms", LETTER_TIMEOUT)
        .set("statistics.interval.ms", "0");
    // A letter that is refused too is nothing to the others, nor is their order.
    client.remove(GAPLESS);
    client
}

/// Properties of a client that asks about topics, or makes them.
pub(super) fn admin(config: &Kafka) -> ClientConfig {
    let mut client = common(config);
    customise(&mut client, &config.producer);
    client
}

/// Properties of any client of these brokers.
fn common(config: &Kafka) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", config.brokers.join(","))
        .set("client.id", &config.producer.client_id)
        .set("security.protocol", security_protocol(config))
        .set(
            "socket.timeout.ms",
            config.producer.request_timeout.as_millis().to_string(),
        )
        .set("socket.connection.setup.timeout.ms", "10000")
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.max.ms", "2000")
        .set_log_level(RDKafkaLogLevel::Info);
    if let Some(tls) = &config.tls {
        set_tls(&mut client, tls);
    }
    if let Some(sasl) = &config.sasl {
        set_sasl(&mut client, sasl);
    }
    client
}

fn security_protocol(config: &Kafka) -> &'static str {
    match (&config.tls, &config.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    }
}

fn set_tls(client: &mut ClientConfig, tls: &Tls) {
    client.set("ssl.endpoint.identification.algorithm", "https");
    match &tls.ca_cert {
        Some(pem) => client.set("ssl.ca.pem", pem.expose()),
        // OpenSSL is linked in and does not know where this system keeps its roots.
        None => client.set("ssl.ca.location", "probe"),
    };
    if let Some((certificate, key)) = &tls.client {
        client
            .set("ssl.certificate.pem", certificate)
            .set("ssl.key.pem", key.expose());
    }
}

fn set_sasl(client: &mut ClientConfig, sasl: &Sasl) {
    client
        .set("sasl.mechanism", sasl.mechanism)
        .set("sasl.username", sasl.username.expose())
        .set("sasl.password", sasl.password.expose());
}

#[cfg(test)]
mod tests;
