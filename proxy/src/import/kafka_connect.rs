//! Conduktor's OTLP source connector: the JSON with which it is made in Kafka Connect, or the object
//! with its keys alone.

use serde_json::{Map, Value};

use super::draft::Draft;

const CLASS: &str = "OpenTelemetrySourceConnector";
const TOKEN: &str = "WEIR_OTLP_TOKEN";
const PASSWORD: &str = "WEIR_KAFKA_PASSWORD";

/// Where a Kafka listens of which nothing is said.
const BROKERS: &str = "localhost:9092";

/// The connector's defaults, written out: consumers are to see no change, and ports to be in sight.
const DEFAULTS: [(&str, &str); 9] = [
    ("otlp.grpc.enabled", "true"),
    ("otlp.grpc.port", "4317"),
    ("otlp.http.enabled", "true"),
    ("otlp.http.port", "4318"),
    ("kafka.topic.traces", "otlp-traces"),
    ("kafka.topic.metrics", "otlp-metrics"),
    ("kafka.topic.logs", "otlp-logs"),
    ("otlp.message.format", "json"),
    ("otlp.message.queue.size", "10000"),
];

/// `max.request.size` of Kafka's Java client.
const MAX_REQUEST: u64 = 1_048_576;

pub(super) fn import(text: &str, brokers: &[String], draft: &mut Draft) -> Result<(), String> {
    let file: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let Some(config) = find(&file) else {
        return Err(format!(
            "there is no OTLP source connector in it: no object has a `connector.class` that ends in \
             `{CLASS}`"
        ));
    };
    let mut given = Vec::new();
    for (key, value) in config {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Null => continue,
            _ => return Err(format!("{key}: it is a text, a number or a truth value")),
        };
        given.push((key.as_str(), value));
    }
    for (name, default) in DEFAULTS {
        if !given.iter().any(|(key, _)| *key == name) {
            given.push((name, default.to_owned()));
        }
    }
    let connector = Connector { given, brokers };
    connector.base(draft);
    for (key, value) in &connector.given {
        if value.contains("${") && !key.starts_with("otlp.auth.") {
            let what = "`${…}` is known to Kafka Connect alone: write in what it stands for";
            draft.note(key, what);
        } else {
            connector.key(key, value, draft)?;
        }
    }
    connector.authentication(draft);
    Ok(())
}

/// The keys, wherever they stand.
fn find(at: &Value) -> Option<&Map<String, Value>> {
    match at {
        Value::Object(map) => {
            let class = map.get("connector.class").and_then(Value::as_str);
            if class.is_some_and(|class| class.ends_with(CLASS)) {
                return Some(map);
            }
            map.values().find_map(find)
        }
        Value::Array(items) => items.iter().find_map(find),
        _ => None,
    }
}

struct Connector<'i> {
    /// With the defaults of what is not said.
    given: Vec<(&'i str, String)>,
    brokers: &'i [String],
}

