//! Values that come from the environment, and PEM that may come from a file. None of it is ever
//! part of a message.

use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use super::Resolver;
use crate::config::fault::Code;
use crate::config::path::Path;
use crate::config::raw::SecretVar;
use crate::config::tree::Value;
use crate::config::{PemFile, Secret, tree};

impl Resolver<'_> {
    /// Says of the fault just told where a value like `env.NAME` may come from instead.
    pub(super) fn hint_variable(&mut self, at: &Path) {
        let node = self.tree.get(at);
        if let Some(hint) = node.and_then(|node| no_variable(at, &node.value)) {
            self.hint(hint);
        }
    }

    pub(super) fn secret(&mut self, at: &Path, secret: &SecretVar) -> Option<Secret> {
        self.expand(at, &secret.0).map(Secret::new)
    }

    /// PEM text itself, from the file that is named, or from a variable that has either.
    pub(super) fn pem(&mut self, at: &Path, secret: &SecretVar) -> Option<Secret> {
        let value = self.expand(at, &secret.0)?;
        if value.contains("-----BEGIN") {
            return Some(Secret::new(value));
        }
        let path = self.file(&value);
        match std::fs::read_to_string(&path) {
            Ok(text) if text.contains("-----BEGIN") => {
                let digest = Sha256::digest(&text).into();
                self.files.push(PemFile { path, digest });
                Some(Secret::new(text))
            }
            Ok(_) => {
                self.fault(Code::File, at, "the file has no PEM in it");
                None
            }
            Err(error) => {
                let message = format!("is neither PEM text nor a file that can be read: {error}");
                self.fault(Code::File, at, message);
                None
            }
        }
    }

    /// A plugin's configuration, with each string that is wholly `env.NAME` replaced.
    pub(super) fn expand_all(&mut self, at: &Path, node: &tree::Node) -> Json {
        match &node.value {
            tree::Value::String(text) => self.expand(at, text).into(),
            tree::Value::List(items) => {
                let items = items.iter().enumerate();
                items
                    .map(|(i, item)| self.expand_all(&at.index(i), item))
                    .collect()
            }
            tree::Value::Map(entries) => entries
                .iter()
                .map(|entry| {
                    let value = self.expand_all(&at.key(&entry.key), &entry.node);
                    (entry.key.clone(), value)
                })
                .collect(),
            // As it is written: to some guests, `1.0` and `1` are not the same.
            tree::Value::Number(number) => number.clone().into(),
            tree::Value::Bool(_) | tree::Value::Null => node.to_json(),
        }
    }

    fn expand(&mut self, at: &Path, text: &str) -> Option<String> {
        let Some(name) = variable(text) else {
            return Some(text.to_owned());
        };
        let message = match self.environment.get(name) {
            Some("") => format!("environment variable `{name}` is empty"),
            Some(value) => return Some(value.to_owned()),
            None => format!("environment variable `{name}` is not set"),
        };
        self.fault(Code::Environment, at, message);
        None
    }
}

/// The way out for a value that is written as only secrets may be; `None` where it is not.
pub(in crate::config) fn no_variable(at: &Path, value: &Value) -> Option<String> {
    let Value::String(text) = value else {
        return None;
    };
    variable(text)?;
    let (key, name) = (at.dotted(), at.variable());
    Some(format!(
        "only secrets are read by `env.NAME`: set the variable `{name}`, or `--set {key}=…`"
    ))
}

/// The name in a text that is wholly `env.NAME`.
pub(super) fn variable(text: &str) -> Option<&str> {
    let name = text.strip_prefix("env.")?;
    let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let rest = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (first && rest).then_some(name)
}
