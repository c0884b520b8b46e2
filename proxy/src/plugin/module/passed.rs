//! What a guest passes, as it lies in its memory: lifting, in the canonical ABI's terms.
//!
//! Each pointer, length and discriminant is checked, and what one call passes is bounded: entries of
//! a list may all mean the same bytes, which cost the guest nothing and the host as much as copies.

use std::cell::Cell;

use super::abi::{Done, broken};
use crate::plugin::Failure;
use crate::plugin::sandbox::HOSTCALL_BYTES;

/// What is passed in one call.
pub(super) struct Passed<'m> {
    memory: &'m [u8],
    /// Bytes that may still be passed in it.
    left: Cell<usize>,
}

impl<'m> Passed<'m> {
    pub(super) fn of(memory: &'m [u8]) -> Self {
        let left = Cell::new(HOSTCALL_BYTES);
        Self { memory, left }
    }

    /// In a call that may pass more.
    pub(super) fn up_to(memory: &'m [u8], bytes: usize) -> Self {
        let left = Cell::new(HOSTCALL_BYTES.max(bytes));
        Self { memory, left }
    }

    /// `list<u8>`.
    pub(super) fn bytes(&self, pointer: u32, len: u32) -> Done<&'m [u8]> {
        let bytes = self.slice(pointer, len as usize)?;
        self.count(bytes.len())?;
        Ok(bytes)
    }

    /// `string`.
    pub(super) fn text(&self, pointer: u32, len: u32) -> Done<&'m str> {
        utf8(self.bytes(pointer, len)?)
    }

    /// `string`, for who looks at its bytes: it is known sooner that all are ASCII than what text they are.
    pub(super) fn text_bytes(&self, pointer: u32, len: u32) -> Done<&'m [u8]> {
        let bytes = self.bytes(pointer, len)?;
        if !bytes.is_ascii() {
            utf8(bytes)?;
        }
        Ok(bytes)
    }

    /// `option<string>`, as parameters.
    pub(super) fn option(&self, is_some: u32, pointer: u32, len: u32) -> Done<Option<&'m str>> {
        match is_some {
            0 => Ok(None),
            1 => self.text(pointer, len).map(Some),
            other => Err(broken(format!("`{other}` is no option"))),
        }
    }

    /// `option<list<u8>>`, as parameters.
    pub(super) fn option_bytes(
        &self,
        is_some: u32,
        pointer: u32,
        len: u32,
    ) -> Done<Option<&'m [u8]>> {
        match is_some {
            0 => Ok(None),
            1 => self.bytes(pointer, len).map(Some),
            other => Err(broken(format!("`{other}` is no option"))),
        }
    }

    /// A list of what lies in `N` bytes each.
    pub(super) fn list<const N: usize, T>(
        &self,
        (pointer, count): (u32, u32),
        align: u32,
        item: impl Fn(&[u8; N]) -> Done<T>,
    ) -> Done<Vec<T>> {
        let bytes = self.slice(pointer, (count as usize).saturating_mul(N))?;
        check_aligned(pointer, align)?;
        let (items, _) = bytes.as_chunks();
        self.count(items.len().saturating_mul(N.max(size_of::<T>())))?;
        items.iter().map(item).collect()
    }

    /// What lies in `N` bytes at a place that the guest returned.
    pub(super) fn record<const N: usize>(&self, pointer: u32, align: u32) -> Done<&'m [u8; N]> {
        check_aligned(pointer, align)?;
        let record = self.slice(pointer, N)?.first_chunk();
        record.ok_or_else(|| broken("a record out of the memory's bounds"))
    }

    fn slice(&self, pointer: u32, len: usize) -> Done<&'m [u8]> {
        let start = pointer as usize;
        (start.checked_add(len))
            .and_then(|end| self.memory.get(start..end))
            .ok_or_else(|| broken("a value out of the memory's bounds"))
    }

    fn count(&self, bytes: usize) -> Done {
        let left = self.left.get().checked_sub(bytes).ok_or_else(|| {
            let what = format!("at most {HOSTCALL_BYTES} bytes in one call");
            wasmtime::Error::new(Failure::Bounds(what))
        })?;
        self.left.set(left);
        Ok(())
    }
}

fn utf8(bytes: &[u8]) -> Done<&str> {
    std::str::from_utf8(bytes).map_err(|_| broken("a string that is not UTF-8"))
}

/// Values lie at multiples of their alignment.
pub(super) fn check_aligned(pointer: u32, align: u32) -> Done {
    if pointer.is_multiple_of(align) {
        Ok(())
    } else {
        Err(broken(format!("a pointer that is not aligned to {align}")))
    }
}

/// A number that lies in a list's item or a record.
pub(super) fn number(item: &[u8], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&item[at..at + 4]);
    u32::from_le_bytes(bytes)
}

/// As [`number`].
pub(super) fn long(item: &[u8], at: usize) -> u64 {
    u64::from(number(item, at)) | u64::from(number(item, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_utf8_also_where_its_bytes_are_wanted() {
        let memory = b"plain caf\xc3\xa9 caf\xe9";
        let passed = Passed::of(memory);
        for (pointer, len, holds) in [(0, 5, true), (6, 5, true), (12, 4, false)] {
            let bytes = passed.text_bytes(pointer, len);
            assert_eq!(bytes.is_ok(), holds, "{pointer}");
            let text = passed.text(pointer, len).map(str::as_bytes);
            assert_eq!(bytes.ok(), text.ok());
        }
    }
}
