//! The configuration as a tree in which every value knows where it was written.
//!
//! It comes from YAML, takes overrides, and is the one place that knows lines: whatever finds a
//! fault later names a key path, and the tree tells its place. It knows nothing of what the keys
//! mean. No `Debug`: it holds secrets.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use serde_json::Number;
use serde_saphyr::{DuplicateKeyPolicy, NonFiniteFloatPolicy, Spanned};

use super::fault::{Place, Source};
use super::path::{Path, Step};

#[derive(Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
}

#[derive(Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    List(Vec<Node>),
    /// In the order of the file. Keys may repeat until [`Node::take_duplicates`] is called.
    Map(Vec<Entry>),
}

#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Of the key itself.
    pub(super) place: Place,
    pub(super) node: Node,
}

/// Most keys and values of the text, with the ends of lists and mappings.
const MOST_EVENTS: usize = 200_000;
/// The same, of what aliases stand for.
const MOST_ALIASED: usize = 100_000;

/// Text that is no YAML, or more of it than a configuration may be.
pub(super) struct SyntaxError {
    pub(super) message: String,
    pub(super) place: Place,
}

impl Node {
    /// Whether there is anything below it.
    pub(super) fn is_collection(&self) -> bool {
        matches!(self.value, Value::List(_) | Value::Map(_))
    }

    /// Reads one YAML document. Aliases and merge keys are resolved; an empty document is `Null`.
    pub(super) fn parse(text: &str) -> Result<Self, SyntaxError> {
        let options = serde_saphyr::options! {
            duplicate_keys: DuplicateKeyPolicy::PassThrough,
            strict_booleans: true,
            leading_zero_numbers_as_strings: true,
            underscored_numbers_as_strings: true,
            non_finite_float_policy: NonFiniteFloatPolicy::AsString,
            // A snippet would show the values around a fault, which may be secrets.
            with_snippet: false,
            budget: serde_saphyr::budget! {
                max_events: MOST_EVENTS,
            },
            alias_limits: serde_saphyr::alias_limits! {
                max_total_replayed_events: MOST_ALIASED,
            },
        };
        serde_saphyr::from_str_with_options(text, options).map_err(|error| SyntaxError {
            place: error.location().map_or(Place::start(), place),
            message: syntax_message(&error),
        })
    }

