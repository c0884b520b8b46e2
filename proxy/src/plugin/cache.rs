//! Compiled modules on the disk, so that a start or a reload need not compile what was compiled
//! before.
//!
//! A file's name is the module's digest and that of the compiler with its settings. Compiled code is
//! run as it is, so nothing is believed that may have been written by others, or is damaged: the
//! folder belongs to this user alone, and each file begins with the digest of all that it stands for.
//! What is not as it should be is compiled anew. No fault of the disk keeps a plugin from loading.

use std::fs::{self, DirBuilder, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use super::Code;

/// Most bytes of all files; past it the oldest go.
const BYTES: u64 = 1 << 30;

const MAGIC: &[u8; 8] = b"weircode";
const DIGEST: usize = 32;

/// What is compiled: it decides how it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Module,
    Component,
}

impl Kind {
    /// By a file's first bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        /// Magic, then version 1, layer 0.
        const MODULE: &[u8] = b"\0asm\x01\0\0\0";
        if bytes.starts_with(MODULE) {
            Self::Module
        } else {
            Self::Component
        }
    }
}

/// See the module's documentation.
pub struct Cache {
    folder: PathBuf,
    /// Of the compiler and its settings.
    compiler: String,
}

impl Cache {
    /// Makes the folder where it is not there. Fails where it is not this user's alone.
    pub fn open(folder: &Path, engine: &Engine) -> io::Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder)?;
        let owner = fs::symlink_metadata(folder)?;
        let process = fs::metadata("/proc/self")?;
        if !owner.is_dir() || owner.mode() & 0o077 != 0 || owner.uid() != process.uid() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "is not a folder of this user's alone (mode 0700)",
            ));
        }
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self {
            folder: folder.to_owned(),
            compiler: format!("{:016x}", hasher.finish()),
        })
    }

    /// What was compiled of the module with this digest.
    pub(super) fn get(&self, engine: &Engine, kind: Kind, digest: &str) -> Option<Code> {
        let path = self.path(digest);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read a compiled module");
                return None;
            }
        };
        let code = self
            .checked(kind, digest, &bytes)
            .and_then(|artifact| load(engine, kind, artifact));
        if code.is_none() {
            tracing::warn!(
                path = %path.display(),
                "a compiled module is damaged: it is compiled anew"
            );
        }
        code
    }

    /// Keeps what was compiled. A fault is logged.
    pub(super) fn put(&self, kind: Kind, digest: &str, code: &Code) {
        let path = self.path(digest);
        if let Err(error) = self.write(&path, kind, digest, code) {
            tracing::warn!(path = %path.display(), %error, "cannot keep a compiled module");
        }
        if let Err(error) = self.prune(&path) {
            tracing::warn!(path = %self.folder.display(), %error, "cannot clear compiled modules");
        }
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}-{}.bin", self.compiler))
    }

    fn write(&self, path: &Path, kind: Kind, digest: &str, code: &Code) -> io::Result<()> {
        let artifact = match code {
            Code::Module(module) => module.serialize(),
            Code::Component(component) => component.serialize(),
        };
        let artifact = artifact.map_err(|error| io::Error::other(error.to_string()))?;
        // Another process may write the same; each renames a whole file of its own.
        let draft = self
            .folder
            .join(format!("{digest}-{}.part", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&draft)?;
        file.write_all(MAGIC)?;
        file.write_all(&self.seal(kind, digest, &artifact))?;
        file.write_all(&artifact)?;
        drop(file);
        fs::rename(&draft, path)
    }

    /// The artifact, where it is what was written for this module.
    fn checked<'b>(&self, kind: Kind, digest: &str, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let sealed = bytes.strip_prefix(MAGIC)?;
        let (seal, artifact) = sealed.split_at_checked(DIGEST)?;
        (seal == self.seal(kind, digest, artifact)).then_some(artifact)
    }

    fn seal(&self, kind: Kind, digest: &str, artifact: &[u8]) -> [u8; DIGEST] {
        let mut seal = Sha256::new();
        seal.update([kind as u8]);
        seal.update(digest);
        seal.update(&self.compiler);
        seal.update(artifact);
        seal.finalize().into()
    }

    /// Removes the oldest files but `kept`, until the rest has room.
    fn prune(&self, kept: &Path) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            let age = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            files.push((age, meta.len(), entry.path()));
        }
        let mut bytes: u64 = files.iter().map(|(_, len, _)| len).sum();
        files.sort();
        for (_, len, path) in files {
            if bytes <= BYTES {
                break;
            }
            if path != kept {
                fs::remove_file(&path)?;
                bytes -= len;
            }
        }
        Ok(())
    }
}

