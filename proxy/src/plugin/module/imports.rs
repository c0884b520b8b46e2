//! The imports of the world `plugin`, for core modules: parameters are flat, a result that is more
//! than one value is stored at the place that the last parameter tells.

mod chunks;
mod heads;
mod measures;
mod outward;
mod redis;
mod store;

use wasmtime::{Caller, Linker};

use super::abi::{Done, broken, may_leave, parts};
use super::given::{give, give_option};
use super::passed::{Passed, long, number};
use crate::plugin::contract::weir::plugin::span::{CallKind, Target};
use crate::plugin::host::Host;
use crate::plugin::kv;
use crate::trace::{Level, Value};

type Guest<'c> = Caller<'c, Host>;

const EXCHANGE: &str = "weir:plugin/exchange@0.1.0";
const SPAN: &str = "weir:plugin/span@0.1.0";
const LOG: &str = "weir:plugin/log@0.1.0";
const CLOCK: &str = "weir:plugin/clock@0.1.0";
const RANDOM: &str = "weir:plugin/random@0.1.0";

/// Defines all of them; those of `kv` by where the values are.
pub(super) fn link(linker: &mut Linker<Host>, kv: &kv::Store) -> Done {
    heads::link(linker)?;
    chunks::link(linker)?;
    exchange(linker)?;
    span(linker)?;
    log(linker)?;
    ambient(linker)?;
    match kv {
        kv::Store::Memory(_) => store::link(linker)?,
        kv::Store::Redis(_) => redis::link(linker)?,
    }
    outward::link(linker)?;
    measures::link(linker)
}

fn exchange(linker: &mut Linker<Host>) -> Done {
    linker.func_wrap(
        EXCHANGE,
        "request-id",
        |mut guest: Guest<'_>, to: u32| -> Done {
            let id = parts(&mut guest)?.1.request_id()?.to_owned();
            give(&mut guest, to, id.as_bytes())
        },
    )?;
    linker.func_wrap(
        EXCHANGE,
        "set-request-id",
        |mut guest: Guest<'_>, id: u32, len: u32| -> Done {
            let (memory, host) = parts(&mut guest)?;
            host.set_request_id(Passed::of(memory).text(id, len)?)
        },
    )?;
    linker.func_wrap(
        EXCHANGE,
        "get",
        |mut guest: Guest<'_>, key: u32, len: u32, to: u32| -> Done {
            let (memory, host) = parts(&mut guest)?;
            let key = Passed::of(memory).text(key, len)?;
            let value = host.held(key)?.map(str::to_owned);
            give_option(&mut guest, to, value.as_deref().map(str::as_bytes))
        },
    )?;
    linker.func_wrap(
        EXCHANGE,
        "set",
        |mut guest: Guest<'_>, key: u32, key_len: u32, value: u32, value_len: u32| -> Done {
            let (memory, host) = parts(&mut guest)?;
            let passed = Passed::of(memory);
            let key = passed.text(key, key_len)?;
            host.hold(key, passed.text(value, value_len)?)
        },
    )?;
    Ok(())
}