impl Connector<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.given.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.as_str())
    }

    fn is(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// What Kafka Connect does beside the connector.
    fn base(&self, draft: &mut Draft) {
        if self.brokers.is_empty() {
            draft.set("exporter.kafka.brokers", vec![BROKERS]);
            if self.get("producer.override.bootstrap.servers").is_none() {
                draft.note(
                    "note",
                    "the brokers are those of Kafka Connect's workers, which it does not say: \
                     `--brokers` does, or look at `brokers`",
                );
            }
        } else {
            draft.set("exporter.kafka.brokers", self.brokers);
        }
        draft.set("exporter.kafka.auto_create_topic", true);
        draft.note(
            "note",
            "topics that are missing are made, as by Kafka Connect or its brokers: \
             `auto_create_topic: true` is set",
        );
        draft.set("exporter.kafka.producer.max_message_bytes", MAX_REQUEST);
        draft.note(
            "note",
            "`max_message_bytes: 1048576` is the largest message of Kafka's Java client; Weir splits \
             what is larger, where the connector loses it",
        );
    }

    fn key(&self, key: &str, value: &str, draft: &mut Draft) -> Result<(), String> {
        match key {
            "name" | "connector.class" | "otlp.bind.address" => {}
            "tasks.max" => {
                if value != "1" {
                    draft.no_equal(
                        key,
                        "Weir's workers share the ports, a thread for each core",
                    );
                }
            }
            "otlp.grpc.enabled" => draft.set("grpc.enabled", truth(key, value)?),
            "otlp.http.enabled" => draft.set("http.enabled", truth(key, value)?),
            "otlp.grpc.port" => draft.set("grpc.address", self.address(key, value)?),
            "otlp.http.port" => draft.set("http.address", self.address(key, value)?),
            "kafka.topic.traces" => draft.set("exporter.kafka.traces_topic", value),
            "kafka.topic.metrics" => draft.set("exporter.kafka.metrics_topic", value),
            "kafka.topic.logs" => draft.set("exporter.kafka.logs_topic", value),
            "otlp.message.format" => format(key, value, draft)?,
            "otlp.message.queue.size" => {
                draft.set("queue_size", number(key, value)?);
                draft.note(
                    key,
                    "a request that has no room is refused, to be sent again; the connector drops it",
                );
            }
            "otlp.tls.enabled" => {
                if truth(key, value)? {
                    self.tls(draft);
                }
            }
            "otlp.tls.cert.path" | "otlp.tls.key.path" => {
                if !self.is("otlp.tls.enabled") {
                    draft.no_equal(key, "it is of no use without `otlp.tls.enabled`");
                }
            }
            _ if key.starts_with("otlp.auth.") => {}
            "key.converter" | "value.converter" | "header.converter" => {
                converter(key, value, draft);
            }
            _ => match key.strip_prefix("producer.override.") {
                Some(name) => self.producer(key, name, value, draft)?,
                None => draft.no_equal(key, others(key)),
            },
        }
        Ok(())
    }

    fn address(&self, key: &str, port: &str) -> Result<String, String> {
        let host = self.get("otlp.bind.address").unwrap_or("0.0.0.0");
        let host = match host {
            "localhost" => "127.0.0.1",
            host => host,
        };
        let port = number(key, port)?;
        Ok(if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        })
    }

    fn tls(&self, draft: &mut Draft) {
        let path = |name| self.get(name).unwrap_or_default();
        let certificate = serde_json::json!([{
            "cert": path("otlp.tls.cert.path"), "key": path("otlp.tls.key.path"),
        }]);
        for door in ["grpc", "http"] {
            if self.is(&format!("otlp.{door}.enabled")) {
                draft.set(&format!("{door}.tls.certificates"), certificate.clone());
            }
        }
    }

    /// Whoever was asked for something is asked for something.
    fn authentication(&self, draft: &mut Draft) {
        let keys = self.given.iter().map(|(key, _)| *key);
        let keys = keys.filter(|key| key.starts_with("otlp.auth."));
        if !self.is("otlp.auth.enabled") {
            for key in keys.filter(|key| *key != "otlp.auth.enabled") {
                draft.no_equal(key, "it is of no use without `otlp.auth.enabled`");
            }
            return;
        }
        draft.set("token", format!("env.{TOKEN}"));
        for key in keys {
            match key {
                "otlp.auth.enabled" => {}
                "otlp.auth.methods" => draft.note(
                    key,
                    "Weir demands one bearer token: `token` is set, and no request comes in without it",
                ),
                "otlp.auth.api-key" => draft.note(
                    key,
                    &format!(
                        "is not copied: put one key into the variable {TOKEN}; applications send it as \
                         `Authorization: Bearer`"
                    ),
                ),
                "otlp.auth.api-key.header" => {
                    draft.no_equal(key, "the header is `Authorization: Bearer`");
                }
                _ => draft.no_equal(key, "tokens of an identity provider are not judged by Weir"),
            }
        }
    }

    /// A property of Kafka's Java client.
    fn producer(
        &self,
        key: &str,
        name: &str,
        value: &str,
        draft: &mut Draft,
    ) -> Result<(), String> {
        let producer = |name: &str| format!("exporter.kafka.producer.{name}");
        match name {
            "bootstrap.servers" => {
                if self.brokers.is_empty() {
                    let brokers: Vec<_> = value.split(',').map(str::trim).collect();
                    draft.set("exporter.kafka.brokers", brokers);
                }
            }
            "acks" => {
                let acks = match value {
                    "0" => "none",
                    "1" => "one",
                    "all" | "-1" => "all",
                    _ => return Err(format!("{key} {value}: it is 0, 1 or all")),
                };
                draft.set(&producer("acks"), acks);
            }
            "client.id" => draft.set(&producer("client_id"), value),
            "compression.type" => draft.set("exporter.kafka.compression", value),
            "linger.ms" => draft.set(&producer("linger_ms"), number(key, value)?),
            "batch.size" => draft.set(&producer("batch_size"), number(key, value)?),
            "max.request.size" => draft.set(&producer("max_message_bytes"), number(key, value)?),
            "retries" => draft.set(&producer("retries"), number(key, value)?),
            "retry.backoff.ms" => draft.set(&producer("retry_backoff_ms"), number(key, value)?),
            "request.timeout.ms" => draft.set(&producer("request_timeout_ms"), number(key, value)?),
            "security.protocol" => {
                let value = value.to_uppercase();
                draft.set("exporter.kafka.tls_enabled", value.ends_with("SSL"));
                draft.set("exporter.kafka.sasl_enabled", value.starts_with("SASL"));
            }
            "sasl.mechanism" => draft.set("exporter.kafka.sasl.mechanism", value),
            "sasl.jaas.config" => {
                let user = quoted(value, "username").unwrap_or_default();
                draft.set("exporter.kafka.sasl.username", user);
                let password = quoted(value, "password").unwrap_or_default();
                draft.secret("exporter.kafka.sasl.password", key, password, PASSWORD);
            }
            _ => draft.no_equal(
                key,
                "set it by librdkafka's own name under `exporter.kafka.producer.custom_config`, if it \
                 has such a property",
            ),
        }
        Ok(())
    }
}

