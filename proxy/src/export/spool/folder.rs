//! What a start finds in the spool's folder: who has it, what earlier runs left, how far exporters
//! had come.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Error;
use super::cursor::{self, Cursor};
use super::files::{Entry, FileSystem, Lock, read_full};
use super::record::{self, Missing};
use super::segment::{Key, Name, Segment, Stream};

const LOCK: &str = "lock";

pub(super) struct Opened {
    /// The number of this run: greater than all that ever were.
    pub(super) generation: u64,
    pub(super) lock: Box<dyn Any + Send + Sync>,
    /// Of earlier runs, in order.
    pub(super) streams: Vec<Stream>,
    pub(super) cursors: BTreeMap<String, Cursor>,
    /// Bytes of all segments.
    pub(super) bytes: u64,
    /// A process that this one takes over from still has its run: streams and cursors are there once
    /// it has ended.
    pub(super) predecessor: bool,
}

/// Whose the folder may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nobody's that runs.
    Alone,
    /// A process's that hands over to this one.
    Successor,
}

pub(super) fn of_run(folder: &Path, generation: u64) -> PathBuf {
    folder.join(format!("{generation:010}"))
}

pub(super) fn cursors(folder: &Path) -> PathBuf {
    folder.join("cursors")
}

/// Takes the folder over. A process that runs and has it is an error, or for its successor one that
/// will end.
pub(super) fn open(files: &dyn FileSystem, folder: &Path, claim: Claim) -> Result<Opened, Error> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Folder { path, source }
    };
    let cursors_folder = cursors(folder);
    files
        .create_folder(&cursors_folder)
        .map_err(fail(&cursors_folder))?;
    if let Some(data_dir) = folder.parent() {
        files.sync_folder(data_dir).map_err(fail(data_dir))?;
    }
    // While it is held, nobody else opens the folder.
    let _opening = take(files, folder, &folder.join(LOCK))?;
    let runs = runs(files, folder, u64::MAX).map_err(fail(folder))?;
    let mut predecessor = false;
    for (_, run) in &runs {
        match take(files, folder, &run.join(LOCK)) {
            Err(Error::InUse { .. }) if claim == Claim::Successor => predecessor = true,
            taken => _ = taken?,
        }
    }
    let cursors = read_cursors(files, &cursors_folder).map_err(fail(&cursors_folder))?;

    let known = cursors.values().map(Cursor::generation);
    let latest = runs.iter().map(|(generation, _)| *generation).chain(known);
    let generation = latest.max().unwrap_or_default() + 1;
    let run = of_run(folder, generation);
    files.create_folder(&run).map_err(fail(&run))?;
    let lock = take(files, folder, &run.join(LOCK))?;
    files.sync_folder(folder).map_err(fail(folder))?;

    let mut opened = Opened {
        generation,
        lock,
        streams: Vec::new(),
        cursors,
        bytes: 0,
        predecessor,
    };
    if predecessor {
        // Nothing of them is touched while their process may.
        for (_, run) in &runs {
            let entries = files.list(run).map_err(fail(run))?;
            opened.bytes += entries.iter().map(|entry| entry.len).sum::<u64>();
        }
        opened.cursors.clear();
        return Ok(opened);
    }
    (opened.streams, opened.bytes) = read_runs(files, runs)?;
    Ok(opened)
}

/// What a successor finds once nobody else has a run any more: as [`open`] gives it.
pub(super) fn take_over(
    files: &dyn FileSystem,
    folder: &Path,
    generation: u64,
) -> Result<Option<Found>, Error> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Folder { path, source }
    };
    let runs = runs(files, folder, generation).map_err(fail(folder))?;
    for (_, run) in &runs {
        match take(files, folder, &run.join(LOCK)) {
            Err(Error::InUse { .. }) => return Ok(None),
            taken => _ = taken?,
        }
    }
    let cursors_folder = cursors(folder);
    let cursors = read_cursors(files, &cursors_folder).map_err(fail(&cursors_folder))?;
    let (streams, bytes) = read_runs(files, runs)?;
    Ok(Some(Found {
        streams,
        cursors,
        bytes,
    }))
}

/// Of runs before this process's.
pub(super) struct Found {
    pub(super) streams: Vec<Stream>,
    pub(super) cursors: BTreeMap<String, Cursor>,
    pub(super) bytes: u64,
}

/// The folders of runs before one, in order.
fn runs(files: &dyn FileSystem, folder: &Path, before: u64) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut runs = Vec::new();
    for entry in files.list(folder)? {
        if let Ok(generation) = entry.name.parse()
            && generation < before
        {
            runs.push((generation, folder.join(entry.name)));
        }
    }
    runs.sort();
    Ok(runs)
}

