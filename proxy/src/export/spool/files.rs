//! What the spool asks of a file system, and the real one. Tests put a faulty one in its place.

mod guard;
mod mapped;

use std::any::Any;
use std::fmt::Debug;
use std::fs::{self, DirBuilder, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use mapped::Mapped;

/// Traces may hold what only their owner should read.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Folders and names.
pub(super) trait FileSystem: Debug + Send + Sync {
    /// Makes a folder, and those above it, where they are not there.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>>;
    /// An empty file of this name with `len` bytes of zeros, for which the disk has room, so that
    /// writes there are quick; what was there before is gone.
    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn File>>;
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Puts one file in the place of another.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
    /// Returns once the folder's names are on the disk.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Takes a lock that the kernel gives up when this process ends, however it ends. The file says
    /// who has it.
    fn lock(&self, path: &Path, owner: &str) -> io::Result<Lock>;
}

/// One open file, at places of the caller's choice.
pub(super) trait File: Debug + Send + Sync {
    /// As many bytes as there are, at most `bytes`.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    /// After an error, nobody knows what is at that place.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Does beforehand what the first write to each place would wait for. Nothing is written before
    /// the range any more.
    fn prepare(&self, range: Range<u64>) -> io::Result<()>;
    /// Returns once what was written to that range is on the disk.
    fn sync(&self, range: Range<u64>) -> io::Result<()>;
}

/// A file in a folder.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) len: u64,
    pub(super) modified: SystemTime,
}

pub(super) enum Lock {
    /// Held until it is dropped.
    Taken(Box<dyn Any + Send + Sync>),
    /// Someone else has it.
    Held(String),
}

/// Reads until `bytes` is full or the file ends.
pub(super) fn read_full(file: &dyn File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The real one.
#[derive(Debug)]
pub(super) struct Disk;

impl FileSystem for Disk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(FOLDER_MODE).create(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            entries.push(Entry {
                name: entry.file_name().to_string_lossy().into_owned(),
                len: metadata.len(),
                modified: metadata.modified()?,
            });
        }
        Ok(entries)
    }

    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn File>> {
        let file = options().truncate(true).open(path)?;
        if len == 0 {
            return Ok(Arc::new(file));
        }
        match allocate(&file, len) {
            Ok(true) => Ok(match Mapped::new(file, len) {
                Ok(mapped) => Arc::new(mapped),
                Err(file) => Arc::new(file),
            }),
            Ok(false) => Ok(Arc::new(file)),
            Err(error) => {
                // The caller hears why there is no room.
                let _ = fs::remove_file(path);
                Err(error)
            }
        }
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(fs::File::open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn lock(&self, path: &Path, owner: &str) -> io::Result<Lock> {
        let file = options().truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {
                // The lock counts; the name is for people.
                let _ = file
                    .set_len(0)
                    .and_then(|()| FileExt::write_all_at(&file, owner.as_bytes(), 0));
                Ok(Lock::Taken(Box::new(file)))
            }
            Err(TryLockError::WouldBlock) => {
                Ok(Lock::Held(fs::read_to_string(path).unwrap_or_default()))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(FILE_MODE);
    options
}

/// Makes room on the disk, so that later writes do not run out of it. Some file systems cannot:
/// there it says so, and a write may find no room.
fn allocate(file: &fs::File, len: u64) -> io::Result<bool> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(len).map(|()| false),
        allocated => Ok(allocated.map(|()| true)?),
    }
}

impl File for fs::File {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, bytes, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn prepare(&self, _: Range<u64>) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self, _: Range<u64>) -> io::Result<()> {
        self.sync_data()
    }
}
