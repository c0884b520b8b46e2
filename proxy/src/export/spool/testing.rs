//! A file system in memory that breaks when it is told to, and forgets like a real one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use super::files::{Entry, File, FileSystem, Lock};

/// What an operation is, and on what.
type Fault = Box<dyn Fn(&str, &Path) -> Option<io::Error> + Send>;

/// See the module's documentation. Clones are the same file system.
#[derive(Clone, Default)]
pub(super) struct Faulty(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    folders: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, Inode>,
    /// As a power cut leaves them.
    synced_names: BTreeMap<PathBuf, Inode>,
    locks: BTreeMap<PathBuf, String>,
    /// Operations that change something, so far.
    operations: usize,
    crash: Option<(usize, Moment)>,
    crashed: bool,
    fault: Option<Fault>,
    syncs: Vec<PathBuf>,
    gate: Option<Arc<Mutex<Passage>>>,
}

/// Longest wait at a gate, on either side.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where syncs wait, each until it is let through; all go through once this is dropped.
pub(super) struct Gate {
    come: Receiver<()>,
    go: Sender<()>,
}

impl Gate {
    /// Waits until a sync has come.
    pub(super) fn has_come(&self) {
        self.come.recv_timeout(PATIENCE).expect("a sync comes");
    }

    pub(super) fn let_through(&self) {
        self.go.send(()).unwrap();
    }
}

/// A gate's other side.
struct Passage {
    come: Sender<()>,
    go: Receiver<()>,
}

impl Passage {
    fn wait(&self) {
        // Where nobody hears of it, the gate is gone.
        let _ = self.come.send(());
        let told = self.go.recv_timeout(PATIENCE);
        assert_ne!(
            told,
            Err(RecvTimeoutError::Timeout),
            "a sync is let through"
        );
    }
}

type Inode = Arc<Mutex<Content>>;

#[derive(Clone, Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    /// As a power cut leaves them.
    synced: Vec<u8>,
}

/// When, about an operation, the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Before,
    /// Only of a write: half of it is done.
    Amid,
    /// Only of a write: the other half of it is done. A copy may go any way.
    AmidBackwards,
    After,
}

/// What ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The process.
    Kill,
    /// The power, and names that were not synced are as before.
    Power,
    /// The power, and names are there, though not what is in the files.
    PowerNamesFirst,
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").finish_non_exhaustive()
    }
}

impl Faulty {
    /// The process ends about the operation of this number.
    pub(super) fn crash(&self, operation: usize, moment: Moment) {
        self.state().crash = Some((operation, moment));
    }

    pub(super) fn has_crashed(&self) -> bool {
        self.state().crashed
    }

    pub(super) fn operations(&self) -> usize {
        self.state().operations
    }

    /// Operations for which this gives an error fail with it.
    pub(super) fn fail(&self, fault: impl Fn(&str, &Path) -> Option<io::Error> + Send + 'static) {
        self.state().fault = Some(Box::new(fault));
    }

    pub(super) fn heal(&self) {
        self.state().fault = None;
    }

    /// What the next process finds.
    pub(super) fn restart(&self, end: End) -> Self {
        let state = self.state();
        let names = match end {
            End::Kill | End::PowerNamesFirst => &state.names,
            End::Power => &state.synced_names,
        };
        let names: BTreeMap<PathBuf, Inode> = names
            .iter()
            .map(|(path, inode)| {
                let content = inode.lock().unwrap();
                let bytes = match end {
                    End::Kill => content.bytes.clone(),
                    End::Power | End::PowerNamesFirst => content.synced.clone(),
                };
                let content = Content {
                    synced: bytes.clone(),
                    bytes,
                };
                (path.clone(), Arc::new(Mutex::new(content)))
            })
            .collect();
        Self(Arc::new(Mutex::new(State {
            folders: state.folders.clone(),
            synced_names: names.clone(),
            names,
            ..State::default()
        })))
    }

    /// Paths of files with this ending, in order.
    pub(super) fn files(&self, ending: &str) -> Vec<PathBuf> {
        let state = self.state();
        let ends = |path: &&PathBuf| path.to_string_lossy().ends_with(ending);
        state.names.keys().filter(ends).cloned().collect()
    }

    pub(super) fn folders(&self) -> Vec<PathBuf> {
        self.state().folders.iter().cloned().collect()
    }

    pub(super) fn get(&self, path: &Path) -> Vec<u8> {
        self.state().names[path].lock().unwrap().bytes.clone()
    }

    pub(super) fn put(&self, path: &Path, bytes: Vec<u8>) {
        let content = Content {
            synced: bytes.clone(),
            bytes,
        };
        let inode = Arc::new(Mutex::new(content));
        self.state().names.insert(path.to_owned(), inode);
    }

    /// Files that a sync was asked for, one entry a time.
    pub(super) fn syncs(&self) -> Vec<PathBuf> {
        self.state().syncs.clone()
    }

