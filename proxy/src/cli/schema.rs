//! `weir schema`: the JSON Schema of the configuration.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use crate::config;

/// Print the JSON Schema (draft 2020-12) of the configuration. With the line below as the first of
/// a file, editors check the file and explain its keys as it is written.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Example:
  weir schema > weir.schema.json
  # yaml-language-server: $schema=weir.schema.json")]
pub struct SchemaArgs {}

/// Writes the schema to standard output.
pub fn run(_: &SchemaArgs) -> ExitCode {
    let schema = format!("{:#}\n", config::schema());
    match io::stdout().lock().write_all(schema.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
