//! Bifrost's Kafka connector: the object with its keys, wherever in `config.json` it stands.

use serde_json::{Map, Value};

use super::draft::Draft;

const PASSWORD: &str = "WEIR_KAFKA_PASSWORD";

pub(super) fn import(text: &str, draft: &mut Draft) -> Result<(), String> {
    let file: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let Some(found) = find(&file, None) else {
        return Err("there is no Kafka connector in it: no object has `brokers`".to_owned());
    };
    // Bifrost has no default that Weir does not share, but for what is noted below.
    if let Some(enabled) = found.enabled.and_then(Value::as_bool)
        && !found.connector.contains_key("enabled")
    {
        draft.set("enabled", enabled);
    }
    for (key, value) in found.connector {
        connector_key(key, value, draft);
    }
    for key in found.beside {
        draft.note(&key, "is not of the Kafka connector, and not taken over");
    }
    Ok(())
}

struct Found<'j> {
    connector: &'j Map<String, Value>,
    /// Of the plugin that the connector's keys are the `config` of.
    enabled: Option<&'j Value>,
    /// Other keys of the file's top.
    beside: Vec<String>,
}

fn find<'j>(at: &'j Value, enabled: Option<&'j Value>) -> Option<Found<'j>> {
    match at {
        Value::Object(map) if map.contains_key("brokers") => Some(Found {
            connector: map,
            enabled,
            beside: Vec::new(),
        }),
        Value::Object(map) => {
            let (key, mut found) = map.iter().find_map(|(key, value)| {
                let found = find(value, map.get("enabled").or(enabled))?;
                Some((key, found))
            })?;
            let known = ["enabled", "name", "path", "version", "placement", "order"];
            let others = map.keys().filter(|other| *other != key);
            let others = others.filter(|other| !known.contains(&other.as_str()));
            found.beside.extend(others.cloned());
            Some(found)
        }
        Value::Array(items) => items.iter().find_map(|item| find(item, None)),
        _ => None,
    }
}

fn connector_key(key: &str, value: &Value, draft: &mut Draft) {
    match key {
        "enabled"
        | "brokers"
        | "topic"
        | "tls_enabled"
        | "sasl_enabled"
        | "compression"
        | "batch_size"
        | "flush_interval_ms"
        | "auto_create_topic"
        | "disable_content_logging" => {
            draft.set(key, value.clone());
        }
        "ca_cert" => draft.set(key, text(value)),
        "request_headers" => {
            draft.set(key, value.clone());
            if value
                .as_array()
                .is_some_and(|patterns| !patterns.is_empty())
            {
                draft.set("redact_headers", false);
                draft.note(
                    key,
                    "Bifrost sends the values of all headers as they are, so `redact_headers: false` \
                     is set; take it out, and credentials are sent as REDACTED",
                );
            }
        }
        "plugin_span_filter" => {
            draft.set(key, value.clone());
            draft.note(
                key,
                "the names of Bifrost's plugins were kept; Weir's plugins are those under `plugins`",
            );
        }
        "sasl" => match value.as_object() {
            Some(sasl) => {
                for (key, value) in sasl {
                    sasl_key(key, value, draft);
                }
            }
            None => draft.set(key, value.clone()),
        },
        _ => draft.no_equal(key, "it is no key of Bifrost's documented connector"),
    }
}

fn sasl_key(key: &str, value: &Value, draft: &mut Draft) {
    let source = format!("sasl.{key}");
    match key {
        "mechanism" | "username" => draft.set(&source, text(value)),
        "password" => match text(value) {
            Value::String(password) => draft.secret(&source, &source, &password, PASSWORD),
            other => draft.set(&source, other),
        },
        _ => draft.no_equal(&source, "it is no key of Bifrost's documented connector"),
    }
}

/// A `SecretVar` is a text, or an object with a text and where that comes from.
fn text(value: &Value) -> Value {
    let Some(object) = value.as_object() else {
        return value.clone();
    };
    let from_env = object.get("from_env").and_then(Value::as_bool);
    match (from_env, object.get("env_var"), object.get("value")) {
        (Some(true), Some(Value::String(name)), _) => {
            let name = name.strip_prefix("env.").unwrap_or(name);
            format!("env.{name}").into()
        }
        (_, _, Some(value)) => value.clone(),
        _ => value.clone(),
    }
}
