//! An exporter to Kafka: its connection, how messages are produced, and where refused ones go.

use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;

use super::{Filters, Secret};
use crate::otlp::Signal;

#[derive(Clone, Debug, PartialEq)]
pub struct Kafka {
    pub enabled: bool,
    /// `host:port`, at least one.
    pub brokers: Vec<String>,
    pub topic: String,
    pub format: Format,
    pub tls: Option<Tls>,
    pub sasl: Option<Sasl>,
    pub compression: Compression,
    /// Most messages in a batch.
    pub batch_size: u32,
    /// Longest wait for a batch.
    pub flush_interval: Duration,
    pub auto_create_topic: bool,
    pub producer: Producer,
    /// `None`: what is refused for good is dropped.
    pub dead_letter: Option<DeadLetter>,
    /// Most bytes of traces kept in memory for this exporter.
    pub buffer_bytes: usize,
    pub filters: Filters,
}

/// Where messages go that a broker refuses for good.
#[derive(Clone, Debug, PartialEq)]
pub enum DeadLetter {
    Topic(String),
    /// A file with the most bytes that it, and those it was before, may have.
    File {
        path: PathBuf,
        max_bytes: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    OtlpJson,
    OtlpProtobuf,
    /// Records are messages already, as receivers make them of this signal.
    Prepared(Signal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// How messages are produced.
#[derive(Clone, Debug, PartialEq)]
pub struct Producer {
    pub acks: Acks,
    pub client_id: String,
    pub max_message_bytes: usize,
    pub retries: u32,
    pub retry_backoff: Duration,
    pub retry_backoff_max: Duration,
    /// Zero is for ever.
    pub message_timeout: Duration,
    pub request_timeout: Duration,
    /// Most bytes of a batch.
    pub batch_bytes: usize,
    pub partitioner: Partitioner,
    /// Properties of librdkafka, put over all others.
    pub custom_config: IndexMap<String, Secret>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    None,
    One,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partitioner {
    Consistent,
    ConsistentRandom,
    Murmur2,
    Murmur2Random,
    Fnv1a,
    Fnv1aRandom,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tls {
    /// PEM text; `None` is the system's roots.
    pub ca_cert: Option<Secret>,
    /// PEM text of certificate and key, for mutual TLS.
    pub client: Option<(String, Secret)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sasl {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: &'static str,
    pub username: Secret,
    pub password: Secret,
}

impl Default for Producer {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            client_id: "weir".to_owned(),
            max_message_bytes: 1_000_000,
            retries: i32::MAX.unsigned_abs(),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            message_timeout: Duration::from_mins(5),
            request_timeout: Duration::from_secs(30),
            batch_bytes: 1_000_000,
            partitioner: Partitioner::ConsistentRandom,
            custom_config: IndexMap::new(),
        }
    }
}
