//! Changes to the text of a configuration, at the very place of a value, so that comments and all
//! else stay as their author wrote them.
//!
//! What comes out is read again and compared with what was meant. So a text of a form that is not
//! understood here (anchors, keys over several lines) is refused, and never spoilt.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::locate::{self, Span};
use crate::config::path::{Path, Step};
use crate::config::tree::{Node, Value};

/// A value to write, or to take away with its key where there is none.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct Edit {
    /// Keys from the root to the value, all of mappings.
    pub path: Vec<String>,
    #[serde(default)]
    pub value: Option<Json>,
}

/// Why a text cannot be edited.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("the file is not valid YAML: {0}")]
    Syntax(String),
    #[error("`{0}` is written in a form that cannot be edited here: change it in the file")]
    Form(String),
    #[error("an edit must name a key")]
    NoKey,
}

/// Applies all, one after the other.
pub(super) fn apply(text: &str, edits: &[Edit]) -> Result<String, Error> {
    let mut text = text.to_owned();
    for edit in edits {
        let refuse = || Error::Form(edit.path.join("."));
        let tree = parse(&text)?;
        if edit.path.is_empty() {
            return Err(Error::NoKey);
        }
        let mut wanted = tree.to_json();
        if !change(&mut wanted, &edit.path, edit.value.as_ref()) {
            continue;
        }
        let edited = one(&text, &tree, edit).ok_or_else(refuse)?;
        let found = parse(&edited).map_err(|_| refuse())?;
        if without_nothing(found.to_json()) != without_nothing(wanted) {
            return Err(refuse());
        }
        text = edited;
    }
    Ok(text)
}

fn parse(text: &str) -> Result<Node, Error> {
    Node::parse(text).map_err(|error| Error::Syntax(error.message))
}

/// An empty document is an empty mapping, and so is a section without anything in it.
fn without_nothing(json: Json) -> Json {
    match json {
        Json::Object(map) => {
            let entries = map
                .into_iter()
                .map(|(key, value)| (key, without_nothing(value)));
            let some = entries.filter(|(_, value)| !value.is_null());
            let map: Map<String, Json> = some.collect();
            if map.is_empty() {
                Json::Null
            } else {
                Json::Object(map)
            }
        }
        other => other,
    }
}

/// What the edit means, on the values alone; false where it changes nothing.
fn change(json: &mut Json, path: &[String], value: Option<&Json>) -> bool {
    let Some((key, rest)) = path.split_first() else {
        return false;
    };
    if json.is_null() && value.is_some() {
        *json = Json::Object(Map::new());
    }
    let Json::Object(map) = json else {
        return false;
    };
    if !rest.is_empty() {
        return match (map.get_mut(key), value) {
            (Some(inner), _) => change(inner, rest, value),
            (None, None) => false,
            (None, Some(_)) => {
                let mut inner = Json::Null;
                let changed = change(&mut inner, rest, value);
                map.insert(key.clone(), inner);
                changed
            }
        };
    }
    match value {
        Some(value) => map.insert(key.clone(), value.clone()).as_ref() != Some(value),
        None => map.shift_remove(key).is_some(),
    }
}

/// The text after one edit; `None` where it is not understood.
fn one(text: &str, tree: &Node, edit: &Edit) -> Option<String> {
    // As deep as there is something.
    let mut node = tree;
    let mut spans: Vec<Span> = Vec::new();
    for key in &edit.path {
        let Some(entry) = node.entries().iter().find(|entry| entry.key == *key) else {
            break;
        };
        spans.push(locate::entry(text, &entry.place)?);
        node = &entry.node;
    }
    let known = spans.len();
    match &edit.value {
        None => {
            let span = spans.pop()?;
            let parent = tree.get(&path(&edit.path[..known - 1]))?;
            if parent.entries().len() == 1
                && let Some(around) = spans.last()
            {
                return Some(replace_value(text, around, " {}"));
            }
            remove(text, &span)
        }
        Some(value) if known == edit.path.len() => {
            let span = spans.last()?;
            let was_block_list = span.is_block && matches!(node.value, Value::List(_));
            let rendered = render_after_key(text, span, value, was_block_list);
            Some(replace_value(text, span, &rendered))
        }
        Some(value) => {
            // The rest of the path becomes mappings around the value.
            let rest = &edit.path[known..];
            let (first, inner) = rest.split_first()?;
            let value = inner.iter().rev().fold(value.clone(), |value, key| {
                Json::Object(Map::from_iter([(key.clone(), value)]))
            });
            match spans.last() {
                None => Some(append_root(text, tree, first, &value)),
                Some(around) => insert(text, around, node, first, &value),
            }
        }
    }
}

