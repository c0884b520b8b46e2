//! The sockets that an app listens on: bound or inherited, shared out over the workers, and kept for a
//! process that takes over.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use super::{App, Error};
use crate::config::Config;
use crate::listener;
use crate::listener::sockets::{self, Sockets};
use crate::receive::Door;
use crate::worker::Command;

/// An open listener.
pub(super) struct Bound {
    pub(super) address: SocketAddr,
    /// Those of the workers, for the process that may take over.
    pub(super) sockets: Vec<TcpListener>,
}

impl App {
    /// Where listeners are bound; nothing while a reload is under way.
    pub fn bound(&self) -> Vec<SocketAddr> {
        let listening = self.listening.try_lock();
        let addresses = |all: &HashMap<_, Bound>| all.values().map(|one| one.address).collect();
        listening.map_or_else(|_| Vec::new(), |all| addresses(&all))
    }

    /// The sockets of all listeners, for the process that is to take over.
    pub async fn sockets(&self) -> io::Result<Sockets> {
        let mut sockets = Sockets::default();
        for (id, bound) in &*self.listening.lock().await {
            sockets.add(id.name(), &bound.sockets)?;
        }
        for (name, doors) in self.doors().iter() {
            sockets.add(name.to_owned(), doors)?;
        }
        Ok(sockets)
    }

    pub(super) fn listen(
        &self,
        listening: &mut HashMap<listener::Id, Bound>,
        id: listener::Id,
        sockets: Vec<TcpListener>,
    ) {
        let address = sockets
            .first()
            .and_then(|socket| socket.local_addr().ok())
            .unwrap_or(id.address);
        let mut bound = Sockets::default();
        if let Err(error) = bound.add(id.name(), &sockets) {
            tracing::warn!(%error, %address, "a process that takes over will not have this listener");
        }
        // There are more than workers where the process before had more of these.
        for (worker, socket) in self.workers().iter().cycle().zip(sockets) {
            worker.tell(Command::Listen(id, socket));
        }
        let sockets = bound.take(&id.name());
        listening.insert(id, Bound { address, sockets });
        tracing::info!(%address, "listening");
    }

    pub(super) fn receive(&self, door: Door, name: String, sockets: Vec<TcpListener>) {
        let Some(receiver) = &self.receiver else {
            return;
        };
        let bound = sockets.first().map(TcpListener::local_addr);
        if let Err(error) = self.doors().add(name, &sockets) {
            tracing::warn!(%error, "a process that takes over will not receive OTLP");
        }
        for (worker, socket) in self.workers().iter().cycle().zip(sockets) {
            worker.tell(Command::Receive(Arc::clone(receiver), door, socket));
        }
        if let Some(Ok(bound)) = bound {
            tracing::info!(address = %bound, protocol = door.as_str(), "receiving OTLP");
        }
    }
}

/// `index` is the listener's in the configuration.
pub(super) fn bind(
    index: usize,
    id: listener::Id,
    workers: usize,
    before: Vec<TcpListener>,
) -> Result<Vec<TcpListener>, Error> {
    listener::bind(id.address, workers, before).map_err(cannot(listener_key(index), id.address))
}

/// As [`bind`], of a listener that a reload adds: where another process listens it fails, as a start does.
pub(super) fn bind_anew(
    index: usize,
    id: listener::Id,
    workers: usize,
) -> Result<Vec<TcpListener>, Error> {
    let free = listener::is_free_of_others(id.address);
    free.map_err(cannot(listener_key(index), id.address))?;
    bind(index, id, workers, Vec::new())
}

/// Fails where somebody listens already on an address of the configuration.
pub(super) fn are_free(config: &Config) -> Result<(), Error> {
    let listeners = config.listeners.iter().enumerate();
    let listeners = listeners.map(|(index, one)| (listener_key(index), one.address));
    let doors = places(config).map(|(door, address)| (door_key(door), address));
    for (key, address) in listeners.chain(doors) {
        listener::is_free(address).map_err(cannot(key, address))?;
    }
    Ok(())
}

/// Where a listener's address stands in the configuration.
pub(super) fn listener_key(index: usize) -> String {
    format!("listeners[{index}].address")
}

fn door_key(door: Door) -> String {
    format!("receivers.otlp.{}.address", door.as_str())
}

fn cannot(key: String, address: SocketAddr) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Bind {
        key,
        address,
        source,
    }
}

/// Where OTLP is received.
fn places(config: &Config) -> impl Iterator<Item = (Door, SocketAddr)> {
    let otlp = config.otlp.as_ref();
    let grpc = otlp.and_then(|otlp| Some((Door::Grpc, otlp.grpc.as_ref()?.address)));
    let http = otlp.and_then(|otlp| Some((Door::Http, otlp.http.as_ref()?.address)));
    grpc.into_iter().chain(http)
}

/// The sockets of the OTLP receiver, with the names of their places.
pub(super) fn doors(
    config: &Config,
    inherited: &mut Sockets,
) -> Result<Vec<(Door, String, Vec<TcpListener>)>, Error> {
    let bound = places(config).map(|(door, address)| {
        let name = sockets::otlp(address);
        let before = inherited.take(&name);
        let sockets = listener::bind(address, config.workers.get(), before);
        let sockets = sockets.map_err(cannot(door_key(door), address))?;
        Ok((door, name, sockets))
    });
    bound.collect()
}
