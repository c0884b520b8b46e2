//! What a guest is given: lowering, in the canonical ABI's terms.
//!
//! Texts and lists lie where the guest's `cabi_realloc` makes room for them. It is the guest's own
//! code: it may give any pointer, trap, never return, or let the memory grow, so memory is looked up
//! anew after each call of it.

use wasmtime::{Caller, ValRaw};

use super::abi::{Done, broken, confine, confined, exports, parts};
use super::passed::check_aligned;
use crate::plugin::host::Host;

/// A `string` or `list<u8>`, at `place`.
pub(super) fn give(guest: &mut Caller<'_, Host>, place: u32, bytes: &[u8]) -> Done {
    let place = room::<8>(guest, place)?;
    let (pair, memory) = put_and_look(guest, bytes)?;
    store(memory, place, &pair)
}

/// An `option` of the same.
pub(super) fn give_option(guest: &mut Caller<'_, Host>, place: u32, value: Option<&[u8]>) -> Done {
    check_aligned(place, 4)?;
    let mut option = [0; 12];
    let memory = match value {
        Some(bytes) => {
            let (pair, memory) = put_and_look(guest, bytes)?;
            option[0] = 1;
            option[4..].copy_from_slice(&pair);
            memory
        }
        None => parts(guest)?.0,
    };
    store(memory, place as usize, &option)
}

/// A `result` of the same, or of an error that is an enum.
pub(super) fn give_result(
    guest: &mut Caller<'_, Host>,
    place: u32,
    value: Result<&[u8], u8>,
) -> Done {
    let place = room::<12>(guest, place)?;
    let mut result = [0; 12];
    match value {
        Ok(bytes) => result[4..].copy_from_slice(&put(guest, bytes)?),
        Err(error) => (result[0], result[4]) = (1, error),
    }
    store(parts(guest)?.0, place, &result)
}

/// A `result` of an `option` of the same, where there is no error.
pub(super) fn give_optional(
    guest: &mut Caller<'_, Host>,
    place: u32,
    value: Option<&[u8]>,
) -> Done {
    let place = room::<16>(guest, place)?;
    let pair = value.map(|bytes| put(guest, bytes)).transpose()?;
    store(parts(guest)?.0, place, &optional(Ok(pair)))
}

/// The same in an import that is a future, with an error that is an enum.
pub(super) async fn give_optional_later(
    guest: &mut Caller<'_, Host>,
    place: u32,
    value: Result<Option<&[u8]>, u8>,
) -> Done {
    let place = room::<16>(guest, place)?;
    let pair = match value {
        Ok(Some(bytes)) => Ok(Some(put_later(guest, bytes).await?)),
        Ok(None) => Ok(None),
        Err(error) => Err(error),
    };
    store(parts(guest)?.0, place, &optional(pair))
}

fn optional(value: Result<Option<[u8; 8]>, u8>) -> [u8; 16] {
    let mut result = [0; 16];
    match value {
        Ok(None) => {}
        Ok(Some(pair)) => {
            result[4] = 1;
            result[8..].copy_from_slice(&pair);
        }
        Err(error) => (result[0], result[4]) = (1, error),
    }
    result
}

/// A list of `count` items, each of which lies in `N` bytes, as `lower` makes them of it.
pub(super) fn give_list<const N: usize, T>(
    guest: &mut Caller<'_, Host>,
    place: u32,
    (count, items): (usize, impl IntoIterator<Item = T>),
    lower: impl Fn(&mut Caller<'_, Host>, T) -> Done<[u8; N]>,
) -> Done {
    let place = room::<8>(guest, place)?;
    let list = allocate(guest, 4, N * count)?;
    for (index, item) in items.into_iter().take(count).enumerate() {
        let item = lower(guest, item)?;
        store(parts(guest)?.0, list as usize + N * index, &item)?;
    }
    store(parts(guest)?.0, place, &pair(list, count))
}

/// Where a result of `N` bytes is to lie: at a multiple of four, within the memory.
pub(super) fn room<const N: usize>(guest: &mut Caller<'_, Host>, place: u32) -> Done<usize> {
    check_aligned(place, 4)?;
    let (memory, _) = parts(guest)?;
    check_bounds(memory, place, N)?;
    Ok(place as usize)
}

/// Copies bytes to the guest: pointer and length, as they lie in memory.
pub(super) fn put(guest: &mut Caller<'_, Host>, bytes: &[u8]) -> Done<[u8; 8]> {
    put_and_look(guest, bytes).map(|(pair, _)| pair)
}

/// As [`put`], with the memory as it is then.
fn put_and_look<'g>(
    guest: &'g mut Caller<'_, Host>,
    bytes: &[u8],
) -> Done<([u8; 8], &'g mut [u8])> {
    let pointer = reallocate(guest, 1, bytes.len())?;
    let (memory, _) = parts(guest)?;
    store(memory, pointer as usize, bytes)?;
    Ok((pair(pointer, bytes.len()), memory))
}

