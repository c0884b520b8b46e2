//! Rotel's Kafka exporter, with the OTLP receiver before it: its flags, and the variables that stand
//! for them (`ROTEL_` and the flag's name in upper case).

use indexmap::IndexMap;
use serde_json::Value;

use super::draft::Draft;
use super::words;

const PREFIX: &str = "kafka-exporter-";
const VARIABLES: &str = "ROTEL_";
const PROPERTIES: &str = "exporter.kafka.producer.custom_config";
const PASSWORD: &str = "ROTEL_KAFKA_EXPORTER_SASL_PASSWORD";

/// Rotel's defaults, written out where they are not Weir's; and addresses, for ports to be in sight.
const DEFAULTS: [(&str, &str); 9] = [
    (GRPC, "localhost:4317"),
    (HTTP, "localhost:4318"),
    ("kafka-exporter-brokers", "localhost:9092"),
    ("kafka-exporter-traces-topic", "otlp_traces"),
    ("kafka-exporter-metrics-topic", "otlp_metrics"),
    ("kafka-exporter-logs-topic", "otlp_logs"),
    ("kafka-exporter-format", "protobuf"),
    ("kafka-exporter-acks", "one"),
    ("kafka-exporter-client-id", "rotel"),
];

const GRPC: &str = "otlp-grpc-endpoint";
const HTTP: &str = "otlp-http-endpoint";

pub(super) fn import(text: &str, draft: &mut Draft) -> Result<(), String> {
    let given = options(&words::of_lines(text)?);
    let exporter = given.get("exporter").or(given.get("exporters"));
    if !given.keys().any(|name| name.starts_with(PREFIX))
        && exporter.map(String::as_str) != Some("kafka")
    {
        return Err(
            "there is no Kafka exporter in it: neither `--exporter kafka` nor an option \
             `--kafka-exporter-…` or variable `ROTEL_KAFKA_EXPORTER_…`"
                .to_owned(),
        );
    }
    for (name, value) in DEFAULTS {
        if !given.contains_key(name) {
            flag(name, value, draft)?;
            draft.note(
                &format!("--{name}"),
                &format!("was not given: Rotel's default is `{value}`"),
            );
        }
    }
    draft.set(&kafka("auto_create_topic"), true);
    draft.note(
        "note",
        "Rotel lets brokers create a missing topic, so `auto_create_topic: true` is set",
    );
    for (name, value) in &given {
        flag(name, value, draft)?;
    }
    security(&given, draft)?;
    idempotence(&given, draft);
    Ok(())
}

/// Flags and variables, by the flag's name; flags win.
fn options(lines: &[Vec<String>]) -> IndexMap<String, String> {
    let mut variables = IndexMap::new();
    let mut flags = IndexMap::new();
    for line in lines {
        let mut words = line.iter().peekable();
        while let Some(word) = words.next() {
            if let Some(flag) = word.strip_prefix("--") {
                let (name, value) = match flag.split_once('=') {
                    Some((name, value)) => (name, value.to_owned()),
                    None => {
                        let value = words.next_if(|word| !word.starts_with("--"));
                        (flag, value.map_or("true", String::as_str).to_owned())
                    }
                };
                flags.insert(name.to_owned(), value);
            } else if let Some((name, value)) = word.split_once('=')
                && let Some(name) = name.strip_prefix(VARIABLES)
            {
                let name = name.to_lowercase().replace('_', "-");
                variables.insert(name, value.to_owned());
            }
        }
    }
    variables.extend(flags);
    variables
}

fn flag(name: &str, value: &str, draft: &mut Draft) -> Result<(), String> {
    match name {
        GRPC => draft.set("grpc.address", address(value)),
        HTTP => draft.set("http.address", address(value)),
        "exporter" | "exporters" => {
            if value != "kafka" {
                let why = "only the Kafka exporter is taken over";
                draft.no_equal(&format!("--{name}"), why);
            }
        }
        _ => match name.strip_prefix(PREFIX) {
            Some(name) => option(name, value, draft)?,
            None => draft.note(
                &format!("--{name}"),
                "is no option of the Kafka exporter, and not taken over",
            ),
        },
    }
    Ok(())
}

/// Weir listens on addresses, not on names.
fn address(value: &str) -> String {
    value.replace("localhost", "127.0.0.1")
}

/// A key of Weir's exporter.
fn kafka(name: &str) -> String {
    format!("exporter.kafka.{}", name.replace('-', "_"))
}

