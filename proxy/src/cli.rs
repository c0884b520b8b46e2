//! The command line: what it looks like, and the commands that need no proxy.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Document, Environment, Faults, Finding, Loaded};
use crate::import::ImportArgs;
use crate::tail::TailArgs;

pub mod check;
pub mod completions;
pub mod example;
pub mod explain;
pub mod man;
pub mod plugin;
pub mod print;
pub mod schema;

/// An edge proxy whose every plugin hook is sandboxed, traced and delivered to Kafka.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve, until SIGTERM; reload when the file changes, or on SIGHUP
    Run(RunArgs),
    /// Check a configuration, and show every fault at once
    Check(check::CheckArgs),
    /// Look at a configuration, or begin one
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Explain the code of a fault and the way out
    Explain(explain::ExplainArgs),
    /// Turn the configuration of a system that Weir replaces into Weir's
    Import(ImportArgs),
    /// Look at the traces in a topic
    #[command(subcommand)]
    Traces(TracesCommand),
    /// Print the JSON Schema of the configuration, for editors
    Schema(schema::SchemaArgs),
    /// Write, build, test and measure plugins
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// Show the whole of it with nothing installed
    Demo(DemoArgs),
    /// Print what a shell completes
    Completions(completions::CompletionsArgs),
    /// Write the manual pages
    Man(man::ManArgs),
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print what is in force: file, environment, `--set` and defaults together
    Print(print::PrintArgs),
    /// Print one to start from
    Example(example::ExampleArgs),
}

#[derive(Debug, Subcommand)]
pub enum TracesCommand {
    /// Print the traces of a topic as they come, one line each
    Tail(Box<TailArgs>),
}

/// Which configuration: a file, and what is put onto it.
#[derive(Args, Clone, Debug)]
pub struct ConfigArgs {
    /// Configuration file, in YAML
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Set one value, in YAML, over the file and the environment; may be given several times
    ///
    /// Items of lists are named by their index. The environment variable `WEIR__A__B__C` does the
    /// same as `--set a.b.c`.
    #[arg(long, value_name = "KEY.PATH=VALUE")]
    pub set: Vec<String>,
}

impl ConfigArgs {
    /// Reads and checks it, with the environment of this process.
    pub fn load(&self) -> Result<Loaded, Faults> {
        config::load(&self.config, &self.set, &Environment::of_process())
    }

    /// Adds what was found, each at its place in the file, to the faults found before.
    pub fn with_findings(&self, faults: Faults, findings: Vec<Finding>) -> Faults {
        let environment = Environment::of_process();
        config::with_findings(&self.config, &self.set, &environment, faults, findings)
    }

    /// Where it comes from.
    pub fn document(&self) -> Document {
        Document {
            file: self.config.clone(),
            set: self.set.clone(),
            environment: Environment::of_process(),
        }
    }
}

/// Serve what the configuration says, until SIGTERM or SIGINT begins a drain. The configuration is
/// read anew when its file changes, on SIGHUP, and on `POST /reload` of the admin address; one with
/// faults changes nothing.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  weir run --config weir.yaml
  weir run --config weir.yaml --set workers=2 --set listeners.0.address=127.0.0.1:8080
  WEIR__ADMIN__ADDRESS=127.0.0.1:9902 weir run --config weir.yaml")]
pub struct RunArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Do not read the configuration anew when its file or a certificate's changes; only when told to
    #[arg(long)]
    pub no_watch: bool,
}

/// Run an example upstream, the proxy with the bundled plugins, and a Kafka broker in one process,
/// and print each trace as it is consumed from the topic.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  weir demo
  weir demo --address 127.0.0.1:8081 --once
  weir demo --set 'exporters.traces.kafka.plugin_span_filter={mode: exclude, plugins: [headers]}'")]
pub struct DemoArgs {
    /// Where the proxy listens; another port is taken where this one is in use
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
    pub address: SocketAddr,
    /// Where the admin API listens; another port is taken where this one is in use
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:9901")]
    pub admin: SocketAddr,
    /// Set one value over the demo's configuration; may be given several times
    #[arg(long, value_name = "KEY.PATH=VALUE")]
    pub set: Vec<String>,
    /// End once the demo's own traces are shown
    #[arg(long)]
    pub once: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