#[allow(
    unsafe_code,
    reason = "wasmtime cannot know that compiled code comes of itself"
)]
fn load(engine: &Engine, kind: Kind, artifact: &[u8]) -> Option<Code> {
    // SAFETY: the bytes are those that `serialize` gave to `Cache::write` for this very module and
    // compiler: a digest of all of it was checked. They are in a folder that nobody but this user can
    // write to, which was checked when it was opened. Wasmtime looks at its own version and settings
    // once more.
    let code = unsafe {
        match kind {
            Kind::Module => Module::deserialize(engine, artifact).map(Code::Module),
            Kind::Component => Component::deserialize(engine, artifact).map(Code::Component),
        }
    };
    code.ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::plugin::engine::Engine;

    const DIGEST: &str = "digest";

    fn compiled(engine: &Engine) -> Code {
        let code = Code::compile(engine, b"\0asm\x01\0\0\0");
        code.expect("the empty module")
    }

    #[test]
    fn what_was_kept_is_found_and_nothing_else() {
        let engine = Engine::new().expect("an engine");
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("compiled");
        let cache = Cache::open(&folder, &engine.wasm).expect("a cache");
        let get = |cache: &Cache| cache.get(&engine.wasm, Kind::Module, DIGEST);
        assert!(get(&cache).is_none());
        cache.put(Kind::Module, DIGEST, &compiled(&engine));
        assert!(get(&cache).is_some());
        assert!(get(&Cache::open(&folder, &engine.wasm).expect("a cache")).is_some());
        assert!(cache.get(&engine.wasm, Kind::Component, DIGEST).is_none());
        assert!(cache.get(&engine.wasm, Kind::Module, "other").is_none());
        // Of another compiler.
        let other = Cache {
            folder,
            compiler: "other".to_owned(),
        };
        fs::copy(cache.path(DIGEST), other.path(DIGEST)).expect("a copy");
        assert!(get(&other).is_none());
    }

    #[test]
    fn no_damage_is_believed() {
        let engine = Engine::new().expect("an engine");
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::open(&folder.path().join("new"), &engine.wasm).expect("a cache");
        cache.put(Kind::Module, DIGEST, &compiled(&engine));
        let path = cache.path(DIGEST);
        let whole = fs::read(&path).expect("it is there");
        for at in [0, 8, 40, whole.len() / 2, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).expect("written");
            let found = cache.get(&engine.wasm, Kind::Module, DIGEST);
            assert!(found.is_none(), "byte {at}");
        }
        for len in [0, 7, 39, 40, whole.len() - 1] {
            fs::write(&path, &whole[..len]).expect("written");
            let found = cache.get(&engine.wasm, Kind::Module, DIGEST);
            assert!(found.is_none(), "{len} bytes");
        }
    }

    #[test]
    fn a_folder_that_others_may_use_is_not_taken() {
        let engine = Engine::new().expect("an engine");
        let folder = tempfile::tempdir().expect("a folder");
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), open).expect("its mode");
        let refused = Cache::open(folder.path(), &engine.wasm).err();
        let refused = refused.expect("refused").to_string();
        assert!(refused.contains("0700"), "{refused}");
    }
}
