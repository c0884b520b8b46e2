//! A new process takes the listeners over, so that Weir is replaced while connections come in.
//!
//! SIGUSR2 starts the same command again: another binary where that, or a link to it, was replaced. It
//! inherits every listening socket and says on its standard input, a socket to the process before it,
//! that it serves; that one then drains and ends. One that does not come so far changes nothing; where
//! the process before has ended by then, it serves alone.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use serde::{Deserialize, Serialize};

use crate::listener::sockets::Sockets;

/// Tells a process what it inherits.
const VARIABLE: &str = "WEIR_HANDOVER";

/// What the new process says once all its listeners accept.
const READY: &[u8] = b"ready\n";

/// How long a process may take until its listeners accept: it may have large plugins to compile.
const START: Duration = Duration::from_mins(5);

/// The value of the variable.
#[derive(Deserialize, Serialize)]
struct Inheritance {
    /// The inode of the socket that is the process's standard input: the variable may be from another.
    stdin: u64,
    /// Descriptors by the names of [`Sockets`].
    sockets: BTreeMap<String, Vec<RawFd>>,
}

/// How this process was started.
#[derive(Debug)]
pub(super) struct Origin {
    /// Where the binary is, also once another is there.
    binary: io::Result<PathBuf>,
    arguments: Vec<OsString>,
}

impl Origin {
    /// To be called before the binary may have been replaced.
    pub(super) fn note() -> Self {
        Self {
            binary: std::env::current_exe().map(|own| invoked(&own).unwrap_or(own)),
            arguments: std::env::args_os().skip(1).collect(),
        }
    }

    /// Starts the next process, with these sockets.
    pub(super) fn start(&self, sockets: &Sockets) -> io::Result<Successor> {
        let binary = self.binary.as_ref();
        let binary = binary.map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut inheritance = Inheritance {
            stdin: inode(&theirs)?,
            sockets: BTreeMap::new(),
        };
        for (name, sockets) in sockets.iter() {
            // They are closed here once the child has them.
            sockets
                .iter()
                .try_for_each(|socket| fcntl_setfd(socket, FdFlags::empty()))?;
            let numbers = sockets.iter().map(AsRawFd::as_raw_fd).collect();
            inheritance.sockets.insert(name.to_owned(), numbers);
        }
        let child = Command::new(binary)
            .args(&self.arguments)
            .env(VARIABLE, serde_json::to_string(&inheritance)?)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()?;
        Successor::new(child, ours, START)
    }
}

/// The path by which this process was started, its links kept: the next binary may be behind them. `None`
/// where that leads elsewhere than to its own.
fn invoked(own: &Path) -> Option<PathBuf> {
    let is_own = |path: &PathBuf| path.canonicalize().is_ok_and(|path| path == own);
    let name = PathBuf::from(std::env::args_os().next()?);
    if name.components().nth(1).is_some() {
        return std::path::absolute(name).ok().filter(is_own);
    }
    let folders = std::env::var_os("PATH")?;
    let paths = std::env::split_paths(&folders).map(|folder| folder.join(&name));
    let mut paths = paths.filter_map(|path| std::path::absolute(path).ok());
    paths.find(is_own)
}

/// A process that is to take over.
#[derive(Debug)]
pub(super) struct Successor {
    child: Child,
    stream: tokio::net::UnixStream,
    /// When it is waited for no longer.
    until: tokio::time::Instant,
}

impl Successor {
    fn new(child: Child, stream: UnixStream, limit: Duration) -> io::Result<Self> {
        Ok(Self {
            child,
            stream: tokio::net::UnixStream::from_std(stream)?,
            until: tokio::time::Instant::now() + limit,
        })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it serves; false where it ended before, or takes too long. Cancel safe.
    pub(super) async fn serves(&self) -> bool {
        let answer = tokio::time::timeout_at(self.until, self.answer()).await;
        answer.unwrap_or(false)
    }

    async fn answer(&self) -> bool {
        let mut answer = [0; READY.len()];
        loop {
            if self.stream.readable().await.is_err() {
                return false;
            }
            match self.stream.try_read(&mut answer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // What is so short comes whole.
                read => return read.is_ok_and(|read| answer[..read] == *READY),
            }
        }
    }

    /// Ends it.
    pub(super) fn end(mut self) {
        // Both fail where it has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process before this one, which waits for it.
pub(super) struct Predecessor(UnixStream);

impl Predecessor {
    /// All listeners accept. Where nobody hears it any more, this process is alone already.
    pub(super) fn ready(mut self) {
        if let Err(error) = self.0.write_all(READY) {
            tracing::warn!(%error, "the process before this one is gone already");
        }
    }
}

/// What this process inherits; `None` where it was not started to take over.
pub(super) fn inherit() -> anyhow::Result<Option<(Predecessor, Sockets)>> {
    let Some(text) = std::env::var_os(VARIABLE) else {
        return Ok(None);
    };
    let inheritance: Inheritance = serde_json::from_slice(text.as_encoded_bytes())?;
    if inode(io::stdin())? != inheritance.stdin {
        return Ok(None);
    }
    let adopted = inheritance.sockets.into_iter().map(|(name, numbers)| {
        let sockets = numbers.into_iter().map(adopt);
        Ok((name, sockets.collect::<io::Result<_>>()?))
    });
    let sockets = adopted.collect::<io::Result<Sockets>>()?;
    let stream = io::stdin().as_fd().try_clone_to_owned()?;
    Ok(Some((Predecessor(stream.into()), sockets)))
}

fn inode(of: impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(of)?.st_ino)
}

/// A listening socket that was left open for this process.
#[expect(unsafe_code, reason = "a descriptor is inherited as a number")]
fn adopt(number: RawFd) -> io::Result<TcpListener> {
    let wrong = |why| io::Error::other(format!("descriptor {number} {why}"));
    if number < 3 || !std::fs::exists(format!("/proc/self/fd/{number}"))? {
        return Err(wrong("is not open"));
    }
    // SAFETY: it is open, the parent named it for this process to own, and nothing was opened yet
    // that another part of this process could own under a number of the parent's.
    let owned = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl_setfd(&owned, FdFlags::CLOEXEC)?;
    let socket = socket2::Socket::from(owned);
    if !socket.is_listener()? {
        return Err(wrong("does not listen"));
    }
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_that_says_nothing_is_waited_for_until_its_time_is_over() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let successor = Successor::new(child, ours, Duration::from_millis(100)).unwrap();
        assert!(!successor.serves().await);
        successor.end();
    }
}
