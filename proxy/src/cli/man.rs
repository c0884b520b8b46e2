//! `weir man`: the command line as manual pages.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory};

use super::Cli;

/// Write a manual page for each command into a folder, which is made where it is missing.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  weir man /usr/local/share/man/man1
  weir man pages && man -l pages/weir-run.1")]
pub struct ManArgs {
    /// Where they go
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
}

/// Writes the pages.
pub fn run(args: &ManArgs) -> ExitCode {
    let folder = &args.folder;
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}