fn span(linker: &mut Linker<Host>) -> Done {
    linker.func_wrap(
        SPAN,
        "set-attribute",
        |mut guest: Guest<'_>,
         on: u32,
         name: u32,
         len: u32,
         kind: u32,
         first: u64,
         second: u32|
         -> Done {
            let (memory, host) = parts(&mut guest)?;
            let passed = Passed::of(memory);
            let (on, name) = (target(on)?, passed.text(name, len)?);
            host.set_attribute(on, name, value(&passed, kind, first, second)?)
        },
    )?;
    linker.func_wrap(
        SPAN,
        "add-event",
        |mut guest: Guest<'_>, on: u32, name: u32, len: u32, list: u32, count: u32| -> Done {
            let (memory, host) = parts(&mut guest)?;
            let passed = Passed::of(memory);
            let (on, name) = (target(on)?, passed.text(name, len)?);
            let attributes = passed.list((list, count), 8, |item: &[u8; 24]| {
                let key = passed.text(number(item, 0), number(item, 4))?;
                // Of a boolean only one byte is there.
                let first = match item[8] {
                    1 => u64::from(item[16]),
                    _ => long(item, 16),
                };
                let kind = u32::from(item[8]);
                Ok((key, value(&passed, kind, first, number(item, 20))?))
            })?;
            host.add_event(on, name, &attributes)
        },
    )?;
    linker.func_wrap(
        SPAN,
        "set-error",
        |mut guest: Guest<'_>, message: u32, len: u32| -> Done {
            let (memory, host) = parts(&mut guest)?;
            host.set_error(Passed::of(memory).text(message, len)?)
        },
    )?;
    linker.func_wrap(
        SPAN,
        "describe-call",
        |mut guest: Guest<'_>, kind: u32, name: u32, len: u32| -> Done {
            let (memory, host) = parts(&mut guest)?;
            let kind = match kind {
                0 => CallKind::Http,
                1 => CallKind::Llm,
                other => return Err(broken(format!("`{other}` is no kind of call"))),
            };
            host.describe_call(kind, Passed::of(memory).text(name, len)?)
        },
    )?;
    linker.func_wrap(
        SPAN,
        "set-call-error",
        |mut guest: Guest<'_>, message: u32, len: u32| -> Done {
            let (memory, host) = parts(&mut guest)?;
            host.set_call_error(Passed::of(memory).text(message, len)?)
        },
    )?;
    Ok(())
}

fn target(on: u32) -> Done<Target> {
    match on {
        0 => Ok(Target::Hook),
        1 => Ok(Target::Upstream),
        other => Err(broken(format!("`{other}` is no span"))),
    }
}

/// A value of `kind`; `first` holds its eight bytes, or the pointer of a text or list, whose length is
/// `second`.
/// Narrower values have the lower bytes.
#[allow(
    clippy::cast_possible_truncation,
    reason = "so the ABI joins types of 32 and 64 bits"
)]
fn value<'m>(passed: &Passed<'m>, kind: u32, first: u64, second: u32) -> Done<Value<'m>> {
    match kind {
        0 => passed.text(first as u32, second).map(Value::Text),
        1 => Ok(Value::Boolean(first as u32 != 0)),
        2 => Ok(Value::Integer(first.cast_signed())),
        3 => Ok(Value::Float(f64::from_bits(first))),
        4 => {
            let text = |item: &[u8; 8]| passed.text(number(item, 0), number(item, 4));
            let texts = passed.list((first as u32, second), 4, text)?;
            Ok(Value::List(texts))
        }
        other => Err(broken(format!("`{other}` is no value"))),
    }
}

fn log(linker: &mut Linker<Host>) -> Done {
    linker.func_wrap(
        LOG,
        "write",
        |mut guest: Guest<'_>, level: u32, message: u32, len: u32| -> Done {
            const LEVELS: [Level; 5] = [
                Level::Trace,
                Level::Debug,
                Level::Info,
                Level::Warn,
                Level::Error,
            ];
            let (memory, host) = parts(&mut guest)?;
            let message = Passed::of(memory).text(message, len)?;
            let level = LEVELS.get(level as usize).copied();
            host.log(level.ok_or_else(|| broken("no such level"))?, message);
            Ok(())
        },
    )?;
    linker.func_wrap(
        LOG,
        "panicked",
        |mut guest: Guest<'_>, message: u32, len: u32| -> Done {
            let (memory, host) = parts(&mut guest)?;
            host.panicked(Passed::of(memory).text(message, len)?);
            Ok(())
        },
    )?;
    Ok(())
}

fn ambient(linker: &mut Linker<Host>) -> Done {
    linker.func_wrap(CLOCK, "now", |guest: Guest<'_>| {
        may_leave(guest.data()).map(|()| Host::now())
    })?;
    linker.func_wrap(CLOCK, "monotonic", |guest: Guest<'_>| {
        may_leave(guest.data()).map(|()| Host::monotonic())
    })?;
    linker.func_wrap(RANDOM, "next", |guest: Guest<'_>| {
        may_leave(guest.data()).and_then(|()| Host::random())
    })?;
    linker.func_wrap(
        RANDOM,
        "bytes",
        |mut guest: Guest<'_>, len: u32, to: u32| -> Done {
            may_leave(guest.data())?;
            let bytes = Host::random_bytes(len)?;
            give(&mut guest, to, &bytes)
        },
    )?;
    Ok(())
}
