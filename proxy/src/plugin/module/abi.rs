//! The canonical ABI, as far as the world uses it: how values lie in a guest's memory.
//!
//! Nothing a guest says is believed: each pointer, length, discriminant and handle is checked.

use wasmtime::{Caller, Extern, Func, Instance, Memory, Store, ValRaw};

use crate::plugin::host::Host;
use crate::plugin::sandbox::{Asked, HOSTCALL_BYTES};
use crate::plugin::{Failure, Hook, Interests};

/// What the host needs of a module to speak with it.
#[derive(Clone, Copy)]
pub(in crate::plugin) struct Exports {
    memory: Memory,
    realloc: Func,
    /// Handle of the head that is lent to the running hook; 0 where none is, or it was dropped.
    lent: u32,
}

const REQUEST: u32 = 1;
const RESPONSE: u32 = 2;

impl Exports {
    pub(super) fn of(instance: &Instance, store: &mut Store<Host>) -> wasmtime::Result<Self> {
        let memory = instance.get_memory(&mut *store, "memory");
        let realloc = instance.get_func(&mut *store, "cabi_realloc");
        Ok(Self {
            memory: memory.ok_or_else(|| broken("it exports no `memory`"))?,
            realloc: realloc.ok_or_else(|| broken("it exports no `cabi_realloc`"))?,
            lent: 0,
        })
    }
}

/// A guest that does not hold to the ABI.
pub(super) fn broken(what: impl Into<String>) -> wasmtime::Error {
    wasmtime::Error::new(Failure::Abi(what.into()))
}

fn exports(host: &mut Host) -> wasmtime::Result<&mut Exports> {
    let exports = host.exports.as_mut();
    exports.ok_or_else(|| broken("a call before the instance was made"))
}

/// Lends a head to a hook: the handle it is called with.
pub(super) fn lend(host: &mut Host, hook: Hook) -> wasmtime::Result<u32> {
    let handle = match hook {
        Hook::PreRequest | Hook::Request => REQUEST,
        Hook::Response => RESPONSE,
    };
    exports(host)?.lent = handle;
    Ok(handle)
}

/// After the hook, which must have dropped what it borrowed.
pub(super) fn take_back(host: &Host) -> wasmtime::Result<()> {
    match &host.exports {
        Some(Exports { lent: 0, .. }) => Ok(()),
        _ => Err(broken("a borrow still remains at the end of the call")),
    }
}

/// The guest drops a handle.
pub(super) fn drop_handle(host: &mut Host, handle: u32) -> wasmtime::Result<()> {
    check(host, handle)?.lent = 0;
    Ok(())
}

fn check(host: &mut Host, handle: u32) -> wasmtime::Result<&mut Exports> {
    let exports = exports(host)?;
    if exports.lent != handle || handle == 0 {
        return Err(broken(format!("unknown handle {handle}")));
    }
    Ok(exports)
}

/// The guest's memory and the host, while an import runs.
pub(super) fn parts<'c>(
    caller: &'c mut Caller<'_, Host>,
) -> wasmtime::Result<(&'c mut [u8], &'c mut Host)> {
    let memory = exports(caller.data_mut())?.memory;
    Ok(memory.data_and_store_mut(caller))
}

/// As [`parts`], in a method of the head that `handle` stands for.
pub(super) fn method<'c>(
    caller: &'c mut Caller<'_, Host>,
    handle: u32,
) -> wasmtime::Result<(&'c mut [u8], &'c mut Host)> {
    let memory = check(caller.data_mut(), handle)?.memory;
    Ok(memory.data_and_store_mut(caller))
}

/// `list<u8>`.
pub(super) fn bytes(memory: &[u8], pointer: u32, len: u32) -> wasmtime::Result<&[u8]> {
    let start = pointer as usize;
    (start.checked_add(len as usize))
        .and_then(|end| memory.get(start..end))
        .ok_or_else(|| broken("a list out of the memory's bounds"))
}

