//! `weir plugin doctor`: what there is to build plugins with, and how to get what is missing.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::project::Language;
use super::toolchain::{self, Found, said};
use super::{Error, componentize, print};

/// Look for what builds plugins in each language, and say how to get what is missing. Exits with 1
/// if the language that is asked for cannot be built, or none can.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  weir plugin doctor
  weir plugin doctor --language python")]
pub struct DoctorArgs {
    /// Only this language
    #[arg(long, value_enum)]
    pub language: Option<Language>,
}

/// Something that was looked for.
struct Check {
    what: &'static str,
    /// What there is, or how to get it.
    found: Result<String, String>,
}

pub(super) fn run(args: &DoctorArgs) -> Result<ExitCode, Error> {
    let mut text = String::new();
    let mut ready = false;
    let wanted = |language: &Language| args.language.is_none_or(|only| only == *language);
    for language in Language::ALL.into_iter().filter(wanted) {
        let checks = match language {
            Language::Rust => rust(),
            Language::Javascript => javascript(),
            Language::Python => python(),
        };
        let whole = checks.iter().all(|check| check.found.is_ok());
        ready |= whole;
        text += &format!(
            "{:<12}{}\n",
            language.name(),
            if whole { "ready" } else { "not ready" }
        );
        for Check { what, found } in checks {
            match found {
                Ok(found) => text += &format!("  ok       {what:<17}{found}\n"),
                Err(way) => {
                    let way = way.replace('\n', &format!("\n{}", " ".repeat(28)));
                    text += &format!("  missing  {what:<17}{way}\n");
                }
            }
        }
    }
    print(&text);
    Ok(if ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn rust() -> Vec<Check> {
    let here = Path::new(".");
    let command = |what, arguments: &[&str]| Check {
        what,
        found: said(here, what, arguments).ok_or_else(|| toolchain::RUST.to_owned()),
    };
    let mut checks = vec![
        command("rustc", &["--version"]),
        command("cargo", &["--version"]),
    ];
    checks.push(Check {
        what: "wasm",
        found: match toolchain::find(here) {
            Found::Rust(rust) => Ok(rust.describe()),
            Found::NoTarget => Err(toolchain::WAYS.to_owned()),
            Found::NoRust => Err(toolchain::RUST.to_owned()),
        },
    });
    checks
}

fn javascript() -> Vec<Check> {
    let command = |what| Check {
        what,
        found: said(Path::new("."), what, &["--version"])
            .ok_or_else(|| componentize::NODE.to_owned()),
    };
    vec![
        command("node"),
        command("npm"),
        Check {
            what: "componentize-js",
            found: componentize::doctor(Language::Javascript),
        },
    ]
}

fn python() -> Vec<Check> {
    let here = Path::new(".");
    let python =
        said(here, "python3", &["--version"]).ok_or_else(|| componentize::PYTHON3.to_owned());
    let venv = said(here, "python3", &["-c", "import venv, ensurepip"])
        .map(|_| "can be made".to_owned())
        .ok_or_else(|| "install it (Debian): `apt-get install python3-venv`".to_owned());
    vec![
        Check {
            what: "python3",
            found: python,
        },
        Check {
            what: "venv",
            found: venv,
        },
        Check {
            what: "componentize-py",
            found: componentize::doctor(Language::Python),
        },
    ]
}