fn path(keys: &[String]) -> Path {
    keys.iter()
        .fold(Path::root(), |path, key| path.join(Step::Key(key.clone())))
}

/// Puts `rendered`, with what parts it from the colon, in the value's place.
fn replace_value(text: &str, span: &Span, rendered: &str) -> String {
    let start = text[..span.value.start].trim_end_matches(' ').len();
    let start = if span.value.is_empty() || span.is_block {
        span.value.start
    } else {
        start
    };
    if span.is_block && !rendered.starts_with(['\n', '\r']) {
        // What stands behind the colon is a comment, and stays behind the value.
        let line_end = locate::line_end(text, span.value.start);
        let comment = &text[span.value.start..line_end];
        return format!(
            "{}{rendered}{comment}{}",
            &text[..start],
            &text[span.value.end..]
        );
    }
    if span.is_block {
        let line_end = locate::line_end(text, span.value.start);
        return format!("{}{rendered}{}", &text[..line_end], &text[span.value.end..]);
    }
    if let Some((head, lines)) = rendered.split_once('\n')
        && head.starts_with(' ')
    {
        // What stood behind the old value stands behind the mark of the new one.
        let line_end = locate::line_end(text, span.value.end);
        let comment = text[span.value.end..line_end].trim_end();
        let head = head.trim_end_matches('\r');
        let line_break = line_break(text);
        return format!(
            "{}{head}{comment}{line_break}{lines}{}",
            &text[..start],
            &text[line_end..]
        );
    }
    if rendered.starts_with(['\n', '\r']) {
        // A block goes below; a comment behind the old value stays on the key's line.
        let line_end = locate::line_end(text, span.value.end);
        let comment = text[span.value.end..line_end].trim_end();
        return format!("{}{comment}{rendered}{}", &text[..start], &text[line_end..]);
    }
    format!("{}{rendered}{}", &text[..start], &text[span.value.end..])
}

fn remove(text: &str, span: &Span) -> Option<String> {
    if !span.in_flow {
        let lines = locate::lines(text, span);
        // The first key of an item of a list shares its line with the dash.
        if text[lines.start..span.key].contains('-') {
            return None;
        }
        return Some(format!("{}{}", &text[..lines.start], &text[lines.end..]));
    }
    let after = &text[span.value.end..];
    let next = after.trim_start();
    if let Some(rest) = next.strip_prefix(',') {
        let rest = rest.trim_start_matches(' ');
        return Some(format!("{}{rest}", &text[..span.key]));
    }
    let before = text[..span.key].trim_end().strip_suffix(',')?;
    Some(format!("{before}{after}"))
}

/// Adds an entry to the mapping that an entry has, whose node is `node`.
fn insert(text: &str, around: &Span, node: &Node, key: &str, value: &Json) -> Option<String> {
    let entries = node.entries();
    if entries.is_empty() {
        if !matches!(node.value, Value::Null | Value::Map(_)) {
            return None;
        }
        let map = Json::Object(Map::from_iter([(key.to_owned(), value.clone())]));
        let rendered = render_after_key(text, around, &map, false);
        return Some(replace_value(text, around, &rendered));
    }
    if around.is_flow {
        let close = around.value.end - 1;
        let start = text[..close].trim_end().len();
        let space = &text[start..close];
        let comma = if text[..start].ends_with(',') {
            ""
        } else {
            ","
        };
        let entry = format!("{comma} {}: {}", name(key), flow(value));
        return Some(format!(
            "{}{entry}{space}{}",
            &text[..start],
            &text[close..]
        ));
    }
    let first = locate::entry(text, &entries[0].place)?;
    let rendered = entry(text, key, value, first.indent);
    let end = around.value.end;
    Some(format!(
        "{}{}{rendered}{}",
        &text[..end],
        line_break(text),
        &text[end..]
    ))
}