/// The streams of runs that are over, with their bytes. Folders without any go.
fn read_runs(
    files: &dyn FileSystem,
    runs: Vec<(u64, PathBuf)>,
) -> Result<(Vec<Stream>, u64), Error> {
    let mut streams = Vec::new();
    let mut bytes = 0;
    for (generation, run) in runs {
        let found = read_run(files, generation, &run).map_err(|source| Error::Folder {
            path: run.clone(),
            source,
        })?;
        if found.is_empty() {
            remove_run(files, &run);
        }
        for (stream, size) in found {
            streams.push(stream);
            bytes += size;
        }
    }
    if bytes > 0 {
        tracing::info!(bytes, "the spool has segments of earlier runs");
    }
    Ok((streams, bytes))
}

fn take(
    files: &dyn FileSystem,
    folder: &Path,
    path: &Path,
) -> Result<Box<dyn Any + Send + Sync>, Error> {
    let owner = format!("process {}", std::process::id());
    match files.lock(path, &owner) {
        Ok(Lock::Taken(lock)) => Ok(lock),
        Ok(Lock::Held(owner)) => Err(Error::InUse {
            folder: folder.to_owned(),
            owner,
        }),
        Err(source) => Err(Error::Folder {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Removes the folder of a run of which nothing is left.
pub(super) fn remove_run(files: &dyn FileSystem, run: &Path) {
    let removed = match files.remove(&run.join(LOCK)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => files.remove_folder(run),
    };
    if let Err(error) = removed {
        // The next start tries again.
        tracing::debug!(%error, folder = %run.display(), "cannot remove a folder of the spool");
    }
}

fn read_cursors(files: &dyn FileSystem, folder: &Path) -> io::Result<BTreeMap<String, Cursor>> {
    let mut cursors = BTreeMap::new();
    for entry in files.list(folder)? {
        let Some(exporter) = cursor::exporter(&entry.name) else {
            continue;
        };
        let path = folder.join(&entry.name);
        let mut bytes = vec![0; usize::try_from(entry.len).unwrap_or_default()];
        let text = files
            .open(&path)
            .and_then(|file| read_full(&*file, &mut bytes, 0))
            .ok()
            .and_then(|_| String::from_utf8(bytes).ok());
        let cursor = text
            .and_then(|text| Cursor::parse(&text))
            .unwrap_or_else(|| {
                // Twice is better than never.
                let path = path.display();
                tracing::error!(%path, "a cursor is broken: all there is will be delivered");
                Cursor::default()
            });
        cursors.insert(exporter, cursor);
    }
    Ok(cursors)
}

/// The streams of an earlier run, with their bytes on the disk. Segments without a record go.
fn read_run(files: &dyn FileSystem, generation: u64, run: &Path) -> io::Result<Vec<(Stream, u64)>> {
    let mut found: Vec<(Name, Entry)> = files
        .list(run)?
        .into_iter()
        .filter_map(|entry| Some((Name::parse(&entry.name)?, entry)))
        .collect();
    found.sort_by_key(|(name, _)| *name);
    let mut streams = Vec::new();
    for of_worker in found.chunk_by(|(one, _), (other, _)| one.worker == other.worker) {
        let mut segments = Vec::new();
        let mut modified = SystemTime::now();
        for (name, entry) in of_worker {
            let path = run.join(&entry.name);
            let mut first = None;
            let file = files.open(&path).map_err(Missing::Unread);
            match file.and_then(|file| record::search(&*file, name.salt, 0, entry.len)) {
                Ok((_, sequence)) => first = Some(sequence),
                // It stays: the disk may give it later, to whoever reads it.
                Err(Missing::Unread(error)) => {
                    tracing::error!(%error, path = %path.display(), "cannot read");
                }
                Err(missing) => {
                    if matches!(missing, Missing::Broken) {
                        let path = path.display();
                        tracing::error!(%path, "no trace in a segment of the spool is whole: removed");
                    }
                    files.remove(&path)?;
                    continue;
                }
            }
            modified = modified.min(entry.modified);
            segments.push(Segment::found(path, *name, entry.len, first));
        }
        let Some(worker) = of_worker.first().map(|(name, _)| name.worker) else {
            continue;
        };
        if segments.is_empty() {
            continue;
        }
        let size = segments.iter().map(|segment| segment.size).sum();
        let key = Key { generation, worker };
        streams.push((Stream::found(key, run.to_owned(), segments, modified), size));
    }
    Ok(streams)
}
