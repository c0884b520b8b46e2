//! The canonical ABI between the host and a core module, as far as the world uses it: what the
//! module exports, the one handle there is, and the calls that carry more than numbers.
//!
//! Nothing a guest says is believed. What it passes is read by [`super::passed`]; what it is given
//! lies where [`super::given`] puts it.

use wasmtime::{
    AsContextMut, Caller, Extern, Func, Instance, Memory, Store, TypedFunc, WasmParams, WasmResults,
};

use super::given;
use super::passed::{Passed, long, number};
use crate::plugin::host::{Host, Which};
use crate::plugin::{Action, BodyMode, Failure, Hook, Interests};

/// The result of an import.
pub(super) type Done<T = ()> = wasmtime::Result<T>;

/// What the host needs of a module to speak with it.
#[derive(Clone, Copy)]
pub(in crate::plugin) struct Exports {
    pub(super) memory: Memory,
    pub(super) realloc: Func,
    /// The head that is lent to the running hook; none where it was dropped.
    lent: Option<Which>,
    /// The guest is in a function from which it may call no import: one that an import called, or
    /// that cleans up.
    confined: bool,
}

/// The one handle there is: the first of a table, for each is dropped before the next is lent.
const HANDLE: u32 = 1;

impl Exports {
    pub(super) fn of(instance: &Instance, store: &mut Store<Host>) -> Done<Self> {
        let memory = instance.get_memory(&mut *store, "memory");
        let realloc = instance.get_func(&mut *store, "cabi_realloc");
        Ok(Self {
            memory: memory.ok_or_else(|| broken("it exports no `memory`"))?,
            realloc: realloc.ok_or_else(|| broken("it exports no `cabi_realloc`"))?,
            lent: None,
            confined: false,
        })
    }
}

/// A guest that does not hold to the ABI.
pub(super) fn broken(what: impl Into<String>) -> wasmtime::Error {
    wasmtime::Error::new(Failure::Abi(what.into()))
}

/// What an import works with, where the guest may call one.
pub(super) fn exports(host: &mut Host) -> Done<&mut Exports> {
    may_leave(host)?;
    let exports = host.exports.as_mut();
    exports.ok_or_else(|| broken("a call before the instance was made"))
}

/// For imports that need nothing of the guest, which its start function may call too.
pub(super) fn may_leave(host: &Host) -> Done {
    match &host.exports {
        Some(exports) if exports.confined => Err(broken(
            "an import was called within `cabi_realloc` or a post-return function",
        )),
        _ => Ok(()),
    }
}

/// Forbids the guest to call imports, or allows it again.
pub(super) fn confine(host: &mut Host, confined: bool) {
    if let Some(exports) = &mut host.exports {
        exports.confined = confined;
    }
}

/// Lends a head to a hook: the handle it is called with.
pub(super) fn lend(host: &mut Host, hook: Hook) -> Done<u32> {
    exports(host)?.lent = Some(match hook {
        Hook::PreRequest | Hook::Request => Which::Request,
        Hook::Response => Which::Response,
        Hook::RequestBody | Hook::ResponseBody | Hook::AnswerBody => Which::Chunk,
    });
    Ok(HANDLE)
}

/// After the hook, which must have dropped what it borrowed.
pub(super) fn take_back(host: &Host) -> Done {
    match &host.exports {
        Some(Exports { lent: None, .. }) => Ok(()),
        _ => Err(broken("a borrow still remains at the end of the call")),
    }
}

/// The guest drops a handle.
pub(super) fn drop_handle(host: &mut Host, handle: u32, which: Which) -> Done {
    check(host, handle, which)?.lent = None;
    Ok(())
}

fn check(host: &mut Host, handle: u32, which: Which) -> Done<&mut Exports> {
    let exports = exports(host)?;
    if handle != HANDLE || exports.lent != Some(which) {
        return Err(broken(format!(
            "handle {handle} stands for no {which:?} that is lent"
        )));
    }
    Ok(exports)
}

/// The guest's memory and the host, while an import runs.
pub(super) fn parts<'c>(caller: &'c mut Caller<'_, Host>) -> Done<(&'c mut [u8], &'c mut Host)> {
    let memory = exports(caller.data_mut())?.memory;
    Ok(memory.data_and_store_mut(caller))
}

/// As [`parts`], in a method of the head that `handle` stands for.
pub(super) fn method<'c>(
    caller: &'c mut Caller<'_, Host>,
    handle: u32,
    which: Which,
) -> Done<(&'c mut [u8], &'c mut Host)> {
    let memory = check(caller.data_mut(), handle, which)?.memory;
    Ok(memory.data_and_store_mut(caller))
}

