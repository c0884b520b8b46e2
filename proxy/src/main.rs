//! The command line's way into the library.

use std::process::ExitCode;

use clap::Parser;
use weir::cli::{
    Cli, Command, ConfigCommand, TracesCommand, check, completions, example, explain, man, plugin,
    print, schema,
};

// Requests allocate and free across a worker's tasks all the time: measured, this is cheaper than
// the system's allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => weir::run::command(args),
        Command::Check(args) => check::run(&args),
        Command::Config(ConfigCommand::Print(args)) => print::run(&args),
        Command::Config(ConfigCommand::Example(args)) => example::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Import(args) => weir::import::command(&args),
        Command::Traces(TracesCommand::Tail(args)) => weir::tail::command(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Plugin(command) => plugin::run(command),
        Command::Demo(args) => weir::demo::command(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}
