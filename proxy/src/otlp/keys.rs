//! The Kafka keys of what comes by OTLP.

use indexmap::IndexMap;
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use super::json::{self, Dialect};
use super::schema::ANY_VALUE;
use super::split::Tree;
use super::wire::{Reader, Value};
use crate::hex;

/// 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    fn of(bytes: &[u8; 16]) -> Self {
        Self(hex::Digits::of(bytes).0)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Leaves of a request by their keys, in the order in which keys first come.
pub type Groups = IndexMap<Option<Key>, Vec<usize>>;

/// Spans by trace; those without a trace id have no key.
pub fn by_trace(tree: &Tree<'_>) -> Groups {
    let mut groups = Groups::new();
    let mut last: Option<(&[u8], usize)> = None;
    for (leaf, span) in tree.leaves().into_iter().enumerate() {
        let id = field(span, 1).unwrap_or_default();
        // Spans of one trace mostly stand together.
        let group = match last {
            Some((same, group)) if same == id => group,
            _ => {
                let key = id.try_into().ok().map(Key::of);
                groups.entry(key).or_default();
                groups.get_index_of(&key).unwrap_or_default()
            }
        };
        last = Some((id, group));
        if let Some((_, leaves)) = groups.get_index_mut(group) {
            leaves.push(leaf);
        }
    }
    groups
}

/// Everything by the attributes of its resource.
pub fn by_resource(tree: &Tree<'_>) -> Groups {
    let mut groups = Groups::new();
    for (rest, leaves) in tree.resources() {
        groups
            .entry(Some(resource(rest)))
            .or_default()
            .extend(leaves);
    }
    groups
}

/// The key of a resource: the first half of a SHA-256 of its attributes. These are sorted by name;
/// of each, the name, a zero byte, the value as OTLP/JSON and a line feed are hashed.
fn resource(fields: &[&[u8]]) -> Key {
    let mut attributes: SmallVec<[(&[u8], Vec<u8>); 16]> = SmallVec::new();
    for resource in fields.iter().filter_map(|bytes| field(bytes, 1)) {
        let mut reader = Reader::new(resource);
        while let Ok(Some((number, value))) = reader.field() {
            if let (1, Value::Bytes(attribute)) = (number, value) {
                let name = field(attribute, 1).unwrap_or_default();
                let mut text = Vec::new();
                let value = field(attribute, 2).unwrap_or_default();
                json::write(&ANY_VALUE, value, Dialect::Otlp, &mut text);
                attributes.push((name, text));
            }
        }
    }
    attributes.sort();
    let mut hash = Sha256::new();
    for (name, value) in &attributes {
        hash.update(name);
        hash.update([0]);
        hash.update(value);
        hash.update(b"\n");
    }
    let digest = hash.finalize();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    Key::of(&half)
}

/// The last bytes that a field has.
fn field(message: &[u8], wanted: u32) -> Option<&[u8]> {
    let mut found = None;
    let mut reader = Reader::new(message);
    while let Ok(Some((number, value))) = reader.field() {
        if let Value::Bytes(bytes) = value
            && number == wanted
        {
            found = Some(bytes);
        }
    }
    found
}
