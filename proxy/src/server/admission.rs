//! Whether a connection is served at all: the listener's limit, and the PROXY protocol.

use std::sync::Arc;

use tokio::net::TcpStream;

use super::Settings;
use crate::exchange::Client;
use crate::listener::proxy_protocol::{self, Error};
use crate::metrics::ListenerCells;

/// Why a connection was closed before a request.
#[derive(Clone, Copy, Debug)]
pub enum Refused {
    Limit,
    /// It has to begin with a header of the PROXY protocol, and its peer is not trusted.
    Untrusted,
    Malformed,
    Timeout,
    /// Its peer left before the header's end.
    Closed,
}

impl Refused {
    pub const REASONS: [&'static str; 5] = [
        "limit",
        "proxy_untrusted",
        "proxy_malformed",
        "proxy_timeout",
        "proxy_closed",
    ];
}

/// A connection's place among those of its listener that its worker may have.
pub struct Place {
    cells: Arc<[ListenerCells]>,
    worker: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.cells[self.worker].open.dec();
    }
}

impl Settings {
    /// A place for one more connection; `None` where there is none.
    pub fn admit(&self, worker: usize) -> Option<Place> {
        let cells = &self.cells[worker];
        if self.share.is_some_and(|share| cells.open.get() >= share) {
            self.refuse(worker, Refused::Limit);
            return None;
        }
        cells.open.inc();
        Some(Place {
            cells: Arc::clone(&self.cells),
            worker,
        })
    }

    /// Finds out who the client is, by the PROXY protocol where the listener has it. False where the
    /// connection is not to be served.
    pub async fn identify(&self, stream: &mut TcpStream, client: &mut Client) -> bool {
        if !self.proxy_protocol {
            return true;
        }
        let worker = client.worker.index;
        let trusted = client
            .worker
            .generation()
            .config
            .clients
            .trusts(client.peer.ip());
        if !trusted {
            self.refuse(worker, Refused::Untrusted);
            return false;
        }
        match proxy_protocol::read(stream).await {
            Ok(None) => true,
            Ok(Some(named)) => {
                client.name(named);
                true
            }
            Err(error) => {
                tracing::debug!(peer = %client.peer, %error, "connection refused");
                self.refuse(
                    worker,
                    match error {
                        Error::Malformed => Refused::Malformed,
                        Error::Timeout => Refused::Timeout,
                        Error::Closed => Refused::Closed,
                    },
                );
                false
            }
        }
    }

    fn refuse(&self, worker: usize, why: Refused) {
        self.cells[worker].refused[why as usize].inc();
    }
}
