//! The imports of the interface `http`: methods of the heads of request and response.

use http::HeaderValue;
use wasmtime::Linker;

use super::Guest;
use crate::plugin::Side;
use crate::plugin::contract::weir::plugin::http::{
    BodyError, HeaderError, RerouteError, RespondError,
};
use crate::plugin::host::{self, Host, Reroute, Which};
use crate::plugin::module::abi::{Done, drop_handle, method, parts};
use crate::plugin::module::given::{give, give_list, give_option, give_result, put, room, store};
use crate::plugin::module::passed::{Passed, number};
use crate::tls::{AlternativeNames, Certificate};

pub(super) const HTTP: &str = "weir:plugin/http@0.1.0";

type Change = fn(&mut Host, Which, &[u8], &[u8]) -> Done<Result<(), HeaderError>>;

pub(super) fn link(linker: &mut Linker<Host>) -> Done {
    either_head(linker, "request", Which::Request)?;
    either_head(linker, "response", Which::Response)?;
    request(linker)?;
    response(linker)
}

/// What requests and responses have alike.
fn either_head(linker: &mut Linker<Host>, kind: &str, which: Which) -> Done {
    linker.func_wrap(
        HTTP,
        &format!("[resource-drop]{kind}"),
        move |mut guest: Guest<'_>, head: u32| drop_handle(guest.data_mut(), head, which),
    )?;
    let name = |method: &str| format!("[method]{kind}.{method}");
    linker.func_wrap(
        HTTP,
        &name("header"),
        move |mut guest: Guest<'_>, head: u32, name: u32, len: u32, to: u32| -> Done {
            let (memory, host) = method(&mut guest, head, which)?;
            let name = Passed::of(memory).text(name, len)?;
            let value = host.header(which, name)?.cloned();
            give_value(&mut guest, to, value.as_ref())
        },
    )?;
    linker.func_wrap(
        HTTP,
        &name("header-values"),
        move |mut guest: Guest<'_>, head: u32, name: u32, len: u32, to: u32| -> Done {
            let (memory, host) = method(&mut guest, head, which)?;
            let name = Passed::of(memory).text(name, len)?;
            let values = host.headers(which)?.get_all(name).iter();
            let values: Vec<_> = values.cloned().collect();
            give_list(&mut guest, to, (values.len(), &values), |guest, value| {
                put(guest, value.as_bytes())
            })
        },
    )?;
    gives_fields(linker, &name("headers"), which)?;
    changes_field(linker, &name("set-header"), which, Host::set_header)?;
    changes_field(linker, &name("add-header"), which, Host::add_header)?;
    removes_field(linker, &name("remove-header"), which)?;
    let side = match which {
        Which::Request => Side::Request,
        Which::Response | Which::Chunk => Side::Response,
    };
    linker.func_wrap(
        HTTP,
        &name("body"),
        move |mut guest: Guest<'_>, head: u32, to: u32| -> Done {
            let (_, host) = method(&mut guest, head, which)?;
            let body = host.body(side)?;
            let body = body.as_deref().map_err(|error| *error as u8);
            give_result(&mut guest, to, body)
        },
    )?;
    linker.func_wrap(
        HTTP,
        &name("set-body"),
        move |mut guest: Guest<'_>, head: u32, body: u32, len: u32, to: u32| -> Done {
            let (memory, host) = method(&mut guest, head, which)?;
            let body = Passed::up_to(memory, host.body_limit()).bytes(body, len)?;
            let done = host.set_body(side, body)?;
            store(memory, to as usize, &body_result(done))
        },
    )?;
    linker.func_wrap(
        HTTP,
        &name("skip-body"),
        move |mut guest: Guest<'_>, head: u32| -> Done {
            method(&mut guest, head, which)?.1.skip_body()
        },
    )?;
    responds(linker, &name("respond"), which)?;
    responds_streamed(linker, &name("respond-streamed"), which)
}

/// A method that gives all fields.
pub(super) fn gives_fields(linker: &mut Linker<Host>, name: &str, which: Which) -> Done {
    linker.func_wrap(
        HTTP,
        name,
        move |mut guest: Guest<'_>, head: u32, to: u32| -> Done {
            let (_, host) = method(&mut guest, head, which)?;
            let fields = host.headers(which)?.clone();
            let fields = (fields.len(), &fields);
            give_list(&mut guest, to, fields, |guest, (name, value)| {
                let mut item = [0; 16];
                item[..8].copy_from_slice(&put(guest, name.as_str().as_bytes())?);
                item[8..].copy_from_slice(&put(guest, value.as_bytes())?);
                Ok(item)
            })
        },
    )?;
    Ok(())
}

