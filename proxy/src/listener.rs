//! 1 — Listening sockets: one a worker and address (`SO_REUSEPORT`), so that the kernel spreads
//! connections and workers share nothing.

pub mod drain;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::config;
use crate::exchange::Client;
use crate::worker::Worker;

/// A listener over reloads: its configured address and, because port 0 may be written several
/// times, which of those with this address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id {
    pub address: SocketAddr,
    nth: usize,
}

/// Each listener's id, in the order of the configuration.
pub fn ids(listeners: &[config::Listener]) -> impl Iterator<Item = Id> {
    listeners.iter().enumerate().map(|(index, listener)| Id {
        address: listener.address,
        nth: listeners[..index]
            .iter()
            .filter(|before| before.address == listener.address)
            .count(),
    })
}

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// Wait after an accept that failed for want of descriptors or memory.
const BACK_OFF: Duration = Duration::from_millis(50);

/// One socket for each worker on the same address. A port of 0 becomes the same free port for all.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<std::net::TcpListener>> {
    let mut sockets: Vec<std::net::TcpListener> = Vec::with_capacity(workers);
    for _ in 0..workers {
        let address = match sockets.first() {
            Some(first) => first.local_addr()?,
            None => address,
        };
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        sockets.push(socket.into());
    }
    Ok(sockets)
}

/// Accepts until the worker drains or the listener is closed; each connection is a task.
pub async fn accept(worker: Rc<Worker>, id: Id, listener: std::net::TcpListener) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, address = %id.address, "cannot listen");
            return;
        }
    };
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Fails only on a connection that is gone already.
                let _ = stream.set_nodelay(true);
                let client = Client {
                    worker: Rc::clone(&worker),
                    listener: id,
                    peer,
                };
                worker.spawn_connection(stream, client);
            }
            Err(error) if is_connections(&error) => {}
            Err(error) => {
                tracing::warn!(%error, address = %id.address, "cannot accept");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// Whether an error of accept concerns the one connection only.
fn is_connections(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}
