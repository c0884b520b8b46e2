//! A worker's side: appends records to the worker's own stream, by one write each, which where
//! segments are mapped is no system call.
//!
//! Nothing is locked or shared while a segment has room. What has no room is given up, and the
//! caller told why: no request waits for a disk that is full or broken.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::files::File;
use super::record::{self, HEADER};
use super::segment::{Segment, Stream};
use super::store::Store;
use crate::config::Fsync;
use crate::export::status::Reason;

/// After an error, so long passes before the disk is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// A buffer larger than this is given back.
const BUFFER: usize = 256 * 1024;

/// After so many bytes the keeper prepares the places behind them.
const NUDGE: u64 = 512 * 1024;

/// See the module's documentation.
pub(in crate::export) struct Writer {
    store: Arc<Store>,
    stream: Arc<Stream>,
    open: Option<Open>,
    buffer: Vec<u8>,
    retry: Option<Instant>,
}

/// The segment that is appended to.
struct Open {
    segment: Arc<Segment>,
    file: Arc<dyn File>,
    at: u64,
    /// Where the keeper was last nudged.
    nudged: u64,
}

/// Waits until a record is on the disk.
pub struct Hold {
    stream: Arc<Stream>,
    sequence: u64,
}

impl Hold {
    pub async fn wait(self) {
        let mut synced = self.stream.synced.subscribe();
        // The sender is in the stream, so that it lives.
        let _ = synced.wait_for(|synced| *synced > self.sequence).await;
    }
}

impl Writer {
    pub(super) fn new(store: Arc<Store>) -> Self {
        let stream = store.new_stream();
        Self {
            store,
            stream,
            open: None,
            buffer: Vec::new(),
            retry: None,
        }
    }

    /// Appends the one record that `write` adds to what it is given, if it says that it did. The
    /// error is why the record is lost.
    pub(in crate::export) fn append(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> bool,
    ) -> Result<Option<Hold>, Reason> {
        self.buffer.clear();
        self.buffer.resize(HEADER, 0);
        if !write(&mut self.buffer) {
            return Ok(None);
        }
        let appended = self.put();
        if self.buffer.capacity() > BUFFER {
            self.buffer = Vec::new();
        }
        let sequence = appended?;
        if self.store.options.fsync != Fsync::Always {
            return Ok(None);
        }
        self.store.nudge();
        let stream = self.stream.clone();
        Ok(Some(Hold { stream, sequence }))
    }

    /// Writes the buffer's record, and gives its sequence.
    fn put(&mut self) -> Result<u64, Reason> {
        let len = self.buffer.len() as u64;
        let sequence = self.stream.next();
        self.make_room(len)?;
        // There is a segment, or there was an error.
        let open = self.open.as_mut().ok_or(Reason::SpoolFailed)?;
        record::seal(&mut self.buffer, sequence, open.segment.name.salt);
        if let Err(error) = open.file.write_all_at(&self.buffer, open.at) {
            self.store
                .fail("cannot write to", &open.segment.path, &error);
            self.close();
            self.retry = Some(Instant::now() + PAUSE);
            return Err(Reason::SpoolFailed);
        }
        open.at += len;
        open.segment.grow(open.at);
        self.stream.advance(sequence + 1);
        if open.at - open.nudged >= NUDGE {
            open.nudged = open.at;
            self.store.nudge();
        }
        Ok(sequence)
    }

    fn make_room(&mut self, len: u64) -> Result<(), Reason> {
        if let Some(open) = &self.open {
            if open.at + len <= open.segment.size && !open.segment.is_condemned() {
                return Ok(());
            }
            self.close();
        }
        if !record::fits(len, self.store.options.segment_bytes) {
            return Err(Reason::TooLarge);
        }
        if self.retry.is_some_and(|retry| Instant::now() < retry) {
            return Err(Reason::SpoolFailed);
        }
        self.retry = None;
        let spare = self.stream.spare().take();
        let spare = match spare {
            Some(spare) => Ok(spare),
            None => self.store.create_segment(&self.stream),
        };
        let spare = spare.inspect_err(|reason| {
            if *reason == Reason::SpoolFailed {
                self.retry = Some(Instant::now() + PAUSE);
            }
        })?;
        let (segment, file) = self.stream.attach(spare);
        self.open = Some(Open {
            segment,
            file,
            at: 0,
            nudged: 0,
        });
        self.store.nudge();
        Ok(())
    }

    /// Ends the segment: it can go once it is delivered.
    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            open.segment.close(self.stream.next());
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
        self.stream.end();
        self.store.nudge();
    }
}
