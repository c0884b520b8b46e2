//! Attributes as bytes: `Span.attributes` of OTLP, field behind field. In this form they are
//! recorded and kept, and in it protobuf sends them, which so is a copy.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use super::Value;
use super::wire::{
    bytes_field, field_len, fixed64_field, one_byte, split_field, split_varint, text, varint_field,
};
use crate::otlp::wire::put_varint;

/// `Span.attributes`, each a `KeyValue`.
const FIELD: u8 = bytes_field(9);
const KEY: u8 = bytes_field(1);
const VALUE: u8 = bytes_field(2);

/// Fields of an `AnyValue`.
const TEXT: u8 = bytes_field(1);
const BOOLEAN: u8 = varint_field(2);
const INTEGER: u8 = varint_field(3);
const FLOAT: u8 = fixed64_field(4);
const LIST: u8 = bytes_field(5);

/// Of an `ArrayValue`.
const ITEM: u8 = bytes_field(1);

/// Appends one attribute. Inline, for a key that is a literal then is copied by a move or two, not by
/// a call.
#[inline]
pub(super) fn write(key: &str, value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Text(of) => match one_byte(key.len() + of.len() + 6) {
            Some(len) => {
                let [key_len, text_len] = [key, of].map(|text| text.len().to_le_bytes()[0]);
                out.extend_from_slice(&[FIELD, len, KEY, key_len]);
                out.extend_from_slice(key.as_bytes());
                out.extend_from_slice(&[VALUE, text_len + 2, TEXT, text_len]);
                out.extend_from_slice(of.as_bytes());
            }
            None => long(key, field_len(of.len()), out, |out| text(TEXT, of, out)),
        },
        Value::Boolean(of) => short(key, &[BOOLEAN, u8::from(*of)], out),
        Value::Integer(of) => {
            let mut any = [INTEGER; 11];
            let mut len = 1;
            let mut rest = of.cast_unsigned();
            while rest >= 0x80 {
                any[len] = rest.to_le_bytes()[0] | 0x80;
                rest >>= 7;
                len += 1;
            }
            any[len] = rest.to_le_bytes()[0];
            short(key, &any[..=len], out);
        }
        Value::Float(of) => {
            let mut any = [FLOAT; 9];
            any[1..].copy_from_slice(&of.to_le_bytes());
            short(key, &any, out);
        }
        Value::List(texts) => write_list(key, texts, out),
    }
}

/// As [`write`], a list of what can be seen as texts.
pub(super) fn write_list<T: AsRef<str>>(key: &str, texts: &[T], out: &mut Vec<u8>) {
    let all: usize = texts.iter().map(|text| text.as_ref().len() + 4).sum();
    if let Some(len) = one_byte(key.len() + all + 6) {
        let [key_len, list_len] = [key.len(), all].map(|len| len.to_le_bytes()[0]);
        out.extend_from_slice(&[FIELD, len, KEY, key_len]);
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(&[VALUE, list_len + 2, LIST, list_len]);
        for text in texts {
            let text = text.as_ref();
            let len = text.len().to_le_bytes()[0];
            out.extend_from_slice(&[ITEM, len + 2, TEXT, len]);
            out.extend_from_slice(text.as_bytes());
        }
        return;
    }
    let item = |text: &T| field_len(text.as_ref().len());
    let len = texts.iter().map(|text| field_len(item(text))).sum();
    long(key, field_len(len), out, |out| {
        out.push(LIST);
        put_varint(len as u64, out);
        for of in texts {
            out.push(ITEM);
            put_varint(item(of) as u64, out);
            text(TEXT, of.as_ref(), out);
        }
    });
}

/// One whose `AnyValue` has a few bytes, these.
#[inline]
fn short(key: &str, any: &[u8], out: &mut Vec<u8>) {
    match (one_byte(key.len() + any.len() + 4), one_byte(key.len())) {
        (Some(len), Some(key_len)) => {
            out.extend_from_slice(&[FIELD, len, KEY, key_len]);
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(&[VALUE, any.len().to_le_bytes()[0]]);
            out.extend_from_slice(any);
        }
        _ => long(key, any.len(), out, |out| out.extend_from_slice(any)),
    }
}

