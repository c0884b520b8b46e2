//! Is a request what its protobuf says it is? Looked at without allocation, and without being
//! decoded: whoever reads it behind Kafka is then able to.
//!
//! Stricter than protobuf in what its readers differ in: a known field of another wire type is an
//! error, and so is an id that has neither its length nor none.

use super::attribute::{self, Plain};
use super::schema::{Field, Kind, Label, Message, Part};
use super::wire::{Error, MAX_DEPTH, Reader, Value};

/// What is in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Spans, data points or log records.
    pub items: u64,
    /// Whether there is anything in it to deliver.
    pub is_empty: bool,
}

/// Messages that a request may have in any case, and bytes for each that it has beyond. Whatever
/// is made of a request grows with them: a small body of empty messages must not take all memory.
const FREE_MESSAGES: usize = 10_000;
const BYTES_A_MESSAGE: usize = 8;

/// Checks a message with all that lies in it.
pub fn check(message: &Message, bytes: &[u8]) -> Result<Counts, Error> {
    let mut walk = Walk {
        counts: Counts {
            items: 0,
            is_empty: true,
        },
        room: FREE_MESSAGES + bytes.len() / BYTES_A_MESSAGE,
    };
    walk.message(message, bytes, MAX_DEPTH)?;
    Ok(walk.counts)
}

struct Walk {
    counts: Counts,
    /// For so many messages more; values of attributes and bodies do not count.
    room: usize,
}

impl Walk {
    fn message(&mut self, message: &Message, bytes: &[u8], depth: usize) -> Result<(), Error> {
        let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
        self.room = self
            .room
            .checked_sub(usize::from(!message.is_value))
            .ok_or_else(|| {
                Error::new("is one of too many messages with next to nothing in them")
            })?;
        self.counts.items += u64::from(message.is_item);
        self.counts.is_empty &= !message.is_item && !matches!(message.part, Part::Twig(_));
        let mut reader = Reader::new(bytes);
        while let Some((number, value)) = reader.field()? {
            if let Value::Group(within) = value
                && within > depth
            {
                return Err(too_deep());
            }
            if let Some(place) = message.place(number) {
                let field = &message.fields[place];
                self.value(field, value, depth)
                    .map_err(|error| error.within(field))?;
            }
        }
        Ok(())
    }

    fn value(&mut self, field: &Field, value: Value<'_>, depth: usize) -> Result<(), Error> {
        match (field.kind, value) {
            (Kind::Message(message), Value::Bytes(bytes)) => {
                let is_plain = message.is_attribute()
                    && depth >= attribute::DEPTH
                    && Plain::read(bytes).is_some()
                    && bytes.is_ascii();
                if is_plain {
                    Ok(())
                } else {
                    self.message(message, bytes, depth)
                }
            }
            (Kind::Text, Value::Bytes(bytes)) => {
                if bytes.is_ascii() || std::str::from_utf8(bytes).is_ok() {
                    Ok(())
                } else {
                    Err(Error::new("is not UTF-8"))
                }
            }
            (Kind::Id(len), Value::Bytes(bytes)) => {
                if bytes.len() == len || bytes.is_empty() {
                    Ok(())
                } else if len == 16 {
                    Err(Error::new("has neither 16 bytes nor none"))
                } else {
                    Err(Error::new("has neither 8 bytes nor none"))
                }
            }
            (Kind::Bytes, Value::Bytes(_))
            | (
                Kind::Bool
                | Kind::Int32
                | Kind::Uint32
                | Kind::Sint32
                | Kind::Int64
                | Kind::Uint64
                | Kind::Enum(_),
                Value::Varint(_),
            )
            | (Kind::Fixed64 | Kind::Sfixed64 | Kind::Double, Value::Fixed64(_))
            | (Kind::Fixed32, Value::Fixed32(_)) => Ok(()),
            (kind, Value::Bytes(bytes)) if field.label == Label::Repeated => packed(kind, bytes),
            _ => Err(Error::new("is of another type")),
        }
    }
}

#[cold]
fn too_deep() -> Error {
    Error::new("lies too deep in others")
}

/// Numbers one behind the other.
fn packed(kind: Kind, bytes: &[u8]) -> Result<(), Error> {
    match kind {
        Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => {
            if bytes.len().is_multiple_of(8) {
                Ok(())
            } else {
                Err(Error::new("ends in the middle of a number"))
            }
        }
        _ => {
            let mut reader = Reader::new(bytes);
            while !reader.rest().is_empty() {
                reader.varint()?;
            }
            Ok(())
        }
    }
}
