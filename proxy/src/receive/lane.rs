//! The way of one signal behind the receiver: its exporter, its bounds, and what it has done.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use indexmap::IndexMap;

use super::Protocol;
use crate::config::otlp::Otlp;
use crate::config::{self};
use crate::export::Exporters;
use crate::export::outlet::Outlet;
use crate::export::spool::{self, Spool};
use crate::export::status::{Fates, Status};
use crate::otlp::Signal;

/// What a message takes beside its payload: key, record headers, and the batch around it.
pub(super) const OVERHEAD: usize = 400;

/// See the module's documentation.
#[derive(Debug)]
pub struct Lane {
    pub signal: Signal,
    exporters: Arc<Exporters>,
    queue: Arc<Queue>,
    /// Records appended to the spool by this run, and those of earlier ones that it has to deliver.
    appended: AtomicU64,
}

/// What is held in memory now.
#[derive(Debug, Default)]
struct Queue {
    requests: AtomicU64,
    bytes: AtomicUsize,
}

/// A request's place in the queue, until it is dropped.
#[derive(Debug)]
pub struct Place {
    queue: Arc<Queue>,
    /// Whether it counts: it does once all of it is there, so that whoever sends slowly takes the
    /// place of nobody.
    counts: bool,
    bytes: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        let requests = &self.queue.requests;
        requests.fetch_sub(self.counts.into(), Relaxed);
        self.queue.bytes.fetch_sub(self.bytes, Relaxed);
    }
}

/// There is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Place {
    /// One in a queue of its own.
    #[cfg(test)]
    pub(super) fn alone() -> Self {
        Self::new(&Arc::default())
    }

    fn new(queue: &Arc<Queue>) -> Self {
        Self {
            queue: Arc::clone(queue),
            counts: false,
            bytes: 0,
        }
    }

    /// Takes room for so many bytes in all, if there is room.
    pub fn grow_to(&mut self, bytes: usize, limit: usize) -> Result<(), Full> {
        let more = bytes.saturating_sub(self.bytes);
        let held = self.queue.bytes.fetch_add(more, Relaxed);
        // One that is alone is served, however small the bound.
        if held > self.bytes && held + more > limit {
            self.queue.bytes.fetch_sub(more, Relaxed);
            return Err(Full);
        }
        self.bytes += more;
        Ok(())
    }
}

impl Lane {
    pub(super) fn start(
        config: &Otlp,
        signal: Signal,
        data_dir: Option<&Path>,
        claim: spool::Claim,
    ) -> Result<Self, spool::Error> {
        let folder = data_dir.map(|folder| folder.join("otlp").join(signal.as_str()));
        let spool = folder.map(|folder| Spool::open(&folder, &config.spool, claim));
        let spool = spool.transpose()?;
        let left = spool.as_ref().map(|spool| spool.undelivered(&name(signal)));
        let exporters = Exporters::start(&exporter(config, signal), spool);
        Ok(Self {
            signal,
            exporters: Arc::new(exporters),
            queue: Arc::default(),
            appended: AtomicU64::new(left.unwrap_or_default()),
        })
    }

    /// Delivers by another configuration from now on; what waits goes along, or is delivered as it
    /// was to be.
    pub(super) fn apply(&self, config: &Otlp) {
        self.exporters.apply(&exporter(config, self.signal));
    }

    pub(super) fn outlet(&self) -> Outlet {
        Outlet::new(Arc::clone(&self.exporters))
    }

    /// A place for one request more, if there is one among so many.
    pub(super) fn enter(&self, most: Option<u64>) -> Result<Place, Full> {
        let held = self.queue.requests.load(Relaxed);
        match most {
            Some(most) if held + self.spooled() >= most => Err(Full),
            _ => Ok(Place::new(&self.queue)),
        }
    }

    /// Counts a request that has come.
    pub(super) fn arrived(&self, place: &mut Place, most: Option<u64>) -> Result<(), Full> {
        let before = self.queue.requests.fetch_add(1, Relaxed);
        place.counts = true;
        match most {
            Some(most) if before + self.spooled() >= most => Err(Full),
            _ => Ok(()),
        }
    }

    /// Notes that a record of the spool waits for Kafka.
    pub(super) fn appended(&self) {
        self.appended.fetch_add(1, Relaxed);
    }

    /// About how many records wait in the spool.
    pub fn spooled(&self) -> u64 {
        let appended = self.appended.load(Relaxed);
        if appended == 0 {
            return 0;
        }
        let settled = self.status().map_or(0, |status| {
            let dropped = status.dropped.iter().map(|(_, count)| count);
            status.delivered + status.dead_letters() + dropped.sum::<u64>()
        });
        appended.saturating_sub(settled)
    }

    /// Requests and bytes in memory now.
    pub fn held(&self) -> (u64, u64) {
        (
            self.queue.requests.load(Relaxed),
            self.queue.bytes.load(Relaxed) as u64,
        )
    }

    /// How its exporter fares.
    pub fn status(&self) -> Option<Status> {
        self.exporters.status().pop()
    }

    /// What became of its messages that came by this protocol.
    pub fn fates(&self, protocol: Protocol) -> Option<Fates> {
        let fates = self.exporters.fates().pop()?;
        fates.get(usize::from(protocol.origin())).cloned()
    }

    /// How its spool fares, where there is one.
    pub fn spool(&self) -> Option<spool::Status> {
        self.exporters.spool()
    }

    pub(super) fn shutdown(&self, deadline: Instant) {
        self.exporters.shutdown(deadline);
    }
}

/// The one exporter of a signal, by its name.
fn exporter(config: &Otlp, signal: Signal) -> IndexMap<String, config::Exporter> {
    let kafka = config.destination(signal).kafka.clone();
    IndexMap::from([(name(signal), config::Exporter::Kafka(Box::new(kafka)))])
}

fn name(signal: Signal) -> String {
    format!("otlp-{}", signal.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_share_the_bytes_there_are() {
        let queue = Arc::default();
        let (mut first, mut second) = (Place::new(&queue), Place::new(&queue));
        assert_eq!(first.grow_to(60, 100), Ok(()));
        assert_eq!(second.grow_to(41, 100), Err(Full));
        assert_eq!(second.grow_to(40, 100), Ok(()));
        drop(first);
        assert_eq!(second.grow_to(100, 100), Ok(()));
        drop(second);
        assert_eq!(queue.bytes.load(Relaxed), 0);
        assert_eq!(queue.requests.load(Relaxed), 0);
    }

    #[test]
    fn one_request_is_never_too_large_for_the_queue() {
        let queue = Arc::default();
        let mut only = Place::new(&queue);
        assert_eq!(only.grow_to(50, 10), Ok(()));
        assert_eq!(only.grow_to(500, 10), Ok(()));
    }
}
