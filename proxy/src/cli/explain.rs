//! `weir explain`: what a code means and the way out.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use crate::config::fault::Code;

/// What people read on the web too: a section for each code.
const PAGE: &str = include_str!("../../../docs/errors.md");

/// What begins a section; its code follows.
const HEADING: &str = "\n## ";

/// Explain the code of a fault and the way out of it. Without a code, list them all.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  weir explain WEIR-C004
  weir explain c4
  weir explain")]
pub struct ExplainArgs {
    /// As printed in brackets by `weir check`; `WEIR-` and zeros may be left out
    pub code: Option<String>,
}

/// Writes the explanation to standard output; exits with 1 where there is no such code.
pub fn run(args: &ExplainArgs) -> ExitCode {
    let text = match &args.code {
        None => list(),
        Some(code) => match find(code) {
            Some(code) => section(code).to_owned(),
            None => {
                eprintln!("weir explain: there is no code `{code}`; `weir explain` lists them");
                return ExitCode::FAILURE;
            }
        },
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn list() -> String {
    let line = |code: &Code| format!("{code}  {}\n", code.title());
    Code::ALL.iter().map(line).collect()
}

/// By its full name, or by what of it tells it apart: `C004`, `c4`.
fn find(code: &str) -> Option<Code> {
    let number = |name: &str| {
        let name = name.trim().to_ascii_uppercase();
        let name = name.strip_prefix("WEIR-").unwrap_or(&name);
        name.strip_prefix('C')?.parse::<u16>().ok()
    };
    let wanted = number(code)?;
    let same = |known: &&Code| number(known.as_str()) == Some(wanted);
    Code::ALL.iter().find(same).copied()
}

/// The code's part of the page, from its heading to the next.
fn section(code: Code) -> &'static str {
    let heading = format!("{HEADING}{code}:");
    let start = PAGE.find(&heading).map_or(PAGE.len(), |at| at + 1);
    let section = &PAGE[start..];
    let end = section.find(HEADING).map_or(section.len(), |at| at + 1);
    section[..end].trim_start_matches("## ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_a_section_with_its_title_and_a_way_out() {
        for code in Code::ALL {
            let section = section(*code);
            let title = format!("{code}: {}\n", code.title());
            assert!(section.starts_with(&title), "{code}: {section}");
            assert!(section.contains("**Way out:**"), "{code}");
        }
    }

    #[test]
    fn each_section_is_of_a_code() {
        assert_eq!(PAGE.matches(HEADING).count(), Code::ALL.len());
    }

    #[test]
    fn a_code_is_found_by_what_tells_it_apart() {
        for name in ["WEIR-C004", "weir-c004", "C004", "c4"] {
            assert_eq!(find(name), Some(Code::UnknownKey), "{name}");
        }
        for name in ["", "4", "WEIR-C999", "C", "X004"] {
            assert_eq!(find(name), None, "{name}");
        }
    }
}
