//! `weir config print`: the configuration that is in force.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use super::ConfigArgs;
use crate::config::report::Format;
use crate::config::{self, Environment};

/// Print the configuration that is in force, as YAML: what the file says, what the environment and
/// `--set` put over it, and the default of every key that nobody set. Secrets are not shown.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  weir config print --config weir.yaml
  weir config print --config weir.yaml --sources | grep librdkafka")]
pub struct PrintArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Say of each value where it comes from, and which of librdkafka's properties it sets
    #[arg(long)]
    pub sources: bool,
}

/// Writes it to standard output; faults to standard error.
pub fn run(args: &PrintArgs) -> ExitCode {
    let ConfigArgs { config: file, set } = &args.config;
    match config::effective(file, set, &Environment::of_process(), args.sources) {
        Ok(text) => match io::stdout().lock().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(faults) => {
            eprint!("{}", faults.report(Format::Text));
            ExitCode::FAILURE
        }
    }
}
