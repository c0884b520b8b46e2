//! The files of a project that a build may read: `dev` watches them, and a build by a slow tool is left
//! out where they are what the module was made of.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::project::{self, Language, Project};
use crate::hex;

/// What is in a project's folder but none of its sources: what builds make, and what others wrote. A
/// virtual environment is known by its `pyvenv.cfg`, whatever its name.
const ASIDE: [&str; 6] = [
    project::DIST,
    "target",
    "node_modules",
    "__pycache__",
    // A build's own work.
    "Cargo.lock",
    "package-lock.json",
];

/// What may be read of a project beside its `src` and `sdk`, as from a folder that these import from.
const READ: [&str; 6] = ["js", "mjs", "json", "py", "toml", "wit"];

/// Sources, as they are on the disk at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sources(BTreeMap<PathBuf, (u64, Option<SystemTime>)>);

impl Sources {
    /// Those of a folder, without what is below any of `except`.
    pub(super) fn of(folder: &Path, except: &[PathBuf]) -> Self {
        let mut files = BTreeMap::new();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(folder) = folders.pop() {
            if folder.join("pyvenv.cfg").is_file() {
                continue;
            }
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if is_aside(&entry.file_name().to_string_lossy()) || except.contains(&path) {
                    continue;
                }
                match entry.metadata() {
                    Ok(meta) if meta.is_dir() => folders.push(path),
                    Ok(meta) => {
                        files.insert(path, (meta.len(), meta.modified().ok()));
                    }
                    // It is gone since; the next look sees that.
                    Err(_) => {}
                }
            }
        }
        Self(files)
    }

    /// With one file that may be elsewhere.
    pub(super) fn and(mut self, file: &Path) -> Self {
        if let Ok(meta) = fs::metadata(file) {
            let now = (meta.len(), meta.modified().ok());
            self.0.insert(file.to_path_buf(), now);
        }
        self
    }

    /// Without what is below any of some paths.
    pub(super) fn without(mut self, except: &[PathBuf]) -> Self {
        self.0
            .retain(|path, _| !except.iter().any(|except| path.starts_with(except)));
        self
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// The first file that is not as it is in others.
    pub(super) fn difference<'s>(&'s self, others: &'s Self) -> Option<&'s Path> {
        let differs = |path: &&PathBuf| self.0.get(*path) != others.0.get(*path);
        let mut all = self.0.keys().chain(others.0.keys());
        all.find(differs).map(PathBuf::as_path)
    }
}

/// Whether a name is that of no source: of what is above, of what is hidden, and of what an editor, an
/// interpreter or an installer leaves.
fn is_aside(name: &str) -> bool {
    let leftover = [".pyc", ".egg-info", "~"];
    name.starts_with('.') || ASIDE.contains(&name) || leftover.iter().any(|end| name.ends_with(end))
}

/// Names all that a module is made of by a digest: the sources, the tool, and which packages there are.
pub(super) fn digest(project: &Project, tool: &str) -> io::Result<String> {
    let folder = &project.folder;
    let mut hasher = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    add(env!("CARGO_PKG_VERSION").as_bytes());
    add(tool.as_bytes());
    for file in Sources::of(folder, &[]).files() {
        let path = file.strip_prefix(folder).unwrap_or(file);
        if is_built(path) {
            add(path.as_os_str().as_encoded_bytes());
            add(&fs::read(file)?);
        }
    }
    for stamp in packages(project) {
        let changed = fs::metadata(stamp)?.modified()?;
        let since = changed.duration_since(SystemTime::UNIX_EPOCH);
        add(&since.unwrap_or_default().as_nanos().to_le_bytes());
    }
    Ok(hex::text(&hasher.finalize()))
}

/// Whether a source can be part of a module. Data of a Weir that ran here cannot, nor can tests.
fn is_built(path: &Path) -> bool {
    let of = |folders: [&str; 2]| folders.iter().any(|folder| path.starts_with(folder));
    let read = |end: &OsStr| READ.iter().any(|read| end == *read);
    of(["src", "sdk"]) || (path.extension().is_some_and(read) && !of(["test", "tests"]))
}

/// What an installer of packages touches.
fn packages(project: &Project) -> Vec<PathBuf> {
    let places = match project.language {
        Language::Rust => Vec::new(),
        Language::Javascript => vec![project.folder.join("node_modules/.package-lock.json")],
        Language::Python => {
            let versions = fs::read_dir(project.folder.join(".venv/lib"));
            let versions = versions.into_iter().flatten().flatten();
            let places = versions.map(|version| version.path().join("site-packages"));
            places.collect()
        }
    };
    places.into_iter().filter(|place| place.exists()).collect()
}

