//! The JSON Schema of the configuration, and the judgement of a tree by it.
//!
//! Editors get the same schema as `weir check` uses, so what an editor accepts differs only in
//! what values mean together.

use std::collections::HashSet;
use std::sync::LazyLock;

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::paths::LocationSegment;
use jsonschema::{JsonType, ValidationError, Validator};
use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::Value as Json;

use super::fault::{Code, Fault};
use super::path::Path;
use super::raw::{self, chain::PLUGIN_USE};
use super::resolve::secret::no_variable;
use super::suggest;
use super::tree::{Node, Value};
use super::units;

/// The schema as a document (draft 2020-12).
pub fn schema() -> &'static Json {
    &SCHEMA
}

/// What a schema refers to.
pub(super) fn resolve(of: &Json) -> &Json {
    resolve_in(schema(), of)
}

/// As [`resolve`], in another document, whose author may have made it refer to itself.
pub(super) fn resolve_in<'s>(document: &'s Json, mut of: &'s Json) -> &'s Json {
    for _ in 0..16 {
        let Some(pointer) = of.get("$ref").and_then(Json::as_str) else {
            break;
        };
        match document.pointer(pointer.trim_start_matches('#')) {
            Some(target) => of = target,
            None => break,
        }
    }
    of
}

/// Whether a value may be a secret. What is in a plugin's `config` is not ours to know.
pub(super) fn is_secret(schema: &Json) -> bool {
    schema["writeOnly"] == true || !schema.is_object()
}

static SCHEMA: LazyLock<Json> = LazyLock::new(|| {
    SchemaSettings::draft2020_12()
        .with_transform(Strict)
        .into_generator()
        .into_root_schema_for::<raw::Config>()
        .to_value()
});

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    jsonschema::draft202012::new(&SCHEMA).expect("the schema made from our own types is valid")
});

/// A key is left out or has a value: `null` is no value. And a default that only serves reading on
/// after a fault (see `raw`) is no default.
#[derive(Clone)]
struct Strict;

impl Transform for Strict {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(object) = schema.as_object_mut() else {
            return;
        };
        if let Some(Json::Array(types)) = object.get_mut("type") {
            types.retain(|one| one != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                object.insert("type".into(), only);
            }
        }
        if let Some(Json::Array(values)) = object.get_mut("enum") {
            values.retain(|value| !value.is_null());
        }
        if let Some(Json::Array(branches)) = object.get_mut("anyOf") {
            branches.retain(|branch| branch.get("type").is_none_or(|one| one != "null"));
            if let [Json::Object(only)] = branches.as_slice() {
                let only = only.clone();
                object.remove("anyOf");
                object.extend(only);
            }
        }
        // Widths of Rust's integers, which say nothing that minimum and maximum do not.
        object.remove("format");
        if let Some(Json::String(text)) = object.get_mut("description") {
            *text = text.replace('\n', " ");
        }
        let forbidden = |default: &Json| {
            let is_empty = default.as_array().is_some_and(Vec::is_empty);
            default.is_null() || is_empty && object.contains_key("minItems")
        };
        if object.get("default").is_some_and(forbidden) {
            object.remove("default");
        }
        let required = object.get("required").cloned().unwrap_or_default();
        if let Some(Json::Object(properties)) = object.get_mut("properties") {
            for name in required.as_array().into_iter().flatten() {
                let property = name.as_str().and_then(|name| properties.get_mut(name));
                if let Some(Json::Object(property)) = property {
                    property.remove("default");
                }
            }
        }
    }
}

/// Judges `tree` and takes out what is wrong, so that the rest can be read.
pub(super) fn take_faults(tree: &mut Node) -> Vec<(Path, Fault)> {
    let (mut faults, wrong) = judge(tree, &VALIDATOR, &SCHEMA);
    for (path, fault) in &mut faults {
        let is_of_value = matches!(fault.code, Code::InvalidValue | Code::WrongType);
        let value = tree.get(path).filter(|_| is_of_value);
        if let Some(hint) = value.and_then(|node| no_variable(path, &node.value)) {
            fault.hint = Some(hint);
        }
    }
    for path in &wrong {
        tree.remove(path);
    }
    faults
}

