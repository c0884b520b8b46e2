//! From protobuf to JSON, in either of two dialects. The request was checked before ([`check`]).
//!
//! [`check`]: super::check

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smallvec::SmallVec;

use super::attribute::Plain;
use super::schema::{Field, Kind, Label, Message};
use super::wire::{Reader, Value, unzigzag};
use crate::hex;
use crate::trace::json::text::{close, float, integer, string_bytes};

/// How protobuf's messages are written as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OTLP/JSON: lowerCamelCase names, ids in hexadecimal, enums as numbers; what has its default
    /// is left out.
    Otlp,
    /// What protobuf's own printers write when told to keep the names of the `.proto` files and to
    /// print defaults: ids in base64, names of enums. Their tables are those of OTLP 1.0, as Conduktor's
    /// connector has them: a field that came later is there only where it is set.
    SnakeCase,
}

/// Appends a message as JSON.
pub fn write(message: &Message, bytes: &[u8], dialect: Dialect, out: &mut Vec<u8>) {
    dialect.message(message, bytes, out);
}

/// Fields of one message: the place in the table, and the value.
type Entries<'a> = SmallVec<[(u8, Value<'a>); 20]>;

impl Dialect {
    fn message(self, message: &Message, bytes: &[u8], out: &mut Vec<u8>) {
        let entries = entries(message, bytes);
        out.push(b'{');
        let mut rest = &entries[..];
        for (place, field) in message.fields.iter().enumerate() {
            let len = rest
                .iter()
                .take_while(|entry| usize::from(entry.0) == place)
                .count();
            let (values, behind) = rest.split_at(len);
            rest = behind;
            self.field(field, values, out);
            if rest.is_empty() && self == Self::Otlp {
                break;
            }
        }
        close(b'}', out);
    }

