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
use super::path::{Path, Step};
use super::raw;
use super::suggest;
use super::tree::{Node, Value};

/// The schema as a document (draft 2020-12).
pub fn schema() -> &'static Json {
    &SCHEMA
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
        if object.get("default").is_some_and(Json::is_null) {
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

/// Judges `tree` and takes out what is wrong, so that the rest can be read. Of mappings in
/// `incomplete` nothing was expected: keys that might have been enough were refused before.
pub(super) fn take_faults(tree: &mut Node, incomplete: &HashSet<Path>) -> Vec<(Path, Fault)> {
    let json = tree.to_json();
    let mut faults: Vec<(Path, Fault)> = Vec::new();
    let mut wrong = HashSet::new();
    for error in VALIDATOR.iter_errors(&json) {
        let path = instance_path(&error);
        let schema = keyword_owner(&error);
        match error.kind() {
            Kind::AdditionalProperties { unexpected } => {
                for key in unexpected {
                    let path = path.key(key);
                    let fault = unknown_key(tree, &path, key, schema);
                    wrong.insert(path.clone());
                    faults.push((path, fault));
                }
            }
            Kind::Required { property } => {
                if !incomplete.contains(&path) {
                    let key = property.as_str().unwrap_or_default();
                    let message = format!("missing key `{key}`");
                    let place = tree.place(&path);
                    let path = path.key(key);
                    let fault = Fault::new(Code::MissingKey, &path, place, message);
                    faults.push((path, fault));
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
    for path in &wrong {
        tree.remove(path);
    }
    faults
}

fn instance_path(error: &ValidationError<'_>) -> Path {
    let step = |path: Path, segment: LocationSegment<'_>| match segment {
        LocationSegment::Property(key) => path.key(&key),
        LocationSegment::Index(index) => path.join(Step::Index(index)),
    };
    error.instance_path().segments().fold(Path::root(), step)
}

/// The object of the schema that holds the keyword which the error is about.
fn keyword_owner(error: &ValidationError<'_>) -> &'static Json {
    let keyword = error.schema_path().as_str();
    let owner = keyword.rsplit_once('/').map_or("", |(owner, _)| owner);
    SCHEMA.pointer(owner).unwrap_or(&Json::Null)
}

fn unknown_key(tree: &Node, path: &Path, key: &str, schema: &Json) -> Fault {
    let known = schema.get("properties").and_then(Json::as_object);
    let known: Vec<&str> = known
        .into_iter()
        .flatten()
        .map(|(k, _)| k.as_str())
        .collect();
    let fault = Fault::new(
        Code::UnknownKey,
        path,
        tree.place_of_key(path),
        format!("unknown key `{key}`"),
    );
    fault.with_hint(match suggest::nearest(key, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here: {}", suggest::list(&known)),
    })
}

fn wrong_value(tree: &Node, path: &Path, kind: &Kind, schema: &Json) -> Fault {
    let value = tree.get(path).map(|node| &node.value);
    let fault = |code, message: String| Fault::new(code, path, tree.place(path), message);
    let title = schema.get("title").and_then(Json::as_str);
    match (kind, value) {
        (Kind::Type { .. }, Some(Value::Null)) => fault(Code::WrongType, "has no value".to_owned())
            .with_hint("give it a value, or leave the key out"),
        (Kind::Type { .. } | Kind::Pattern { .. }, Some(value)) if title.is_some() => {
            let title = title.unwrap_or_default();
            let code = match kind {
                Kind::Type { .. } => Code::WrongType,
                _ => Code::InvalidValue,
            };
            fault(code, format!("must be a {title}")).with_hint(unit_hint(value, schema))
        }
        (Kind::Type { kind }, Some(value)) => {
            let message = format!("must be {}, is {}", type_name(kind), value.kind());
            let fault = fault(Code::WrongType, message);
            match (kind, value) {
                (TypeKind::Single(JsonType::String), Value::Number(_) | Value::Bool(_)) => {
                    fault.with_hint("put it in quotes")
                }
                _ => fault,
            }
        }
        (Kind::Enum { options }, value) => {
            let options: Vec<&str> = options
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Json::as_str)
                .collect();
            let fault = fault(
                Code::InvalidValue,
                format!("must be one of {}", suggest::list(&options)),
            );
            let near = match value {
                Some(Value::String(given)) => suggest::nearest(given, options.iter().copied()),
                _ => None,
            };
            match near {
                Some(near) => fault.with_hint(format!("did you mean `{near}`?")),
                None => fault,
            }
        }
        (Kind::Minimum { limit }, _) => {
            fault(Code::InvalidValue, format!("must be at least {limit}"))
        }
        (Kind::Maximum { limit }, _) => {
            fault(Code::InvalidValue, format!("must be at most {limit}"))
        }
        (Kind::MinItems { .. }, _) => {
            fault(Code::InvalidValue, "must have at least one item".to_owned())
        }
        (Kind::MinLength { .. }, _) => fault(Code::InvalidValue, "must not be empty".to_owned()),
        (Kind::UniqueItems, _) => {
            fault(Code::InvalidValue, "must not name an item twice".to_owned())
        }
        (Kind::Pattern { pattern }, _) => {
            fault(Code::InvalidValue, format!("must match `{pattern}`"))
        }
        _ => fault(
            Code::InvalidValue,
            format!("breaks the schema's `{}`", kind.keyword()),
        ),
    }
}

/// `50` becomes `50ms`, by the unit of the schema's first example.
fn unit_hint(value: &Value, schema: &Json) -> String {
    let example = schema
        .pointer("/examples/0")
        .and_then(Json::as_str)
        .unwrap_or_default();
    let number = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => String::new(),
    };
    if !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()) {
        let unit = example.trim_start_matches(|c: char| c.is_ascii_digit());
        format!("write a unit, such as `{number}{unit}`")
    } else {
        let form = schema
            .get("description")
            .and_then(Json::as_str)
            .unwrap_or_default();
        format!(
            "such as `{example}`: {}",
            form.trim_end_matches('.').to_lowercase()
        )
    }
}

fn type_name(kind: &TypeKind) -> &'static str {
    match kind {
        TypeKind::Single(JsonType::Array) => "a list",
        TypeKind::Single(JsonType::Boolean) => "true or false",
        TypeKind::Single(JsonType::Integer) => "a whole number",
        TypeKind::Single(JsonType::Null) => "empty",
        TypeKind::Single(JsonType::Number) => "a number",
        TypeKind::Single(JsonType::Object) => "a mapping",
        TypeKind::Single(JsonType::String) => "a string",
        TypeKind::Multiple(_) => "of another type",
    }
}
