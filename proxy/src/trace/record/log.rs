//! What a recorder notes of a request, in order of arrival.
//!
//! Entries hold tags, numbers and lengths; the texts they speak of stand one behind the other in a
//! string of their own, which a reader so has to check once and not text by text.

use super::{
    BLOCK, BOOLEAN, EVENT, FLOAT, HEADER, INTEGER, LIST, LOG, STRING, Slice, TEXT, long, small,
};
use crate::trace::{Level, SpanIndex, Value};

#[derive(Clone, Debug, Default)]
pub(in crate::trace) struct Log {
    pub(super) entries: Vec<u8>,
    pub(super) texts: String,
}

impl Log {
    pub(in crate::trace) fn with_capacity(capacity: usize) -> Self {
        Self {
            entries: Vec::with_capacity(capacity),
            texts: String::with_capacity(capacity),
        }
    }

    pub(in crate::trace) fn clear(&mut self) {
        self.entries.clear();
        self.texts.clear();
    }

    /// Bytes it holds on to.
    pub(in crate::trace) fn capacity(&self) -> usize {
        self.entries.capacity() + self.texts.capacity()
    }

    /// Bytes of all.
    pub(in crate::trace) fn len(&self) -> usize {
        self.entries.len() + self.texts.len()
    }

    /// A name or message noted before.
    pub(in crate::trace) fn string(&self, slice: Slice) -> &str {
        slice.of(&self.texts).unwrap_or_default()
    }

    /// A name or message, from parts.
    pub(in crate::trace) fn add_string(&mut self, parts: &[&str]) -> Slice {
        let offset = long(self.texts.len());
        for part in parts {
            self.texts.push_str(part);
        }
        let len = long(self.texts.len()) - offset;
        self.entries.push(STRING);
        self.u32(len);
        Slice { offset, len }
    }

    /// Attributes of one span.
    pub(in crate::trace) fn block(&mut self, span: SpanIndex, attributes: impl FnOnce(&mut Self)) {
        self.entries.push(BLOCK);
        self.u16(span.0);
        let at = self.entries.len();
        self.u32(0);
        attributes(self);
        let len = long(self.entries.len() - at - 4);
        self.entries[at..at + 4].copy_from_slice(&len.to_le_bytes());
    }

    /// The entries of another log; in a block, of one that has only attributes.
    pub(in crate::trace) fn append(&mut self, attributes: &Self) {
        self.entries.extend_from_slice(&attributes.entries);
        self.texts.push_str(&attributes.texts);
    }

    /// What another log has, behind what this one has; says where its texts are.
    pub(in crate::trace) fn absorb(&mut self, other: &Self) -> u32 {
        let behind = long(self.texts.len());
        self.append(other);
        behind
    }

    /// Bytes of entries alone, where the next one is going to be.
    pub(in crate::trace) fn entries_len(&self) -> usize {
        self.entries.len()
    }

    /// Overwrites the integer that an attribute at this place of the entries has.
    pub(in crate::trace) fn set_integer(&mut self, at: usize, value: i64) {
        self.entries[at..at + size_of::<i64>()].copy_from_slice(&value.to_le_bytes());
    }

    /// In a block.
    pub(in crate::trace) fn attribute(&mut self, key: &str, value: &Value<'_>) {
        match value {
            Value::Text(text) => {
                self.key(key, TEXT);
                self.text(text);
            }
            Value::Boolean(value) => {
                self.key(key, BOOLEAN);
                self.entries.push(u8::from(*value));
            }
            Value::Integer(value) => {
                self.key(key, INTEGER);
                self.entries.extend_from_slice(&value.to_le_bytes());
            }
            Value::Float(value) => {
                self.key(key, FLOAT);
                self.entries.extend_from_slice(&value.to_le_bytes());
            }
            Value::List(texts) => self.list(key, texts),
        }
    }

    /// In a block.
    pub(in crate::trace) fn list<T: AsRef<str>>(&mut self, key: &str, texts: &[T]) {
        self.key(key, LIST);
        let count = small(texts.len());
        self.u16(count);
        for text in &texts[..usize::from(count)] {
            self.text(text.as_ref());
        }
    }

    pub(in crate::trace) fn event(
        &mut self,
        span: SpanIndex,
        time: u64,
        name: &str,
        attributes: &[(&str, Value<'_>)],
    ) {
        self.entries.push(EVENT);
        self.u16(span.0);
        self.entries.extend_from_slice(&time.to_le_bytes());
        self.text(name);
        let count = small(attributes.len());
        self.u16(count);
        for (key, value) in &attributes[..usize::from(count)] {
            self.attribute(key, value);
        }
    }

    /// A request header, its values joined.
    pub(in crate::trace) fn header<T: AsRef<str>>(&mut self, name: &str, values: &[T]) {
        self.entries.push(HEADER);
        self.text(name);
        let start = self.texts.len();
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.texts.push_str(", ");
            }
            self.texts.push_str(value.as_ref());
        }
        self.u32(long(self.texts.len() - start));
    }

    pub(in crate::trace) fn plugin_log(
        &mut self,
        span: SpanIndex,
        plugin: &str,
        level: Level,
        message: &str,
        time: u64,
    ) {
        self.entries.push(LOG);
        self.u16(span.0);
        self.entries.push(level as u8);
        self.entries.extend_from_slice(&time.to_le_bytes());
        self.text(plugin);
        self.text(message);
    }

    fn key(&mut self, key: &str, kind: u8) {
        let key = &key[..key.floor_char_boundary(usize::from(u16::MAX))];
        let [low, high] = small(key.len()).to_le_bytes();
        self.entries.extend_from_slice(&[kind, low, high]);
        self.texts.push_str(key);
    }

    fn text(&mut self, text: &str) {
        self.u32(long(text.len()));
        self.texts.push_str(text);
    }

    fn u16(&mut self, value: u16) {
        self.entries.extend_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.entries.extend_from_slice(&value.to_le_bytes());
    }
}