/// `string`.
pub(super) fn text(memory: &[u8], pointer: u32, len: u32) -> wasmtime::Result<&str> {
    std::str::from_utf8(bytes(memory, pointer, len)?)
        .map_err(|_| broken("a string that is not UTF-8"))
}

/// `option<string>`, as parameters.
pub(super) fn option(
    memory: &[u8],
    (is_some, pointer, len): (u32, u32, u32),
) -> wasmtime::Result<Option<&str>> {
    match is_some {
        0 => Ok(None),
        1 => text(memory, pointer, len).map(Some),
        other => Err(broken(format!("`{other}` is no option"))),
    }
}

/// The items of a list, each `N` bytes in memory.
pub(super) fn items<const N: usize>(
    memory: &[u8],
    pointer: u32,
    count: u32,
) -> wasmtime::Result<&[[u8; N]]> {
    let len = (count as usize).saturating_mul(N);
    if len > HOSTCALL_BYTES {
        return Err(too_much());
    }
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    let (items, _) = bytes(memory, pointer, len)?.as_chunks();
    Ok(items)
}

/// One call passed too much, be it the same bytes again and again.
pub(super) fn too_much() -> wasmtime::Error {
    let most = HOSTCALL_BYTES;
    wasmtime::Error::new(Failure::Bounds(format!("at most {most} bytes in one call")))
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

/// Stores bytes where the guest told or gave room.
pub(super) fn store(memory: &mut [u8], pointer: u32, bytes: &[u8]) -> wasmtime::Result<()> {
    let start = pointer as usize;
    let place = (start.checked_add(bytes.len())).and_then(|end| memory.get_mut(start..end));
    place
        .ok_or_else(|| broken("a result out of the memory's bounds"))?
        .copy_from_slice(bytes);
    Ok(())
}

/// A `string` or `list<u8>`, at `place`.
pub(super) fn give(
    caller: &mut Caller<'_, Host>,
    place: u32,
    bytes: &[u8],
) -> wasmtime::Result<()> {
    let pair = put(caller, bytes)?;
    let (memory, _) = parts(caller)?;
    store(memory, place, &pair)
}

/// An `option` of the same.
pub(super) fn give_option(
    caller: &mut Caller<'_, Host>,
    place: u32,
    value: Option<&[u8]>,
) -> wasmtime::Result<()> {
    let mut option = [0; 12];
    if let Some(bytes) = value {
        option[0] = 1;
        option[4..].copy_from_slice(&put(caller, bytes)?);
    }
    let (memory, _) = parts(caller)?;
    store(memory, place, &option)
}

/// A list, of items as they lie in memory.
pub(super) fn give_list<const N: usize>(
    caller: &mut Caller<'_, Host>,
    place: u32,
    items: &[[u8; N]],
) -> wasmtime::Result<()> {
    let pointer = allocate(caller, 4, N * items.len())?;
    let (memory, _) = parts(caller)?;
    store(memory, pointer, items.as_flattened())?;
    store(memory, place, &pair(pointer, items.len()))
}

/// Copies bytes to the guest: pointer and length, as they lie in memory.
pub(super) fn put(caller: &mut Caller<'_, Host>, bytes: &[u8]) -> wasmtime::Result<[u8; 8]> {
    let pointer = allocate(caller, 1, bytes.len())?;
    let (memory, _) = parts(caller)?;
    store(memory, pointer, bytes)?;
    Ok(pair(pointer, bytes.len()))
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "it lies in a memory of 4 GiB"
)]
fn pair(pointer: u32, len: usize) -> [u8; 8] {
    (u64::from(pointer) | (len as u64) << 32).to_le_bytes()
}

