//! `weir plugin`: what an author of plugins needs, from the first file to the measured module.
//!
//! [`scaffold`] makes a project and [`project`] finds one; [`toolchain`] and [`componentize`] know what builds it,
//! [`sources`] of what; [`native`] runs its tests without Weir.
//! [`trial`] runs exchanges through the real chain, without a socket: tests, benchmarks and replays
//! stand on it.

pub mod bench;
pub mod build;
mod calls;
mod componentize;
pub mod dev;
pub mod doctor;
pub mod inspect;
mod native;
pub mod new;
mod project;
pub mod replay;
mod scaffold;
mod sources;
pub mod test;
mod toolchain;
mod trial;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Make a new plugin that builds, is tested and runs as it is
    New(new::NewArgs),
    /// Build a plugin to one `.wasm` file
    Build(build::BuildArgs),
    /// Run a plugin's cases natively and in Weir
    Test(test::TestArgs),
    /// Build, serve and show spans, again at each change of the sources
    Dev(dev::DevArgs),
    /// Measure what the hooks cost
    Bench(bench::BenchArgs),
    /// Run a recorded exchange through the plugins of a configuration
    Replay(replay::ReplayArgs),
    /// Show what a module is: kind, hooks, imports, size, configuration
    Inspect(inspect::InspectArgs),
    /// Say what is missing to build plugins, and how to get it
    Doctor(doctor::DoctorArgs),
}

/// Runs a command; what it says goes to standard output, what stops it to standard error.
pub fn run(command: PluginCommand) -> ExitCode {
    let done = match command {
        PluginCommand::New(args) => new::run(&args),
        PluginCommand::Build(args) => build::run(&args),
        PluginCommand::Test(args) => test::run(&args),
        PluginCommand::Dev(args) => dev::run(&args),
        PluginCommand::Bench(args) => bench::run(&args),
        PluginCommand::Replay(args) => replay::run(&args),
        PluginCommand::Inspect(args) => inspect::run(&args),
        PluginCommand::Doctor(args) => doctor::run(&args),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weir plugin: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What stopped a command, and the way out.
#[derive(Debug)]
pub struct Error {
    message: String,
    help: Option<String>,
}

impl Error {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
        }
    }

    /// What one could do about it.
    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {}", help.replace('\n', "\n        ")),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Writes to standard output, where a reader that has left is no error of ours.
fn print(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// Bytes, for people.
fn bytes(count: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let count = count as f64;
    if count < 1024.0 {
        format!("{count} B")
    } else if count < 1024.0 * 1024.0 {
        format!("{:.1} KiB", count / 1024.0)
    } else {
        format!("{:.1} MiB", count / 1024.0 / 1024.0)
    }
}
