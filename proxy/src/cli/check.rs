//! `weir check`: the faults of a configuration, in the form that is asked for.

mod connect;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use super::ConfigArgs;
use crate::config::Loaded;
use crate::config::fault::{Fault, Faults, Severity};
use crate::config::report::Format;

/// Check a configuration without serving it, and show every fault at once, each with its line and
/// key path. Exits with 0 if it can be served, and with 1 if it has a fault; warnings are no fault.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  weir check --config weir.yaml
  weir check --config weir.yaml --set exporters.traces.kafka.topic=weir-traces
  weir check --config weir.yaml --connect
  weir check --config weir.yaml --format sarif > weir.sarif")]
pub struct CheckArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Also try the upstreams' endpoints, and the brokers and topics of the exporters
    #[arg(long)]
    pub connect: bool,
    /// How to show what is found
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// Writes the report to standard output.
pub fn run(args: &CheckArgs) -> ExitCode {
    let faults = match args.config.load() {
        Ok(Loaded { config, warnings }) if args.connect => {
            let silent = connect::try_all(&config);
            args.config.with_unreachable(warnings, silent)
        }
        Ok(Loaded { warnings, .. }) => warnings,
        Err(faults) => faults,
    };
    let code = match faults.count(Severity::Error) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    };
    let mut report = faults.report(args.format);
    if args.format == Format::Text {
        report += &hint(&faults);
        report += &summary(&faults);
    }
    match io::stdout().lock().write_all(report.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Where to read more about the first error.
fn hint(faults: &Faults) -> String {
    let errors = |fault: &&Fault| fault.severity() == Severity::Error;
    let first = faults.list.iter().find(errors);
    first.map_or_else(String::new, |fault| {
        format!("more about it: weir explain {}\n", fault.code)
    })
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
