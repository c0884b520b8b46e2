//! `weir check`: the faults of a configuration, in the form that is asked for.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use super::ConfigArgs;
use crate::config::Loaded;
use crate::config::fault::{Faults, Severity};
use crate::config::report::Format;

/// Check a configuration without serving it, and show every fault at once, each with its line and
/// key path. Exits with 0 if it can be served, and with 1 if it has a fault; warnings are no fault.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  weir check --config weir.yaml
  weir check --config weir.yaml --set exporters.traces.kafka.topic=weir-traces
  weir check --config weir.yaml --format sarif > weir.sarif")]
pub struct CheckArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// How to show what is found
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// Writes the report to standard output.
pub fn run(args: &CheckArgs) -> ExitCode {
    let (faults, code) = match args.config.load() {
        Ok(Loaded { warnings, .. }) => (warnings, ExitCode::SUCCESS),
        Err(faults) => (faults, ExitCode::FAILURE),
    };
    let mut report = faults.report(args.format);
    if args.format == Format::Text {
        report += &summary(&faults);
    }
    match io::stdout().lock().write_all(report.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn summary(faults: &Faults) -> String {
    let errors = faults.count(Severity::Error);
    let warnings = faults.count(Severity::Warning);
    let verdict = match errors {
        0 => "valid".to_owned(),
        1 => "1 error".to_owned(),
        n => format!("{n} errors"),
    };
    let besides = match warnings {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        n => format!(", {n} warnings"),
    };
    format!("{}: {verdict}{besides}\n", faults.file.display())
}