/// Where it is written of what a module was made.
fn note(module: &Path) -> PathBuf {
    module.with_extension("made-of")
}

/// Whether a module is there as it was made, of the sources that `digest` names.
pub(super) fn made(module: &Path, digest: &str) -> bool {
    let (Ok(bytes), Ok(note)) = (fs::read(module), fs::read_to_string(note(module))) else {
        return false;
    };
    note == line(digest, &bytes)
}

/// Notes of what a module was made. Without the note it is made anew, which does no harm.
pub(super) fn note_made(module: &Path, digest: &str) {
    let written = fs::read(module).and_then(|bytes| fs::write(note(module), line(digest, &bytes)));
    if let Err(error) = written {
        tracing::debug!(module = %module.display(), %error, "cannot note what it was made of");
    }
}

fn line(digest: &str, module: &[u8]) -> String {
    format!("{digest} {}\n", hex::text(&Sha256::digest(module)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A project with these files.
    fn project(files: &[(&str, &str)]) -> (tempfile::TempDir, Project) {
        let folder = tempfile::tempdir().expect("a folder");
        let project = Project {
            folder: folder.path().to_path_buf(),
            language: Language::Python,
            name: "hello".to_owned(),
        };
        for (path, text) in files {
            write(&project, path, text);
        }
        (folder, project)
    }

    fn write(project: &Project, path: &str, text: &str) {
        let path = project.folder.join(path);
        let above = path.parent().expect("a folder");
        fs::create_dir_all(above).expect("a folder");
        fs::write(path, text).expect("written");
    }

    #[test]
    fn a_change_of_a_source_is_seen_and_of_what_is_none_is_not() {
        let (_folder, project) = project(&[("src/lib.rs", "a")]);
        let except = [project.folder.join("weir-data")];
        let look = || Sources::of(&project.folder, &except);
        let before = look();
        for aside in [
            "target/debug/x",
            "dist/x.wasm",
            ".git/HEAD",
            ".venv/lib/x.py",
            "Cargo.lock",
            "package-lock.json",
            "node_modules/x/index.js",
            "src/__pycache__/plugin.cpython-314.pyc",
            "src/.plugin.py.swp",
            "src/plugin.py~",
            "hello.egg-info/PKG-INFO",
            "environment/pyvenv.cfg",
            "environment/lib/x.py",
            "weir-data/spool/1.seg",
        ] {
            write(&project, aside, "x");
            assert_eq!(look(), before, "{aside}");
        }
        write(&project, "src/lib.rs", "ab");
        let after = look();
        let changed = project.folder.join("src/lib.rs");
        assert_eq!(before.difference(&after), Some(&*changed));
        fs::remove_file(&changed).expect("removed");
        assert_eq!(after.difference(&look()), Some(&*changed));
        assert_eq!(after.difference(&after), None);
        assert_eq!(after.without(&[changed]), look());
    }

    #[test]
    fn what_a_module_is_made_of_is_its_sources_its_tool_and_its_packages() {
        let (_folder, project) = project(&[("src/plugin.py", "a"), ("sdk/app.py", "b")]);
        let named = |tool: &str| digest(&project, tool).expect("a digest");
        let first = named("1");
        assert_ne!(first, named("2"));
        for elsewhere in [
            "tests/test_plugin.py",
            "README.md",
            "cases.yaml",
            "weir.yaml",
            "weir-data/spool/1.seg",
        ] {
            write(&project, elsewhere, "x");
            assert_eq!(first, named("1"), "{elsewhere}");
        }
        write(&project, ".venv/lib/python3.14/site-packages/x/x.py", "x");
        let second = named("1");
        assert_ne!(first, second);
        write(&project, "src/plugin.py", "c");
        assert_ne!(second, named("1"));
        // What is written is compared, not when.
        write(&project, "src/plugin.py", "a");
        assert_eq!(second, named("1"));
    }

    #[test]
    fn a_module_that_was_changed_since_is_not_the_one_that_was_made() {
        let (folder, _) = project(&[]);
        let module = folder.path().join("hello.wasm");
        assert!(!made(&module, "d"));
        fs::write(&module, "one").expect("written");
        assert!(!made(&module, "d"));
        note_made(&module, "d");
        assert!(made(&module, "d"));
        assert!(!made(&module, "e"));
        fs::write(&module, "two").expect("written");
        assert!(!made(&module, "d"));
    }
}
