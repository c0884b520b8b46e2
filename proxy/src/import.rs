//! `weir import`: turns the configuration of a system that Weir replaces into Weir's.
//!
//! Each key of the source becomes a key of the [`Draft`], or a finding that says why not. Where the
//! source's default is another than Weir's, it is written out, so that messages stay as they were.
//! The result is judged as `weir check` would before it is given out.

mod bifrost;
mod draft;
mod kafka_connect;
mod rotel;
mod words;

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::config::fault::{Code, Severity};
use crate::config::report::Format;
use crate::config::{self, Environment};
use draft::Draft;

/// Turn the configuration of Bifrost's Kafka connector, of Conduktor's OTLP source connector or of
/// Rotel's Kafka exporter into one of Weir's, on standard output, with what has no equal on standard
/// error and in its first comments. Passwords are not copied: the result names environment variables
/// for them.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  weir import --from bifrost config.json --upstream http://127.0.0.1:9000 > weir.yaml
  weir import --from kafka-connect connector.json --brokers kafka-1:9092,kafka-2:9092 > weir.yaml
  weir import --from rotel rotel.env --output weir.yaml
  echo 'rotel start --exporter kafka --kafka-exporter-acks all' | weir import --from rotel -")]
pub struct ImportArgs {
    /// Whose configuration it is
    #[arg(long, value_enum, value_name = "SYSTEM")]
    from: Source,
    /// Bifrost: its `config.json`, or the connector's part of it. Kafka Connect: the connector's
    /// JSON. Rotel: a file of `ROTEL_*` variables, or a text with its command line. `-` is standard
    /// input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write to a file, which must not be there yet, in place of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Kafka Connect: the brokers of its workers, which the connector's JSON does not name
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',')]
    brokers: Vec<String>,
    /// Bifrost: where Weir is to listen
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:8080")]
    listen: String,
    /// Bifrost: where requests are to go
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9000")]
    upstream: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Source {
    /// Bifrost's Kafka connector
    Bifrost,
    /// Conduktor's OTLP source connector
    KafkaConnect,
    /// Rotel's Kafka exporter
    Rotel,
}

pub fn command(args: &ImportArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &ImportArgs) -> Result<(), String> {
    let name = args.file.display();
    let text = read(&args.file).map_err(|error| format!("cannot read {name}: {error}"))?;
    let mut draft = match args.from {
        Source::Bifrost => Draft::new(&args.listen, &args.upstream),
        Source::KafkaConnect | Source::Rotel => Draft::receiver(),
    };
    match args.from {
        Source::Bifrost => bifrost::import(&text, &mut draft),
        Source::Rotel => rotel::import(&text, &mut draft),
        Source::KafkaConnect => kafka_connect::import(&text, &args.brokers, &mut draft),
    }
    .map_err(|error| format!("{name}: {error}"))?;
    if args.from == Source::Bifrost {
        draft.note(
            "note",
            "it says nothing of what is proxied: look at `listeners`, `upstreams` and `routes`",
        );
        draft.note(
            "note",
            "give `data_dir` a folder, and no trace is lost by a restart",
        );
    } else {
        draft.note(
            "note",
            "give `data_dir` a folder, and requests are acknowledged also while Kafka is away",
        );
    }
    judge(&mut draft, args)?;
    let yaml = draft.yaml();
    for finding in draft.findings() {
        eprintln!("{finding}");
    }
    match &args.output {
        Some(path) => {
            let name = path.display();
            write_new(path, &yaml).map_err(|error| format!("cannot write {name}: {error}"))
        }
        None => (io::stdout().write_all(yaml.as_bytes()))
            .map_err(|error| format!("cannot write: {error}")),
    }
}

fn read(file: &Path) -> io::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(file)
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = std::fs::File::create_new(path)?;
    file.write_all(text.as_bytes())
}

/// What `weir check` says of it. Variables that are not set yet are no fault here: they are told.
fn judge(draft: &mut Draft, args: &ImportArgs) -> Result<(), String> {
    let environment = Environment::of_process();
    let place = args.output.as_deref().unwrap_or(Path::new("weir.yaml"));
    let Err(mut faults) = config::parse(&draft.yaml(), place, &[], &environment) else {
        return Ok(());
    };
    for fault in faults
        .list
        .iter()
        .filter(|fault| fault.code == Code::Environment)
    {
        draft.note(
            &fault.path,
            &format!("{} (set it before Weir starts)", fault.message),
        );
    }
    faults
        .list
        .retain(|fault| fault.code != Code::Environment && fault.severity() == Severity::Error);
    if faults.list.is_empty() {
        return Ok(());
    }
    for finding in draft.findings() {
        eprintln!("{finding}");
    }
    let report = faults.report(Format::Text);
    Err(format!(
        "what it says cannot be served by Weir:\n{}",
        report.trim_end()
    ))
}

#[cfg(test)]
mod tests;
