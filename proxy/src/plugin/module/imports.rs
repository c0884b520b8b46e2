//! The imports of the world `plugin`, for core modules: parameters are flat, a result that is more
//! than one value is stored at the place that the last parameter tells.

use wasmtime::{Caller, Linker};

use super::abi::{
    broken, bytes, drop_handle, give, give_list, give_option, items, long, method, number, option,
    parts, put, store, text, too_much,
};
use crate::plugin::contract::weir::plugin::http::{HeaderError, RerouteError, RespondError};
use crate::plugin::contract::weir::plugin::span::Target;
use crate::plugin::host::{self, Host, Reroute, Which};
use crate::plugin::sandbox::HOSTCALL_BYTES;
use crate::trace::{Level, Value};

type Guest<'c> = Caller<'c, Host>;
type Done<T = ()> = wasmtime::Result<T>;

const HTTP: &str = "weir:plugin/http@0.1.0";
const EXCHANGE: &str = "weir:plugin/exchange@0.1.0";
const SPAN: &str = "weir:plugin/span@0.1.0";
const LOG: &str = "weir:plugin/log@0.1.0";
const CLOCK: &str = "weir:plugin/clock@0.1.0";
const RANDOM: &str = "weir:plugin/random@0.1.0";

/// Defines all of them.
pub(super) fn link(linker: &mut Linker<Host>) -> Done {
    either_head(linker, "request", Which::Request)?;
    either_head(linker, "response", Which::Response)?;
    request(linker)?;
    response(linker)?;
    exchange(linker)?;
    span(linker)?;
    log(linker)?;
    ambient(linker)
}

/// What requests and responses have alike.
fn either_head(linker: &mut Linker<Host>, kind: &str, which: Which) -> Done {
    linker.func_wrap(
        HTTP,
        &format!("[resource-drop]{kind}"),
        |mut guest: Guest<'_>, head: u32| drop_handle(guest.data_mut(), head),
    )?;
    let name = |method: &str| format!("[method]{kind}.{method}");
    linker.func_wrap(
        HTTP,
        &name("header"),
        move |mut guest: Guest<'_>, head: u32, name: u32, len: u32, to: u32| -> Done {
            let (memory, host) = method(&mut guest, head)?;
            let value = host.header(which, text(memory, name, len)?)?.cloned();
            let value = value.as_ref().map(host::text);
            give_option(&mut guest, to, value.as_deref().map(str::as_bytes))
        },
    )?;
    linker.func_wrap(
        HTTP,
        &name("header-values"),
        move |mut guest: Guest<'_>, head: u32, name: u32, len: u32, to: u32| -> Done {
            let (memory, host) = method(&mut guest, head)?;
            let values = host.headers(which)?.get_all(text(memory, name, len)?);
            let values: Vec<_> = values.iter().cloned().collect();
            let mut list = Vec::with_capacity(values.len());
            for value in values {
                list.push(put(&mut guest, value.as_bytes())?);
            }
            give_list(&mut guest, to, &list)
        },
    )?;
    linker.func_wrap(
        HTTP,
        &name("headers"),
        move |mut guest: Guest<'_>, head: u32, to: u32| -> Done {
            let (_, host) = method(&mut guest, head)?;
            let fields = host.headers(which)?.clone();
            let mut list = Vec::with_capacity(fields.len());
            for (name, value) in &fields {
                let mut item = [0; 16];
                item[..8].copy_from_slice(&put(&mut guest, name.as_str().as_bytes())?);
                item[8..].copy_from_slice(&put(&mut guest, value.as_bytes())?);
                list.push(item);
            }
            give_list(&mut guest, to, &list)
        },
    )?;
    for (method_name, change) in [
        ("set-header", Host::set_header as Change),
        ("add-header", Host::add_header),
    ] {
        linker.func_wrap(
            HTTP,
            &name(method_name),
            move |mut guest: Guest<'_>,
                  head: u32,
                  n: u32,
                  n_len: u32,
                  v: u32,
                  v_len: u32,
                  to: u32|
                  -> Done {
                let (memory, host) = method(&mut guest, head)?;
                let (name, value) = (text(memory, n, n_len)?, text(memory, v, v_len)?);
                let done = change(host, which, name, value)?;
                store(memory, to, &header_result(done))
            },
        )?;
    }
    linker.func_wrap(
        HTTP,
        &name("remove-header"),
        move |mut guest: Guest<'_>, head: u32, name: u32, len: u32, to: u32| -> Done {
            let (memory, host) = method(&mut guest, head)?;
            let done = host.remove_header(which, text(memory, name, len)?)?;
            store(memory, to, &header_result(done))
        },
    )?;
    linker.func_wrap(
        HTTP,
        &name("respond"),
        |mut guest: Guest<'_>,
         head: u32,
         status: u32,
         list: u32,
         count: u32,
         body: u32,
         len: u32,
         to: u32|
         -> Done {
            let (memory, host) = method(&mut guest, head)?;
            let fields = fields(memory, list, count)?;
            let done = host.respond(word(status), &fields, bytes(memory, body, len)?)?;
            store(memory, to, &respond_result(done))
        },
    )?;
    Ok(())
}

