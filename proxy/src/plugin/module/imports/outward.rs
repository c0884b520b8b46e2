//! The imports of the interface `http-client`.
//!
//! `send` is a future. The guest may not be called while it is polled, its allocator neither: so it
//! gives a number, and what lies behind that is asked for by functions that are no futures.

use wasmtime::Linker;

use super::Guest;
use crate::plugin::host::{Asked, Host, text};
use crate::plugin::module::abi::{Done, may_leave, parts};
use crate::plugin::module::given::{give, give_list, give_option, put, room, store};
use crate::plugin::module::passed::{Passed, number};

const HTTP_CLIENT: &str = "weir:plugin/http-client@0.1.0";

/// Parameters of `send`, as they are flattened: places and lengths of the upstream's name, of the
/// method, of the path, of the list of fields and of the body; the time; where the result goes.
type Params = (u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32);

pub(super) fn link(linker: &mut Linker<Host>) -> Done {
    linker.func_wrap(
        HTTP_CLIENT,
        "may-call",
        |mut guest: Guest<'_>, name: u32, len: u32| -> Done<u32> {
            let (memory, host) = parts(&mut guest)?;
            Ok(host.may_call(Passed::of(memory).text(name, len)?).into())
        },
    )?;
    linker.func_wrap_async(
        HTTP_CLIENT,
        "send",
        |mut guest: Guest<'_>, params: Params| {
            Box::new(async move { send(&mut guest, params).await })
        },
    )?;
    linker.func_wrap(
        HTTP_CLIENT,
        "[resource-drop]reply",
        |mut guest: Guest<'_>, reply: u32| -> Done {
            may_leave(guest.data())?;
            guest.data_mut().drop_reply(reply);
            Ok(())
        },
    )?;
    linker.func_wrap(
        HTTP_CLIENT,
        "[method]reply.status",
        |mut guest: Guest<'_>, reply: u32| -> Done<u32> {
            let (_, host) = parts(&mut guest)?;
            Ok(host.reply(reply)?.status.as_u16().into())
        },
    )?;
    linker.func_wrap(
        HTTP_CLIENT,
        "[method]reply.header",
        |mut guest: Guest<'_>, reply: u32, name: u32, len: u32, to: u32| -> Done {
            let (memory, host) = parts(&mut guest)?;
            let name = Passed::of(memory).text(name, len)?;
            let value = host.reply(reply)?.headers.get(name).cloned();
            let value = value.as_ref().map(text);
            give_option(&mut guest, to, value.as_ref().map(|text| text.as_bytes()))
        },
    )?;
    linker.func_wrap(
        HTTP_CLIENT,
        "[method]reply.headers",
        |mut guest: Guest<'_>, reply: u32, to: u32| -> Done {
            let (_, host) = parts(&mut guest)?;
            let fields = host.reply(reply)?.headers.clone();
            give_list(
                &mut guest,
                to,
                (fields.len(), &fields),
                |guest, (name, value)| {
                    let mut item = [0; 16];
                    item[..8].copy_from_slice(&put(guest, name.as_str().as_bytes())?);
                    item[8..].copy_from_slice(&put(guest, value.as_bytes())?);
                    Ok(item)
                },
            )
        },
    )?;
    linker.func_wrap(
        HTTP_CLIENT,
        "[method]reply.body",
        |mut guest: Guest<'_>, reply: u32, to: u32| -> Done {
            let (_, host) = parts(&mut guest)?;
            let body = host.reply(reply)?.body.clone();
            give(&mut guest, to, &body)
        },
    )?;
    Ok(())
}

async fn send(guest: &mut Guest<'_>, params: Params) -> Done {
    let (
        upstream,
        upstream_len,
        method,
        method_len,
        path,
        path_len,
        fields,
        count,
        body,
        body_len,
        timeout_ms,
        to,
    ) = params;
    let place = room::<8>(guest, to)?;
    // Nothing of the guest's memory is held while it waits.
    let begun = {
        let (memory, host) = parts(guest)?;
        let passed = Passed::up_to(memory, host.body_limit().saturating_add(64 << 10));
        let headers = passed.list((fields, count), 4, |item: &[u8; 16]| {
            let name = passed.text(number(item, 0), number(item, 4))?;
            Ok((name, passed.bytes(number(item, 8), number(item, 12))?))
        })?;
        let begun = host.send(&Asked {
            upstream: passed.text(upstream, upstream_len)?,
            method: passed.text(method, method_len)?,
            path_and_query: passed.text(path, path_len)?,
            headers: &headers,
            body: passed.bytes(body, body_len)?,
            timeout_ms,
        })?;
        begun.map(|()| host.desk())
    };
    let result = match begun {
        Ok(desk) => {
            let made = desk.made().await;
            parts(guest)?.1.sent(made)?
        }
        Err(error) => Err(error),
    };
    let mut bytes = [0; 8];
    match result {
        Ok(reply) => bytes[4..].copy_from_slice(&reply.to_le_bytes()),
        Err(error) => (bytes[0], bytes[4]) = (1, error as u8),
    }
    store(parts(guest)?.0, place, &bytes)
}
