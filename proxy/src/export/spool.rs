//! The spool: where finished traces stand on the disk from before their response ends until Kafka
//! has acknowledged them. A process that is killed loses none of them.
//!
//! - [`writer`]: a worker appends records to segments of its own ([`record`], [`segment`]).
//! - [`reader`]: an exporter reads all streams ([`walk`]); what is acknowledged ([`ledger`]) moves
//!   its [`cursor`], and what all cursors have passed is removed ([`store`]).
//! - [`keeper`]: lays out segments ahead and syncs them, off the workers' threads.
//! - [`folder`]: what a start finds. Each run of Weir is a folder of its own that no other run
//!   appends to, so that the number of workers may change, and a torn end is just an end.
//!
//! The folder is the truth: there is no index, and nothing in a file is believed without its
//! checksum. Everything goes through [`files`], so that tests can break it.

mod complaints;
mod cursor;
mod files;
mod folder;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod keeper;
mod ledger;
mod reader;
mod record;
mod segment;
mod store;
#[cfg(any(test, fuzzing))]
#[allow(
    clippy::unwrap_used,
    dead_code,
    reason = "it is for tests, and the fuzz targets ask for some of it only"
)]
mod testing;
#[cfg(test)]
mod tests;
mod walk;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config;
use files::Disk;
pub use folder::Claim;
use keeper::Keeper;

pub(super) use ledger::Ledger;
pub(super) use reader::Reader;
pub(super) use store::Store;
use walk::Walk;
pub use writer::Hold;
pub(super) use writer::Writer;

/// Why there is no spool.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "`data_dir`: {} is in use by {owner}: stop it, or give this one a folder of its own",
        folder.display()
    )]
    InUse { folder: PathBuf, owner: String },
    #[error("`data_dir`: cannot use {}: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("cannot start the spool's thread: {0}")]
    Thread(#[source] io::Error),
}

/// The spool at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Bytes of the disk that segments take.
    pub bytes: u64,
    pub max_bytes: u64,
    /// Bytes of one segment.
    pub segment_bytes: u64,
    /// Records of this run that could not be synced: a power cut may take them.
    pub unsynced: u64,
    /// What the disk did not do lately.
    pub problem: Option<String>,
}

impl Status {
    /// Whether there is no room for another segment.
    pub fn is_full(&self) -> bool {
        self.bytes + self.segment_bytes > self.max_bytes
    }
}

/// The spool of this process.
#[derive(Debug)]
pub struct Spool {
    store: Arc<Store>,
    keeper: Keeper,
}

impl Spool {
    /// Takes over the spool in a data folder, with what earlier runs left there.
    pub fn open(data_dir: &Path, options: &config::Spool, claim: Claim) -> Result<Self, Error> {
        let (store, nudged) = Store::open(Arc::new(Disk), data_dir, options.clone(), claim)?;
        let keeper = Keeper::start(store.clone(), nudged).map_err(Error::Thread)?;
        Ok(Self { store, keeper })
    }

    /// Syncs what was appended. To be called once nothing more is.
    pub(super) fn close(&self) {
        self.keeper.end();
    }

    pub fn status(&self) -> Status {
        self.store.status()
    }

    /// How many records of earlier runs an exporter has still to deliver. To be asked before it begins.
    pub fn undelivered(&self, exporter: &str) -> u64 {
        let Some(cursor) = self.store.cursor(exporter) else {
            // It is new, and gets none of them.
            return 0;
        };
        let streams = self.store.streams().into_iter();
        let earlier = streams.filter(|stream| stream.has_ended());
        earlier
            .map(|stream| match cursor.position(stream.key) {
                u64::MAX => 0,
                position => Walk::count(stream, position, &*self.store.files),
            })
            .sum()
    }

    pub(super) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// A stream of a worker's own.
    pub(super) fn writer(&self) -> Writer {
        Writer::new(self.store.clone())
    }
}
