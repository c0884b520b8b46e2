//! Protobuf's wire format: tags, numbers, lengths.

#![expect(
    clippy::inline_always,
    reason = "a check looks at every byte of a request by these, and takes a third less so"
)]

use std::fmt;

use super::schema::Field;

/// Most messages that may lie in one another: as many as protobuf's own readers take.
pub(super) const MAX_DEPTH: usize = 100;

/// Why a request is malformed, and at which field. One word, as each field read may fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<Fault>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    what: &'static str,
    /// From the innermost field outwards.
    path: Vec<&'static str>,
}

impl Error {
    #[cold]
    pub(super) fn new(what: &'static str) -> Self {
        Self(Box::new(Fault {
            what,
            path: Vec::new(),
        }))
    }

    /// Notes the field that the error lies in.
    #[cold]
    pub(super) fn within(mut self, field: &Field) -> Self {
        self.0.path.push(field.name);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { what, path } = &*self.0;
        for (index, name) in path.iter().rev().enumerate() {
            f.write_str(if index > 0 { "." } else { "" })?;
            f.write_str(name)?;
        }
        f.write_str(if path.is_empty() { "" } else { ": " })?;
        f.write_str(what)
    }
}

impl std::error::Error for Error {}

/// A field's value as it stands on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
    /// Of a kind that protobuf has given up; it was passed over. So many lay in one another.
    Group(usize),
}

/// Reads the fields of one message.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What was not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// The next field's number and value; `None` at the end.
    #[inline(always)]
    pub(super) fn field(&mut self) -> Result<Option<(u32, Value<'a>)>, Error> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let (number, wire_type) = self.tag()?;
        let value = match wire_type {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.fixed64()?),
            2 => Value::Bytes(self.bytes()?),
            3 => Value::Group(self.skip_group(number)?),
            5 => Value::Fixed32(self.fixed32()?),
            _ => return Err(Error::new("has a field of an impossible type")),
        };
        Ok(Some((number, value)))
    }

    /// A field's number and its wire type.
    #[inline(always)]
    fn tag(&mut self) -> Result<(u32, u64), Error> {
        let tag = self.varint()?;
        if !(1 << 3..1 << 32).contains(&tag) {
            return Err(Error::new("has a field of an impossible number"));
        }
        #[expect(clippy::cast_possible_truncation, reason = "as was just checked")]
        let number = (tag >> 3) as u32;
        Ok((number, tag & 7))
    }

    #[inline(always)]
    pub(super) fn varint(&mut self) -> Result<u64, Error> {
        match self.0 {
            [byte @ ..0x80, rest @ ..] => {
                self.0 = rest;
                Ok(u64::from(*byte))
            }
            [low, high @ ..0x80, rest @ ..] => {
                self.0 = rest;
                Ok(u64::from(*low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, Error> {
        let mut value = 0;
        for (index, byte) in self.0.iter().take(10).enumerate() {
            // Of the tenth byte only one bit has room. Some of protobuf's readers drop the others,
            // and some refuse them.
            if index == 9 && (2..0x80).contains(byte) {
                return Err(Error::new("has a number of more than 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                self.0 = &self.0[index + 1..];
                return Ok(value);
            }
        }
        Err(Error::new(if self.0.len() < 10 {
            "ends in the middle of a number"
        } else {
            "has a number that does not end"
        }))
    }

    #[inline(always)]
    pub(super) fn fixed64(&mut self) -> Result<u64, Error> {
        let (first, rest) = self
            .0
            .split_first_chunk()
            .ok_or_else(|| Error::new("ends in the middle of a number"))?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*first))
    }

    #[inline(always)]
    fn fixed32(&mut self) -> Result<u32, Error> {
        let (first, rest) = self
            .0
            .split_first_chunk()
            .ok_or_else(|| Error::new("ends in the middle of a number"))?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*first))
    }

    #[inline(always)]
    fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let len = self.varint()?;
        let (bytes, rest) = usize::try_from(len)
            .ok()
            .and_then(|len| self.0.split_at_checked(len))
            .ok_or_else(|| Error::new("is longer than what it lies in"))?;
        self.0 = rest;
        Ok(bytes)
    }

    /// Passes over a group, which may hold others; says how many lie in one another.
    #[cold]
    fn skip_group(&mut self, number: u32) -> Result<usize, Error> {
        let mut open = vec![number];
        let mut deepest = 1;
        while let Some(innermost) = open.last() {
            let (number, wire_type) = self.tag()?;
            match wire_type {
                0 => _ = self.varint()?,
                1 => _ = self.fixed64()?,
                2 => _ = self.bytes()?,
                3 if open.len() < MAX_DEPTH => {
                    open.push(number);
                    deepest = deepest.max(open.len());
                }
                4 if number == *innermost => _ = open.pop(),
                5 => _ = self.fixed32()?,
                _ => return Err(Error::new("has a group that does not end")),
            }
        }
        Ok(deepest)
    }
}

pub(crate) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(low_seven(value) | 0x80);
        value >>= 7;
    }
    out.push(low_seven(value));
}

pub(super) fn put_tag(number: u32, wire_type: u8, out: &mut Vec<u8>) {
    put_varint(u64::from(number) << 3 | u64::from(wire_type), out);
}

pub(super) fn put_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    put_tag(number, 2, out);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A length, and what `write` appends; `width` is how many bytes the length is likely to take.
pub(crate) fn put_nested<T>(
    width: usize,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> T,
) -> T {
    let at = out.len();
    out.resize(at + width, 0);
    let result = write(out);
    let len = (out.len() - at - width) as u64;
    let needed = varint_len(len);
    if needed > width {
        out.splice(at..at, std::iter::repeat_n(0, needed - width));
    } else if needed < width {
        out.drain(at..at + width - needed);
    }
    let mut rest = len;
    for byte in &mut out[at..at + needed] {
        *byte = low_seven(rest) | 0x80;
        rest >>= 7;
    }
    out[at + needed - 1] &= 0x7f;
    result
}

fn low_seven(value: u64) -> u8 {
    (value & 0x7f) as u8
}

/// Bytes that a number takes.
pub(crate) fn varint_len(value: u64) -> usize {
    // Seven bits a byte; zero takes one.
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// A signed number of protobuf's `sint32`.
pub(super) fn unzigzag(value: u64) -> i32 {
    let value = (value & 0xffff_ffff) as u32;
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

pub(super) fn zigzag(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)).cast_unsigned()
}
