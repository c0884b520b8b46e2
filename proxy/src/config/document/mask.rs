//! A text without its secrets, for a difference that is shown.

use super::locate;
use crate::config::schema;
use crate::config::tree::{Node, Value};
use serde_json::Value as Json;

const HIDDEN: &str = " REDACTED";

/// Hides values that may be secret. A text that is no YAML is hidden whole.
pub(super) fn mask(text: &str) -> String {
    let Ok(tree) = Node::parse(text) else {
        return String::new();
    };
    let mut ranges = Vec::new();
    visit(text, &tree, schema::schema(), &mut ranges);
    ranges.sort_by_key(|range: &std::ops::Range<usize>| std::cmp::Reverse(range.start));
    let mut masked = text.to_owned();
    for range in ranges {
        masked.replace_range(range, HIDDEN);
    }
    masked
}

fn visit(text: &str, node: &Node, of: &Json, ranges: &mut Vec<std::ops::Range<usize>>) {
    let of = schema::resolve(of);
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                let of = of["properties"]
                    .get(&entry.key)
                    .unwrap_or(&of["additionalProperties"]);
                let open = match &entry.node.value {
                    Value::String(value) => value.starts_with("env."),
                    Value::Bool(_) | Value::Null => true,
                    Value::Number(_) => false,
                    Value::List(items) => items.is_empty(),
                    Value::Map(entries) => entries.is_empty(),
                };
                if schema::is_secret(of) || schema::is_secret(schema::resolve(of)) {
                    if !open {
                        // What cannot be found is hidden to the end of the text.
                        let start = locate::offset(text, &entry.place).unwrap_or(0);
                        let span = locate::entry(text, &entry.place);
                        ranges.push(match span {
                            Some(span) => {
                                let before = text[..span.value.start].trim_end_matches(' ').len();
                                before..span.value.end
                            }
                            None => start..text.len(),
                        });
                    }
                } else {
                    visit(text, &entry.node, of, ranges);
                }
            }
        }
        Value::List(items) => {
            for item in items {
                visit(text, item, &of["items"], ranges);
            }
        }
        _ => {}
    }
}
