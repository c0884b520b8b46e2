//! From the exporter's configuration to librdkafka's properties.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::config::{Compression, Kafka, Sasl, Tls};

pub(super) const CLIENT_ID: &str = "weir";

/// Most bytes of one message.
pub(super) const MAX_MESSAGE_BYTES: usize = 1_000_000;

/// Least memory that a message of librdkafka's takes; bounds their number.
const LEAST_MESSAGE_BYTES: usize = 512;

/// What of `buffer_bytes` is for chunks.
pub(in crate::export) fn queue_bytes(config: &Kafka) -> usize {
    config.buffer_bytes - config.buffer_bytes / 4
}

/// What of `buffer_bytes` is for messages that librdkafka holds; never less than one message.
fn window_bytes(config: &Kafka) -> usize {
    (config.buffer_bytes / 4).max(MAX_MESSAGE_BYTES + 1024)
}

/// Properties of a producer whose batches have at most `batch_bytes`.
pub(super) fn producer(config: &Kafka, batch_bytes: usize) -> ClientConfig {
    let mut client = common(config);
    let window = window_bytes(config);
    client
        .set("acks", "all")
        .set("enable.idempotence", "true")
        // A topic is made by the admin API or not at all, whatever the broker would do by itself.
        .set("allow.auto.create.topics", "false")
        // Memory bounds what is kept, not time.
        .set("message.timeout.ms", "0")
        .set("message.max.bytes", MAX_MESSAGE_BYTES.to_string())
        .set("batch.num.messages", config.batch_size.to_string())
        .set("batch.size", batch_bytes.to_string())
        .set(
            "queue.buffering.max.ms",
            config.flush_interval.as_millis().to_string(),
        )
        .set(
            "queue.buffering.max.kbytes",
            window.div_ceil(1024).to_string(),
        )
        .set(
            "queue.buffering.max.messages",
            (window / LEAST_MESSAGE_BYTES).to_string(),
        )
        .set("request.timeout.ms", "30000")
        .set(
            "compression.type",
            match config.compression {
                Compression::None => "none",
                Compression::Gzip => "gzip",
                Compression::Snappy => "snappy",
                Compression::Lz4 => "lz4",
                Compression::Zstd => "zstd",
            },
        );
    client
}

/// Properties of any client of these brokers.
pub(super) fn common(config: &Kafka) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", config.brokers.join(","))
        .set("client.id", CLIENT_ID)
        .set("security.protocol", security_protocol(config))
        .set("socket.timeout.ms", "30000")
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
