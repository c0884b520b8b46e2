//! The access log: a line for each response that Weir gave, on standard output or in a file.
//!
//! A worker formats a line and hands it to the log's thread, which writes; where that stalls, lines
//! are dropped and counted, and no request waits. SIGUSR1 opens the file anew, after a rotation.

mod line;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

pub use line::{Entry, write};

use crate::config;

/// Most lines that wait to be written.
const WAITING: usize = 16 * 1024;

/// How long an end waits for lines to be written.
const PATIENCE: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Debug)]
pub struct AccessLog {
    pub config: config::AccessLog,
    jobs: SyncSender<Job>,
    dropped: AtomicU64,
}

enum Job {
    Line(String),
    Reopen,
    /// Says so once all before it is written.
    Flush(SyncSender<()>),
}

impl AccessLog {
    /// Opens it; `before` goes on where it is the same.
    pub fn open(
        config: Option<&config::AccessLog>,
        before: Option<&Arc<Self>>,
    ) -> io::Result<Option<Arc<Self>>> {
        let Some(config) = config else {
            return Ok(None);
        };
        if let Some(before) = before
            && before.config == *config
        {
            return Ok(Some(Arc::clone(before)));
        }
        let sink = Sink::open(config.path.as_deref())?;
        let path = config.path.clone();
        let (jobs, receiver) = sync_channel(WAITING);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || run(sink, path.as_deref(), &receiver))?;
        Ok(Some(Arc::new(Self {
            config: config.clone(),
            jobs,
            dropped: AtomicU64::new(0),
        })))
    }

    /// Hands a line over.
    pub fn add(&self, line: String) {
        if self.jobs.try_send(Job::Line(line)).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Lines that found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Opens the file anew, once what waits is written to the old one.
    pub fn reopen(&self) {
        // A log so full that there is no room for this is told again by the next signal.
        if self.jobs.try_send(Job::Reopen).is_err() {
            tracing::warn!("the access log stalls, and was not opened anew");
        }
    }

    /// Waits until what was handed over is written, but not for long.
    pub fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.jobs.try_send(Job::Flush(done)).is_ok() {
            // Nothing is to be done about a log that stalls.
            let _ = written.recv_timeout(PATIENCE);
        }
    }
}

enum Sink {
    Stdout(io::Stdout),
    File(File),
}

impl Sink {
    fn open(path: Option<&Path>) -> io::Result<Self> {
        Ok(match path {
            None => Self::Stdout(io::stdout()),
            Some(path) => Self::File(OpenOptions::new().create(true).append(true).open(path)?),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => {
                let mut stdout = stdout.lock();
                stdout.write_all(bytes)?;
                stdout.flush()
            }
            Self::File(file) => file.write_all(bytes),
        }
    }
}

/// Writes until the log is gone: what has come at once, at once.
fn run(mut sink: Sink, path: Option<&Path>, jobs: &Receiver<Job>) {
    let mut buffer = String::new();
    let mut failing = false;
    let named = path.map(|path| path.display().to_string());
    let named = named.as_deref();
    while let Ok(job) = jobs.recv() {
        let mut next = Some(job);
        let mut done = Vec::new();
        let mut reopen = false;
        while let Some(job) = next.take() {
            match job {
                Job::Line(line) => buffer.push_str(&line),
                Job::Reopen => reopen = true,
                Job::Flush(told) => done.push(told),
            }
            let more = !reopen && buffer.len() < 64 << 10;
            next = more
                .then(|| jobs.try_recv())
                .and_then(|next: Result<_, TryRecvError>| next.ok());
        }
        let written = sink.write(buffer.as_bytes());
        buffer.clear();
        match written {
            Err(error) if !std::mem::replace(&mut failing, true) => {
                tracing::error!(%error, path = named, "access log cannot be written");
            }
            Ok(()) => failing = false,
            Err(_) => {}
        }
        if reopen {
            match Sink::open(path) {
                Ok(opened) => sink = opened,
                Err(error) => {
                    tracing::error!(%error, path = named, "access log cannot be opened anew");
                }
            }
        }
        for told in done {
            // Whoever waited may have gone.
            let _ = told.send(());
        }
    }
}