/// A method that gives a field a value.
pub(super) fn changes_field(
    linker: &mut Linker<Host>,
    name: &str,
    which: Which,
    change: Change,
) -> Done {
    linker.func_wrap(
        HTTP,
        name,
        move |mut guest: Guest<'_>,
              head: u32,
              n: u32,
              n_len: u32,
              v: u32,
              v_len: u32,
              to: u32|
              -> Done {
            let (memory, host) = method(&mut guest, head, which)?;
            let passed = Passed::of(memory);
            let (name, value) = (passed.text_bytes(n, n_len)?, passed.text_bytes(v, v_len)?);
            let done = change(host, which, name, value)?;
            store(memory, to as usize, &header_result(done))
        },
    )?;
    Ok(())
}

/// A method that removes a field.
pub(super) fn removes_field(linker: &mut Linker<Host>, name: &str, which: Which) -> Done {
    linker.func_wrap(
        HTTP,
        name,
        move |mut guest: Guest<'_>, head: u32, name: u32, len: u32, to: u32| -> Done {
            let (memory, host) = method(&mut guest, head, which)?;
            let done = host.remove_header(which, Passed::of(memory).text_bytes(name, len)?)?;
            store(memory, to as usize, &header_result(done))
        },
    )?;
    Ok(())
}

/// A method that gives an answer instead of what there is.
pub(super) fn responds(linker: &mut Linker<Host>, name: &str, which: Which) -> Done {
    linker.func_wrap(
        HTTP,
        name,
        move |mut guest: Guest<'_>,
              head: u32,
              status: u32,
              list: u32,
              count: u32,
              body: u32,
              len: u32,
              to: u32|
              -> Done {
            let (memory, host) = method(&mut guest, head, which)?;
            let passed = Passed::of(memory);
            let fields = fields(&passed, (list, count))?;
            let body = passed.bytes(body, len)?;
            let done = host.respond(word(status), &fields, Some(body))?;
            store(memory, to as usize, &respond_result(done))
        },
    )?;
    Ok(())
}

/// A method that begins an answer whose body comes piece by piece.
pub(super) fn responds_streamed(linker: &mut Linker<Host>, name: &str, which: Which) -> Done {
    linker.func_wrap(
        HTTP,
        name,
        move |mut guest: Guest<'_>,
              head: u32,
              status: u32,
              list: u32,
              count: u32,
              to: u32|
              -> Done {
            let (memory, host) = method(&mut guest, head, which)?;
            let fields = fields(&Passed::of(memory), (list, count))?;
            let done = host.respond(word(status), &fields, None)?;
            store(memory, to as usize, &respond_result(done))
        },
    )?;
    Ok(())
}

/// `list<field>`.
fn fields<'m>(passed: &Passed<'m>, list: (u32, u32)) -> Done<Vec<(&'m str, &'m [u8])>> {
    passed.list(list, 4, |item: &[u8; 16]| {
        let name = passed.text(number(item, 0), number(item, 4))?;
        Ok((name, passed.bytes(number(item, 8), number(item, 12))?))
    })
}

/// A field's value, where there is one, as text.
fn give_value(guest: &mut Guest<'_>, to: u32, value: Option<&HeaderValue>) -> Done {
    let bytes = value.map(HeaderValue::as_bytes);
    if bytes.is_none_or(<[u8]>::is_ascii) {
        return give_option(guest, to, bytes);
    }
    let value = value.map(host::text);
    give_option(guest, to, value.as_deref().map(str::as_bytes))
}

/// `option<certificate>`: the discriminant, and from 4 three texts and four lists of texts.
fn give_certificate(guest: &mut Guest<'_>, to: u32, certificate: Option<&Certificate>) -> Done {
    let place = room::<60>(guest, to)?;
    let Some(certificate) = certificate else {
        return store(parts(guest)?.0, place, &[0]);
    };
    let Certificate {
        subject,
        issuer,
        sha256,
        alternative_names,
    } = certificate;
    let AlternativeNames {
        dns,
        uri,
        email,
        ip,
    } = alternative_names;
    // All of them within the room.
    for (text, at) in [subject, issuer, sha256].into_iter().zip([4, 12, 20]) {
        give(guest, to + at, text.as_bytes())?;
    }
    for (names, at) in [dns, uri, email, ip].into_iter().zip([28, 36, 44, 52]) {
        give_list(guest, to + at, (names.len(), names), |guest, name| {
            put(guest, name.as_bytes())
        })?;
    }
    store(parts(guest)?.0, place, &[1])
}