type Change = fn(&mut Host, Which, &str, &str) -> Done<Result<(), HeaderError>>;

/// `list<tuple<string, list<u8>>>`.
fn fields(memory: &[u8], list: u32, count: u32) -> Done<Vec<(&str, &[u8])>> {
    let mut passed = 0;
    let mut fields = Vec::new();
    for item in items::<16>(memory, list, count)? {
        let name = text(memory, number(item, 0), number(item, 4))?;
        let value = bytes(memory, number(item, 8), number(item, 12))?;
        passed += name.len() + value.len();
        if passed > HOSTCALL_BYTES {
            return Err(too_much());
        }
        fields.push((name, value));
    }
    Ok(fields)
}

/// A `u16`, which is passed as 32 bits.
#[allow(clippy::cast_possible_truncation, reason = "so the ABI reads a u16")]
fn word(value: u32) -> u16 {
    value as u16
}

fn header_result(result: Result<(), HeaderError>) -> [u8; 2] {
    result.map_or_else(|error| [1, error as u8], |()| [0; 2])
}

fn respond_result(result: Result<(), RespondError>) -> [u8; 3] {
    match result {
        Ok(()) => [0; 3],
        Err(RespondError::InvalidStatus) => [1, 0, 0],
        Err(RespondError::Header(error)) => [1, 1, error as u8],
        Err(RespondError::TooLarge) => [1, 2, 0],
    }
}

/// A method that gives a text.
fn reads(linker: &mut Linker<Host>, name: &str, read: fn(&mut Host) -> Done<String>) -> Done {
    linker.func_wrap(
        HTTP,
        name,
        move |mut guest: Guest<'_>, head: u32, to: u32| -> Done {
            let (_, host) = method(&mut guest, head)?;
            let text = read(host)?;
            give(&mut guest, to, text.as_bytes())
        },
    )?;
    Ok(())
}

fn request(linker: &mut Linker<Host>) -> Done {
    let method_of: fn(&mut Host) -> Done<String> =
        |host| Ok(host.request()?.method.as_str().to_owned());
    let path_of: fn(&mut Host) -> Done<String> = |host| Ok(host.request()?.uri.path().to_owned());
    reads(linker, "[method]request.method", method_of)?;
    reads(linker, "[method]request.path", path_of)?;
    reads(linker, "[method]response.request-method", method_of)?;
    reads(linker, "[method]response.request-path", path_of)?;
    reads(linker, "[method]request.scheme", |host| {
        Ok(host.scheme()?.to_owned())
    })?;
    reads(linker, "[method]request.authority", |host| {
        Ok(host.request()?.authority.clone())
    })?;
    reads(
        linker,
        "[method]request.client-address",
        Host::client_address,
    )?;
    linker.func_wrap(
        HTTP,
        "[method]request.query",
        |mut guest: Guest<'_>, head: u32, to: u32| -> Done {
            let (_, host) = method(&mut guest, head)?;
            let uri = host.request()?.uri.clone();
            give_option(&mut guest, to, uri.query().map(str::as_bytes))
        },
    )?;
    linker.func_wrap(
        HTTP,
        "[method]request.reroute",
        |mut guest: Guest<'_>,
         head: u32,
         is_authority: u32,
         authority: u32,
         authority_len: u32,
         is_path: u32,
         path: u32,
         path_len: u32,
         is_upstream: u32,
         upstream: u32,
         upstream_len: u32,
         to: u32|
         -> Done {
            let (memory, host) = method(&mut guest, head)?;
            let reroute = Reroute {
                authority: option(memory, (is_authority, authority, authority_len))?,
                path_and_query: option(memory, (is_path, path, path_len))?,
                upstream: option(memory, (is_upstream, upstream, upstream_len))?,
            };
            let mut result = [0; 16];
            match host.reroute(&reroute)? {
                Ok(()) => {}
                Err(RerouteError::TooLate) => result[0] = 1,
                Err(RerouteError::Invalid(what)) => {
                    (result[0], result[4]) = (1, 1);
                    result[8..].copy_from_slice(&put(&mut guest, what.as_bytes())?);
                }
            }
            store(parts(&mut guest)?.0, to, &result)
        },
    )?;
    Ok(())
}