fn format(key: &str, value: &str, draft: &mut Draft) -> Result<(), String> {
    match value.to_lowercase().as_str() {
        "json" => {
            draft.set("exporter.kafka.format", "otlp_json_snake_case");
            draft.note(
                key,
                "`otlp_json_snake_case` is what the connector's JSON looks like; new consumers are \
                 better off with `otlp_json`",
            );
        }
        "protobuf" => {
            draft.set("exporter.kafka.format", "otlp_protobuf");
            draft.note(
                key,
                "Weir writes protobuf's bytes as they are; the connector writes them as base64, so \
                 consumers are to leave that step out",
            );
        }
        _ => return Err(format!("{key} {value}: it is `json` or `protobuf`")),
    }
    Ok(())
}

fn converter(key: &str, value: &str, draft: &mut Draft) {
    let class = value.rsplit('.').next().unwrap_or(value);
    let is_plain = ["StringConverter", "SimpleHeaderConverter"].contains(&class);
    if key == "value.converter" && !is_plain {
        let why = format!("Weir writes the text itself; what {class} puts around it is gone");
        draft.no_equal(key, &why);
    } else if !is_plain {
        draft.no_equal(key, "messages have no key, and one header, `content-type`");
    }
}

/// Keys of Kafka Connect's that any source connector may have.
fn others(key: &str) -> &'static str {
    match key.split('.').next().unwrap_or(key) {
        "transforms" | "predicates" => {
            "Weir does not change what it receives: do it behind Kafka, as docs/otlp.md shows"
        }
        "topic" => "missing topics are made as the brokers make them by default",
        "errors" => "what is refused is answered, counted and logged",
        "key" | "value" | "header" => "it is of a converter, and Weir has none",
        "config" | "exactly" | "transaction" | "offsets" | "tasks" => {
            "there are no workers, tasks and offsets of Kafka Connect"
        }
        _ => "it is no key of the documented connector",
    }
}

fn truth(key: &str, value: &str) -> Result<bool, String> {
    match value.to_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{key} {value}: it is true or false")),
    }
}

fn number(key: &str, value: &str) -> Result<u64, String> {
    let number = value.trim().parse();
    number.map_err(|_| format!("{key} {value}: it is a whole number"))
}

/// What stands in quotes behind a name in a line of JAAS.
fn quoted<'v>(line: &'v str, name: &str) -> Option<&'v str> {
    let (_, rest) = line.split_once(&format!("{name}="))?;
    let quote = rest.chars().next().filter(|first| "\"'".contains(*first))?;
    rest[1..].split(quote).next()
}
