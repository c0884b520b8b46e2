//! The command line's way into the library.

use std::process::ExitCode;

use clap::Parser;
use weir::cli::{Cli, Command, check, schema};

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check(args) => check::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Run(_) | Command::Demo(_) => ExitCode::FAILURE,
    }
}