/// What a hook returned: an `action`, or of a piece a `flow`.
pub(super) fn action(hook: Hook, returned: u32) -> Done<Action> {
    const ACTIONS: [Action; 2] = [Action::Proceed, Action::Respond];
    const FLOWS: [Action; 4] = [
        Action::Proceed,
        Action::Replace,
        Action::Respond,
        Action::Abort,
    ];
    let actions = match hook {
        Hook::RequestBody | Hook::ResponseBody | Hook::AnswerBody => &FLOWS[..],
        _ => &ACTIONS[..],
    };
    let action = actions.get(returned as usize).copied();
    action.ok_or_else(|| broken(format!("`{returned}` is no action")))
}

/// Calls `configure`.
pub(super) async fn configure(
    instance: &Instance,
    store: &mut Store<Host>,
    config: &str,
) -> Done<Result<Interests, String>> {
    let realloc =
        instance.get_typed_func::<(u32, u32, u32, u32), u32>(&mut *store, "cabi_realloc")?;
    let len = u32::try_from(config.len()).map_err(|_| broken("a configuration of 4 GiB"))?;
    let pointer = confined(&mut *store, &realloc, (0, 0, 1, len)).await?;
    given::store(memory(store)?, pointer as usize, config.as_bytes())?;
    let configure = instance.get_typed_func::<(u32, u32), u32>(&mut *store, "configure")?;
    let place = configure.call_async(&mut *store, (pointer, len)).await?;
    let asked = interests(memory(store)?, place)?;
    post(instance, store, "cabi_post_configure", place).await?;
    Ok(asked)
}

/// Calls `config-schema`.
pub(super) async fn config_schema(instance: &Instance, store: &mut Store<Host>) -> Done<String> {
    let schema = instance.get_typed_func::<(), u32>(&mut *store, "config-schema")?;
    let place = schema.call_async(&mut *store, ()).await?;
    let passed = Passed::of(memory(store)?);
    let pair = passed.record::<8>(place, 4)?;
    let schema = passed.text(number(pair, 0), number(pair, 4))?.to_owned();
    post(instance, store, "cabi_post_config-schema", place).await?;
    Ok(schema)
}

fn memory(store: &mut Store<Host>) -> Done<&mut [u8]> {
    let memory = exports(store.data_mut())?.memory;
    Ok(memory.data_mut(store))
}

/// Lets the guest free what it returned.
async fn post(instance: &Instance, store: &mut Store<Host>, name: &str, place: u32) -> Done {
    match instance.get_export(&mut *store, name) {
        Some(Extern::Func(post)) => {
            let post = post.typed::<u32, ()>(&*store)?;
            confined(store, &post, place).await
        }
        _ => Ok(()),
    }
}

/// Calls a function from which the guest may call no import.
pub(super) async fn confined<P: WasmParams + Sync, R: WasmResults + Sync>(
    mut store: impl AsContextMut<Data = Host>,
    function: &TypedFunc<P, R>,
    params: P,
) -> Done<R> {
    confine(store.as_context_mut().data_mut(), true);
    let result = function.call_async(store.as_context_mut(), params).await?;
    confine(store.as_context_mut().data_mut(), false);
    Ok(result)
}

/// `result<interests, string>`: the discriminant, and at 8 the record or the text.
fn interests(memory: &[u8], place: u32) -> Done<Result<Interests, String>> {
    let passed = Passed::of(memory);
    let result = passed.record::<56>(place, 8)?;
    match result[0] {
        0 => {
            let mode = |at: usize| body_mode(result[at], long(result, at + 8));
            Ok(Ok(Interests {
                hooks: [1, 2, 4].map(|hook| result[8] & hook != 0),
                bodies: [mode(16)?, mode(32)?],
                request_head: result[48] != 0,
                decoded: result[49] != 0,
            }))
        }
        1 => {
            let reason = passed.text(number(result, 8), number(result, 12))?;
            Ok(Err(reason.to_owned()))
        }
        other => Err(broken(format!("`{other}` is no result"))),
    }
}

/// A body mode, by its discriminant and what may lie behind it.
fn body_mode(mode: u8, bytes: u64) -> Done<BodyMode> {
    match mode {
        0 => Ok(BodyMode::None),
        1 => Ok(BodyMode::Buffer(
            usize::try_from(bytes).unwrap_or(usize::MAX),
        )),
        2 => Ok(BodyMode::Stream),
        other => Err(broken(format!("`{other}` is no body mode"))),
    }
}
