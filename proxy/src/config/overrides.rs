//! Overrides from the environment (`WEIR__A__B__C=value`) and the command line
//! (`--set a.b.c=value`), put onto the tree of the file. The command line wins.
//!
//! Values are YAML, so lists and mappings can be given too: `--set 'routes.0.plugins=[auth]'`.

use std::sync::Arc;

use super::environment::Environment;
use super::fault::{Code, Fault, Place, Source};
use super::path::Path;
use super::tree::{Entry, Node, Value};

const PREFIX: &str = "WEIR__";

/// Applies all, environment first. What cannot be applied is a fault, and the rest is.
pub(super) fn apply(tree: &mut Node, set: &[String], environment: &Environment) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, value) in environment.iter() {
        if let Some(keys) = name.strip_prefix(PREFIX) {
            let keys: Vec<&str> = keys.split("__").collect();
            let source = Source::Environment(name.into());
            faults.extend(apply_one(tree, &keys, same_in_environment, source, value));
        }
    }
    for assignment in set {
        let Some((keys, value)) = assignment.split_once('=') else {
            let place = Place::of(Source::Set(assignment.as_str().into()));
            let fault = Fault::new(Code::Override, &Path::root(), place, "has no `=`");
            faults.push(fault.with_hint("write `--set a.b.c=value`"));
            continue;
        };
        let source = Source::Set(Arc::from(keys));
        // As faults write it, `routes[0].upstream`, or with the index as a key.
        let keys = keys.replace('[', ".").replace(']', "");
        let keys: Vec<&str> = keys.split('.').collect();
        faults.extend(apply_one(tree, &keys, |a, b| a == b, source, value));
    }
    faults
}

/// Names of variables are in upper case, and cannot have a hyphen.
fn same_in_environment(key: &str, given: &str) -> bool {
    key.replace('-', "_").eq_ignore_ascii_case(given)
}

fn apply_one(
    tree: &mut Node,
    keys: &[&str],
    same: fn(&str, &str) -> bool,
    source: Source,
    value: &str,
) -> Option<Fault> {
    let place = Place::of(source.clone());
    let fault = |path: &Path, message: String| {
        Some(Fault::new(Code::Override, path, place.clone(), message))
    };
    let Ok(mut value) = Node::parse(value) else {
        return fault(&Path::root(), "the value is not valid YAML".to_owned())
            .map(|fault| fault.with_hint("put it in quotes: '\"…\"'"));
    };
    value.set_source(&source);
    let mut node = tree;
    let mut path = Path::root();
    for key in keys {
        if key.is_empty() {
            return fault(&path, "a key is empty".to_owned());
        }
        if matches!(node.value, Value::Null) {
            let list = key.parse::<usize>().is_ok();
            node.value = if list {
                Value::List(Vec::new())
            } else {
                Value::Map(Vec::new())
            };
        }
        node = match &mut node.value {
            Value::Map(entries) => {
                let known = entries.iter().position(|entry| same(&entry.key, key));
                let position = known.unwrap_or_else(|| {
                    let lower = matches!(source, Source::Environment(_));
                    let key = if lower {
                        key.to_lowercase()
                    } else {
                        (*key).to_owned()
                    };
                    entries.push(Entry {
                        key,
                        place: place.clone(),
                        node: null(&place),
                    });
                    entries.len() - 1
                });
                path = path.key(&entries[position].key);
                &mut entries[position].node
            }
            Value::List(items) => {
                let count = items.len();
                match key.parse::<usize>() {
                    Ok(index) if index <= count => {
                        if index == count {
                            items.push(null(&place));
                        }
                        path = path.index(index);
                        &mut items[index]
                    }
                    _ => return fault(&path, format!("`{key}` is no index of a list of {count}")),
                }
            }
            other => {
                let kind = other.kind();
                return fault(&path, format!("is {kind}, so there is no `{key}` in it"));
            }
        };
    }
    *node = value;
    None
}

fn null(place: &Place) -> Node {
    Node {
        value: Value::Null,
        place: place.clone(),
    }
}
