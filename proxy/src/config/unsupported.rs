//! Keys that the specification of Weir has and this version does not: refused by name, so that
//! nobody takes them for working, and never called unknown. When one is built, its line goes.

use super::fault::{Code, Fault};
use super::path::Path;
use super::tree::Node;

/// Key paths; `*` is every key or item.
const KEYS: &[&str] = &["admin.tls"];

/// Takes such keys out of the tree. Returns a fault for each, with its path.
pub(super) fn take(tree: &mut Node) -> Vec<(Path, Fault)> {
    let mut found = Vec::new();
    for path in KEYS.iter().flat_map(|pattern| tree.find(pattern)) {
        let place = tree.place_of_key(&path);
        let fault = Fault::new(Code::NotSupported, &path, place, "is not supported yet");
        found.push((path, fault));
    }
    for (path, _) in &found {
        tree.remove(path);
    }
    found
}
