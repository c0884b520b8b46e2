//! Protobuf's wire format, as far as traces are written and read in it: fields of less than 16, whose
//! tag is a byte.

use crate::otlp::wire::{put_varint, varint_len};

/// A field's number and wire type, as one byte.
pub(super) const fn varint_field(number: u8) -> u8 {
    number << 3
}

pub(super) const fn fixed64_field(number: u8) -> u8 {
    number << 3 | 1
}

pub(super) const fn bytes_field(number: u8) -> u8 {
    number << 3 | 2
}

pub(super) fn text(field: u8, text: &str, out: &mut Vec<u8>) {
    bytes(field, text.as_bytes(), out);
}

pub(super) fn bytes(field: u8, bytes: &[u8], out: &mut Vec<u8>) {
    if let Some(len) = one_byte(bytes.len()) {
        out.extend_from_slice(&[field, len]);
    } else {
        out.push(field);
        put_varint(bytes.len() as u64, out);
    }
    out.extend_from_slice(bytes);
}

/// A length that takes one byte.
pub(super) fn one_byte(len: usize) -> Option<u8> {
    u8::try_from(len).ok().filter(|len| *len < 0x80)
}

/// Bytes of a field of so many bytes, with its tag and length.
pub(super) fn field_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

/// The bytes of a field with this tag that stands first, and what is behind it.
pub(super) fn split_field(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if *first != tag {
        return None;
    }
    let (len, rest) = split_varint(rest)?;
    rest.split_at_checked(usize::try_from(len).ok()?)
}

pub(super) fn split_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if *first < 0x80 {
        return Some((u64::from(*first), rest));
    }
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}
