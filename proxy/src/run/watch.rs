//! Notices that the configuration file has changed, or a file of certificates that it names.
//!
//! Their folders are watched, not the files themselves: editors write a new file in its place, and
//! Kubernetes swaps a link beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::config::PemFile;
use crate::lock::lock;

/// How long folders must be quiet, so that a file is whole when it is read.
const QUIET: Duration = Duration::from_millis(200);

/// Longest wait for that in a folder where others write all the time.
const MOST: Duration = Duration::from_secs(2);

/// What files held when they were last looked at.
#[derive(Debug)]
pub(super) struct Contents {
    /// The configuration's own.
    file: PathBuf,
    digests: Mutex<BTreeMap<PathBuf, [u8; 32]>>,
    /// Something in a folder of theirs, or which files they are.
    touched: Notify,
}

impl Contents {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            digests: Mutex::default(),
            touched: Notify::new(),
        }
    }

    /// Looks at the configuration's own file, before it is read.
    pub(super) fn look_at_own(&self) {
        look(&mut lock(&self.digests), &self.file);
    }

    /// Has these files looked at from now on, beside the configuration's own.
    pub(super) fn follow(&self, files: &[PemFile]) {
        let mut digests = lock(&self.digests);
        digests.retain(|file, _| *file == self.file);
        digests.extend(files.iter().map(|file| (file.path.clone(), file.digest)));
        drop(digests);
        // One may have changed since it was read.
        self.touched.notify_one();
    }

    /// Looks at all anew; the first that holds something else than before.
    fn look(&self) -> Option<PathBuf> {
        let mut digests = lock(&self.digests);
        let mut files: Vec<PathBuf> = digests.keys().cloned().collect();
        files.retain(|file| look(&mut digests, file));
        files.into_iter().next()
    }

    fn folders(&self) -> BTreeSet<PathBuf> {
        let digests = lock(&self.digests);
        let files = digests.keys().chain([&self.file]);
        files.map(|file| folder(file).to_owned()).collect()
    }
}

/// Whether a file holds something else than before. One that cannot be read counts as unchanged: it may be
/// about to be replaced.
fn look(digests: &mut BTreeMap<PathBuf, [u8; 32]>, file: &Path) -> bool {
    let Ok(text) = std::fs::read(file) else {
        return false;
    };
    let digest = Sha256::digest(text).into();
    digests.insert(file.to_owned(), digest) != Some(digest)
}

fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// A watch on the folders of files.
pub(super) struct Watch {
    contents: Arc<Contents>,
    watcher: RecommendedWatcher,
    /// Those that are watched, or cannot be.
    folders: BTreeSet<PathBuf>,
    /// Whether something was touched that is not looked at yet.
    is_touched: bool,
}

impl Watch {
    pub(super) fn new(contents: Arc<Contents>) -> notify::Result<Self> {
        let tell = Arc::clone(&contents);
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                // Reading is no change. An error means that events were lost: look.
                if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                    tell.touched.notify_one();
                }
            })?;
        let own = folder(&contents.file).to_owned();
        watcher.watch(&own, RecursiveMode::NonRecursive)?;
        // It may have changed before it was watched.
        contents.touched.notify_one();
        Ok(Self {
            contents,
            watcher,
            folders: BTreeSet::from([own]),
            is_touched: false,
        })
    }

    /// Waits until a file holds something else than when it was last looked at, and gives it. Cancel safe.
    pub(super) async fn changed(&mut self) -> PathBuf {
        loop {
            if !self.is_touched {
                self.contents.touched.notified().await;
                self.is_touched = true;
            }
            self.follow();
            let latest = Instant::now() + MOST;
            let quiet = || latest.min(Instant::now() + QUIET);
            while Instant::now() < latest
                && timeout_at(quiet(), self.contents.touched.notified())
                    .await
                    .is_ok()
            {}
            self.is_touched = false;
            if let Some(file) = self.contents.look() {
                return file;
            }
        }
    }

    /// Watches the folders of the files that there are now.
    fn follow(&mut self) {
        let wanted = self.contents.folders();
        for gone in self.folders.difference(&wanted) {
            // It may be gone itself.
            let _ = self.watcher.unwatch(gone);
        }
        for folder in wanted.difference(&self.folders) {
            if let Err(error) = self.watcher.watch(folder, RecursiveMode::NonRecursive) {
                let folder = folder.display();
                tracing::warn!(%error, %folder, "a change of files there will not be noticed; SIGHUP reloads");
            }
        }
        self.folders = wanted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_for_a_change_may_leave_and_come_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weir.yaml");
        std::fs::write(&file, "listeners: []").unwrap();
        // Nobody has looked at it yet.
        let mut watch = Watch::new(Arc::new(Contents::new(&file))).unwrap();
        let contents = Arc::clone(&watch.contents);
        contents.follow(&[]);
        contents.look_at_own();
        std::fs::write(&file, "listeners: [{}]").unwrap();
        contents.touched.notify_one();
        let left = tokio::time::timeout(QUIET / 2, watch.changed()).await;
        assert!(left.is_err(), "{left:?}");
        assert_eq!(watch.changed().await, file);
    }
}