/// A `u16`, which is passed as 32 bits.
#[allow(clippy::cast_possible_truncation, reason = "so the ABI reads a u16")]
fn word(value: u32) -> u16 {
    value as u16
}

fn header_result(result: Result<(), HeaderError>) -> [u8; 2] {
    result.map_or_else(|error| [1, error as u8], |()| [0; 2])
}

pub(super) fn body_result(result: Result<(), BodyError>) -> [u8; 2] {
    result.map_or_else(|error| [1, error as u8], |()| [0; 2])
}

fn respond_result(result: Result<(), RespondError>) -> [u8; 3] {
    match result {
        Ok(()) => [0; 3],
        Err(RespondError::InvalidStatus) => [1, 0, 0],
        Err(RespondError::Header(error)) => [1, 1, error as u8],
        Err(RespondError::TooLarge) => [1, 2, 0],
        Err(RespondError::TooLate) => [1, 3, 0],
    }
}

/// A method that gives a text.
fn reads(
    linker: &mut Linker<Host>,
    which: Which,
    name: &str,
    read: fn(&mut Host) -> Done<String>,
) -> Done {
    linker.func_wrap(
        HTTP,
        name,
        move |mut guest: Guest<'_>, head: u32, to: u32| -> Done {
            let (_, host) = method(&mut guest, head, which)?;
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
    let authority: fn(&mut Host) -> Done<String> = |host| Ok(host.request()?.authority.clone());
    let scheme: fn(&mut Host) -> Done<String> = |host| Ok(host.scheme()?.to_owned());
    for (name, read) in [
        ("[method]request.method", method_of),
        ("[method]request.path", path_of),
        ("[method]request.scheme", scheme),
        ("[method]request.authority", authority),
        ("[method]request.client-address", Host::client_address),
    ] {
        reads(linker, Which::Request, name, read)?;
    }
    for (name, read) in [
        ("[method]response.request-method", method_of),
        ("[method]response.request-path", path_of),
    ] {
        reads(linker, Which::Response, name, read)?;
    }
    linker.func_wrap(
        HTTP,
        "[method]request.client-certificate",
        |mut guest: Guest<'_>, head: u32, to: u32| -> Done {
            let (_, host) = method(&mut guest, head, Which::Request)?;
            let certificate = host.client_certificate()?;
            give_certificate(&mut guest, to, certificate.as_deref())
        },
    )?;
    linker.func_wrap(
        HTTP,
        "[method]request.query",
        |mut guest: Guest<'_>, head: u32, to: u32| -> Done {
            let (_, host) = method(&mut guest, head, Which::Request)?;
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
            let (memory, host) = method(&mut guest, head, Which::Request)?;
            let passed = Passed::of(memory);
            let reroute = Reroute {
                authority: passed.option(is_authority, authority, authority_len)?,
                path_and_query: passed.option(is_path, path, path_len)?,
                upstream: passed.option(is_upstream, upstream, upstream_len)?,
            };
            let done = host.reroute(&reroute)?;
            let place = room::<16>(&mut guest, to)?;
            let mut result = [0; 16];
            match done {
                Ok(()) => {}
                Err(RerouteError::TooLate) => result[0] = 1,
                Err(RerouteError::Invalid(what)) => {
                    (result[0], result[4]) = (1, 1);
                    result[8..].copy_from_slice(&put(&mut guest, what.as_bytes())?);
                }
            }
            store(parts(&mut guest)?.0, place, &result)
        },
    )?;
    Ok(())
}

fn response(linker: &mut Linker<Host>) -> Done {
    linker.func_wrap(
        HTTP,
        "[method]response.status",
        |mut guest: Guest<'_>, head: u32| -> Done<u32> {
            let (_, host) = method(&mut guest, head, Which::Response)?;
            host.status().map(u32::from)
        },
    )?;
    linker.func_wrap(
        HTTP,
        "[method]response.set-status",
        |mut guest: Guest<'_>, head: u32, status: u32, to: u32| -> Done {
            let (memory, host) = method(&mut guest, head, Which::Response)?;
            let done = host.set_status(word(status))?;
            store(memory, to as usize, &respond_result(done))
        },
    )?;
    linker.func_wrap(
        HTTP,
        "[method]response.request-header",
        |mut guest: Guest<'_>, head: u32, name: u32, len: u32, to: u32| -> Done {
            let (memory, host) = method(&mut guest, head, Which::Response)?;
            let name = Passed::of(memory).text(name, len)?;
            let value = host.request_header(name)?.cloned();
            give_value(&mut guest, to, value.as_ref())
        },
    )?;
    Ok(())
}
