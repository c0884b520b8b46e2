//! `weir config example`: a configuration to start from.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

/// Print a configuration to start from: one listener, one upstream, and traces to Kafka.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  weir config example > weir.yaml
  weir config example --full | less")]
pub struct ExampleArgs {
    /// A fuller one, with plugins, TLS to brokers, limits, and defaults in comments
    #[arg(long)]
    pub full: bool,
}

const LEAST: &str = include_str!("../../../examples/minimal.yaml");
const FULL: &str = include_str!("../../../examples/weir.yaml");

/// Writes it to standard output.
pub fn run(args: &ExampleArgs) -> ExitCode {
    let text = if args.full { FULL } else { LEAST };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