/// Room in the guest's memory, of its own allocator.
#[allow(
    unsafe_code,
    reason = "the safe call is not to be had within an import"
)]
fn allocate(caller: &mut Caller<'_, Host>, align: u32, size: usize) -> wasmtime::Result<u32> {
    if size == 0 {
        return Ok(align);
    }
    let size = u32::try_from(size).map_err(|_| too_much())?;
    let realloc = exports(caller.data_mut())?.realloc;
    let mut values = [0, 0, align, size].map(ValRaw::u32);
    // SAFETY: `values` has as many values of the type as the function has parameters, and room for
    // its result: `Guest::new` has checked `cabi_realloc` to be (i32, i32, i32, i32) -> i32. It is of
    // this store. That the guest may be suspended in it is as in any wasm this import returns to:
    // both run on the fiber of the one `call_async` that the sandbox polls.
    unsafe { realloc.call_unchecked(&mut *caller, &raw mut values) }?;
    let pointer = values[0].get_u32();
    if pointer % align != 0 {
        return Err(broken("`cabi_realloc` gave a pointer that is not aligned"));
    }
    Ok(pointer)
}

/// Calls `configure`.
pub(super) async fn configure(
    instance: &Instance,
    store: &mut Store<Host>,
    config: &str,
) -> wasmtime::Result<Result<Asked, String>> {
    let realloc =
        instance.get_typed_func::<(u32, u32, u32, u32), u32>(&mut *store, "cabi_realloc")?;
    let len = u32::try_from(config.len()).map_err(|_| too_much())?;
    let pointer = realloc.call_async(&mut *store, (0, 0, 1, len)).await?;
    self::store(memory(store)?, pointer, config.as_bytes())?;
    let configure = instance.get_typed_func::<(u32, u32), u32>(&mut *store, "configure")?;
    let place = configure.call_async(&mut *store, (pointer, len)).await?;
    let asked = interests(memory(store)?, place)?;
    post(instance, store, "cabi_post_configure", place).await?;
    Ok(asked)
}

/// Calls `config-schema`.
pub(super) async fn config_schema(
    instance: &Instance,
    store: &mut Store<Host>,
) -> wasmtime::Result<String> {
    let schema = instance.get_typed_func::<(), u32>(&mut *store, "config-schema")?;
    let place = schema.call_async(&mut *store, ()).await?;
    let memory = memory(store)?;
    let pair = bytes(memory, place, 8)?;
    let schema = text(memory, number(pair, 0), number(pair, 4))?.to_owned();
    post(instance, store, "cabi_post_config-schema", place).await?;
    Ok(schema)
}

fn memory(store: &mut Store<Host>) -> wasmtime::Result<&mut [u8]> {
    let memory = exports(store.data_mut())?.memory;
    Ok(memory.data_mut(store))
}

/// Lets the guest free what it returned.
async fn post(
    instance: &Instance,
    store: &mut Store<Host>,
    name: &str,
    place: u32,
) -> wasmtime::Result<()> {
    match instance.get_export(&mut *store, name) {
        Some(Extern::Func(post)) => {
            let post = post.typed::<u32, ()>(&*store)?;
            post.call_async(store, place).await
        }
        _ => Ok(()),
    }
}

/// `result<interests, string>`: the discriminant, and at 8 the record or the text.
fn interests(memory: &[u8], place: u32) -> wasmtime::Result<Result<Asked, String>> {
    let result = bytes(memory, place, 56)?;
    match result[0] {
        0 => Ok(Ok(Asked {
            interests: Interests {
                hooks: [1, 2, 4].map(|hook| result[8] & hook != 0),
                request_head: result[48] != 0,
            },
            bodies: wants_body(result[16])? || wants_body(result[32])?,
        })),
        1 => {
            let reason = text(memory, number(result, 8), number(result, 12))?;
            Ok(Err(reason.to_owned()))
        }
        other => Err(broken(format!("`{other}` is no result"))),
    }
}

/// A body mode, by its discriminant.
fn wants_body(mode: u8) -> wasmtime::Result<bool> {
    match mode {
        0 => Ok(false),
        1 | 2 => Ok(true),
        other => Err(broken(format!("`{other}` is no body mode"))),
    }
}
