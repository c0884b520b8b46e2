//! The keys of `receivers.otlp`: OTLP in, Kafka out.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretVar;
use super::dead_letter::DeadLetter;
use super::kafka::{Compression, Kafka as Connection, Sasl};
use super::producer::Producer;
use super::tls::Tls;
use crate::config::units::{ByteSize, Duration};

/// Where telemetry of others comes in.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Receivers {
    /// OTLP over gRPC and HTTP, for traces, metrics and logs. Default: none.
    pub(in crate::config) otlp: Option<Otlp>,
}

/// OTLP over gRPC and HTTP, to Kafka topics.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["exporter"]))]
pub(in crate::config) struct Otlp {
    /// OTLP/gRPC.
    pub(in crate::config) grpc: Grpc,
    /// OTLP/HTTP: `POST /v1/traces`, `/v1/metrics` and `/v1/logs`.
    pub(in crate::config) http: Http,
    /// Demanded as `Authorization: Bearer` on every request. Default: none.
    pub(in crate::config) token: Option<SecretVar>,
    /// Most requests of one signal that wait for Kafka; what is more is refused, to be sent again.
    /// Default: 10000, or no bound with `data_dir`.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(in crate::config) queue_size: Option<NonZeroU32>,
    /// Most bytes of one signal that wait for Kafka: in memory, or with `data_dir` on the disk;
    /// what is more is refused, to be sent again. Default: 256MiB, or that of `spool.max_bytes`
    /// with `data_dir`.
    pub(in crate::config) queue_bytes: Option<ByteSize>,
    /// Where it goes.
    pub(in crate::config) exporter: Exporter,
}

/// OTLP/gRPC.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Grpc {
    /// Default: true.
    pub(in crate::config) enabled: bool,
    /// IP address and port. Default: 0.0.0.0:4317.
    pub(in crate::config) address: String,
    /// TLS with these certificates; of `alpn` gRPC takes `h2` alone. Default: none, so unencrypted.
    pub(in crate::config) tls: Option<Tls>,
    /// Most bytes of a message, after decompression (`RESOURCE_EXHAUSTED` past it). Default: 4MiB.
    pub(in crate::config) max_body_bytes: ByteSize,
    /// Most connections at once, over all workers, each of which takes its share; what is more is
    /// closed. Default: no limit.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(in crate::config) max_connections: Option<u64>,
}

/// OTLP/HTTP.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Http {
    /// Default: true.
    pub(in crate::config) enabled: bool,
    /// IP address and port. Default: 0.0.0.0:4318.
    pub(in crate::config) address: String,
    /// TLS with these certificates. Default: none, so unencrypted.
    pub(in crate::config) tls: Option<Tls>,
    /// Most bytes of a body, after decompression (413 past it). Default: 20MiB.
    pub(in crate::config) max_body_bytes: ByteSize,
    /// Most connections at once, over all workers, each of which takes its share; what is more is
    /// closed. Default: no limit.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(in crate::config) max_connections: Option<u64>,
    /// Which web pages may send telemetry. Default: none.
    pub(in crate::config) cors: Option<Cors>,
}

/// Which web pages may send telemetry from a browser.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["allowed_origins"]))]
pub(in crate::config) struct Cors {
    /// Origins such as `https://app.example.com`; `*` stands for any run of characters.
    #[schemars(length(min = 1))]
    pub(in crate::config) allowed_origins: Vec<String>,
    /// Request headers that pages may send beside `content-type`, `content-encoding` and
    /// `authorization`. Default: none.
    pub(in crate::config) allowed_headers: Vec<String>,
    /// How long a browser may remember the answer. Default: 1h.
    pub(in crate::config) max_age: Duration,
}

/// Where received telemetry goes.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["kafka"]))]
pub(in crate::config) struct Exporter {
    /// Kafka topics, one for each signal.
    pub(in crate::config) kafka: Option<Kafka>,
}