    /// A member and a comma, or nothing.
    fn field(self, field: &Field, values: &[(u8, Value<'_>)], out: &mut Vec<u8>) {
        let defaults = self == Self::SnakeCase && field.since == 0;
        let Some((_, last)) = values.last() else {
            if defaults {
                self.default(field, out);
            }
            return;
        };
        match (field.label, field.kind) {
            (Label::Repeated, _) => {
                self.key(field, out);
                out.push(b'[');
                for (_, value) in values {
                    self.elements(field.kind, *value, out);
                }
                close(b']', out);
            }
            (_, Kind::Message(message)) => {
                self.key(field, out);
                if let [(_, Value::Bytes(bytes))] = values {
                    self.message(message, bytes, out);
                } else {
                    // Written several times, a message is what all of them are together.
                    let parts = values.iter().filter_map(|(_, value)| match value {
                        Value::Bytes(bytes) => Some(*bytes),
                        _ => None,
                    });
                    self.message(message, &parts.collect::<Vec<_>>().concat(), out);
                }
            }
            (Label::Plain, kind) if !defaults && is_default(kind, *last) => return,
            (_, kind) => {
                self.key(field, out);
                self.scalar(kind, *last, out);
            }
        }
        out.push(b',');
    }

    fn key(self, field: &Field, out: &mut Vec<u8>) {
        let key = match self {
            Self::Otlp => field.camel_key,
            Self::SnakeCase => field.key,
        };
        out.extend_from_slice(key.as_bytes());
    }

    /// What a field has that is not there, where one cannot tell that it is not.
    fn default(self, field: &Field, out: &mut Vec<u8>) {
        let value: &[u8] = match (field.label, field.kind) {
            (Label::Optional | Label::Oneof, _) | (Label::Plain, Kind::Message(_)) => return,
            (Label::Repeated, _) => b"[]",
            (_, Kind::Text | Kind::Bytes | Kind::Id(_)) => b"\"\"",
            (_, Kind::Int64 | Kind::Uint64 | Kind::Fixed64 | Kind::Sfixed64) => b"\"0\"",
            (_, Kind::Bool) => b"false",
            (_, Kind::Double) => b"0.0",
            (_, Kind::Enum(_)) => {
                self.key(field, out);
                self.scalar(field.kind, Value::Varint(0), out);
                out.push(b',');
                return;
            }
            (_, Kind::Int32 | Kind::Uint32 | Kind::Sint32 | Kind::Fixed32) => b"0",
        };
        self.key(field, out);
        out.extend_from_slice(value);
        out.push(b',');
    }

    /// An element of a list, or all that stand together in a packed one; a comma behind each.
    fn elements(self, kind: Kind, value: Value<'_>, out: &mut Vec<u8>) {
        match (kind, value) {
            (Kind::Message(message), Value::Bytes(bytes)) => {
                match Plain::read(bytes) {
                    Some(plain) if message.is_attribute() => self.attribute(plain, out),
                    _ => self.message(message, bytes, out),
                }
                out.push(b',');
            }
            (Kind::Text | Kind::Bytes | Kind::Id(_), _)
            | (_, Value::Varint(_) | Value::Fixed64(_) | Value::Fixed32(_)) => {
                self.scalar(kind, value, out);
                out.push(b',');
            }
            (Kind::Fixed64 | Kind::Sfixed64 | Kind::Double, Value::Bytes(bytes)) => {
                for number in bytes.as_chunks().0 {
                    let number = Value::Fixed64(u64::from_le_bytes(*number));
                    self.scalar(kind, number, out);
                    out.push(b',');
                }
            }
            (_, Value::Bytes(bytes)) => {
                let mut reader = Reader::new(bytes);
                while !reader.rest().is_empty()
                    && let Ok(number) = reader.varint()
                {
                    self.scalar(kind, Value::Varint(number), out);
                    out.push(b',');
                }
            }
            (_, Value::Group(_)) => {}
        }
    }

    fn attribute(self, plain: Plain<'_>, out: &mut Vec<u8>) {
        out.push(b'{');
        if self == Self::SnakeCase || !plain.key.is_empty() {
            out.extend_from_slice(b"\"key\":");
            string_bytes(plain.key, out);
            out.push(b',');
        }
        out.extend_from_slice(match self {
            Self::Otlp => b"\"value\":{\"stringValue\":".as_slice(),
            Self::SnakeCase => b"\"value\":{\"string_value\":",
        });
        string_bytes(plain.text, out);
        out.extend_from_slice(b"}}");
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "of numbers that are too long, protobuf's readers take the lowest bits"
    )]
    fn scalar(self, kind: Kind, value: Value<'_>, out: &mut Vec<u8>) {
        match (kind, value) {
            (Kind::Bool, Value::Varint(value)) => {
                out.extend_from_slice(if value == 0 { b"false" } else { b"true" });
            }
            (Kind::Int32, Value::Varint(value)) => integer((value as u32).cast_signed(), out),
            (Kind::Uint32, Value::Varint(value)) => integer(value as u32, out),
            (Kind::Sint32, Value::Varint(value)) => integer(unzigzag(value), out),
            (Kind::Enum(names), Value::Varint(value)) => {
                let number = (value as u32).cast_signed();
                let name = usize::try_from(number).ok().and_then(|at| names.get(at));
                match name {
                    Some(name) if self == Self::SnakeCase => string_bytes(name.as_bytes(), out),
                    _ => integer(number, out),
                }
            }
            (Kind::Int64, Value::Varint(value)) | (Kind::Sfixed64, Value::Fixed64(value)) => {
                quoted(value.cast_signed(), out);
            }
            (Kind::Uint64, Value::Varint(value)) | (Kind::Fixed64, Value::Fixed64(value)) => {
                quoted(value, out);
            }
            (Kind::Fixed32, Value::Fixed32(value)) => integer(value, out),
            (Kind::Double, Value::Fixed64(value)) => float(f64::from_bits(value), out),
            (Kind::Text, Value::Bytes(bytes)) => string_bytes(bytes, out),
            (Kind::Id(_), Value::Bytes(bytes)) if self == Self::Otlp => {
                out.push(b'"');
                let at = out.len();
                out.resize(at + 2 * bytes.len(), 0);
                hex::write(bytes, &mut out[at..]);
                out.push(b'"');
            }
            (Kind::Bytes | Kind::Id(_), Value::Bytes(bytes)) => {
                out.push(b'"');
                let at = out.len();
                out.resize(at + bytes.len().div_ceil(3) * 4, 0);
                // It is as long as has been reckoned.
                let written = STANDARD.encode_slice(bytes, &mut out[at..]);
                out.truncate(at + written.unwrap_or_default());
                out.push(b'"');
            }
            // What was checked has nothing else.
            _ => out.extend_from_slice(b"null"),
        }
    }
}

/// The known fields, by place; in each, as they came.
fn entries<'a>(message: &Message, bytes: &'a [u8]) -> Entries<'a> {
    let mut entries = Entries::new();
    let mut is_sorted = true;
    let mut members = 0;
    let mut last = 0;
    let mut reader = Reader::new(bytes);
    while let Ok(Some((number, value))) = reader.field() {
        let Some(place) = message.place(number) else {
            continue;
        };
        members += usize::from(message.fields[place].label == Label::Oneof);
        is_sorted &= last <= place;
        last = place;
        // There are at most 16 fields.
        entries.push((u8::try_from(place).unwrap_or(u8::MAX), value));
    }
    if members > 1 {
        keep_last_member(message, &mut entries);
    }
    if !is_sorted {
        entries.sort_by_key(|entry| entry.0);
    }
    entries
}

/// Of a `oneof`, the member that came last is the one that counts.
fn keep_last_member(message: &Message, entries: &mut Entries<'_>) {
    let is_member = |place: u8| message.fields[usize::from(place)].label == Label::Oneof;
    let Some(last) = entries.iter().rev().find(|entry| is_member(entry.0)) else {
        return;
    };
    let last = last.0;
    let other = |entry: &(u8, Value<'_>)| is_member(entry.0) && entry.0 != last;
    let behind = entries
        .iter()
        .rposition(other)
        .map_or(0, |position| position + 1);
    let mut at = 0;
    entries.retain(|entry| {
        at += 1;
        !is_member(entry.0) || at > behind
    });
}

fn is_default(kind: Kind, value: Value<'_>) -> bool {
    match (kind, value) {
        // Of 32 bits, the upper half of a number does not count.
        (Kind::Int32 | Kind::Uint32 | Kind::Sint32 | Kind::Enum(_), Value::Varint(value)) => {
            value.trailing_zeros() >= 32
        }
        (_, Value::Varint(value) | Value::Fixed64(value)) => value == 0,
        (_, Value::Fixed32(value)) => value == 0,
        (_, Value::Bytes(bytes)) => bytes.is_empty(),
        (_, Value::Group(_)) => true,
    }
}

fn quoted(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.push(b'"');
    integer(value, out);
    out.push(b'"');
}
