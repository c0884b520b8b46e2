//! Whether a connection is served at all: the listener's limit, and the PROXY protocol.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::TcpStream;

use super::Settings;
use crate::config::ListenerBalance;
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
        let open = &self.cells[self.worker].open;
        open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Place {
    /// Who is to serve the connection.
    pub fn worker(&self) -> usize {
        self.worker
    }
}

impl Settings {
    /// A place for a connection that `worker` has accepted: with that worker, or where they are to have
    /// equally many, of those with room with the one that has the fewest. `None` where there is none.
    pub fn admit(&self, worker: usize) -> Option<Place> {
        let workers = self.cells.len();
        let candidates = match self.balance {
            ListenerBalance::Kernel => 1,
            ListenerBalance::Exact => workers,
        };
        loop {
            let fewest = (worker..worker + candidates)
                .map(|index| index % workers)
                .map(|index| (index, self.cells[index].open.load(Ordering::Relaxed)))
                .filter(|(index, open)| *open < self.share(*index))
                // The first of equals: where it can be, a connection stays.
                .min_by_key(|(_, open)| *open);
            let Some((chosen, open)) = fewest else {
                self.refuse(worker, Refused::Limit);
                return None;
            };
            // Another worker may have chosen the same one meanwhile.
            let taken = self.cells[chosen].open.compare_exchange(
                open,
                open + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            if taken.is_ok() {
                return Some(Place {
                    cells: Arc::clone(&self.cells),
                    worker: chosen,
                });
            }
        }
    }

    /// Most connections of a worker. Where connections are passed on the shares add up to the limit;
    /// where they are not, each is rounded up.
    fn share(&self, worker: usize) -> u64 {
        let Some(most) = self.max_connections else {
            return u64::MAX;
        };
        let workers = self.cells.len() as u64;
        match self.balance {
            ListenerBalance::Kernel => most.div_ceil(workers),
            ListenerBalance::Exact => most / workers + u64::from((worker as u64) < most % workers),
        }
    }

    /// Finds out who the client is, by the PROXY protocol where the listener has it. False where the
    /// connection is not to be served.
    pub async fn identify(&self, stream: &mut TcpStream, client: &mut Client) -> bool {
        if !self.proxy_protocol {
            return true;
        }
        let worker = client.worker.index;
        let trusted = client.generation().config.clients.trusts(client.peer.ip());
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Http2, ListenerTimeouts};
    use crate::metrics::Metrics;

    fn settings(workers: usize, most: Option<u64>, balance: ListenerBalance) -> Settings {
        let second = Duration::from_secs(1);
        Settings {
            tls: None,
            http2: Http2 {
                enabled: true,
                max_streams: 100,
            },
            timeouts: ListenerTimeouts {
                handshake: second,
                head: second,
                body: second,
                send: second,
            },
            max_head_bytes: 8192,
            max_requests: u64::MAX,
            max_connections: most,
            balance,
            proxy_protocol: false,
            cells: Metrics::new(workers).listener(([127, 0, 0, 1], 0).into()),
        }
    }

    fn open(settings: &Settings) -> Vec<u64> {
        let cells = settings.cells.iter();
        cells.map(|one| one.open.load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn the_kernels_choice_stands() {
        let settings = settings(3, None, ListenerBalance::Kernel);
        let places: Vec<_> = (0..5).map(|_| settings.admit(1).unwrap()).collect();
        assert!(places.iter().all(|place| place.worker() == 1));
        assert_eq!(open(&settings), [0, 5, 0]);
        drop(places);
        assert_eq!(open(&settings), [0, 0, 0]);
    }

    #[test]
    fn the_worker_with_the_fewest_is_chosen_and_among_equals_that_which_accepted() {
        let settings = settings(3, None, ListenerBalance::Exact);
        let mut places: Vec<_> = (0..7).map(|_| settings.admit(1).unwrap()).collect();
        let workers: Vec<_> = places.iter().map(Place::worker).collect();
        assert_eq!(workers, [1, 2, 0, 1, 2, 0, 1]);
        assert_eq!(settings.admit(2).unwrap().worker(), 2);
        // Two of worker 0 end.
        places.retain(|place| place.worker() != 0);
        assert_eq!(settings.admit(1).unwrap().worker(), 0);
    }

    #[test]
    fn with_exact_balance_a_connection_is_refused_only_where_no_worker_has_a_place() {
        for (most, expected) in [(6, [2, 2, 2]), (7, [3, 2, 2]), (8, [3, 3, 2])] {
            let settings = settings(3, Some(most), ListenerBalance::Exact);
            let mut places: Vec<_> = (0..9).map_while(|_| settings.admit(2)).collect();
            assert_eq!(open(&settings), expected);
            assert_eq!(settings.cells[2].refused[Refused::Limit as usize].get(), 1);
            // Whoever leaves, there is a place again.
            for _ in 0..places.len() {
                drop(places.remove(0));
                places.push(settings.admit(1).unwrap());
            }
            assert_eq!(open(&settings), expected);
            assert!(settings.admit(1).is_none());
        }
    }

    #[test]
    fn with_the_kernels_choice_each_worker_has_its_share_rounded_up() {
        let settings = settings(3, Some(7), ListenerBalance::Kernel);
        let places: Vec<_> = (0..9).map_while(|_| settings.admit(1)).collect();
        assert_eq!(places.len(), 3);
        assert_eq!(open(&settings), [0, 3, 0]);
        assert!(settings.admit(2).is_some());
    }

    #[test]
    fn workers_that_choose_at_the_same_time_still_share_exactly() {
        let settings = settings(3, None, ListenerBalance::Exact);
        std::thread::scope(|scope| {
            for worker in 0..3 {
                let settings = &settings;
                scope.spawn(move || {
                    for _ in 0..1000 {
                        std::mem::forget(settings.admit(worker).unwrap());
                    }
                });
            }
        });
        assert_eq!(open(&settings), [1000, 1000, 1000]);
    }
}