/// Kafka topics, one for each signal.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "OtlpKafka", extend("required" = ["brokers"]))]
pub(in crate::config) struct Kafka {
    /// Addresses of the form `host:port`. At least one.
    #[schemars(length(min = 1))]
    #[schemars(extend("x-librdkafka" = ["bootstrap.servers"]))]
    pub(in crate::config) brokers: Vec<String>,
    /// The topic that traces go to. Default: otlp-traces.
    #[schemars(
        title = "topic name of letters, digits, dots, underscores and hyphens",
        regex(pattern = "^[a-zA-Z0-9._-]{1,249}$")
    )]
    pub(in crate::config) traces_topic: String,
    /// The topic that metrics go to. Default: otlp-metrics.
    #[schemars(
        title = "topic name of letters, digits, dots, underscores and hyphens",
        regex(pattern = "^[a-zA-Z0-9._-]{1,249}$")
    )]
    pub(in crate::config) metrics_topic: String,
    /// The topic that logs go to. Default: otlp-logs.
    #[schemars(
        title = "topic name of letters, digits, dots, underscores and hyphens",
        regex(pattern = "^[a-zA-Z0-9._-]{1,249}$")
    )]
    pub(in crate::config) logs_topic: String,
    /// What a message is: an export request as OTLP/JSON, as protobuf, or as protobuf's own JSON
    /// printer writes it with the names of the `.proto` files and with defaults. Default: `otlp_json`.
    pub(in crate::config) format: Format,
    /// Whether each trace is a message of its own, keyed by trace id. Default: false.
    pub(in crate::config) partition_traces_by_id: bool,
    /// Whether metrics are keyed by the attributes of their resource; the key then chooses the
    /// partition as Kafka's Java client does, whatever `producer.partitioner` says. Default: false.
    pub(in crate::config) partition_metrics_by_resource_attributes: bool,
    /// The same for logs. Default: false.
    pub(in crate::config) partition_logs_by_resource_attributes: bool,
    /// Whether the connection is encrypted. Default: false.
    #[schemars(extend("x-librdkafka" = ["security.protocol"]))]
    pub(in crate::config) tls_enabled: bool,
    /// Certificate authority of the brokers: PEM text, the path of a PEM file, or `env.NAME` of
    /// either. Default: those of the system.
    #[schemars(extend("x-librdkafka" = ["ssl.ca.pem"]))]
    pub(in crate::config) ca_cert: Option<SecretVar>,
    /// Certificate for mutual TLS: PEM text, the path of a PEM file, or `env.NAME` of either; with
    /// `client_key`. Default: none.
    #[schemars(extend("x-librdkafka" = ["ssl.certificate.pem"]))]
    pub(in crate::config) client_cert: Option<SecretVar>,
    /// Private key for mutual TLS: PEM text, the path of a PEM file, or `env.NAME` of either; with
    /// `client_cert`. Default: none.
    #[schemars(extend("x-librdkafka" = ["ssl.key.pem"]))]
    pub(in crate::config) client_key: Option<SecretVar>,
    /// Whether to authenticate by SASL. Default: false.
    #[schemars(extend("x-librdkafka" = ["security.protocol"]))]
    pub(in crate::config) sasl_enabled: bool,
    /// Credentials, needed when `sasl_enabled` is true.
    pub(in crate::config) sasl: Sasl,
    /// Compression of batches. Default: none.
    #[schemars(extend("x-librdkafka" = ["compression.type"]))]
    pub(in crate::config) compression: Compression,
    /// Most messages in a batch, from 1 to 1000000. Default: 10000.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[schemars(extend("x-librdkafka" = ["batch.num.messages"]))]
    pub(in crate::config) batch_size: u32,
    /// Longest wait for a batch, in milliseconds, up to 900000. Default: 5.
    #[schemars(range(max = 900_000))]
    #[schemars(extend("x-librdkafka" = ["queue.buffering.max.ms"]))]
    pub(in crate::config) flush_interval_ms: u32,
    /// Whether missing topics are created at startup. Default: false.
    pub(in crate::config) auto_create_topic: bool,
    /// How messages are produced.
    pub(in crate::config) producer: Producer,
    /// Where messages go that a broker refuses for good; of a file, each signal has its own, such as
    /// `FILE-traces`. Default: nowhere, they are lost.
    pub(in crate::config) dead_letter: Option<DeadLetter>,
    /// Most bytes of messages that the client of one signal holds on their way. Default: 64MiB.
    #[schemars(extend("x-librdkafka" = ["queue.buffering.max.kbytes", "queue.buffering.max.messages"]))]
    pub(in crate::config) buffer_bytes: ByteSize,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[schemars(inline)]
pub(in crate::config) enum Format {
    #[default]
    #[serde(rename = "otlp_json")]
    Json,
    #[serde(rename = "otlp_protobuf")]
    Protobuf,
    #[serde(rename = "otlp_json_snake_case")]
    JsonSnakeCase,
}

impl Kafka {
    /// The keys that every Kafka exporter has.
    pub(in crate::config) fn into_connection(self) -> Connection {
        Connection {
            brokers: self.brokers,
            tls_enabled: self.tls_enabled,
            ca_cert: self.ca_cert,
            client_cert: self.client_cert,
            client_key: self.client_key,
            sasl_enabled: self.sasl_enabled,
            sasl: self.sasl,
            compression: self.compression,
            batch_size: self.batch_size,
            flush_interval_ms: self.flush_interval_ms,
            auto_create_topic: self.auto_create_topic,
            producer: self.producer,
            dead_letter: self.dead_letter,
            buffer_bytes: self.buffer_bytes,
            ..Connection::default()
        }
    }
}

impl Default for Grpc {
    fn default() -> Self {
        Self {
            enabled: true,
            address: "0.0.0.0:4317".to_owned(),
            tls: None,
            max_body_bytes: ByteSize::mib(4),
            max_connections: None,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            enabled: true,
            address: "0.0.0.0:4318".to_owned(),
            tls: None,
            max_body_bytes: ByteSize::mib(20),
            max_connections: None,
            cors: None,
        }
    }
}

impl Default for Cors {
    fn default() -> Self {
        Self {
            allowed_origins: Vec::new(),
            allowed_headers: Vec::new(),
            max_age: Duration::seconds(3600),
        }
    }
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            brokers: Vec::new(),
            traces_topic: "otlp-traces".to_owned(),
            metrics_topic: "otlp-metrics".to_owned(),
            logs_topic: "otlp-logs".to_owned(),
            format: Format::default(),
            partition_traces_by_id: false,
            partition_metrics_by_resource_attributes: false,
            partition_logs_by_resource_attributes: false,
            tls_enabled: false,
            ca_cert: None,
            client_cert: None,
            client_key: None,
            sasl_enabled: false,
            sasl: Sasl::default(),
            compression: Compression::default(),
            batch_size: 10_000,
            flush_interval_ms: 5,
            auto_create_topic: false,
            producer: Producer::default(),
            dead_letter: None,
            buffer_bytes: ByteSize::mib(64),
        }
    }
}
