//! Who still needs what of the streams: each exporter's cursor, saved, and what all cursors have passed,
//! removed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::{Store, is_full};
use crate::export::spool::cursor::{self, Cursor};
use crate::export::spool::folder;
use crate::export::spool::segment::{Key, Stream};
use crate::lock::lock;

/// An exporter that needs what is before its cursor no more.
#[derive(Debug)]
pub(super) struct Holder {
    /// Of the reader that moves it.
    epoch: u64,
    /// Where it is, as last heard.
    saved: Cursor,
    /// As a power cut leaves it.
    synced: Cursor,
}

impl Holder {
    pub(super) fn at(cursor: Cursor) -> Self {
        Self {
            epoch: 0,
            saved: cursor.clone(),
            synced: cursor,
        }
    }
}

impl Store {
    /// Where an exporter is to go on: at its cursor, or at the tail where it is new. What it saves
    /// is taken only with this epoch.
    pub(in crate::export::spool) fn register(&self, exporter: &str) -> (u64, Cursor) {
        let epoch = self.epochs.fetch_add(1, Ordering::Relaxed) + 1;
        let mut holders = lock(&self.holders);
        if let Some(holder) = holders.get_mut(exporter) {
            holder.epoch = epoch;
            return (epoch, holder.saved.clone());
        }
        let mut cursor = Cursor::at(self.generation);
        for stream in self.streams() {
            if stream.key.generation == self.generation {
                cursor.set(stream.key, stream.next());
            }
        }
        if let Err(error) = self.write_cursor(exporter, &cursor, true) {
            self.fail("cannot save", &self.cursor_path(exporter), &error);
        }
        let holder = Holder {
            epoch,
            saved: cursor.clone(),
            synced: cursor.clone(),
        };
        holders.insert(exporter.to_owned(), holder);
        (epoch, cursor)
    }

    /// Forgets about all exporters but these: they hold nothing back.
    pub(in crate::export) fn retain(&self, exporters: Vec<String>) {
        // Looked at under the lock, for the end of the wait takes what has come until then.
        let mut retained = lock(&self.retained);
        if self.waits() {
            *retained = Some(exporters);
            return;
        }
        drop(retained);
        let mut holders = lock(&self.holders);
        holders.retain(|exporter, holder| {
            let stays = exporters.contains(exporter);
            if !stays {
                self.say_forgotten(exporter, &holder.saved);
                self.remove_cursor(exporter);
            }
            stays
        });
        drop(holders);
        self.release();
    }

    /// Forgets about one exporter, unless another reader has taken over.
    pub(in crate::export::spool) fn forget(&self, exporter: &str, epoch: u64) {
        let mut holders = lock(&self.holders);
        if holders
            .get(exporter)
            .is_some_and(|holder| holder.epoch == epoch)
        {
            let holder = holders.remove(exporter);
            drop(holders);
            if let Some(holder) = holder {
                self.say_forgotten(exporter, &holder.saved);
            }
            self.remove_cursor(exporter);
            self.release();
        }
    }

    /// Says what an exporter that is no longer configured leaves undelivered: how many traces of this
    /// run, and whether there are some of earlier ones, whose number is not known.
    fn say_forgotten(&self, exporter: &str, cursor: &Cursor) {
        let (mut traces, mut earlier) = (0, false);
        for stream in self.streams() {
            let position = cursor.position(stream.key);
            if stream.key.generation == self.generation {
                traces += stream.next().saturating_sub(position);
            } else {
                earlier |= stream.appended(position).is_some();
            }
        }
        let message = "no longer configured: its place in the spool is forgotten";
        if traces > 0 || earlier {
            tracing::error!(
                exporter,
                undelivered = traces,
                of_earlier_runs = earlier,
                message
            );
        } else {
            tracing::info!(exporter, message);
        }
    }

    fn remove_cursor(&self, exporter: &str) {
        let path = self.cursor_path(exporter);
        if let Err(error) = self.files.remove(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            self.fail("cannot remove", &path, &error);
        }
    }

