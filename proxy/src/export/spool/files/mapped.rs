//! A segment that is mapped: to append to it is a copy, without a system call.
//!
//! What was copied is the kernel's at once, so that it outlives the process. Only files are mapped
//! that have all their room, on file systems that write a byte where it was laid out: no copy needs
//! room that there may not be. What the disk does not give all the same, as it broke, is an error
//! of the write ([`guard`]).
//!
//! The first write to a page enters the kernel, and may wait there for the file system;
//! [`File::prepare`] does that beforehand.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::ptr::{self, NonNull};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MsyncFlags, ProtFlags};
use rustix::param::page_size;

use super::File;
use super::guard::Guard;
use crate::lock::lock;

/// Bytes prepared at once: what else changes mappings waits for no more.
const STEP: usize = 256 * 1024;

/// File systems, by their magic, that write mapped bytes where `fallocate` laid them out: ext4, XFS
/// and tmpfs. Those that copy what is written anew, or ask others for it, may run out of room then.
const WRITES_IN_PLACE: [i64; 3] = [0xef53, 0x5846_5342, 0x0102_1994];

/// See the module's documentation. Fields are dropped in this order: no guard is ever over what is
/// mapped no more.
pub(super) struct Mapped {
    guard: Guard,
    mapping: Mapping,
    file: fs::File,
    /// Held by the one who writes.
    writing: Mutex<()>,
}

impl std::fmt::Debug for Mapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mapped").finish_non_exhaustive()
    }
}

impl Mapped {
    /// Maps a file that has `len` bytes of room on the disk. Where that cannot be, it is given back.
    pub(super) fn new(file: fs::File, len: u64) -> Result<Self, fs::File> {
        let mapping = usize::try_from(len)
            .ok()
            .filter(|_| writes_in_place(&file))
            .and_then(|len| Mapping::new(&file, len));
        let guarded = mapping.and_then(|mapping| {
            let start = mapping.start.as_ptr().expose_provenance();
            Some((Guard::new(start, mapping.len)?, mapping))
        });
        match guarded {
            Some((guard, mapping)) => Ok(Self {
                guard,
                mapping,
                file,
                writing: Mutex::default(),
            }),
            None => Err(file),
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.guard.is_broken() {
            return Err(io::Error::other("the disk failed under the mapping"));
        }
        Ok(())
    }
}

impl File for Mapped {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.file, bytes, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let _one = lock(&self.writing);
        self.check()?;
        self.mapping.write(bytes, offset)?;
        self.check()
    }

    fn prepare(&self, range: Range<u64>) -> io::Result<()> {
        self.check()?;
        self.mapping.prepare(range)?;
        self.check()
    }

    fn sync(&self, range: Range<u64>) -> io::Result<()> {
        self.mapping.sync(range)?;
        self.check()
    }
}

fn writes_in_place(file: &fs::File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|system| WRITES_IN_PLACE.contains(&system.f_type))
}

/// Pages of a file in memory.
struct Mapping {
    start: NonNull<u8>,
    len: usize,
    /// Bytes before this have left the process's memory.
    released: AtomicUsize,
    /// Bytes before this were prepared.
    prepared: AtomicUsize,
}

// SAFETY: nothing of it belongs to a thread.
#[allow(unsafe_code, reason = "a pointer does not say whose it is")]
unsafe impl Send for Mapping {}
// SAFETY: only `write` touches the bytes, and `Mapped` lets one at a time do so.
#[allow(unsafe_code, reason = "a pointer does not say whose it is")]
unsafe impl Sync for Mapping {}

impl Mapping {
    #[allow(unsafe_code, reason = "mapping a file has no safe form")]
    fn new(file: &fs::File, len: usize) -> Option<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the place, so that nothing else is there. No reference into it
        // is ever made, so that the file may change under it.
        let mapped = unsafe {
            rustix::mm::mmap(ptr::null_mut(), len, protection, MapFlags::SHARED, file, 0)
        };
        let start = NonNull::new(mapped.ok()?.cast())?;
        Some(Self {
            start,
            len,
            released: AtomicUsize::new(0),
            prepared: AtomicUsize::new(0),
        })
    }

    #[allow(unsafe_code, reason = "the bytes are known by a pointer alone")]
    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        if bytes.len() > self.len.saturating_sub(offset) {
            return Err(io::ErrorKind::WriteZero.into());
        }
        // SAFETY: the place is within the mapping, as was just checked. Nobody else writes there,
        // and nobody reads but the kernel.
        unsafe {
            let place = self.start.as_ptr().add(offset);
            ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len());
        }
        Ok(())
    }

    /// Has pages that nobody writes to any more, those before `end`, leave the process's memory.
    #[allow(unsafe_code, reason = "advice for the kernel has no safe form")]
    fn release(&self, end: usize) -> io::Result<()> {
        let start = self.released.fetch_max(end, Ordering::Relaxed);
        if start < end {
            // SAFETY: the range is within the mapping, whose bytes are the file's: they are the same
            // when they are mapped again.
            unsafe {
                let place = self.start.as_ptr().add(start).cast();
                rustix::mm::madvise(place, end - start, Advice::LinuxDontNeed)?;
            }
        }
        Ok(())
    }

    /// Has the kernel make the pages of a range writable.
    #[allow(unsafe_code, reason = "advice for the kernel has no safe form")]
    fn prepare(&self, range: Range<u64>) -> io::Result<()> {
        let Range { start, end } = self.pages(range);
        self.release(start)?;
        let start = start.max(self.prepared.fetch_max(end, Ordering::Relaxed));
        for at in (start..end).step_by(STEP) {
            let len = STEP.min(end - at);
            // SAFETY: the range is within the mapping. No byte changes.
            let done = unsafe {
                let place = self.start.as_ptr().add(at).cast();
                rustix::mm::madvise(place, len, Advice::LinuxPopulateWrite)
            };
            match done {
                // Before Linux 5.14 the first write does it.
                Err(Errno::INVAL) => return Ok(()),
                done => done?,
            }
        }
        Ok(())
    }

    #[allow(unsafe_code, reason = "syncing a mapping has no safe form")]
    fn sync(&self, range: Range<u64>) -> io::Result<()> {
        // Pages that are mapped nowhere are synced at less cost.
        self.release(self.pages(0..range.end).end.saturating_sub(page_size()))?;
        let Range { start, end } = self.pages(range);
        // SAFETY: the range is within the mapping. No byte changes.
        unsafe {
            let place = self.start.as_ptr().add(start).cast();
            Ok(rustix::mm::msync(place, end - start, MsyncFlags::SYNC)?)
        }
    }

    /// The pages that a range of the file touches.
    fn pages(&self, range: Range<u64>) -> Range<usize> {
        let page = page_size();
        let place = |at: u64| usize::try_from(at).map_or(self.len, |at| at.min(self.len));
        let end = place(range.end).next_multiple_of(page).min(self.len);
        let start = place(range.start) / page * page;
        start..end.max(start)
    }
}

impl Drop for Mapping {
    #[allow(unsafe_code, reason = "giving a mapping back has no safe form")]
    fn drop(&mut self) {
        // SAFETY: it was mapped at this place with this length, and nobody has it any more.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests;