fn response(linker: &mut Linker<Host>) -> Done {
    linker.func_wrap(
        HTTP,
        "[method]response.status",
        |mut guest: Guest<'_>, head: u32| -> Done<u32> {
            let (_, host) = method(&mut guest, head)?;
            host.status().map(u32::from)
        },
    )?;
    linker.func_wrap(
        HTTP,
        "[method]response.set-status",
        |mut guest: Guest<'_>, head: u32, status: u32, to: u32| -> Done {
            let (memory, host) = method(&mut guest, head)?;
            let done = host.set_status(word(status))?;
            store(memory, to, &respond_result(done))
        },
    )?;
    linker.func_wrap(
        HTTP,
        "[method]response.request-header",
        |mut guest: Guest<'_>, head: u32, name: u32, len: u32, to: u32| -> Done {
            let (memory, host) = method(&mut guest, head)?;
            let value = host.request_header(text(memory, name, len)?)?.cloned();
            let value = value.as_ref().map(host::text);
            give_option(&mut guest, to, value.as_deref().map(str::as_bytes))
        },
    )?;
    Ok(())
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
            host.set_request_id(text(memory, id, len)?)
        },
    )?;
    linker.func_wrap(
        EXCHANGE,
        "get",
        |mut guest: Guest<'_>, key: u32, len: u32, to: u32| -> Done {
            let (memory, host) = parts(&mut guest)?;
            let value = host.held(text(memory, key, len)?)?.map(str::to_owned);
            give_option(&mut guest, to, value.as_deref().map(str::as_bytes))
        },
    )?;
    linker.func_wrap(
        EXCHANGE,
        "set",
        |mut guest: Guest<'_>, key: u32, key_len: u32, value: u32, value_len: u32| -> Done {
            let (memory, host) = parts(&mut guest)?;
            let key = text(memory, key, key_len)?;
            host.hold(key, text(memory, value, value_len)?)
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
            let value = value(memory, kind, first, second)?;
            host.set_attribute(target(on)?, text(memory, name, len)?, value)
        },
    )?;
    linker.func_wrap(
        SPAN,
        "add-event",
        |mut guest: Guest<'_>, on: u32, name: u32, len: u32, list: u32, count: u32| -> Done {
            let (memory, host) = parts(&mut guest)?;
            let mut attributes = Vec::new();
            for item in items::<24>(memory, list, count)? {
                let key = text(memory, number(item, 0), number(item, 4))?;
                let kind = u32::from(item[8]);
                let value = value(memory, kind, long(item, 16), number(item, 20))?;
                attributes.push((key, value));
            }
            host.add_event(target(on)?, text(memory, name, len)?, &attributes)
        },
    )?;
    linker.func_wrap(
        SPAN,
        "set-error",
        |mut guest: Guest<'_>, message: u32, len: u32| -> Done {
            let (memory, host) = parts(&mut guest)?;
            host.set_error(text(memory, message, len)?)
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

/// A value of `kind`; `first` holds its eight bytes, or the text's pointer, whose length is `second`.
#[allow(
    clippy::cast_possible_truncation,
    reason = "so the ABI joins types of 32 and 64 bits"
)]
fn value(memory: &[u8], kind: u32, first: u64, second: u32) -> Done<Value<'_>> {
    match kind {
        0 => text(memory, first as u32, second).map(Value::Text),
        1 => Ok(Value::Boolean(first as u8 != 0)),
        2 => Ok(Value::Integer(first.cast_signed())),
        3 => Ok(Value::Float(f64::from_bits(first))),
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
            let message = text(memory, message, len)?;
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
            host.panicked(text(memory, message, len)?);
            Ok(())
        },
    )?;
    Ok(())
}

fn ambient(linker: &mut Linker<Host>) -> Done {
    linker.func_wrap(CLOCK, "now", Host::now)?;
    linker.func_wrap(CLOCK, "monotonic", Host::monotonic)?;
    linker.func_wrap(RANDOM, "next", Host::random)?;
    linker.func_wrap(
        RANDOM,
        "bytes",
        |mut guest: Guest<'_>, len: u32, to: u32| -> Done {
            let bytes = Host::random_bytes(len)?;
            give(&mut guest, to, &bytes)
        },
    )?;
    Ok(())
}