fn option(name: &str, value: &str, draft: &mut Draft) -> Result<(), String> {
    let flag = format!("--{PREFIX}{name}");
    let producer = || kafka(&format!("producer.{name}"));
    match name {
        // Read together, in `security`.
        "sasl-username" | "sasl-password" | "sasl-mechanism" | "security-protocol" => {}
        "brokers" => draft.set(&kafka(name), list(value)),
        "traces-topic" | "metrics-topic" | "logs-topic" | "compression" => {
            draft.set(&kafka(name), value);
        }
        "format" => {
            let format = match value {
                "json" => "otlp_json",
                "protobuf" => "otlp_protobuf",
                other => return Err(format!("{flag} {other}: it is `json` or `protobuf`")),
            };
            draft.set(&kafka(name), format);
        }
        "acks" | "client-id" | "partitioner" => draft.set(&producer(), value),
        "max-message-bytes"
        | "linger-ms"
        | "retries"
        | "retry-backoff-ms"
        | "retry-backoff-max-ms"
        | "message-timeout-ms"
        | "request-timeout-ms"
        | "batch-size" => {
            let number: u64 = value
                .parse()
                .map_err(|_| format!("{flag} {value}: it is a whole number"))?;
            draft.set(&producer(), number);
            if name == "message-timeout-ms" {
                draft.note(
                    &flag,
                    "Rotel drops a message that is this old; Weir gives it to a new client and goes on",
                );
            }
        }
        "request-timeout" => draft.no_equal(
            &flag,
            "Weir does not give a message up for its age; how long a broker may take to answer is \
             `producer.request_timeout_ms`",
        ),
        "partition-metrics-by-resource-attributes" | "partition-logs-by-resource-attributes" => {
            let truth: bool = value
                .to_lowercase()
                .parse()
                .map_err(|_| format!("{flag} {value}: it is `true` or `false`"))?;
            draft.set(&kafka(name), truth);
        }
        "custom-config" => {
            for property in value
                .split(',')
                .map(str::trim)
                .filter(|one| !one.is_empty())
            {
                let (name, value) = property
                    .split_once('=')
                    .ok_or_else(|| format!("{flag}: `{property}` has no `=`"))?;
                custom(&flag, name.trim(), value.trim(), draft);
            }
        }
        _ => draft.no_equal(
            &flag,
            "it is no option of Rotel's documented Kafka exporter",
        ),
    }
    Ok(())
}

/// A property of librdkafka. A password in one is treated as such.
fn custom(flag: &str, name: &str, value: &str, draft: &mut Draft) {
    if name.contains("password") {
        let variable = format!("WEIR_{}", name.to_uppercase().replace(['.', '-'], "_"));
        draft.set_property(PROPERTIES, name, &format!("env.{variable}"));
        let what = format!("`{name}` is not copied: put it into the variable {variable}");
        draft.note(flag, &what);
    } else {
        draft.set_property(PROPERTIES, name, value);
    }
}

fn list(value: &str) -> Value {
    let items = value.split(',').map(str::trim);
    items.filter(|item| !item.is_empty()).collect()
}

fn security(given: &IndexMap<String, String>, draft: &mut Draft) -> Result<(), String> {
    let get = |name: &str| given.get(&format!("{PREFIX}{name}"));
    let flag = |name: &str| format!("--{PREFIX}{name}");
    let protocol = get("security-protocol").map_or("PLAINTEXT", String::as_str);
    let (tls, sasl) = match protocol.to_uppercase().replace('-', "_").as_str() {
        "PLAINTEXT" => (false, false),
        "SSL" => (true, false),
        "SASL_PLAINTEXT" => (false, true),
        "SASL_SSL" => (true, true),
        _ => {
            return Err(format!(
                "{} {protocol}: it is PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL",
                flag("security-protocol")
            ));
        }
    };
    if tls {
        draft.set(&kafka("tls_enabled"), true);
        draft.note(
            &flag("security-protocol"),
            "Weir checks the broker's host name against its certificate",
        );
    }
    let credentials = ["sasl-mechanism", "sasl-username", "sasl-password"];
    if !sasl {
        for name in credentials.into_iter().filter(|name| get(name).is_some()) {
            let why = "it is of no use without SASL, which the security protocol does not name";
            draft.no_equal(&flag(name), why);
        }
        return Ok(());
    }
    draft.set(&kafka("sasl_enabled"), true);
    if let Some(mechanism) = get("sasl-mechanism") {
        draft.set(&kafka("sasl.mechanism"), mechanism.as_str());
    }
    if let Some(username) = get("sasl-username") {
        draft.set(&kafka("sasl.username"), username.as_str());
    }
    if let Some(password) = get("sasl-password") {
        let key = kafka("sasl.password");
        draft.secret(&key, &flag("sasl-password"), password, PASSWORD);
    }
    Ok(())
}

/// librdkafka refuses an idempotent producer with other acknowledgements than all.
fn idempotence(given: &IndexMap<String, String>, draft: &mut Draft) {
    let custom = given.get(&format!("{PREFIX}custom-config"));
    let wanted =
        custom.is_some_and(|custom| custom.replace(' ', "").contains("enable.idempotence=true"));
    let acks = given.get(&format!("{PREFIX}acks")).map(String::as_str);
    if wanted && acks != Some("all") {
        draft.set(&kafka("producer.acks"), "all");
        draft.note(
            &format!("--{PREFIX}custom-config"),
            "`enable.idempotence=true` needs `acks: all`, which is set",
        );
    }
}
