//! How a Kafka exporter produces: what its keys mean together, and librdkafka's own properties.

use std::time::Duration;

use indexmap::IndexMap;

use super::Resolver;
use crate::config::fault::Code;
use crate::config::path::Path;
use crate::config::raw::producer::{self as keys, Property, SecurityProtocol};
use crate::config::raw::{SecretVar, kafka};
use crate::config::{Acks, Partitioner, Producer, Secret};
use crate::export::{self, kafka::own_name};

impl Resolver<'_> {
    pub(super) fn producer(&mut self, kafka_at: &Path, kafka: &kafka::Kafka) -> Producer {
        let raw = &kafka.producer;
        let at = &kafka_at.key("producer");
        self.security_protocol(at, kafka);
        let message_timeout_ms = self.message_timeout_ms(kafka_at, kafka);
        if raw.retry_backoff_ms > raw.retry_backoff_max_ms {
            let message = format!(
                "is more than `retry_backoff_max_ms` ({})",
                raw.retry_backoff_max_ms
            );
            self.fault(Code::Conflict, &at.key("retry_backoff_ms"), message);
        }
        let millis = |millis: u32| Duration::from_millis(millis.into());
        let custom_config = self.custom_config(&at.key("custom_config"), &raw.custom_config);
        // What Weir itself goes by too.
        let bytes = |property: &str, key: u32| {
            let custom = custom_config.get(property);
            let custom = custom.and_then(|value| value.expose().parse().ok());
            custom.unwrap_or(key as usize)
        };
        Producer {
            acks: match raw.acks {
                keys::Acks::None => Acks::None,
                keys::Acks::One => Acks::One,
                keys::Acks::All => Acks::All,
            },
            client_id: raw.client_id.clone(),
            max_message_bytes: bytes("message.max.bytes", raw.max_message_bytes),
            retries: raw.retries,
            retry_backoff: millis(raw.retry_backoff_ms),
            retry_backoff_max: millis(raw.retry_backoff_max_ms),
            message_timeout: millis(message_timeout_ms),
            request_timeout: millis(raw.request_timeout_ms),
            batch_bytes: bytes("batch.size", raw.batch_size),
            partitioner: match raw.partitioner {
                keys::Partitioner::Consistent => Partitioner::Consistent,
                keys::Partitioner::ConsistentRandom => Partitioner::ConsistentRandom,
                keys::Partitioner::Murmur2 => Partitioner::Murmur2,
                keys::Partitioner::Murmur2Random => Partitioner::Murmur2Random,
                keys::Partitioner::Fnv1a => Partitioner::Fnv1a,
                keys::Partitioner::Fnv1aRandom => Partitioner::Fnv1aRandom,
            },
            custom_config,
        }
    }

    /// Whoever has a spool does not expect it to let go of what nobody has confirmed.
    pub(super) fn acknowledgements(&mut self, at: &Path, producer: &Producer) {
        if !self.is_present(&Path::root().key("data_dir")) {
            return;
        }
        let (at, unacknowledged) = match custom(producer, "acks") {
            Some((name, value)) => (at.key("custom_config").key(name), value.expose() == "0"),
            None => (at.key("acks"), producer.acks == Acks::None),
        };
        if unacknowledged {
            let message = "the spool lets go of what no broker has acknowledged";
            self.fault(Code::Unacknowledged, &at, message);
            self.hint("take `one` or `all`, and nothing is lost");
        }
    }

    fn security_protocol(&mut self, at: &Path, kafka: &kafka::Kafka) {
        let Some(said) = kafka.producer.security_protocol else {
            return;
        };
        let meant = SecurityProtocol::of(kafka.tls_enabled, kafka.sasl_enabled);
        if said != meant {
            let message = format!(
                "is {}, but `tls_enabled: {}` and `sasl_enabled: {}` mean {}",
                said.name(),
                kafka.tls_enabled,
                kafka.sasl_enabled,
                meant.name(),
            );
            self.fault(Code::Conflict, &at.key("security_protocol"), message);
            self.hint("leave it out, or change the others");
        }
    }

    /// A message has to live longer than its batch waits.
    fn message_timeout_ms(&mut self, kafka_at: &Path, kafka: &kafka::Kafka) -> u32 {
        let raw = &kafka.producer;
        let at = kafka_at.key("producer");
        let (linger, key) = match raw.linger_ms {
            Some(linger) => (linger, at.key("linger_ms")),
            None => (kafka.flush_interval_ms, kafka_at.key("flush_interval_ms")),
        };
        let timeout = raw.message_timeout_ms;
        let at = at.key("message_timeout_ms");
        if timeout == 0 || timeout > linger {
            return timeout;
        }
        if self.is_present(&at) {
            let message = format!("must be more than `{key}` ({linger})");
            self.fault(Code::Conflict, &at, message);
            self.hint("0 is for ever");
        }
        linger + timeout
    }

    fn custom_config(
        &mut self,
        at: &Path,
        raw: &IndexMap<String, Property>,
    ) -> IndexMap<String, Secret> {
        let mut properties = IndexMap::new();
        for (name, value) in raw {
            let at = at.key(name);
            let value = match value {
                Property::Boolean(value) => Some(Secret::new(value.to_string())),
                Property::Number(value) => Some(Secret::new(value.to_string())),
                Property::Text(text) => self.secret(&at, &SecretVar(text.clone())),
            };
            let Some(value) = value else { continue };
            match export::kafka::check_property(name, value.expose()) {
                Ok(()) => {
                    properties.insert(name.clone(), value);
                }
                Err(reason) => self.fault(Code::InvalidValue, &at, reason),
            }
        }
        properties
    }
}

/// What `custom_config` says of a property, and by which of its names: of two the last wins, as with the
/// client.
pub(super) fn custom<'p>(producer: &'p Producer, property: &str) -> Option<(&'p str, &'p Secret)> {
    let mut said = producer.custom_config.iter().rev();
    let (name, value) = said.find(|(name, _)| own_name(name) == property)?;
    Some((name.as_str(), value))
}
