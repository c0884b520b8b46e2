//! The keys of `exporters.<name>.kafka.producer`: how messages are produced.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How messages are produced. Most people need none of it.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Producer {
    /// Who has to have a message before it counts as delivered: no broker, the leader of its
    /// partition, or all replicas in sync. With `all`, and retries, the producer is idempotent.
    /// Default: all.
    #[schemars(extend("x-librdkafka" = ["acks", "enable.idempotence"]))]
    pub(in crate::config) acks: Acks,
    /// The name by which brokers know this client. Default: weir.
    #[schemars(length(min = 1), extend("x-librdkafka" = ["client.id"]))]
    pub(in crate::config) client_id: String,
    /// Most bytes of one message, from 1000. Default: 1000000.
    #[schemars(range(min = 1000, max = 1_000_000_000), extend("x-librdkafka" = ["message.max.bytes"]))]
    pub(in crate::config) max_message_bytes: u32,
    /// Longest wait for a batch, in milliseconds; where it is given, it rules over
    /// `flush_interval_ms`. Default: none.
    #[schemars(range(max = 900_000), extend("x-librdkafka" = ["queue.buffering.max.ms"]))]
    pub(in crate::config) linger_ms: Option<u32>,
    /// How often a request that failed is sent again. Default: 2147483647.
    #[schemars(range(max = 2_147_483_647), extend("x-librdkafka" = ["message.send.max.retries"]))]
    pub(in crate::config) retries: u32,
    /// First wait before a request is sent again, in milliseconds; it doubles. Default: 100.
    #[schemars(range(min = 1, max = 300_000), extend("x-librdkafka" = ["retry.backoff.ms"]))]
    pub(in crate::config) retry_backoff_ms: u32,
    /// Longest such wait, in milliseconds. Default: 1000.
    #[schemars(range(min = 1, max = 300_000), extend("x-librdkafka" = ["retry.backoff.max.ms"]))]
    pub(in crate::config) retry_backoff_max_ms: u32,
    /// How long librdkafka tries to deliver a message before it is given to a new client, in
    /// milliseconds; 0 is for ever. Default: 300000, and more where a batch may wait that long.
    #[schemars(range(max = 2_147_483_647), extend("x-librdkafka" = ["message.timeout.ms"]))]
    pub(in crate::config) message_timeout_ms: u32,
    /// How long a broker may take to answer, in milliseconds. Default: 30000.
    #[schemars(range(min = 10, max = 300_000), extend("x-librdkafka" = ["request.timeout.ms", "socket.timeout.ms"]))]
    pub(in crate::config) request_timeout_ms: u32,
    /// Most bytes of a batch. Default: 1000000.
    #[schemars(range(min = 1, max = 2_147_483_647), extend("x-librdkafka" = ["batch.size"]))]
    pub(in crate::config) batch_size: u32,
    /// How a message's key, the trace's id, chooses its partition: by CRC32 (`consistent`), as
    /// Kafka's Java client does (`murmur2`) or as Sarama does (`fnv1a`). Default:
    /// consistent-random.
    #[schemars(extend("x-librdkafka" = ["partitioner"]))]
    pub(in crate::config) partitioner: Partitioner,
    /// How the connection is secured; to be said twice where that is wanted. Default: what
    /// `tls_enabled` and `sasl_enabled` say.
    #[schemars(extend("x-librdkafka" = ["security.protocol"]))]
    pub(in crate::config) security_protocol: Option<SecurityProtocol>,
    /// Properties of librdkafka by their own names, put over all that the other keys say. Values
    /// may be `env.NAME`. Default: none.
    pub(in crate::config) custom_config: IndexMap<String, Property>,
}

/// A property's value: text, or what YAML takes for a number or a truth value.
#[derive(Deserialize)]
#[serde(untagged)]
pub(in crate::config) enum Property {
    Boolean(bool),
    Number(serde_json::Number),
    Text(String),
}

impl JsonSchema for Property {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Property".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "number", "boolean"], "writeOnly": true })
    }
}

#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum Acks {
    None,
    One,
    #[default]
    All,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub(in crate::config) enum Partitioner {
    #[default]
    ConsistentRandom,
    Consistent,
    Murmur2,
    Murmur2Random,
    Fnv1a,
    Fnv1aRandom,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schemars(inline)]
pub(in crate::config) enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl SecurityProtocol {
    pub(in crate::config) fn of(tls: bool, sasl: bool) -> Self {
        match (tls, sasl) {
            (false, false) => Self::Plaintext,
            (true, false) => Self::Ssl,
            (false, true) => Self::SaslPlaintext,
            (true, true) => Self::SaslSsl,
        }
    }

    pub(in crate::config) fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }
}

impl Default for Producer {
    fn default() -> Self {
        Self {
            acks: Acks::default(),
            client_id: "weir".to_owned(),
            max_message_bytes: 1_000_000,
            linger_ms: None,
            retries: 2_147_483_647,
            retry_backoff_ms: 100,
            retry_backoff_max_ms: 1000,
            message_timeout_ms: 300_000,
            request_timeout_ms: 30_000,
            batch_size: 1_000_000,
            partitioner: Partitioner::default(),
            security_protocol: None,
            custom_config: IndexMap::new(),
        }
    }
}