/// As [`put`], in an import that is a future: the guest is then called on a stack of its own.
async fn put_later(guest: &mut Caller<'_, Host>, bytes: &[u8]) -> Done<[u8; 8]> {
    let len = u32::try_from(bytes.len()).map_err(|_| out_of_bounds())?;
    let realloc = exports(guest.data_mut())?.realloc;
    let realloc = realloc.typed::<(u32, u32, u32, u32), u32>(&*guest)?;
    let pointer = confined(&mut *guest, &realloc, (0, 0, 1, len)).await?;
    store(parts(guest)?.0, pointer as usize, bytes)?;
    Ok(pair(pointer, bytes.len()))
}

/// Stores bytes where the guest told or gave room.
pub(super) fn store(memory: &mut [u8], start: usize, bytes: &[u8]) -> Done {
    let place = (start.checked_add(bytes.len())).and_then(|end| memory.get_mut(start..end));
    place.ok_or_else(out_of_bounds)?.copy_from_slice(bytes);
    Ok(())
}

fn check_bounds(memory: &[u8], pointer: u32, len: usize) -> Done {
    let rest = memory.get(pointer as usize..);
    match rest {
        Some(rest) if rest.len() >= len => Ok(()),
        _ => Err(out_of_bounds()),
    }
}

fn out_of_bounds() -> wasmtime::Error {
    broken("a place for a result out of the memory's bounds")
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "it lies in a memory of 4 GiB"
)]
fn pair(pointer: u32, len: usize) -> [u8; 8] {
    (u64::from(pointer) | (len as u64) << 32).to_le_bytes()
}

/// Room in the guest's memory, of its own allocator.
fn allocate(guest: &mut Caller<'_, Host>, align: u32, size: usize) -> Done<u32> {
    let pointer = reallocate(guest, align, size)?;
    let (memory, _) = parts(guest)?;
    check_bounds(memory, pointer, size)?;
    Ok(pointer)
}

/// As [`allocate`], which may give a place out of the memory's bounds.
#[allow(
    unsafe_code,
    reason = "the safe calls are not to be had within an import that is no future"
)]
fn reallocate(guest: &mut Caller<'_, Host>, align: u32, size: usize) -> Done<u32> {
    let len = u32::try_from(size).map_err(|_| out_of_bounds())?;
    let realloc = exports(guest.data_mut())?.realloc;
    let mut values = [0, 0, align, len].map(ValRaw::u32);
    confine(guest.data_mut(), true);
    // SAFETY: `values` has as many values of the type as the function has parameters, and room for
    // its result: `Guest::new` has checked `cabi_realloc` to be (i32, i32, i32, i32) -> i32. It is of
    // this store.
    //
    // Wasmtime asks that the call be not within a `call_async`, for two reasons. The fiber may be
    // suspended in it, and then what lies on its stack must not be bound to a thread: between the
    // two calls lie only frames of `imports` and of this module, which hold heads' values, numbers
    // and slices. And each call may use all of a guest's stack: as `confine` lets no import be called
    // from here there are never more than two, for which `Engine` gives a fiber room. Wasmtime's own
    // runtime of components calls the same function in the same way.
    unsafe { realloc.call_unchecked(&mut *guest, &raw mut values) }?;
    confine(guest.data_mut(), false);
    let pointer = values[0].get_u32();
    check_aligned(pointer, align)?;
    Ok(pointer)
}
