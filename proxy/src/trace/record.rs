//! A finished trace as bytes: what workers hand off and exporters decode.
//!
//! Little-endian, self-contained, versioned by its first byte. After a fixed part come the heads of
//! the spans, then the recorder's [`log`] as it was written: blocks of [attributes](super::attributes),
//! events, captured headers and log lines in order of arrival, each with its span, and behind them
//! the texts of all but attributes. A record may come back from a disk, so its form is checked when
//! it is decoded; that the texts of attributes are UTF-8 is left to the checksum it had there.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod log;
mod read;
mod write;

pub use read::read;
pub use write::{write, write_part};

pub(super) use log::Log;

use super::{Kind, SpanId, Status};

const VERSION: u8 = 2;

const STRING: u8 = 0;
const BLOCK: u8 = 1;
const EVENT: u8 = 2;
const HEADER: u8 = 3;
const LOG: u8 = 4;

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("record version {0} is not known")]
    Version(u8),
    #[error("record ends early")]
    Truncated,
    #[error("record holds {0}")]
    Invalid(&'static str),
}

/// A text of the log.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slice {
    offset: u32,
    len: u32,
}

impl Slice {
    /// As its text lies behind so many bytes of others.
    pub(super) fn behind(self, bytes: u32) -> Self {
        Self {
            offset: self.offset + bytes,
            ..self
        }
    }

    fn of(self, texts: &str) -> Option<&str> {
        texts.get(self.offset as usize..)?.get(..self.len as usize)
    }
}

#[derive(Clone, Debug)]
pub(super) struct SpanHead {
    pub(super) id: SpanId,
    pub(super) parent: u16,
    pub(super) kind: Kind,
    pub(super) status: Status,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) name: Slice,
    pub(super) message: Slice,
    /// Of a span under way only; not in the record.
    pub(super) ended: bool,
}

const SPAN_HEAD_LEN: usize = 8 + 2 + 1 + 1 + 8 + 8 + 8 + 8;

/// A length or index that the recorder's bounds keep small.
pub(super) fn small(value: usize) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

pub(super) fn long(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
