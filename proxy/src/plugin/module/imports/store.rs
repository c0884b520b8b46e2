//! The imports of the interface `kv`, where values are in memory.

use wasmtime::Linker;

use super::Guest;
use crate::plugin::contract::weir::plugin::kv::Error;
use crate::plugin::host::Host;
use crate::plugin::module::abi::{Done, parts};
use crate::plugin::module::given::{give_optional, room, store};
use crate::plugin::module::passed::{Passed, check_aligned};

pub(super) const KV: &str = "weir:plugin/kv@0.1.0";

pub(super) fn link(linker: &mut Linker<Host>) -> Done {
    linker.func_wrap(
        KV,
        "get",
        |mut guest: Guest<'_>, key: u32, len: u32, to: u32| -> Done {
            let (memory, host) = parts(&mut guest)?;
            let value = host.kv_get(Passed::of(memory).text(key, len)?)?;
            give_optional(&mut guest, to, value.as_deref())
        },
    )?;
    linker.func_wrap(
        KV,
        "set",
        |mut guest: Guest<'_>,
         key: u32,
         len: u32,
         value: u32,
         value_len: u32,
         ttl: u64,
         to: u32|
         -> Done {
            let (memory, host) = parts(&mut guest)?;
            let passed = Passed::of(memory);
            let (key, value) = (passed.text(key, len)?, passed.bytes(value, value_len)?);
            let done = host.kv_set(key, value, ttl)?;
            store(memory, to as usize, &result(done.map(|()| false)))
        },
    )?;
    linker.func_wrap(
        KV,
        "delete",
        |mut guest: Guest<'_>, key: u32, len: u32, to: u32| -> Done {
            let (memory, host) = parts(&mut guest)?;
            let was = host.kv_delete(Passed::of(memory).text(key, len)?)?;
            store(memory, to as usize, &result(Ok(was)))
        },
    )?;
    linker.func_wrap(
        KV,
        "add",
        |mut guest: Guest<'_>, key: u32, len: u32, delta: i64, ttl: u64, to: u32| -> Done {
            let (memory, host) = parts(&mut guest)?;
            let sum = host.kv_add(Passed::of(memory).text(key, len)?, delta, ttl)?;
            check_aligned(to, 8)?;
            let place = room::<16>(&mut guest, to)?;
            store(parts(&mut guest)?.0, place, &number(sum))
        },
    )?;
    linker.func_wrap(
        KV,
        "compare-and-set",
        |mut guest: Guest<'_>,
         key: u32,
         len: u32,
         is_expected: u32,
         expected: u32,
         expected_len: u32,
         value: u32,
         value_len: u32,
         ttl: u64,
         to: u32|
         -> Done {
            let (memory, host) = parts(&mut guest)?;
            let passed = Passed::of(memory);
            let key = passed.text(key, len)?;
            let expected = passed.option_bytes(is_expected, expected, expected_len)?;
            let value = passed.bytes(value, value_len)?;
            let done = host.kv_compare_and_set(key, expected, value, ttl)?;
            store(memory, to as usize, &result(done))
        },
    )?;
    Ok(())
}

/// A `result<s64, error>`.
pub(super) fn number(result: Result<i64, Error>) -> [u8; 16] {
    let mut bytes = [0; 16];
    match result {
        Ok(number) => bytes[8..].copy_from_slice(&number.to_le_bytes()),
        Err(error) => (bytes[0], bytes[8]) = (1, error as u8),
    }
    bytes
}

/// A `result<bool, error>`, or one of nothing.
pub(super) fn result(result: Result<bool, Error>) -> [u8; 2] {
    result.map_or_else(|error| [1, error as u8], |done| [0, done.into()])
}
