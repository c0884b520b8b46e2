//! 1 — Listening sockets: one a worker and address (`SO_REUSEPORT`), so that the kernel spreads
//! connections and workers share nothing. With `balance: exact` whoever has accepted a connection
//! passes it on to the worker with the fewest.

pub mod descriptors;
pub mod drain;
mod local;
pub mod proxy_protocol;
pub mod sockets;

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::app::generation::Generation;
use crate::config;
use crate::exchange::Client;
use crate::server::Settings;
use crate::server::admission::Place;
use crate::worker::Worker;

pub use local::Local;

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

/// Wait after an accept that failed for want of memory, or of descriptors of the whole machine.
pub const BACK_OFF: Duration = Duration::from_millis(50);

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Fails where another process listens: by sockets like those of [`bind`], two would share an address,
/// and neither would know.
pub fn is_free(address: SocketAddr) -> io::Result<()> {
    socket(address)?.bind(&address.into())
}

/// As [`is_free`], for a process that may have sockets of its own there: a reload goes from an address to
/// one that overlaps, and what an earlier one removed some worker may not have closed yet.
pub fn is_free_of_others(address: SocketAddr) -> io::Result<()> {
    match is_free(address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if others_listen(address.port()) {
                Err(error)
            } else {
                Ok(())
            }
        }
        verdict => verdict,
    }
}

/// Whether the kernel knows a socket that listens on this port and is none of this process.
fn others_listen(port: u16) -> bool {
    let own = own_sockets();
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    let tables = tables.map(|table| std::fs::read_to_string(table).unwrap_or_default());
    let mut listening = tables.iter().flat_map(|table| listening(table, port));
    listening.any(|inode| !own.contains(inode))
}

/// Inodes of the sockets that listen on a port, by a table such as `/proc/net/tcp`.
fn listening(table: &str, port: u16) -> impl Iterator<Item = &str> {
    const LISTEN: &str = "0A";
    let port = format!(":{port:04X}");
    table.lines().filter_map(move |line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, _, _, inode, ..] = fields.as_slice() else {
            return None;
        };
        (local.ends_with(&port) && *state == LISTEN).then_some(*inode)
    })
}

/// Inodes of this process's sockets.
fn own_sockets() -> HashSet<String> {
    let descriptors = std::fs::read_dir("/proc/self/fd");
    let inode = |descriptor: std::fs::DirEntry| {
        let link = std::fs::read_link(descriptor.path()).ok()?;
        let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        Some(inode.to_owned())
    };
    let descriptors = descriptors.into_iter().flatten().flatten();
    descriptors.filter_map(inode).collect()
}

/// One socket for each worker on the same address. A port of 0 becomes the same free port for all.
/// `sockets` are there already: none of them is left out, for the kernel would reset what waits in it.
pub fn bind(
    address: SocketAddr,
    workers: usize,
    mut sockets: Vec<std::net::TcpListener>,
) -> io::Result<Vec<std::net::TcpListener>> {
    while sockets.len() < workers {
        let address = match sockets.first() {
            Some(first) => first.local_addr()?,
            None => address,
        };
        let socket = socket(address)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        sockets.push(socket.into());
    }
    Ok(sockets)
}

/// A connection on its way from the worker that accepted it to the one that serves it.
pub struct Passed {
    id: Id,
    stream: std::net::TcpStream,
    peer: SocketAddr,
    /// One that has the listener.
    generation: Arc<Generation>,
    settings: Arc<Settings>,
    place: Place,
}

impl Passed {
    /// Serves it.
    pub fn arrive(self, worker: &Rc<Worker>) {
        match TcpStream::from_std(self.stream) {
            Ok(stream) => {
                let local = stream.local_addr().unwrap_or(self.id.address);
                let listener = worker.listener(self.id, &self.generation);
                let client = Client::new(Rc::clone(worker), listener, self.peer, local);
                worker.spawn_connection(stream, client, self.settings, self.place);
            }
            Err(error) => tracing::warn!(%error, "cannot serve what another worker accepted"),
        }
    }
}

/// Accepts until `stop` comes or its sender is gone, then what waits to be accepted; each connection
/// is a task.
pub async fn accept(
    worker: Rc<Worker>,
    id: Id,
    listener: std::net::TcpListener,
    stop: oneshot::Receiver<()>,
) {
    let generation = worker.generation();
    if generation.listener(id).is_none() {
        return;
    }
    let acceptor = Acceptor {
        listener: worker.listener(id, generation.shared()),
        worker,
    };
    // It is not to be kept for as long as this accepts.
    drop(generation);
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, address = %id.address, "cannot listen");
            return;
        }
    };
    tokio::select! {
        biased;
        _ = stop => {}
        () = acceptor.accept(&listener) => {}
    }
    match listener.into_std() {
        Ok(listener) => {
            let serve = |stream, peer| acceptor.serve(stream, peer);
            if let Err(error) = accept_waiting(&listener, serve).await {
                tracing::warn!(%error, address = %id.address, "cannot accept what waits");
            }
        }
        Err(error) => tracing::warn!(%error, address = %id.address, "cannot stop in order"),
    }
}

/// Accepts what the kernel has let in already; it would reset it with the socket's end.
pub async fn accept_waiting(
    listener: &std::net::TcpListener,
    mut serve: impl FnMut(TcpStream, SocketAddr),
) -> io::Result<()> {
    // No more than that waited; who connects all the time does not keep the socket open.
    for _ in 0..BACKLOG {
        descriptors::room().await;
        let accepted = listener.accept().and_then(|(stream, peer)| {
            stream.set_nonblocking(true)?;
            Ok((TcpStream::from_std(stream)?, peer))
        });
        match accepted {
            Ok((stream, peer)) => serve(stream, peer),
            Err(error) if is_connections(&error) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

struct Acceptor {
    worker: Rc<Worker>,
    listener: Rc<Local>,
}

impl Acceptor {
    /// Accepts for ever.
    async fn accept(&self, listener: &TcpListener) {
        let mut fails = false;
        loop {
            descriptors::room().await;
            match listener.accept().await {
                Ok((stream, peer)) => {
                    fails = false;
                    self.serve(stream, peer);
                }
                Err(error) if is_connections(&error) => {}
                Err(error) => {
                    if !std::mem::replace(&mut fails, true) {
                        let address = self.listener.id().address;
                        tracing::warn!(%error, %address, "cannot accept");
                    }
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        // Fails only on a connection that is gone already.
        let _ = stream.set_nodelay(true);
        let Self { worker, listener } = self;
        let generation = listener.generation(worker);
        let settings = listener.of(&generation).server();
        worker.cells().accepted.inc();
        let Some(place) = settings.admit(worker.index) else {
            return;
        };
        if place.worker() == worker.index {
            let local = stream.local_addr().unwrap_or(listener.id().address);
            let client = Client::new(Rc::clone(worker), Rc::clone(listener), peer, local);
            worker.spawn_connection(stream, client, settings, place);
            return;
        }
        let passed = stream.into_std().map(|stream| Passed {
            id: listener.id(),
            stream,
            peer,
            generation: Arc::clone(generation.shared()),
            settings,
            place,
        });
        match passed.map(|passed| worker.pass(passed.place.worker(), passed)) {
            Ok(Ok(())) => {}
            Ok(Err(passed)) => passed.arrive(worker),
            Err(error) => tracing::warn!(%error, "cannot pass a connection to another worker"),
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
