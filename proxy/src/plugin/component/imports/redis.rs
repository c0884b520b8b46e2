//! The interface `kv` where values are in Redis: the same functions as futures. They stand instead of
//! those in memory only for plugins that have their values there, so that the others' are no futures.

use std::time::Duration;

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use crate::plugin::contract::weir::plugin::kv::Error;
use crate::plugin::host::Host;

type Guest<'s> = StoreContextMut<'s, Host>;
type Done<T> = wasmtime::Result<(Result<T, Error>,)>;

type Set = (String, Vec<u8>, u64);
type Add = (String, i64, u64);
type Swap = (String, Option<Vec<u8>>, Vec<u8>, u64);

pub(in crate::plugin::component) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut kv = linker.instance("weir:plugin/kv@0.1.0")?;
    kv.func_wrap_async("get", |guest: Guest<'_>, params: (String,)| {
        Box::new(get(guest, params))
    })?;
    kv.func_wrap_async("set", |guest: Guest<'_>, params: Set| {
        Box::new(set(guest, params))
    })?;
    kv.func_wrap_async("delete", |guest: Guest<'_>, params: (String,)| {
        Box::new(delete(guest, params))
    })?;
    kv.func_wrap_async("add", |guest: Guest<'_>, params: Add| {
        Box::new(add(guest, params))
    })?;
    kv.func_wrap_async("compare-and-set", |guest: Guest<'_>, params: Swap| {
        Box::new(compare_and_set(guest, params))
    })
}

async fn get(mut guest: Guest<'_>, (key,): (String,)) -> Done<Option<Vec<u8>>> {
    let asked = guest.data_mut().kv_in_redis()?.get(&key);
    let got = asked.await;
    Ok((guest.data_mut().kv_done(got),))
}

async fn set(mut guest: Guest<'_>, (key, value, ttl): Set) -> Done<()> {
    let ttl = Duration::from_millis(ttl);
    let asked = guest.data_mut().kv_in_redis()?.set(&key, &value, ttl);
    let set = asked.await;
    Ok((guest.data_mut().kv_done(set),))
}

async fn delete(mut guest: Guest<'_>, (key,): (String,)) -> Done<bool> {
    let asked = guest.data_mut().kv_in_redis()?.delete(&key);
    let deleted = asked.await;
    Ok((guest.data_mut().kv_done(deleted),))
}

async fn add(mut guest: Guest<'_>, (key, delta, ttl): Add) -> Done<i64> {
    let ttl = Duration::from_millis(ttl);
    let asked = guest.data_mut().kv_in_redis()?.add(&key, delta, ttl);
    let sum = asked.await;
    Ok((guest.data_mut().kv_done(sum),))
}

async fn compare_and_set(mut guest: Guest<'_>, (key, expected, value, ttl): Swap) -> Done<bool> {
    let (expected, ttl) = (expected.as_deref(), Duration::from_millis(ttl));
    let values = guest.data_mut().kv_in_redis()?;
    let asked = values.compare_and_set(&key, expected, &value, ttl);
    let set = asked.await;
    Ok((guest.data_mut().kv_done(set),))
}
