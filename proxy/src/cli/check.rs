//! `weir check`: the faults of a configuration, in the form that is asked for.

mod connect;
mod plugins;
mod route;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use super::ConfigArgs;
use crate::config::Loaded;
use crate::config::fault::{Fault, Faults, Severity};
use crate::config::report::Format;

/// Check a configuration without serving it, and show every fault at once, each with its line and
/// key path. Plugins are loaded and configured, as at a start. Exits with 0 if it can be served, and
/// with 1 if it has a fault; warnings are no fault.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  weir check --config weir.yaml
  weir check --config weir.yaml --set exporters.traces.kafka.topic=weir-traces
  weir check --config weir.yaml --connect
  weir check --config weir.yaml --format sarif > weir.sarif
  weir check --config weir.yaml --route 'GET http://api.example.com/v1/users?id=7'
  weir check --config weir.yaml --route 'POST /v1/users' --header 'x-version: 2'")]
pub struct CheckArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Also try the upstreams' endpoints, the brokers and topics of the exporters, and Redis
    #[arg(long)]
    pub connect: bool,
    /// How to show what is found
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Say which route this request takes, and why others do not; exits with 1 if none does
    ///
    /// A method and a URL, such as `GET http://api.example.com/v1/users`; or a method and a path, for a
    /// request without host. Of the configuration itself only faults are shown that are found without
    /// trying its plugins.
    #[arg(long, value_name = "METHOD URL", conflicts_with_all = ["connect", "format"])]
    pub route: Option<String>,
    /// A field of the request that `--route` is about; may be given several times
    #[arg(long, value_name = "NAME: VALUE", requires = "route")]
    pub header: Vec<String>,
}

/// Writes the report to standard output.
pub fn run(args: &CheckArgs) -> ExitCode {
    let faults = match args.config.load() {
        Ok(Loaded { config, .. }) if args.route.is_some() => {
            let asked = args.route.as_deref().unwrap_or_default();
            return match route::explain(&config, asked, &args.header) {
                Ok((text, true)) => say(&text, ExitCode::SUCCESS),
                Ok((text, false)) => say(&text, ExitCode::FAILURE),
                Err(message) => {
                    eprintln!("error: {message}");
                    ExitCode::from(2)
                }
            };
        }
        Ok(Loaded { config, warnings }) => {
            let mut findings = plugins::try_all(&config);
            if args.connect {
                findings.extend(connect::try_all(&config));
            }
            args.config.with_findings(warnings, findings)
        }
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
    say(&report, code)
}

fn say(text: &str, code: ExitCode) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
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