/// What is wrong with `tree` by a schema, and which values are.
pub(super) fn judge(
    tree: &Node,
    validator: &Validator,
    document: &Json,
) -> (Vec<(Path, Fault)>, HashSet<Path>) {
    let json = tree.to_json();
    let mut faults: Vec<(Path, Fault)> = Vec::new();
    let mut wrong = HashSet::new();
    for error in validator.iter_errors(&json) {
        let path = instance_path(tree, &error);
        let schema = keyword_owner(document, &error);
        let mut missing = |key: &str, of: &Path| {
            let path = of.key(key);
            if !faults.iter().any(|(known, _)| *known == path) {
                let fault = Fault::new(Code::MissingKey, &path, tree.place(of), "is missing");
                faults.push((path, fault));
            }
        };
        match error.kind() {
            Kind::AdditionalProperties { unexpected } => {
                for key in unexpected {
                    let path = path.key(key);
                    let fault = unknown_key(tree, &path, key, schema, document);
                    wrong.insert(path.clone());
                    faults.push((path, fault));
                }
            }
            Kind::Required { property } => {
                missing(property.as_str().unwrap_or_default(), &path);
            }
            // One of several sets of keys is needed; what is told is the first of them.
            Kind::AnyOf { .. } if schema["anyOf"][0]["required"].is_array() => {
                let needed = schema["anyOf"][0]["required"].as_array();
                for key in needed.into_iter().flatten().filter_map(Json::as_str) {
                    if tree.get(&path.key(key)).is_none() {
                        missing(key, &path);
                    }
                }
            }
            _ if wrong.contains(&path) => {}
            kind => {
                let fault = wrong_value(tree, &path, kind, schema);
                wrong.insert(path.clone());
                faults.push((path, fault));
            }
        }
    }
    (faults, wrong)
}

/// A segment that is a number names an item of a list, or a mapping's key of digits.
fn instance_path(tree: &Node, error: &ValidationError<'_>) -> Path {
    let step = |path: Path, segment: LocationSegment<'_>| match segment {
        LocationSegment::Property(key) => path.key(&key),
        LocationSegment::Index(index) => match tree.get(&path).map(|node| &node.value) {
            Some(Value::Map(_)) => path.key(&index.to_string()),
            _ => path.index(index),
        },
    };
    error.instance_path().segments().fold(Path::root(), step)
}

/// The object of the schema that holds the keyword which the error is about.
fn keyword_owner<'s>(document: &'s Json, error: &ValidationError<'_>) -> &'s Json {
    let keyword = error.schema_path().as_str();
    let owner = keyword.rsplit_once('/').map_or("", |(owner, _)| owner);
    document.pointer(owner).unwrap_or(&Json::Null)
}

fn unknown_key(tree: &Node, path: &Path, key: &str, schema: &Json, document: &Json) -> Fault {
    let known: Vec<&str> = properties(schema).map(|(key, _)| key).collect();
    // `topic` beside `traces_topic` is hardly one of what stands below.
    let is_part = |name: &&str| name.split('_').any(|part| part == key);
    let is_here = known.iter().any(is_part);
    let below = properties(schema).filter(|_| !is_here);
    let below = below.flat_map(|(parent, of)| {
        let keys = properties(resolve_in(document, of));
        // That so much can be `enabled` tells nothing.
        let keys = keys.filter(|(name, _)| *name != "enabled");
        keys.map(move |(name, _)| (parent, name))
    });
    let below: Vec<(&str, &str)> = below.collect();
    let with_parent = |name: &str| {
        let (parent, name) = below.iter().find(|(_, other)| *other == name)?;
        Some(format!("{parent}.{name}"))
    };
    let meant = with_parent(key)
        .or_else(|| suggest::nearest(key, known.iter().copied()).map(str::to_owned))
        .or_else(|| with_parent(suggest::nearest(key, below.iter().map(|(_, name)| *name))?));
    let fault = Fault::new(
        Code::UnknownKey,
        path,
        tree.place_of_key(path),
        "unknown key",
    );
    fault.with_hint(match meant {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("known here: {}", suggest::list(&known)),
    })
}

/// The keys that a mapping may have.
fn properties(schema: &Json) -> impl Iterator<Item = (&str, &Json)> {
    let keys = schema.get("properties").and_then(Json::as_object);
    let keys = keys.into_iter().flatten();
    keys.map(|(key, of)| (key.as_str(), of))
}

fn wrong_value(tree: &Node, path: &Path, kind: &Kind, schema: &Json) -> Fault {
    let value = tree.get(path).map_or(&Value::Null, |node| &node.value);
    let (code, message, hint) = match kind {
        Kind::Type { kind } => return wrong_type(tree, path, kind, value, schema),
        Kind::Enum { options } => {
            let options = options.as_array().into_iter().flatten();
            let options: Vec<&str> = options.filter_map(Json::as_str).collect();
            one_of(&options, value)
        }
        Kind::OneOfNotValid { .. } | Kind::AnyOf { .. } if !constants(schema).is_empty() => {
            one_of(&constants(schema), value)
        }
        Kind::Pattern { pattern } => {
            let message = match text(schema, "title") {
                Some(title) => format!("must be a {title}"),
                None => format!("must match `{pattern}`"),
            };
            (Code::InvalidValue, message, unit_hint(value, schema))
        }
        Kind::Minimum { limit } => (
            Code::InvalidValue,
            format!("must be at least {limit}"),
            None,
        ),
        Kind::Maximum { limit } => (Code::InvalidValue, format!("must be at most {limit}"), None),
        Kind::MinItems { .. } => (
            Code::InvalidValue,
            "must have at least one item".into(),
            None,
        ),
        Kind::MinLength { .. } => (Code::InvalidValue, "must not be empty".into(), None),
        Kind::MinProperties { .. } | Kind::MaxProperties { .. }
            if text(schema, "title") == Some(PLUGIN_USE) =>
        {
            (Code::InvalidValue, format!("must be a {PLUGIN_USE}"), None)
        }
        Kind::UniqueItems => (
            Code::InvalidValue,
            "must not name an item twice".into(),
            None,
        ),
        kind => {
            let message = format!("breaks the schema's `{}`", kind.keyword());
            (Code::InvalidValue, message, None)
        }
    };
    Fault {
        hint,
        ..Fault::new(code, path, tree.place(path), message)
    }
}

