//! A part of the configuration as a form: each key with its type, meaning, value, and where that
//! comes from. It walks the schema beside the tree, so no key is ever forgotten, and it shows no
//! secret.

use serde::Serialize;
use serde_json::Value as Json;

use crate::config::fault::Source;
use crate::config::path::{Path, Step};
use crate::config::schema::{is_secret, resolve, schema};
use crate::config::tree::{Node, Value};

/// One key.
#[derive(Clone, Debug, Serialize)]
pub struct Field {
    /// Keys from the root.
    pub path: Vec<String>,
    /// What it is called below the mapping that was asked for, such as `sasl.mechanism`.
    pub key: String,
    pub kind: &'static str,
    /// What it may be, where that is a choice.
    pub options: Vec<String>,
    /// Such as `duration` or `byte size`.
    pub unit: Option<String>,
    pub description: String,
    pub required: bool,
    pub secret: bool,
    pub default: Json,
    /// What is written; null where nothing is, or where it is a secret.
    pub value: Json,
    /// A secret is written, and not shown.
    pub hidden: bool,
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Origin {
    Default,
    File {
        line: u64,
    },
    /// Of the command line: it cannot be changed in the file.
    Override {
        name: String,
    },
    /// As above.
    Environment {
        name: String,
    },
}

/// All keys of the mapping at `at`, those of mappings in it too.
pub(super) fn fields(tree: &Node, at: &Path) -> Vec<Field> {
    let mut of = schema();
    for step in at.steps() {
        of = resolve(of);
        if let Step::Key(key) = step {
            of = of["properties"]
                .get(key)
                .unwrap_or(&of["additionalProperties"]);
        }
    }
    let keys = at.steps().iter().filter_map(|step| match step {
        Step::Key(key) => Some(key.clone()),
        Step::Index(_) => None,
    });
    let mut out = Vec::new();
    members(
        tree.get(at),
        resolve(of),
        &keys.collect::<Vec<_>>(),
        "",
        &mut out,
    );
    out
}

fn members(node: Option<&Node>, of: &Json, path: &[String], prefix: &str, out: &mut Vec<Field>) {
    let required = of["required"].as_array();
    for (key, member) in of["properties"].as_object().into_iter().flatten() {
        let child = node.and_then(|node| node.get(&Path::root().key(key)));
        let mut path = path.to_vec();
        path.push(key.clone());
        let name = format!("{prefix}{key}");
        let kind = resolve(member);
        if kind["properties"].is_object() {
            members(child, kind, &path, &format!("{name}."), out);
            continue;
        }
        let is_required = required.is_some_and(|of| of.iter().any(|of| of == key.as_str()));
        out.push(field(child, member, path, name, is_required));
    }
}

fn field(
    node: Option<&Node>,
    member: &Json,
    path: Vec<String>,
    key: String,
    required: bool,
) -> Field {
    let of = resolve(member);
    let text = |name: &str| {
        let text = member[name].as_str().or_else(|| of[name].as_str());
        text.map(str::to_owned)
    };
    let options = of["enum"].as_array().into_iter().flatten();
    let options: Vec<String> = options
        .filter_map(|of| of.as_str().map(str::to_owned))
        .collect();
    let kind = match of["type"].as_str() {
        _ if !options.is_empty() => "choice",
        Some("boolean") => "boolean",
        Some("integer") => "integer",
        Some("number") => "number",
        Some("array") => "list",
        Some("object") => "map",
        Some("string") => "string",
        _ => "other",
    };
    let values = of.get("additionalProperties").filter(|of| of.is_object());
    let secret = is_secret(member)
        || is_secret(of)
        || values.is_some_and(|values| is_secret(resolve(values)));
    let open = |value: &Value| matches!(value, Value::String(text) if text.starts_with("env."));
    let hidden = secret && node.is_some_and(|node| !open(&node.value));
    let value = node.filter(|_| !hidden).map_or(Json::Null, Node::to_json);
    Field {
        path,
        key,
        kind,
        options,
        unit: of["title"].as_str().map(str::to_owned),
        description: text("description").unwrap_or_default(),
        required,
        secret,
        default: member
            .get("default")
            .or(of.get("default"))
            .cloned()
            .unwrap_or_default(),
        value,
        hidden,
        origin: node.map_or(Origin::Default, origin),
    }
}

/// An override of a part is one of the whole: the form writes lists whole.
fn origin(node: &Node) -> Origin {
    let inner = match &node.value {
        Value::List(items) => items.iter().map(origin).find(Origin::is_locked),
        Value::Map(entries) => entries
            .iter()
            .map(|of| origin(&of.node))
            .find(Origin::is_locked),
        _ => None,
    };
    inner.unwrap_or_else(|| match &node.place.source {
        Source::File => Origin::File {
            line: node.place.line,
        },
        Source::Set(name) => Origin::Override {
            name: name.to_string(),
        },
        Source::Environment(name) => Origin::Environment {
            name: name.to_string(),
        },
    })
}

impl Origin {
    /// Whether a change of the file would change nothing.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Override { .. } | Self::Environment { .. })
    }
}