/// Adds an entry at the end of the file.
fn append_root(text: &str, tree: &Node, key: &str, value: &Json) -> String {
    let entries = tree.entries();
    let indent = entries.first().map_or(0, |first| {
        usize::try_from(first.place.column)
            .unwrap_or(1)
            .saturating_sub(1)
    });
    let end = text.trim_end().len();
    let gap = if end == 0 { "" } else { line_break(text) };
    // Sections are parted as the others are.
    let spaced = text.contains("\n\n") || text.contains("\r\n\r\n");
    let blank = if spaced && end > 0 {
        line_break(text)
    } else {
        ""
    };
    let rendered = entry(text, key, value, indent);
    format!("{}{gap}{blank}{rendered}{}", &text[..end], line_break(text))
}

/// An entry on lines of its own, without the last line's break.
fn entry(text: &str, key: &str, value: &Json, indent: usize) -> String {
    let mut out = format!("{}{}:", " ".repeat(indent), name(key));
    block(value, indent, step(text), line_break(text), &mut out);
    out
}

fn render_after_key(text: &str, span: &Span, value: &Json, as_list_of_lines: bool) -> String {
    if span.in_flow {
        return format!(" {}", flow(value));
    }
    if as_list_of_lines
        && let Json::Array(items) = value
        && !items.is_empty()
    {
        // As far to the right as the items were.
        let below = text[span.value.clone()]
            .find('\n')
            .map_or(0, |at| span.value.start + at + 1);
        let items_text = text[below..]
            .lines()
            .find(|line| line.trim_start().starts_with('-'));
        let depth = items_text.map_or(span.indent, |line| line.len() - line.trim_start().len());
        let lines = items
            .iter()
            .map(|item| format!("{}{}- {}", line_break(text), " ".repeat(depth), flow(item)));
        return lines.collect();
    }
    let mut out = String::new();
    block(value, span.indent, step(text), line_break(text), &mut out);
    out
}

/// A value behind a key that stands at `indent`.
fn block(value: &Json, indent: usize, step: usize, line_break: &str, out: &mut String) {
    match value {
        Json::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let indent = indent + step;
                *out += line_break;
                *out += &" ".repeat(indent);
                *out += &name(key);
                out.push(':');
                block(value, indent, step, line_break, out);
            }
        }
        // Certificates are read best as they are.
        Json::String(text) if is_literal(text) => {
            *out += if text.ends_with('\n') { " |" } else { " |-" };
            for line in text.lines() {
                *out += line_break;
                *out += &" ".repeat(indent + step);
                *out += line;
            }
        }
        value => {
            out.push(' ');
            *out += &flow(value);
        }
    }
}

fn is_literal(text: &str) -> bool {
    let lines = || text.lines();
    text.contains('\n')
        && !text.ends_with("\n\n")
        && !text.contains('\r')
        && lines().all(|line| {
            !line.is_empty() && !line.starts_with(' ') && !line.contains(char::is_control)
        })
}

/// A value on one line.
fn flow(value: &Json) -> String {
    match value {
        Json::String(text) => scalar(text),
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(map) if map.is_empty() => "{}".to_owned(),
        Json::Object(map) => {
            let entries = map
                .iter()
                .map(|(key, value)| format!("{}: {}", name(key), flow(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn name(key: &str) -> String {
    scalar(key)
}

/// A text as it is where YAML takes it for one, else in quotes.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 11] = [
        "true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf",
    ];
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-');
    let is_word = WORDS.contains(&text.to_ascii_lowercase().as_str());
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/' || c == '_')
        && text.chars().all(safe)
        && text.contains(|c: char| c.is_ascii_alphabetic())
        && !text.starts_with("0x")
        && !text.starts_with("0o")
        && text.parse::<f64>().is_err()
        && !is_word;
    if is_plain {
        text.to_owned()
    } else {
        Json::from(text).to_string()
    }
}

/// How much deeper what is inside stands, in this file.
fn step(text: &str) -> usize {
    let indents = text
        .lines()
        .filter(|line| !line.trim_start().is_empty() && !line.trim_start().starts_with(['#', '-']));
    let indents = indents.map(|line| line.len() - line.trim_start_matches(' ').len());
    indents
        .filter(|indent| *indent > 0)
        .min()
        .filter(|indent| *indent <= 8)
        .unwrap_or(2)
}

fn line_break(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}
