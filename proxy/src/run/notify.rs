//! Tells a service manager how the process fares (`sd_notify`), where there is one that listens.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// All listeners accept.
pub(super) fn ready() {
    tell("READY=1\n");
}

/// Another process is the service now.
pub(super) fn main_process(id: u32) {
    tell(&format!("MAINPID={id}\n"));
}

/// The process drains.
pub(super) fn stopping() {
    tell("STOPPING=1\n");
}

/// Never fails: a service manager that does not listen is none.
fn tell(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&path),
    };
    let sent =
        UnixDatagram::unbound().and_then(|socket| socket.send_to_addr(state.as_bytes(), &address?));
    if let Err(error) = sent {
        tracing::debug!(%error, "cannot notify the service manager");
    }
}
