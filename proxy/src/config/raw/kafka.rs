//! The keys of `exporters.<name>.kafka`: the connection, and what of a trace goes to it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretVar;
use super::dead_letter::DeadLetter;
use super::filters::{PluginSpanFilter, Sampling};
use super::producer::Producer;
use crate::config::units::ByteSize;

/// Delivery to a Kafka topic.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["brokers", "topic"]))]
pub(in crate::config) struct Kafka {
    /// Whether this exporter runs. Default: true.
    pub(in crate::config) enabled: bool,
    /// Addresses of the form `host:port`. At least one.
    #[schemars(length(min = 1))]
    #[schemars(extend("x-librdkafka" = ["bootstrap.servers"]))]
    pub(in crate::config) brokers: Vec<String>,
    /// The topic that traces go to.
    #[schemars(
        title = "topic name of letters, digits, dots, underscores and hyphens",
        regex(pattern = "^[a-zA-Z0-9._-]{1,249}$")
    )]
    pub(in crate::config) topic: String,
    /// What a message is: Weir's own JSON, or an OTLP `ExportTraceServiceRequest`. Default: json.
    pub(in crate::config) format: Format,
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
    /// Most messages in a batch, from 1 to 1000000. Default: 100.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[schemars(extend("x-librdkafka" = ["batch.num.messages"]))]
    pub(in crate::config) batch_size: u32,
    /// Longest wait for a batch, in milliseconds, up to 900000. Default: 1000.
    #[schemars(range(max = 900_000))]
    #[schemars(extend("x-librdkafka" = ["queue.buffering.max.ms"]))]
    pub(in crate::config) flush_interval_ms: u32,
    /// Whether a missing topic is created at startup. Default: false.
    pub(in crate::config) auto_create_topic: bool,
    /// How messages are produced.
    pub(in crate::config) producer: Producer,
    /// Where messages go that a broker refuses for good. Default: they are dropped, and counted.
    pub(in crate::config) dead_letter: Option<DeadLetter>,
    /// Most bytes of traces kept in memory for this exporter. Default: 64MiB.
    #[schemars(extend("x-librdkafka" = ["queue.buffering.max.kbytes", "queue.buffering.max.messages"]))]
    pub(in crate::config) buffer_bytes: ByteSize,
    /// Which plugins' spans are exported. Default: all.
    pub(in crate::config) plugin_span_filter: Option<PluginSpanFilter>,
    /// Request headers to export: names in any case, `*` for any run of characters. Default: none.
    pub(in crate::config) request_headers: Vec<String>,
    /// Whether the values of headers that carry credentials are exported as `REDACTED`.
    /// Default: true.
    pub(in crate::config) redact_headers: bool,
    /// Whether the content of messages to and from models is left out. Default: false.
    pub(in crate::config) disable_content_logging: bool,
    /// Exact names of attributes to leave out. Default: none.
    pub(in crate::config) excluded_attributes: Vec<String>,
    /// Which traces are exported. Default: all.
    pub(in crate::config) sampling: Sampling,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum Format {
    #[default]
    Json,
    OtlpJson,
    OtlpProtobuf,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum Compression {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Credentials for SASL.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Sasl {
    /// How to authenticate. No default.
    #[schemars(extend("x-librdkafka" = ["sasl.mechanism"]))]
    pub(in crate::config) mechanism: Option<Mechanism>,
    /// The name to authenticate with.
    #[schemars(extend("x-librdkafka" = ["sasl.username"]))]
    pub(in crate::config) username: Option<SecretVar>,
    /// The password to authenticate with.
    #[schemars(extend("x-librdkafka" = ["sasl.password"]))]
    pub(in crate::config) password: Option<SecretVar>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(inline)]
pub(in crate::config) enum Mechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            enabled: true,
            brokers: Vec::new(),
            topic: String::new(),
            format: Format::default(),
            tls_enabled: false,
            ca_cert: None,
            client_cert: None,
            client_key: None,
            sasl_enabled: false,
            sasl: Sasl::default(),
            compression: Compression::default(),
            batch_size: 100,
            flush_interval_ms: 1000,
            auto_create_topic: false,
            producer: Producer::default(),
            dead_letter: None,
            buffer_bytes: ByteSize::mib(64),
            plugin_span_filter: None,
            request_headers: Vec::new(),
            redact_headers: true,
            disable_content_logging: false,
            excluded_attributes: Vec::new(),
            sampling: Sampling::default(),
        }
    }
}