/// One whose `AnyValue`, of so many bytes, is written by `write`.
#[cold]
fn long(key: &str, any_len: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(FIELD);
    put_varint((field_len(key.len()) + field_len(any_len)) as u64, out);
    text(KEY, key, out);
    out.push(VALUE);
    put_varint(any_len as u64, out);
    write(out);
}

/// Attributes of one span or event; no key comes twice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes<'r>(Cow<'r, [u8]>);

/// One of them. Its texts are UTF-8, for a recorder takes nothing else; they are not checked again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attribute<'r> {
    pub key: &'r [u8],
    /// An `AnyValue`.
    any: &'r [u8],
    /// The whole, with its tag and length.
    field: &'r [u8],
}

/// A value as it is read.
#[derive(Clone, Debug)]
pub enum Any<'r> {
    Text(&'r [u8]),
    Boolean(bool),
    Integer(i64),
    Float(f64),
    List(Texts<'r>),
}

/// The texts of a list.
#[derive(Clone, Debug)]
pub struct Texts<'r>(&'r [u8]);

impl<'r> Attributes<'r> {
    /// From the pieces in which they were recorded; of equal keys the last stays. `None` where these
    /// are no attributes.
    pub(super) fn of(pieces: &[(u16, &'r [u8])]) -> Option<Self> {
        let attributes = match pieces {
            [(_, piece)] => Self(Cow::Borrowed(*piece)),
            pieces => Self::joined(pieces.iter().map(|(_, piece)| *piece)),
        };
        let mut seen = Seen::default();
        let mut repeats = false;
        let mut fields = attributes.iter();
        for (index, of) in fields.by_ref().enumerate() {
            if seen.may_have(of.key) && !repeats {
                let mut before = attributes.iter().take(index);
                repeats = index > 64 || before.any(|other| other.key == of.key);
            }
        }
        if !fields.0.is_empty() {
            return None;
        }
        Some(if repeats {
            attributes.last()
        } else {
            attributes
        })
    }

    /// Of equal keys the last.
    fn last(&self) -> Self {
        let all: Vec<_> = self.iter().collect();
        let mut seen = HashSet::with_capacity(all.len());
        let mut stays: Vec<_> = all.iter().rev().filter(|of| seen.insert(of.key)).collect();
        stays.reverse();
        Self::joined(stays.into_iter().map(|of| of.field))
    }

    fn joined<'p>(pieces: impl Iterator<Item = &'p [u8]> + Clone) -> Self {
        let mut whole = Vec::with_capacity(pieces.clone().map(<[u8]>::len).sum());
        pieces.for_each(|piece| whole.extend_from_slice(piece));
        Self(Cow::Owned(whole))
    }

    pub fn iter(&self) -> Fields<'_> {
        Fields(&self.0)
    }

    /// Keys and values as texts, where one of them that is no UTF-8 is empty.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.iter()
            .filter_map(|of| Some((checked(of.key), of.value()?.checked())))
    }

    /// As in `Span.attributes`.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Cuts every text that has more than `longest` bytes; says how many.
    pub(super) fn truncate(&mut self, longest: usize) -> u32 {
        // Each has a length, and some bytes around it.
        if self.0.len() <= longest {
            return 0;
        }
        let mut count = 0;
        let mut cut = |text: &mut &str| {
            if text.len() > longest {
                *text = &text[..text.floor_char_boundary(longest)];
                count += 1;
            }
        };
        let mut out = Vec::with_capacity(self.0.len());
        for (key, mut value) in self.pairs() {
            match &mut value {
                Value::Text(text) => cut(text),
                Value::List(texts) => texts.iter_mut().for_each(&mut cut),
                Value::Boolean(_) | Value::Integer(_) | Value::Float(_) => {}
            }
            write(key, &value, &mut out);
        }
        self.0 = Cow::Owned(out);
        count
    }
}

impl<'a> IntoIterator for &'a Attributes<'_> {
    type Item = Attribute<'a>;
    type IntoIter = Fields<'a>;

    fn into_iter(self) -> Fields<'a> {
        self.iter()
    }
}

