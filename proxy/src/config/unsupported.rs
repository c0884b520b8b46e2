//! Keys that the specification of Weir has and this version does not: refused by name, so that
//! nobody takes them for working, and never called unknown. When one is built, its line goes.

use super::fault::{Code, Fault};
use super::path::Path;
use super::tree::{Node, Value};

/// When a key is refused.
enum When {
    Present,
    /// Where the value is a mapping; other forms of it are supported.
    Mapping,
}

/// Key paths; `*` is every key or item.
const KEYS: &[(&str, When)] = &[
    ("admin.tls", When::Present),
    ("kv", When::Present),
    ("listeners.*.plugins.*", When::Mapping),
    ("receivers.otlp.exporter.kafka.dead_letter", When::Present),
    ("routes.*.plugins.*", When::Mapping),
];

/// Takes such keys out of the tree. Returns a fault for each, with its path.
pub(super) fn take(tree: &mut Node) -> Vec<(Path, Fault)> {
    let mut found = Vec::new();
    for (pattern, when) in KEYS {
        for path in tree.find(pattern) {
            let value = tree.get(&path).map(|node| &node.value);
            let refused = match when {
                When::Present => true,
                When::Mapping => matches!(value, Some(Value::Map(_))),
            };
            if refused {
                let message = match when {
                    When::Present => "is not supported yet".to_owned(),
                    When::Mapping => "a mapping is not supported here yet".to_owned(),
                };
                let place = tree.place_of_key(&path);
                found.push((
                    path.clone(),
                    Fault::new(Code::NotSupported, &path, place, message),
                ));
            }
        }
    }
    for (path, _) in &found {
        tree.remove(path);
    }
    found
}
