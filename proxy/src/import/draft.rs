//! A configuration of Weir's as it comes to be, and what was found on the way.

use serde_json::{Map, Value, json};

/// The name of the exporter that is made.
const EXPORTER: &str = "traces";

pub(super) struct Draft {
    config: Value,
    /// Where the keys are that the source has equals of.
    root: &'static [&'static str],
    findings: Vec<String>,
}

impl Draft {
    /// A proxy with a Kafka exporter.
    pub(super) fn new(listen: &str, upstream: &str) -> Self {
        Self {
            root: &["exporters", EXPORTER, "kafka"],
            config: json!({
                "listeners": [{ "address": listen }],
                "upstreams": { "api": { "endpoints": [upstream] } },
                "routes": [{ "match": { "path": "/*" }, "upstream": "api" }],
                "exporters": { EXPORTER: { "kafka": {} } },
            }),
            findings: Vec::new(),
        }
    }

    /// An OTLP receiver, and nothing else.
    pub(super) fn receiver() -> Self {
        Self {
            root: &["receivers", "otlp"],
            config: json!({}),
            findings: Vec::new(),
        }
    }

    /// Sets a key below the root, such as `producer.acks`.
    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>) {
        *self.at(key.split('.')) = value.into();
    }

    /// As [`Draft::set`], below `key`, where the last step has dots of its own.
    pub(super) fn set_property(&mut self, key: &str, name: &str, value: &str) {
        *self.at(key.split('.').chain([name])) = value.into();
    }

    fn at<'s>(&mut self, steps: impl IntoIterator<Item = &'s str>) -> &mut Value {
        let root = self.root.iter().copied();
        root.chain(steps)
            .fold(&mut self.config, |at, step| &mut at[step])
    }

    /// Says something of a key of the source's.
    pub(super) fn note(&mut self, key: &str, what: &str) {
        self.findings.push(format!("{key}: {what}"));
    }

    /// A key of the source's that Weir has nothing like.
    pub(super) fn no_equal(&mut self, key: &str, why: &str) {
        self.note(key, &format!("has no equal: {why}"));
    }

    /// A secret: where the source names a variable, that one, else one that is to be set.
    pub(super) fn secret(&mut self, key: &str, source: &str, value: &str, variable: &str) {
        if value.starts_with("env.") {
            self.set(key, value);
        } else {
            self.set(key, format!("env.{variable}"));
            self.note(
                source,
                &format!("is not copied: put it into the variable {variable}"),
            );
        }
    }

    pub(super) fn findings(&self) -> &[String] {
        &self.findings
    }

    /// The file: what was found as comments, then the keys.
    pub(super) fn yaml(&self) -> String {
        let mut out = "# yaml-language-server: $schema=weir.schema.json\n".to_owned();
        out += "#\n# Made by `weir import`. What to look at:\n";
        for finding in &self.findings {
            let mut lines = finding.lines();
            out += &format!("# - {}\n", lines.next().unwrap_or_default());
            lines.for_each(|line| out += &format!("#   {line}\n"));
        }
        if let Value::Object(map) = &self.config {
            out.push('\n');
            write_map(map, 0, &mut out);
        }
        out
    }
}

/// Scalars and lists of scalars are written as JSON, which YAML takes.
fn write_map(map: &Map<String, Value>, depth: usize, out: &mut String) {
    for (key, value) in map {
        *out += &"  ".repeat(depth);
        *out += &name(key);
        out.push(':');
        write(value, depth, out);
    }
}

fn write(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            write_map(map, depth + 1, out);
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            out.push('\n');
            for item in items {
                *out += &format!("{}- {item}\n", "  ".repeat(depth + 1));
            }
        }
        Value::String(text) if text.contains('\n') => {
            let indent = "  ".repeat(depth + 1);
            *out += " |\n";
            text.lines()
                .for_each(|line| *out += &format!("{indent}{line}\n"));
        }
        value => *out += &format!(" {value}\n"),
    }
}

fn name(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if key.starts_with(|c: char| c.is_ascii_lowercase()) && key.chars().all(plain) {
        key.to_owned()
    } else {
        Value::from(key).to_string()
    }
}
