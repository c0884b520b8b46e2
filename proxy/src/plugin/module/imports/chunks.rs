//! The imports of the interface `http`: methods of the pieces of a body.

use wasmtime::Linker;

use super::Guest;
use super::heads::{
    HTTP, body_result, changes_field, gives_fields, removes_field, responds, responds_streamed,
};
use crate::plugin::host::{Host, Which};
use crate::plugin::module::abi::{Done, drop_handle, method};
use crate::plugin::module::given::{give, store};
use crate::plugin::module::passed::Passed;

const CHUNK: Which = Which::Chunk;

pub(super) fn link(linker: &mut Linker<Host>) -> Done {
    linker.func_wrap(
        HTTP,
        "[resource-drop]chunk",
        |mut guest: Guest<'_>, chunk: u32| drop_handle(guest.data_mut(), chunk, CHUNK),
    )?;
    linker.func_wrap(
        HTTP,
        "[method]chunk.data",
        |mut guest: Guest<'_>, chunk: u32, to: u32| -> Done {
            let data = method(&mut guest, chunk, CHUNK)?.1.chunk()?.data.clone();
            give(&mut guest, to, &data)
        },
    )?;
    linker.func_wrap(
        HTTP,
        "[method]chunk.len",
        |mut guest: Guest<'_>, chunk: u32| -> Done<u32> {
            Ok(method(&mut guest, chunk, CHUNK)?.1.chunk()?.size())
        },
    )?;
    linker.func_wrap(
        HTTP,
        "[method]chunk.is-last",
        |mut guest: Guest<'_>, chunk: u32| -> Done<u32> {
            let (_, host) = method(&mut guest, chunk, CHUNK)?;
            Ok(u32::from(host.chunk()?.last))
        },
    )?;
    linker.func_wrap(
        HTTP,
        "[method]chunk.write",
        |mut guest: Guest<'_>, chunk: u32, bytes: u32, len: u32, to: u32| -> Done {
            let (memory, host) = method(&mut guest, chunk, CHUNK)?;
            let bytes = Passed::up_to(memory, host.body_limit()).bytes(bytes, len)?;
            let done = host.write_chunk(bytes)?;
            store(memory, to as usize, &body_result(done))
        },
    )?;
    gives_fields(linker, "[method]chunk.trailers", CHUNK)?;
    changes_field(linker, "[method]chunk.set-trailer", CHUNK, Host::set_header)?;
    removes_field(linker, "[method]chunk.remove-trailer", CHUNK)?;
    responds(linker, "[method]chunk.respond", CHUNK)?;
    responds_streamed(linker, "[method]chunk.respond-streamed", CHUNK)
}
