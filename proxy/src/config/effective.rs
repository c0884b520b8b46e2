//! The configuration that is in force, as YAML: what is written, and the default of what is not.
//!
//! It walks the schema beside the tree, so a key is never forgotten here, and it shows no secret:
//! the schema knows which values may be one.

use std::path::Path as FilePath;

use serde_json::Value as Json;

use super::environment::Environment;
use super::fault::{Faults, Place, Source};
use super::schema::{is_secret, resolve};
use super::tree::{Node, Value};
use super::{load, schema};

/// What stands for a secret.
const HIDDEN: &str = "REDACTED";

/// The configuration of `file` with all overrides and defaults, or its faults. With `sources`, each
/// value has a comment: where it comes from, and which properties of librdkafka it sets.
pub fn effective(
    file: &FilePath,
    set: &[String],
    environment: &Environment,
    sources: bool,
) -> Result<String, Faults> {
    let text = load::read(file)?;
    load::parse(&text, file, set, environment)?;
    let (tree, _) = load::read_tree(&text, set, environment)
        .map_err(|fault| Faults::new(file.to_owned(), vec![fault]))?;
    let mut printer = Printer {
        out: String::new(),
        file: sources.then(|| file.display().to_string()),
    };
    printer.members(Some(&tree), schema(), 0);
    Ok(printer.out)
}

struct Printer {
    out: String,
    /// What the file is called; `None` where nobody asks for sources.
    file: Option<String>,
}

/// A line's start: its indentation, and what comes before the value, such as `key:`.
struct Line<'l> {
    depth: usize,
    lead: &'l str,
}

impl Printer {
    /// The entries of a mapping: those of the schema in its order, then those with free names.
    fn members(&mut self, node: Option<&Node>, schema: &Json, depth: usize) {
        let schema = resolve(schema);
        let entries = node.map_or(&[][..], Node::entries);
        let known = schema["properties"].as_object();
        for (key, schema) in known.into_iter().flatten() {
            let entry = entries.iter().find(|entry| entry.key == *key);
            let line = Line {
                depth,
                lead: &format!("{}:", name(key)),
            };
            match entry {
                Some(entry) => self.written(&entry.node, schema, &line),
                None => self.default(schema, &line),
            }
        }
        for entry in entries {
            if known.is_none_or(|known| !known.contains_key(&entry.key)) {
                let lead = format!("{}:", name(&entry.key));
                let line = Line { depth, lead: &lead };
                self.written(&entry.node, &schema["additionalProperties"], &line);
            }
        }
    }

    /// A value that somebody wrote.
    fn written(&mut self, node: &Node, schema: &Json, line: &Line<'_>) {
        let kind = resolve(schema);
        match &node.value {
            Value::Map(entries) if entries.is_empty() && kind.get("properties").is_none() => {
                self.line(line, "{}", Some(&node.place), schema);
            }
            Value::Map(_) => {
                self.line(line, "", None, schema);
                self.members(Some(node), kind, line.depth + 1);
            }
            Value::List(items) if items.is_empty() => {
                self.line(line, "[]", Some(&node.place), schema);
            }
            Value::List(items) => {
                self.line(line, "", None, schema);
                let item = Line {
                    depth: line.depth + 1,
                    lead: "-",
                };
                for each in items {
                    self.written(each, &kind["items"], &item);
                }
            }
            value => {
                let text = scalar(value, is_secret(schema) || is_secret(kind));
                self.line(line, &text, Some(&node.place), schema);
            }
        }
    }

    /// What a key has that nobody wrote.
    fn default(&mut self, schema: &Json, line: &Line<'_>) {
        let kind = resolve(schema);
        let default = schema.get("default").or_else(|| kind.get("default"));
        // A section without which there is nothing has no defaults either.
        let optional = kind.get("required").is_some() || kind.get("x-optional").is_some();
        if kind.get("properties").is_some() && !optional {
            let before = self.out.len();
            self.line(line, "", None, schema);
            let empty = self.out.len();
            self.members(None, kind, line.depth + 1);
            if self.out.len() == empty {
                // A key without a value is none.
                self.out.truncate(before);
            }
        } else if let Some(default) = default {
            self.line(line, &default.to_string(), None, schema);
            self.comment_default(schema);
        }
    }

    fn line(&mut self, line: &Line<'_>, value: &str, place: Option<&Place>, schema: &Json) {
        for _ in 0..line.depth {
            self.out += "  ";
        }
        self.out += line.lead;
        if !value.is_empty() {
            self.out += " ";
            self.out += value;
        }
        if let (Some(file), Some(place)) = (&self.file, place) {
            let source = match &place.source {
                Source::File => format!("{file}:{}", place.line),
                source => source.to_string(),
            };
            self.out += &format!("  # {source}{}", properties(schema));
        }
        self.out += "\n";
    }

    fn comment_default(&mut self, schema: &Json) {
        if self.file.is_some() {
            self.out.truncate(self.out.trim_end().len());
            self.out += &format!("  # default{}\n", properties(schema));
        }
    }
}

fn scalar(value: &Value, is_secret: bool) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if is_secret && !text.starts_with("env.") => HIDDEN.to_owned(),
        Value::String(text) => Json::from(text.as_str()).to_string(),
        Value::List(_) | Value::Map(_) => String::new(),
    }
}

/// A key, in quotes where YAML might take it for something else.
fn name(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if key.starts_with(|c: char| c.is_ascii_lowercase()) && key.chars().all(plain) {
        key.to_owned()
    } else {
        Json::from(key).to_string()
    }
}

/// The properties of librdkafka that a key sets.
fn properties(schema: &Json) -> String {
    let names = schema["x-librdkafka"].as_array().into_iter().flatten();
    let names: Vec<&str> = names.filter_map(Json::as_str).collect();
    if names.is_empty() {
        String::new()
    } else {
        format!("; librdkafka: {}", names.join(", "))
    }
}
