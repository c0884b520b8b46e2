//! The imports of the interface `kv`, where values are in Redis: the same functions as futures.
//!
//! Nothing of the guest's memory is held while it waits. What is read is given by a call of the
//! guest's allocator that is a future too.

use std::time::Duration;

use wasmtime::Linker;

use super::Guest;
use super::store::{KV, number, result};
use crate::plugin::host::Host;
use crate::plugin::module::abi::{Done, parts};
use crate::plugin::module::given::{give_optional_later, room, store};
use crate::plugin::module::passed::{Passed, check_aligned};

/// Parameters as they are flattened: places and lengths of texts and values, then where the result
/// goes.
type Key = (u32, u32, u32);
type Set = (u32, u32, u32, u32, u64, u32);
type Add = (u32, u32, i64, u64, u32);
type Swap = (u32, u32, u32, u32, u32, u32, u32, u64, u32);

pub(super) fn link(linker: &mut Linker<Host>) -> Done {
    linker.func_wrap_async(KV, "get", |guest: Guest<'_>, params: Key| {
        Box::new(get(guest, params))
    })?;
    linker.func_wrap_async(KV, "set", |guest: Guest<'_>, params: Set| {
        Box::new(set(guest, params))
    })?;
    linker.func_wrap_async(KV, "delete", |guest: Guest<'_>, params: Key| {
        Box::new(delete(guest, params))
    })?;
    linker.func_wrap_async(KV, "add", |guest: Guest<'_>, params: Add| {
        Box::new(add(guest, params))
    })?;
    linker.func_wrap_async(KV, "compare-and-set", |guest: Guest<'_>, params: Swap| {
        Box::new(compare_and_set(guest, params))
    })?;
    Ok(())
}

async fn get(mut guest: Guest<'_>, (key, len, to): Key) -> Done {
    let (memory, host) = parts(&mut guest)?;
    let key = Passed::of(memory).text(key, len)?;
    let asked = host.kv_in_redis()?.get(key);
    let got = asked.await;
    let got = parts(&mut guest)?.1.kv_done(got);
    let got = got.as_ref().map(Option::as_deref);
    give_optional_later(&mut guest, to, got.map_err(|error| *error as u8)).await
}

async fn set(mut guest: Guest<'_>, (key, len, value, value_len, ttl, to): Set) -> Done {
    let (memory, host) = parts(&mut guest)?;
    let passed = Passed::of(memory);
    let (key, value) = (passed.text(key, len)?, passed.bytes(value, value_len)?);
    let asked = host
        .kv_in_redis()?
        .set(key, value, Duration::from_millis(ttl));
    let set = asked.await;
    let (memory, host) = parts(&mut guest)?;
    let set = host.kv_done(set).map(|()| false);
    store(memory, to as usize, &result(set))
}

async fn delete(mut guest: Guest<'_>, (key, len, to): Key) -> Done {
    let (memory, host) = parts(&mut guest)?;
    let key = Passed::of(memory).text(key, len)?;
    let asked = host.kv_in_redis()?.delete(key);
    let deleted = asked.await;
    let (memory, host) = parts(&mut guest)?;
    store(memory, to as usize, &result(host.kv_done(deleted)))
}

async fn add(mut guest: Guest<'_>, (key, len, delta, ttl, to): Add) -> Done {
    check_aligned(to, 8)?;
    let place = room::<16>(&mut guest, to)?;
    let (memory, host) = parts(&mut guest)?;
    let key = Passed::of(memory).text(key, len)?;
    let asked = host
        .kv_in_redis()?
        .add(key, delta, Duration::from_millis(ttl));
    let sum = asked.await;
    let (memory, host) = parts(&mut guest)?;
    store(memory, place, &number(host.kv_done(sum)))
}

async fn compare_and_set(mut guest: Guest<'_>, params: Swap) -> Done {
    let (key, len, is_expected, expected, expected_len, value, value_len, ttl, to) = params;
    let (memory, host) = parts(&mut guest)?;
    let passed = Passed::of(memory);
    let key = passed.text(key, len)?;
    let expected = passed.option_bytes(is_expected, expected, expected_len)?;
    let value = passed.bytes(value, value_len)?;
    let ttl = Duration::from_millis(ttl);
    let asked = host
        .kv_in_redis()?
        .compare_and_set(key, expected, value, ttl);
    let set = asked.await;
    let (memory, host) = parts(&mut guest)?;
    store(memory, to as usize, &result(host.kv_done(set)))
}