    /// Saves a cursor, and removes what nobody needs any more. Before a segment goes, the cursor is
    /// on the disk; otherwise it is only where `sync` asks for it. Says whether it is.
    pub(in crate::export::spool) fn save(
        &self,
        exporter: &str,
        epoch: u64,
        cursor: &mut Cursor,
        sync: bool,
    ) -> io::Result<bool> {
        let streams = self.streams();
        let earliest = streams.iter().map(|stream| stream.key.generation).min();
        cursor.prune(earliest.unwrap_or(self.generation).min(self.generation));
        let frees = {
            let mut holders = lock(&self.holders);
            let Some(holder) = holders.get_mut(exporter).filter(|one| one.epoch == epoch) else {
                // Another reader took over, or the exporter is gone.
                return Ok(true);
            };
            holder.saved = cursor.clone();
            streams.iter().any(|stream| {
                let below = below(&holders, stream.key, |holder| &holder.saved);
                stream.would_release(self.bounded(stream, below))
            })
        };
        let sync = sync || frees;
        self.write_cursor(exporter, cursor, sync)?;
        if sync {
            if let Some(holder) = lock(&self.holders).get_mut(exporter) {
                holder.synced = cursor.clone();
            }
            self.release();
        }
        Ok(sync)
    }

    /// Removes what all exporters have delivered.
    fn release(&self) {
        let mut released = Vec::new();
        {
            let holders = lock(&self.holders);
            for stream in self.streams() {
                let below = below(&holders, stream.key, |holder| &holder.synced);
                let below = self.bounded(&stream, below);
                released.extend(std::iter::from_fn(|| stream.release(below)));
            }
        }
        for segment in released {
            self.remove_segment(&segment.path, segment.size);
        }
        self.remove_runs();
    }

    /// Of this run nothing goes that was not appended yet.
    fn bounded(&self, stream: &Stream, below: u64) -> u64 {
        if stream.key.generation == self.generation {
            below.min(stream.next())
        } else {
            below
        }
    }

    pub(in crate::export::spool) fn cursor_path(&self, exporter: &str) -> PathBuf {
        folder::cursors(&self.folder).join(cursor::file_name(exporter))
    }

    pub(super) fn write_cursor(
        &self,
        exporter: &str,
        cursor: &Cursor,
        sync: bool,
    ) -> io::Result<()> {
        let path = self.cursor_path(exporter);
        let new = path.with_extension("new");
        let bytes = cursor.encode().into_bytes();
        match self.write_file(&new, &bytes, sync) {
            Ok(()) => self.files.rename(&new, &path)?,
            // On a disk that is full there is the room of the one before, without which nothing that
            // was delivered could go. Where somebody else takes it first, or it is torn by a kill, what
            // is there is delivered once more after a start.
            Err(error) if is_full(&error) && self.files.open(&path).is_ok() => {
                self.write_file(&path, &bytes, sync)?;
            }
            Err(error) => return Err(error),
        }
        if sync {
            self.files.sync_folder(&folder::cursors(&self.folder))?;
        }
        Ok(())
    }

    fn write_file(&self, path: &Path, bytes: &[u8], sync: bool) -> io::Result<()> {
        let file = self.files.create(path, 0)?;
        file.write_all_at(bytes, 0)?;
        if sync {
            file.sync(0..bytes.len() as u64)?;
        }
        Ok(())
    }

    /// How far an exporter has come, as last heard.
    pub(in crate::export::spool) fn cursor(&self, exporter: &str) -> Option<Cursor> {
        let holders = lock(&self.holders);
        holders.get(exporter).map(|holder| holder.saved.clone())
    }

    /// About how old the oldest record is that an exporter has not delivered.
    pub(in crate::export) fn oldest(&self, exporter: &str) -> Duration {
        let Some(cursor) = self.cursor(exporter) else {
            return Duration::ZERO;
        };
        let oldest = self
            .streams()
            .iter()
            .filter_map(|stream| stream.appended(cursor.position(stream.key)))
            .min();
        let age = oldest.map(|oldest| SystemTime::now().duration_since(oldest));
        age.and_then(Result::ok).unwrap_or_default()
    }
}

pub(super) fn of(cursors: BTreeMap<String, Cursor>) -> BTreeMap<String, Holder> {
    let cursors = cursors.into_iter();
    cursors
        .map(|(exporter, cursor)| (exporter, Holder::at(cursor)))
        .collect()
}

/// The sequence below which no exporter needs a stream's records.
fn below(holders: &BTreeMap<String, Holder>, key: Key, of: fn(&Holder) -> &Cursor) -> u64 {
    let positions = holders.values().map(|holder| of(holder).position(key));
    positions.min().unwrap_or(u64::MAX)
}
