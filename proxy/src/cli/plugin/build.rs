//! `weir plugin build`: a plugin's folder becomes one module.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::Args;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::project::{self, Language, Project};
use super::{Error, bytes, componentize, inspect, print, sources, toolchain};
use crate::hex;

/// Build a plugin, in whichever language it is, to `dist/NAME.wasm` in its folder. What was built of the
/// same sources, tool and packages is not built again.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  weir plugin build
  weir plugin build plugins/hello && weir plugin inspect plugins/hello/dist/hello.wasm")]
pub struct BuildArgs {
    /// The plugin's folder
    #[arg(value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
}

pub(super) fn run(args: &BuildArgs) -> Result<ExitCode, Error> {
    let project = Project::find(&args.folder)?;
    let built = build(&project)?;
    print(&format!(
        "{}  {}\nsha256 {}\n",
        project::shown(&built.file),
        bytes(built.size),
        built.digest
    ));
    Ok(ExitCode::SUCCESS)
}

/// A module that was built.
pub(super) struct Built {
    pub(super) file: PathBuf,
    pub(super) size: u64,
    pub(super) digest: String,
}

/// Builds a project's module. What the language's tools say goes to standard error as they say it.
pub(super) fn build(project: &Project) -> Result<Built, Error> {
    let file = project.module();
    match project.language {
        Language::Rust => {
            let made = rust(project)?;
            deliver(&made, &file)?;
        }
        Language::Javascript | Language::Python => {
            let made_of = componentize::made_of(project)?;
            if let Some(made_of) = &made_of
                && sources::made(&file, made_of)
            {
                return built(project, file);
            }
            let folder = tempfile::tempdir()
                .map_err(|error| Error::new(format!("cannot make a folder: {error}")))?;
            let made = folder.path().join("made.wasm");
            componentize::build(project, &made)?;
            deliver(&made, &file)?;
            // Of sources that changed meanwhile nobody knows which it is made of.
            if let Some(made_of) = made_of
                && componentize::made_of(project)?.as_ref() == Some(&made_of)
            {
                sources::note_made(&file, &made_of);
            }
        }
    }
    built(project, file)
}

/// What there is in a file, where that is a plugin.
fn built(project: &Project, file: PathBuf) -> Result<Built, Error> {
    let module = std::fs::read(&file)
        .map_err(|error| Error::new(format!("cannot read {}: {error}", file.display())))?;
    if let Some(reason) = inspect::no_plugin(&module) {
        return Err(
            Error::new(format!("{} is no plugin: {reason}", project::shown(&file))).help(
                match project.language {
                    Language::Rust => "is there a `weir_sdk::export!(…)` in src/lib.rs?",
                    Language::Javascript => "is its class the default export of src/plugin.js?",
                    Language::Python => "is its class in src/plugin.py marked by `@plugin`?",
                },
            ),
        );
    }
    Ok(Built {
        size: module.len() as u64,
        digest: hex::text(&Sha256::digest(&module)),
        file,
    })
}

/// Gives what cargo made.
fn rust(project: &Project) -> Result<PathBuf, Error> {
    let toolchain = toolchain::get(&project.folder)?;
    let mut command = toolchain.cargo_build(&project.folder);
    let messages = messages(&mut command, "cargo build")?;
    let manifest = project.folder.join("Cargo.toml");
    let mut artifacts = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let ours = message["manifest_path"].as_str().map(Path::new) == Some(&*manifest);
        let file = message["filenames"].as_array()?.iter().find_map(|file| {
            let file = Path::new(file.as_str()?);
            (file.extension()? == "wasm").then(|| file.to_path_buf())
        });
        if ours { file } else { None }
    });
    artifacts.next_back().ok_or_else(|| {
        Error::new("cargo made no `.wasm` of this crate")
            .help("in Cargo.toml: [lib] crate-type = [\"cdylib\"]")
    })
}

/// Standard output of a command that succeeds.
fn messages(command: &mut Command, what: &str) -> Result<String, Error> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Error::new(format!("cannot run {what}: {error}")))?;
    let mut text = String::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_string(&mut text)
            .map_err(|error| Error::new(format!("{what}: {error}")))?;
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(text),
        Ok(status) => Err(Error::new(format!("{what} failed: {status}"))),
        Err(error) => Err(Error::new(format!("{what}: {error}"))),
    }
}

/// Puts a module where it belongs, whole or not at all: a running Weir may be about to read it.
fn deliver(made: &Path, file: &Path) -> Result<(), Error> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let partial = file.with_extension("wasm.partial");
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::copy(made, &partial))
        .and_then(|_| std::fs::rename(&partial, file))
        .map_err(|error| Error::new(format!("cannot write {}: {error}", file.display())))
}
