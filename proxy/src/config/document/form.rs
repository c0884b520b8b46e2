//! A part of the configuration as a form: each key with its type, meaning, value, and where that
//! comes from. It walks the schema beside the tree, so no key is ever forgotten, and it shows no
//! secret.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

use crate::config::fault::Source;
use crate::config::path::{Path, Step};
use crate::config::schema::{is_secret, resolve, resolve_in, schema};
use crate::config::tree::{Node, Value};

/// One key.
#[derive(Clone, Debug, Serialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
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

/// Deepest mappings that have fields of their own.
const DEEPEST: usize = 8;

/// All keys of the mapping at `at`, those of mappings in it too.
pub(super) fn fields(tree: &Node, at: &Path, config: Option<&Json>) -> Vec<Field> {
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
    let own = Schema {
        document: schema(),
        foreign: false,
    };
    let mut out = Vec::new();
    let keys: Vec<String> = keys.collect();
    own.members(tree.get(at), of, &keys, "", &mut out);
    let Some(place) = out.iter().position(is_foreign) else {
        return out;
    };
    let Some(config) = config.filter(|config| config["properties"].is_object()) else {
        out[place].hide();
        return out;
    };
    let foreign = Schema {
        document: config,
        foreign: true,
    };
    let path = out.remove(place).path;
    let mut inner = Vec::new();
    foreign.members(
        tree.get(&at.key("config")),
        config,
        &path,
        "config.",
        &mut inner,
    );
    out.splice(place..place, inner);
    out
}

/// What is in a plugin's `config` is not ours to know.
fn is_foreign(field: &Field) -> bool {
    matches!(field.path.as_slice(), [plugins, _, config] if plugins == "plugins" && config == "config")
}

/// A schema, and what it refers to.
struct Schema<'s> {
    document: &'s Json,
    /// Of a plugin: it does not tell which values are secrets.
    foreign: bool,
}

impl<'s> Schema<'s> {
    fn resolve(&self, of: &'s Json) -> &'s Json {
        resolve_in(self.document, of)
    }

    fn members(
        &self,
        node: Option<&Node>,
        of: &'s Json,
        path: &[String],
        prefix: &str,
        out: &mut Vec<Field>,
    ) {
        let of = self.resolve(of);
        let required = of["required"].as_array();
        for (key, member) in of["properties"].as_object().into_iter().flatten() {
            let child = node.and_then(|node| node.get(&Path::root().key(key)));
            let mut path = path.to_vec();
            path.push(key.clone());
            let name = format!("{prefix}{key}");
            let kind = self.resolve(member);
            if kind["properties"].is_object() && path.len() < DEEPEST {
                self.members(child, kind, &path, &format!("{name}."), out);
                continue;
            }
            let is_required = required.is_some_and(|of| of.iter().any(|of| of == key.as_str()));
            out.push(self.field(child, member, path, name, is_required));
        }
    }

    fn field(
        &self,
        node: Option<&Node>,
        member: &'s Json,
        path: Vec<String>,
        key: String,
        required: bool,
    ) -> Field {
        let of = self.resolve(member);
        let text = |name: &str| {
            let text = member[name].as_str().or_else(|| of[name].as_str());
            text.map(|text| text.replace('\n', " "))
        };
        let options = options(of);
        let kind = match self.kind(of) {
            _ if !options.is_empty() => "choice",
            "array" if self.is_scalar(&of["items"]) => "list",
            "object" if self.is_scalar(&of["additionalProperties"]) => "map",
            "boolean" => "boolean",
            "integer" => "integer",
            "number" => "number",
            "string" => "string",
            _ => "other",
        };
        let inside = ["additionalProperties", "items"].map(|name| &of[name]);
        let mut inside = inside.iter().filter(|of| of.is_object());
        let secret = is_secret(member)
            || is_secret(of)
            || inside.any(|of| is_secret(self.resolve(of)))
            // Mappings of mappings are shown as such, each of which knows its secrets.
            || (kind == "other" && node.is_some_and(Node::is_collection))
            // Numbers, choices and switches of a plugin say no secret; any text may.
            || (self.foreign && !matches!(kind, "boolean" | "choice" | "integer" | "number"));
        let hidden = secret && node.is_some_and(|node| !is_open(node));
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

    /// The type, without that of nothing.
    fn kind(&self, of: &'s Json) -> &'s str {
        match &self.resolve(of)["type"] {
            Json::String(kind) => kind,
            Json::Array(kinds) => {
                let mut kinds = kinds.iter().filter_map(Json::as_str);
                kinds.find(|kind| *kind != "null").unwrap_or_default()
            }
            _ => "",
        }
    }

    fn is_scalar(&self, of: &'s Json) -> bool {
        matches!(self.kind(of), "string" | "integer" | "number" | "boolean")
    }
}

/// What a value may be, where that is a choice: an `enum`, or constants side by side.
fn options(of: &Json) -> Vec<String> {
    let text = |of: &Json| of.as_str().map(str::to_owned);
    if let Some(choices) = of["enum"].as_array() {
        return choices.iter().filter_map(text).collect();
    }
    let branches = of["oneOf"].as_array().into_iter().flatten();
    let constants: Option<Vec<String>> = branches
        .map(|branch| branch.get("const").and_then(text))
        .collect();
    constants.unwrap_or_default()
}

/// Whether it only names variables of the environment, and so tells no secret.
fn is_open(node: &Node) -> bool {
    match &node.value {
        Value::String(text) => text.starts_with("env."),
        Value::List(items) => items.iter().all(is_open),
        Value::Map(entries) => entries.iter().all(|entry| is_open(&entry.node)),
        Value::Null => true,
        Value::Bool(_) | Value::Number(_) => false,
    }
}

impl Field {
    /// Shows nothing of a value that may hold secrets.
    fn hide(&mut self) {
        self.secret = true;
        self.hidden |= !self.value.is_null();
        self.value = Json::Null;
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
