//! Notices that the configuration file has changed.
//!
//! Its folder is watched, not the file itself: editors write a new file in its place, and
//! Kubernetes swaps a link beside it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::lock::lock;

/// How long a folder must be quiet, so that a file is whole when it is read.
const QUIET: Duration = Duration::from_millis(200);

/// Longest wait for that in a folder where others write all the time.
const MOST: Duration = Duration::from_secs(2);

/// What a file held when it was last looked at.
#[derive(Debug)]
pub(super) struct Contents {
    file: PathBuf,
    digest: Mutex<Option<[u8; 32]>>,
}

impl Contents {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            digest: Mutex::default(),
        }
    }

    /// Looks anew; says whether it holds something else than before. A file that cannot be read
    /// counts as unchanged: it may be about to be replaced.
    pub(super) fn look(&self) -> bool {
        let Ok(text) = std::fs::read(&self.file) else {
            return false;
        };
        let digest = Some(Sha256::digest(text).into());
        let mut before = lock(&self.digest);
        std::mem::replace(&mut *before, digest) != digest
    }
}

/// A watch on the folder of a file.
pub(super) struct Watch {
    contents: Arc<Contents>,
    touched: Arc<Notify>,
    /// Ends the watch when dropped.
    _watcher: RecommendedWatcher,
}

impl Watch {
    pub(super) fn new(contents: Arc<Contents>) -> notify::Result<Self> {
        let touched = Arc::new(Notify::new());
        let tell = Arc::clone(&touched);
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                // Reading is no change. An error means that events were lost: look.
                if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                    tell.notify_one();
                }
            })?;
        let folder = match contents.file.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        // It may have changed before it was watched.
        touched.notify_one();
        Ok(Self {
            contents,
            touched,
            _watcher: watcher,
        })
    }

    /// Waits until the file holds something else than when it was last looked at. Cancel safe.
    pub(super) async fn changed(&self) {
        loop {
            self.touched.notified().await;
            let latest = Instant::now() + MOST;
            let quiet = || latest.min(Instant::now() + QUIET);
            while Instant::now() < latest
                && timeout_at(quiet(), self.touched.notified()).await.is_ok()
            {}
            if self.contents.look() {
                return;
            }
        }
    }
}