impl<'r> Attribute<'r> {
    #[inline]
    pub fn value(&self) -> Option<Any<'r>> {
        let (first, rest) = self.any.split_first()?;
        Some(match *first {
            TEXT if rest.len() <= 0x80 => Any::Text(rest.get(1..)?),
            TEXT => Any::Text(split_field(self.any, TEXT)?.0),
            BOOLEAN => Any::Boolean(split_varint(rest)?.0 != 0),
            INTEGER => Any::Integer(split_varint(rest)?.0.cast_signed()),
            FLOAT => Any::Float(f64::from_le_bytes(*rest.first_chunk()?)),
            LIST => Any::List(Texts(split_field(self.any, LIST)?.0)),
            _ => return None,
        })
    }

    /// As in `Span.attributes`, with its tag and length.
    pub(crate) fn as_field(&self) -> &'r [u8] {
        self.field
    }
}

impl<'r> Any<'r> {
    fn checked(self) -> Value<'r> {
        match self {
            Self::Text(text) => Value::Text(checked(text)),
            Self::Boolean(value) => Value::Boolean(value),
            Self::Integer(value) => Value::Integer(value),
            Self::Float(value) => Value::Float(value),
            Self::List(texts) => Value::List(texts.map(checked).collect()),
        }
    }
}

fn checked(text: &[u8]) -> &str {
    std::str::from_utf8(text).unwrap_or_default()
}

/// Attributes one after the other, until the end or what is none.
#[derive(Clone, Debug)]
pub struct Fields<'r>(&'r [u8]);

impl<'r> Fields<'r> {
    pub(super) fn of(attributes: &'r [u8]) -> Self {
        Self(attributes)
    }

    /// The next where it has less than 128 bytes, as most have, so that no length in it takes more
    /// than one.
    #[inline]
    fn short(&mut self) -> Option<Attribute<'r>> {
        let [FIELD, len @ ..0x80, KEY, key_len @ ..0x80, ..] = *self.0 else {
            return None;
        };
        let (field, rest) = self.0.split_at_checked(2 + usize::from(len))?;
        let (key, value) = field.get(4..)?.split_at_checked(usize::from(key_len))?;
        let [VALUE, any_len, any @ ..] = value else {
            return None;
        };
        if any.len() != usize::from(*any_len) {
            return None;
        }
        self.0 = rest;
        Some(Attribute { key, any, field })
    }

    #[cold]
    fn long(&mut self) -> Option<Attribute<'r>> {
        let (pair, rest) = split_field(self.0, FIELD)?;
        let (key, value) = split_field(pair, KEY)?;
        let (any, _) = split_field(value, VALUE)?;
        let field = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        Some(Attribute { key, any, field })
    }
}

impl<'r> Iterator for Fields<'r> {
    type Item = Attribute<'r>;

    #[inline]
    fn next(&mut self) -> Option<Attribute<'r>> {
        self.short().or_else(|| self.long())
    }
}

impl<'r> Iterator for Texts<'r> {
    type Item = &'r [u8];

    fn next(&mut self) -> Option<&'r [u8]> {
        let (any, rest) = split_field(self.0, ITEM)?;
        let (text, _) = split_field(any, TEXT)?;
        self.0 = rest;
        Some(text)
    }
}

/// Which keys may have come already: each sets a bit of few.
#[derive(Default)]
struct Seen([u64; 4]);

impl Seen {
    /// May it have come before? Never `false` when it has.
    fn may_have(&mut self, key: &[u8]) -> bool {
        // Of its length and end, which tell most keys apart.
        let end = key.last_chunk().map_or(0, |end| u64::from_le_bytes(*end));
        let mixed = (end ^ key.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bit = mixed.to_be_bytes()[0];
        let (word, bit) = (&mut self.0[usize::from(bit >> 6)], 1 << (bit & 63));
        let has = *word & bit != 0;
        *word |= bit;
        has
    }
}

/// Milliseconds as an attribute has them, with as many digits as the nanoseconds have.
#[expect(clippy::cast_precision_loss, reason = "exact for a hundred days")]
pub fn milliseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn milliseconds_have_the_digits_of_their_nanoseconds(nanos in 0..10_000_000_000_u64) {
            let written = milliseconds(Duration::from_nanos(nanos)).to_string();
            let (whole, part) = (nanos / 1_000_000, nanos % 1_000_000);
            let expected = format!("{whole}.{part:06}");
            let expected = expected.trim_end_matches('0').trim_end_matches('.');
            prop_assert_eq!(written, expected);
        }
    }
}
