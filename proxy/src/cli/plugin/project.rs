//! A plugin's folder: which language it is in, and where its files are.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::Error;

/// Where a project's modules are put, in its folder.
pub(super) const DIST: &str = "dist";

/// Files of cases, by which the first that is there is taken.
const CASES: [&str; 3] = ["cases.yaml", "cases.yml", "cases.json"];

/// What a plugin is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    Rust,
    Javascript,
    Python,
}

impl Language {
    pub(super) const ALL: [Self; 3] = [Self::Rust, Self::Javascript, Self::Python];

    /// The file that tells it.
    pub(super) fn manifest(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::Javascript => "package.json",
            Self::Python => "pyproject.toml",
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Javascript => "JavaScript",
            Self::Python => "Python",
        }
    }
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct Project {
    /// Absolute.
    pub(super) folder: PathBuf,
    pub(super) language: Language,
    pub(super) name: String,
}

impl Project {
    /// The project of a folder.
    pub(super) fn find(folder: &Path) -> Result<Self, Error> {
        let absolute = folder
            .canonicalize()
            .map_err(|error| Error::new(format!("cannot open {}: {error}", folder.display())))?;
        let languages = Language::ALL.into_iter();
        let language = languages
            .clone()
            .find(|language| absolute.join(language.manifest()).is_file())
            .ok_or_else(|| {
                let manifests: Vec<_> = languages.map(Language::manifest).collect();
                Error::new(format!(
                    "{} holds no plugin: none of {} is there",
                    folder.display(),
                    manifests.join(", ")
                ))
                .help("give the plugin's folder, or make one by `weir plugin new NAME`")
            })?;
        let manifest = absolute.join(language.manifest());
        let text = std::fs::read_to_string(&manifest)
            .map_err(|error| Error::new(format!("cannot read {}: {error}", manifest.display())))?;
        let name = name(language, &text).ok_or_else(|| {
            Error::new(format!("{} names no plugin", manifest.display()))
                .help("give it a `name`: the module is called so")
        })?;
        Ok(Self {
            folder: absolute,
            language,
            name,
        })
    }

    /// Where builds go, and what is compiled of them.
    pub(super) fn dist(&self) -> PathBuf {
        self.folder.join(DIST)
    }

    /// Where the module is, once it is built.
    pub(super) fn module(&self) -> PathBuf {
        self.dist().join(&self.name).with_extension("wasm")
    }
}

/// The file of cases in a folder.
pub(super) fn cases(folder: &Path) -> Option<PathBuf> {
    let mut files = CASES.iter().map(|name| folder.join(name));
    files.find(|file| file.is_file())
}

/// A path as one would write it here.
pub(super) fn shown(path: &Path) -> String {
    let here = std::env::current_dir().and_then(|here| here.canonicalize());
    let relative = here
        .ok()
        .and_then(|here| path.strip_prefix(here).ok().map(Path::to_path_buf));
    relative
        .unwrap_or_else(|| path.to_path_buf())
        .display()
        .to_string()
}

/// The first `name` of a manifest, in which the package's own comes first.
fn name(language: Language, manifest: &str) -> Option<String> {
    let name = if language == Language::Javascript {
        let manifest: serde_json::Value = serde_json::from_str(manifest).ok()?;
        manifest["name"].as_str()?.to_owned()
    } else {
        let value = manifest.lines().find_map(|line| {
            let value = line.trim().strip_prefix("name")?.trim_start();
            value.strip_prefix('=')
        })?;
        value.trim().trim_matches(['"', '\'']).to_owned()
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_that_of_the_package() {
        let rust = "[package]\nname = \"my-plugin\"\n[lib]\nname = \"other\"\n";
        assert_eq!(name(Language::Rust, rust).as_deref(), Some("my-plugin"));
        let python = "[project]\nname = 'hello'\n";
        assert_eq!(name(Language::Python, python).as_deref(), Some("hello"));
        let javascript = r#"{"private": true, "name": "hello"}"#;
        assert_eq!(
            name(Language::Javascript, javascript).as_deref(),
            Some("hello")
        );
    }

    #[test]
    fn a_name_that_leads_out_of_the_folder_is_none() {
        assert_eq!(name(Language::Rust, "name = \"../x\""), None);
        assert_eq!(name(Language::Rust, "name = \"\""), None);
    }
}
