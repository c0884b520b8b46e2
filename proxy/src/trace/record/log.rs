//! What a recorder notes of a request, in order of arrival.
//!
//! Entries hold numbers, lengths and attributes. Names, messages, headers and log lines stand one
//! behind the other in a string of their own, which a reader so has to check once.

use super::{BLOCK, EVENT, HEADER, LOG, STRING, Slice, long};
use crate::trace::{Level, SpanIndex};

#[derive(Clone, Debug, Default)]
pub(in crate::trace) struct Log {
    pub(super) entries: Vec<u8>,
    pub(super) texts: String,
    /// The block that is the last entry: its span, and where its length stands.
    block: Option<(SpanIndex, usize)>,
}

impl Log {
    pub(in crate::trace) fn with_capacity(capacity: usize) -> Self {
        Self {
            entries: Vec::with_capacity(capacity),
            texts: String::with_capacity(capacity),
            block: None,
        }
    }

    pub(in crate::trace) fn clear(&mut self) {
        self.entries.clear();
        self.texts.clear();
        self.block = None;
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
        self.entry(STRING);
        self.u32(len);
        Slice { offset, len }
    }

    /// Attributes of one span, which `write` appends.
    pub(in crate::trace) fn block(&mut self, span: SpanIndex, write: impl FnOnce(&mut Vec<u8>)) {
        let at = match self.block {
            Some((of, at)) if of == span => at,
            _ => {
                self.entry(BLOCK);
                self.u16(span.0);
                let at = self.entries.len();
                self.u32(0);
                self.block = Some((span, at));
                at
            }
        };
        write(&mut self.entries);
        self.set_len(at);
    }

    /// What another log has, behind what this one has, of spans that have their places here by `place`;
    /// says where its texts are.
    pub(in crate::trace) fn absorb(
        &mut self,
        other: &Self,
        place: impl Fn(SpanIndex) -> SpanIndex,
    ) -> u32 {
        let behind = long(self.texts.len());
        let start = self.entries.len();
        self.entries.extend_from_slice(&other.entries);
        replace(&mut self.entries[start..], place);
        self.texts.push_str(&other.texts);
        self.block = None;
        behind
    }

    /// Gives all spans other places.
    pub(in crate::trace) fn replace(&mut self, place: impl Fn(SpanIndex) -> SpanIndex) {
        replace(&mut self.entries, place);
        self.block = None;
    }

    /// As [`block`](Self::block), of an event.
    pub(in crate::trace) fn event(
        &mut self,
        span: SpanIndex,
        time: u64,
        name: &str,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        self.entry(EVENT);
        self.u16(span.0);
        self.entries.extend_from_slice(&time.to_le_bytes());
        self.text(name);
        let at = self.entries.len();
        self.u32(0);
        write(&mut self.entries);
        self.set_len(at);
    }

    /// A request header, its values joined.
    pub(in crate::trace) fn header<T: AsRef<str>>(&mut self, name: &str, values: &[T]) {
        self.entry(HEADER);
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
        self.entry(LOG);
        self.u16(span.0);
        self.entries.push(level as u8);
        self.entries.extend_from_slice(&time.to_le_bytes());
        self.text(plugin);
        self.text(message);
    }

    fn entry(&mut self, kind: u8) {
        self.block = None;
        self.entries.push(kind);
    }

    /// Has the length at this place say how much is behind it.
    fn set_len(&mut self, at: usize) {
        let len = long(self.entries.len() - at - 4);
        self.entries[at..at + 4].copy_from_slice(&len.to_le_bytes());
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

/// Gives the spans that entries are of other places.
fn replace(entries: &mut [u8], place: impl Fn(SpanIndex) -> SpanIndex) {
    let len = |entries: &[u8], at: usize| {
        let bytes = entries[at..at + 4].try_into().expect("four bytes");
        u32::from_le_bytes(bytes) as usize
    };
    let mut at = 0;
    while at < entries.len() {
        let kind = entries[at];
        at += 1;
        if matches!(kind, BLOCK | EVENT | LOG) {
            let span = SpanIndex(u16::from_le_bytes([entries[at], entries[at + 1]]));
            entries[at..at + 2].copy_from_slice(&place(span).0.to_le_bytes());
            at += 2;
        }
        at += match kind {
            BLOCK => 4 + len(entries, at),
            // Its time and its name's length stand before.
            EVENT => 16 + len(entries, at + 12),
            // A level, a time, two lengths.
            LOG => 17,
            HEADER => 8,
            _ => 4,
        };
    }
}
