//! Kafka exporters: the connection and its credentials.

use std::time::Duration;

use super::filters::RawFilters;
use super::{Resolver, secret};
use crate::config::fault::Code;
use crate::config::path::Path;
use crate::config::raw::{SecretVar, kafka as keys};
use crate::config::{Compression, Format, Kafka, Sasl, Tls};
use crate::export;

impl Resolver<'_> {
    pub(super) fn kafka(&mut self, at: &Path, raw: keys::Kafka) -> Kafka {
        let faults = self.faults.len();
        for (index, broker) in raw.brokers.iter().enumerate() {
            if !is_broker(broker) {
                let at = at.key("brokers").index(index);
                self.fault(Code::InvalidValue, &at, "must have the form `host:port`");
                self.hint_variable(&at);
            }
        }
        let tls = self.tls(at, &raw);
        let sasl = self.sasl(at, &raw);
        let producer = self.producer(at, &raw);
        if raw.buffer_bytes.0 == 0 {
            self.fault(
                Code::InvalidValue,
                &at.key("buffer_bytes"),
                "must be more than nothing",
            );
        }
        self.topic(&at.key("topic"), &raw.topic);
        let dead_letter = self.dead_letter(at, &raw.topic, raw.dead_letter);
        let kafka = Kafka {
            enabled: raw.enabled,
            brokers: raw.brokers,
            topic: raw.topic,
            format: match raw.format {
                keys::Format::Json => Format::Json,
                keys::Format::OtlpJson => Format::OtlpJson,
                keys::Format::OtlpProtobuf => Format::OtlpProtobuf,
            },
            tls,
            sasl,
            compression: match raw.compression {
                keys::Compression::None => Compression::None,
                keys::Compression::Gzip => Compression::Gzip,
                keys::Compression::Snappy => Compression::Snappy,
                keys::Compression::Lz4 => Compression::Lz4,
                keys::Compression::Zstd => Compression::Zstd,
            },
            batch_size: raw.batch_size,
            flush_interval: Duration::from_millis(
                raw.producer
                    .linger_ms
                    .unwrap_or(raw.flush_interval_ms)
                    .into(),
            ),
            auto_create_topic: raw.auto_create_topic,
            producer,
            dead_letter,
            buffer_bytes: raw.buffer_bytes.bytes(),
            filters: self.filters(
                at,
                RawFilters {
                    plugin_span_filter: raw.plugin_span_filter,
                    request_headers: raw.request_headers,
                    redact_headers: raw.redact_headers,
                    disable_content_logging: raw.disable_content_logging,
                    excluded_attributes: raw.excluded_attributes,
                    sampling: raw.sampling,
                },
            ),
        };
        let custom = at.key("producer").key("custom_config");
        let is_custom = kafka.enabled && !kafka.producer.custom_config.is_empty();
        if is_custom
            && self.faults.len() == faults
            && let Err(reason) = export::kafka::check_together(&kafka)
        {
            let message = format!("librdkafka refuses it beside the other keys: {reason}");
            self.fault(Code::Conflict, &custom, message);
        }
        if kafka.enabled {
            self.acknowledgements(&at.key("producer"), &kafka.producer);
        }
        kafka
    }

    fn tls(&mut self, at: &Path, raw: &keys::Kafka) -> Option<Tls> {
        let (cert, key) = (at.key("client_cert"), at.key("client_key"));
        match (&raw.client_cert, &raw.client_key) {
            (Some(_), None) => self.needs(&cert, &key),
            (None, Some(_)) => self.needs(&key, &cert),
            _ => {}
        }
        if !raw.tls_enabled {
            let message = "has no effect: `tls_enabled` is false, and nothing is encrypted";
            self.switched_off(&[&at.key("ca_cert"), &cert, &key], message);
            return None;
        }
        let mut pem = |at: &Path, value: &Option<SecretVar>| {
            let value = value.as_ref()?;
            self.pem(at, value)
        };
        let ca_cert = pem(&at.key("ca_cert"), &raw.ca_cert);
        let client_cert = pem(&cert, &raw.client_cert);
        let client_key = pem(&key, &raw.client_key);
        Some(Tls {
            ca_cert,
            client: client_cert
                .map(|cert| cert.expose().to_owned())
                .zip(client_key),
        })
    }

    fn sasl(&mut self, at: &Path, raw: &keys::Kafka) -> Option<Sasl> {
        let enabled = at.key("sasl_enabled");
        let at = at.key("sasl");
        if !raw.sasl_enabled {
            let message = "has no effect: `sasl_enabled` is false, and Weir does not authenticate";
            self.switched_off(&[&at], message);
            return None;
        }
        if raw.sasl.mechanism.is_none() {
            self.needs(&enabled, &at.key("mechanism"));
        }
        if raw.sasl.mechanism == Some(keys::Mechanism::Plain) && !raw.tls_enabled {
            let message = "PLAIN without TLS sends the password unencrypted";
            self.fault(Code::PlainCredentials, &at.key("mechanism"), message);
            self.hint("set `tls_enabled: true`, or use SCRAM-SHA-512");
        }
        let mut credential = |key: &str, value: &Option<SecretVar>| {
            let at = at.key(key);
            match value {
                Some(value) => self.secret(&at, value),
                None => {
                    self.needs(&enabled, &at);
                    None
                }
            }
        };
        let username = credential("username", &raw.sasl.username);
        let password = credential("password", &raw.sasl.password);
        Some(Sasl {
            mechanism: match raw.sasl.mechanism? {
                keys::Mechanism::Plain => "PLAIN",
                keys::Mechanism::ScramSha256 => "SCRAM-SHA-256",
                keys::Mechanism::ScramSha512 => "SCRAM-SHA-512",
            },
            username: username?,
            password: password?,
        })
    }

    /// Warns of a name that was meant to come from the environment. A topic may be called so, but hardly in
    /// capitals.
    pub(super) fn topic(&mut self, at: &Path, name: &str) {
        if secret::variable(name).is_some_and(|name| !name.contains(char::is_lowercase)) {
            self.fault(Code::NoVariable, at, "is the topic's name as it is here");
            self.hint_variable(at);
        }
    }

    /// Warns of the first of these that is written, though what it is for is off.
    fn switched_off(&mut self, keys: &[&Path], message: &str) {
        if let Some(key) = keys.iter().find(|key| self.is_present(key)) {
            self.fault(Code::SwitchedOff, key, message);
            self.hint("switch it on with `true`, or leave the key out");
        }
    }

    /// A key that another one cannot do without.
    pub(super) fn needs(&mut self, key: &Path, needed: &Path) {
        if !self.is_judged(needed) {
            let message = format!("is missing, and `{key}` needs it");
            self.fault(Code::MissingKey, needed, message);
        }
    }
}

fn is_broker(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let host = !host.is_empty() && !host.contains(['/', ',', '@', ' ']);
    host && port.parse::<u16>().is_ok_and(|port| port != 0)
}