    /// From now on syncs of files wait at a gate.
    pub(super) fn gate(&self) -> Gate {
        let (come, hear) = mpsc::channel();
        let (go, told) = mpsc::channel();
        self.state().gate = Some(Arc::new(Mutex::new(Passage { come, go: told })));
        Gate { come: hear, go }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Whether an operation is done, and how much of it.
    fn step(&self, operation: &str, path: &Path) -> io::Result<Moment> {
        let mut state = self.state();
        if state.crashed {
            return Err(io::Error::other("the process has ended"));
        }
        if let Some(error) = state
            .fault
            .as_ref()
            .and_then(|fault| fault(operation, path))
        {
            return Err(error);
        }
        if operation == "read" || operation == "open" {
            return Ok(Moment::After);
        }
        let number = state.operations;
        state.operations += 1;
        match state.crash {
            Some((at, moment)) if at == number => {
                state.crashed = true;
                match moment {
                    Moment::Before => Err(io::Error::other("the process ends here")),
                    moment => Ok(moment),
                }
            }
            _ => Ok(Moment::After),
        }
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl FileSystem for Faulty {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.step("create_folder", path)?;
        let folders = path.ancestors().map(Path::to_owned);
        self.state().folders.extend(folders);
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let state = self.state();
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        let inside = |path: &&PathBuf| path.parent() == Some(folder);
        let folders = state.folders.iter().filter(inside).map(|path| Entry {
            name: name(path),
            len: 0,
            modified: SystemTime::now(),
        });
        let files = state.names.iter().filter(|(path, _)| inside(path));
        let files = files.map(|(path, inode)| Entry {
            name: name(path),
            len: inode.lock().unwrap().bytes.len() as u64,
            modified: SystemTime::now(),
        });
        Ok(folders.chain(files).collect())
    }

    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn File>> {
        self.step("create", path)?;
        let content = Content {
            bytes: vec![0; usize::try_from(len).unwrap()],
            synced: Vec::new(),
        };
        let inode = Arc::new(Mutex::new(content));
        self.state().names.insert(path.to_owned(), inode.clone());
        Ok(Arc::new(Open(self.clone(), path.to_owned(), inode)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.step("open", path)?;
        let inode = self.state().names.get(path).cloned().ok_or_else(missing)?;
        Ok(Arc::new(Open(self.clone(), path.to_owned(), inode)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step("rename", to)?;
        let mut state = self.state();
        let inode = state.names.remove(from).ok_or_else(missing)?;
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }

    /// What is gone is gone at once, also for a power cut: so nothing may go too early.
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step("remove", path)?;
        let mut state = self.state();
        state.synced_names.remove(path);
        state.names.remove(path).map(|_| ()).ok_or_else(missing)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.step("remove_folder", path)?;
        let mut state = self.state();
        if state.names.keys().any(|name| name.starts_with(path)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.folders.remove(path);
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.step("sync_folder", path)?;
        let mut state = self.state();
        let names = state.names.clone();
        let inside = |name: &PathBuf| name.parent() == Some(path);
        state.synced_names.retain(|name, _| !inside(name));
        let names = names.into_iter().filter(|(name, _)| inside(name));
        state.synced_names.extend(names);
        Ok(())
    }

    fn lock(&self, path: &Path, owner: &str) -> io::Result<Lock> {
        self.step("lock", path)?;
        let mut state = self.state();
        if let Some(owner) = state.locks.get(path) {
            return Ok(Lock::Held(owner.clone()));
        }
        state.names.entry(path.to_owned()).or_default();
        state.locks.insert(path.to_owned(), owner.to_owned());
        Ok(Lock::Taken(Box::new(Locked(self.clone(), path.to_owned()))))
    }
}

struct Locked(Faulty, PathBuf);

impl Drop for Locked {
    fn drop(&mut self) {
        self.0.state().locks.remove(&self.1);
    }
}

/// An open file lives on when its name goes.
#[derive(Debug)]
struct Open(Faulty, PathBuf, Inode);

impl File for Open {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.step("read", &self.1)?;
        let content = self.2.lock().unwrap();
        let rest = content.bytes.get(usize::try_from(offset).unwrap()..);
        let rest = rest.unwrap_or_default();
        let len = rest.len().min(bytes.len());
        bytes[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let moment = self.0.step("write", &self.1)?;
        let offset = usize::try_from(offset).unwrap();
        let half = bytes.len() / 2;
        let (done, offset) = match moment {
            Moment::Amid => (&bytes[..half], offset),
            Moment::AmidBackwards => (&bytes[half..], offset + half),
            _ => (bytes, offset),
        };
        let mut content = self.2.lock().unwrap();
        let end = offset + done.len();
        if content.bytes.len() < end {
            content.bytes.resize(end, 0);
        }
        content.bytes[offset..end].copy_from_slice(done);
        if moment != Moment::After {
            return Err(io::Error::other("the process ends here"));
        }
        Ok(())
    }

    fn prepare(&self, range: Range<u64>) -> io::Result<()> {
        assert!(range.start <= range.end, "{range:?}");
        self.0.step("prepare", &self.1).map(drop)
    }

    /// What else was written is still lost by a power cut.
    fn sync(&self, range: Range<u64>) -> io::Result<()> {
        let gate = {
            let mut state = self.0.state();
            state.syncs.push(self.1.clone());
            state.gate.clone()
        };
        if let Some(gate) = gate {
            gate.lock().unwrap().wait();
        }
        self.0.step("sync", &self.1)?;
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        let content = &mut *self.2.lock().unwrap();
        content.synced.resize(content.bytes.len(), 0);
        content.synced[range.clone()].copy_from_slice(&content.bytes[range]);
        Ok(())
    }
}