/// Of a value that is none of those it may be.
fn one_of(options: &[&str], value: &Value) -> (Code, String, Option<String>) {
    let near = match value {
        Value::String(given) => suggest::nearest(given, options.iter().copied()),
        _ => None,
    };
    let message = format!("must be one of {}", suggest::list(options));
    let hint = near.map(|near| format!("did you mean `{near}`?"));
    (Code::InvalidValue, message, hint)
}

/// The texts of a choice that is written as constants side by side, each with its meaning.
fn constants(schema: &Json) -> Vec<&str> {
    let branches = schema["oneOf"].as_array().or(schema["anyOf"].as_array());
    let branches = branches.into_iter().flatten();
    let texts = branches.map(|branch| branch["const"].as_str());
    texts.collect::<Option<_>>().unwrap_or_default()
}

fn wrong_type(tree: &Node, path: &Path, kind: &TypeKind, value: &Value, schema: &Json) -> Fault {
    let string = matches!(kind, TypeKind::Single(JsonType::String));
    let unit = unit_hint(value, schema);
    let (message, hint) = match (value, text(schema, "title")) {
        (Value::Null, _) => {
            // Of what is there only where it is asked for.
            let by_defaults = schema["x-optional"] == true && schema.get("required").is_none();
            let value = if by_defaults { "`{}`" } else { "a value" };
            let hint = format!("give it {value}, or leave the key out");
            ("has no value".to_owned(), Some(hint))
        }
        (_, Some(PLUGIN_USE)) => (format!("must be a {PLUGIN_USE}, is {}", value.kind()), None),
        (_, Some(title)) if unit.is_some() => (format!("must be a {title}"), unit),
        (Value::Number(_) | Value::Bool(_), _) if string => {
            let message = format!("must be a string, is {}", value.kind());
            (message, Some("put it in quotes".to_owned()))
        }
        _ => {
            let list = matches!(kind, TypeKind::Single(JsonType::Array));
            let hint = list && matches!(value, Value::String(_));
            (
                format!("must be {}, is {}", type_name(kind), value.kind()),
                hint.then(|| "put it in brackets".to_owned()),
            )
        }
    };
    Fault {
        hint,
        ..Fault::new(Code::WrongType, path, tree.place(path), message)
    }
}

/// For values that are a number and a unit: `50` may have meant `50s`.
fn unit_hint(value: &Value, schema: &Json) -> Option<String> {
    let (small, large) = match text(schema, "title")? {
        units::DURATION => ("ms", "ms"),
        units::BYTE_SIZE => ("MiB", "B"),
        units::BYTE_RATE => ("B", "B"),
        _ => return None,
    };
    let number: Option<u64> = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    Some(match number {
        // Times of people are in seconds, those of a plugin's hooks in less.
        Some(number) if small == "ms" && number < 1000 => {
            format!("write a unit, such as `{number}s` or `{number}ms`")
        }
        Some(number) => {
            let unit = if number < 1024 { small } else { large };
            format!("write a unit, such as `{number}{unit}`")
        }
        None => {
            let form = text(schema, "description").unwrap_or_default();
            let form = form.trim_end_matches('.').replacen('A', "a", 1);
            format!("write {form}")
        }
    })
}

fn text<'s>(schema: &'s Json, key: &str) -> Option<&'s str> {
    schema.get(key).and_then(Json::as_str)
}

fn type_name(kind: &TypeKind) -> &'static str {
    let one = match kind {
        TypeKind::Single(one) => *one,
        // That it may be null says that it may be left out.
        TypeKind::Multiple(types) => {
            let mut of = types.iter().filter(|one| *one != JsonType::Null);
            match (of.next(), of.next()) {
                (Some(only), None) => only,
                _ if types.contains(JsonType::Object) => return "a string or a mapping",
                _ => return "a single value",
            }
        }
    };
    match one {
        JsonType::Array => "a list",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "a whole number",
        JsonType::Null => "empty",
        JsonType::Number => "a number",
        JsonType::Object => "a mapping",
        JsonType::String => "a string",
    }
}