    /// What has no place of its own.
    pub(super) fn of_json(json: &serde_json::Value) -> Self {
        let place = Place::start();
        let value = match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(*value),
            serde_json::Value::Number(number) => Value::Number(number.clone()),
            serde_json::Value::String(text) => Value::String(text.clone()),
            serde_json::Value::Array(items) => {
                Value::List(items.iter().map(Self::of_json).collect())
            }
            serde_json::Value::Object(entries) => Value::Map(
                entries
                    .iter()
                    .map(|(key, value)| Entry {
                        key: key.clone(),
                        place: place.clone(),
                        node: Self::of_json(value),
                    })
                    .collect(),
            ),
        };
        Self { value, place }
    }

    pub(super) fn empty_map(place: Place) -> Self {
        let value = Value::Map(Vec::new());
        Self { value, place }
    }

    /// Makes `source` the origin of this node and all below it.
    pub(super) fn set_source(&mut self, source: &Source) {
        self.place = Place::of(source.clone());
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.set_source(source)),
            Value::Map(entries) => {
                for entry in entries {
                    entry.place = Place::of(source.clone());
                    entry.node.set_source(source);
                }
            }
            _ => {}
        }
    }

    /// The entries of a map; none for anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(super) fn get(&self, path: &Path) -> Option<&Node> {
        path.steps()
            .iter()
            .try_fold(self, |node, step| node.child(step))
    }

    fn child(&self, step: &Step) -> Option<&Node> {
        match (&self.value, step) {
            (Value::Map(entries), Step::Key(key)) => {
                entries.iter().find(|e| e.key == *key).map(|e| &e.node)
            }
            (Value::List(items), Step::Index(index)) => items.get(*index),
            _ => None,
        }
    }

    /// Where to point for `path`: a scalar's own place, a collection's key, and for what is not
    /// there the closest thing around it.
    pub(super) fn place(&self, path: &Path) -> Place {
        let mut node = self;
        let mut place = &self.place;
        for step in path.steps() {
            let Some(child) = node.child(step) else { break };
            let scalar = !matches!(child.value, Value::List(_) | Value::Map(_) | Value::Null);
            place = match step {
                Step::Key(key) if !scalar => node.key_place(key).unwrap_or(&child.place),
                _ => &child.place,
            };
            node = child;
        }
        place.clone()
    }

    /// The place of the key itself, for faults that are about the key.
    pub(super) fn place_of_key(&self, path: &Path) -> Place {
        let place = path.split_last().and_then(|(parent, last)| match last {
            Step::Key(key) => self.get(&parent)?.key_place(key).cloned(),
            Step::Index(_) => None,
        });
        place.unwrap_or_else(|| self.place(path))
    }

    fn key_place(&self, key: &str) -> Option<&Place> {
        let entry = self.entries().iter().find(|entry| entry.key == key)?;
        Some(&entry.place)
    }

    /// Takes out what `path` names, so that it is not judged again. An item takes its list along:
    /// the other items must not change their index.
    pub(super) fn remove(&mut self, path: &Path) {
        let Some((parent, last)) = path.split_last() else {
            *self = Self::empty_map(self.place.clone());
            return;
        };
        match last {
            Step::Index(_) => self.remove(&parent),
            Step::Key(key) => {
                if let Some(Value::Map(entries)) = self.get_mut(&parent).map(|n| &mut n.value) {
                    entries.retain(|entry| entry.key != *key);
                }
            }
        }
    }

    fn get_mut(&mut self, path: &Path) -> Option<&mut Node> {
        path.steps()
            .iter()
            .try_fold(self, |node, step| match (&mut node.value, step) {
                (Value::Map(entries), Step::Key(key)) => entries
                    .iter_mut()
                    .find(|entry| entry.key == *key)
                    .map(|entry| &mut entry.node),
                (Value::List(items), Step::Index(index)) => items.get_mut(*index),
                _ => None,
            })
    }

    /// Keeps the first of keys that repeat, and tells where the others were.
    pub(super) fn take_duplicates(&mut self) -> Vec<(Path, Place)> {
        let mut found = Vec::new();
        self.visit_duplicates(&Path::root(), &mut found);
        found
    }

    fn visit_duplicates(&mut self, path: &Path, found: &mut Vec<(Path, Place)>) {
        match &mut self.value {
            Value::Map(entries) => {
                let mut seen = std::collections::HashSet::new();
                entries.retain(|entry| {
                    let first = seen.insert(entry.key.clone());
                    if !first {
                        found.push((path.key(&entry.key), entry.place.clone()));
                    }
                    first
                });
                for entry in entries {
                    entry.node.visit_duplicates(&path.key(&entry.key), found);
                }
            }
            Value::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    item.visit_duplicates(&path.index(index), found);
                }
            }
            _ => {}
        }
    }

    /// For judging by the schema and reading by serde, to which whole numbers must look the same:
    /// for the one `1.0` is an integer, for the other it is not.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(value) => whole(value).map_or_else(|| value.clone().into(), Into::into),
            Value::String(value) => value.as_str().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.node.to_json()))
                .collect(),
        }
    }
}

impl Value {
    /// In the words of a message.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

fn whole(number: &Number) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let float = number.as_f64().filter(|_| number.is_f64())?;
    #[allow(clippy::cast_possible_truncation)] // Every such float is an i64.
    (float.fract() == 0.0 && float.abs() <= EXACT).then_some(float as i64)
}

/// The beginning of the file where the parser knows none.
fn place(location: serde_saphyr::Location) -> Place {
    if location.line() == 0 {
        return Place::start();
    }
    Place {
        source: Source::File,
        line: location.line(),
        column: location.column(),
    }
}

/// The parser's message on one line, without the place that it ends with.
fn syntax_message(error: &serde_saphyr::Error) -> String {
    let text = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
    let text = text.lines().next().unwrap_or_default();
    if text.starts_with("YAML document too large") {
        return format!(
            "too large: it may have {MOST_EVENTS} keys and values, and aliases may stand for \
             {MOST_ALIASED}"
        );
    }
    match text.find(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text.to_owned(),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            value: spanned.value,
            place: place(spanned.referenced),
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

struct Visitor;

impl<'de> de::Visitor<'de> for Visitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some((key, node)) = entries.next_entry::<Spanned<String>, Node>()? {
            map.push(Entry {
                key: key.value,
                place: place(key.referenced),
                node,
            });
        }
        Ok(Value::Map(map))
    }
}
