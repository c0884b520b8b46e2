//! A project's native tests: its own, and its cases on the fake host of its language.
//!
//! In Rust `cargo test` runs both. In JavaScript and Python the language's runner runs the author's
//! tests; the cases are piped to the SDK's fake host as JSON, and what it saw is judged here.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;
use weir_sdk::testing::cases::{Case, Observed};

use super::project::{Language, Project};
use super::{Error, componentize, print, test, toolchain};

/// Whether all native tests passed. What they say goes out as they say it.
pub(super) fn run(project: &Project, cases: &[Case]) -> Result<bool, Error> {
    let language = project.language;
    let tests = match language {
        Language::Rust => Some(("cargo test", vec!["cargo", "test", "--quiet"])),
        Language::Javascript => {
            Some(("npm test", vec!["npm", "test", "--silent"])).filter(|_| has_tests(project))
        }
        Language::Python => {
            let unittest = ["python3", "-m", "unittest", "discover", "-s", "tests"];
            Some(("python3 -m unittest", unittest.to_vec()))
                .filter(|_| project.folder.join("tests").is_dir())
        }
    };
    let mut passed = true;
    if let Some((shown, words)) = tests {
        print(&format!("native  {shown}\n"));
        let mut command = command(project, &words);
        let status = command.stdin(Stdio::null()).status();
        passed &= status.map_err(|error| missing(language, &error))?.success();
    }
    if language != Language::Rust {
        passed &= run_cases(project, cases)?;
    }
    Ok(passed)
}

/// Whether `npm test` is anything.
fn has_tests(project: &Project) -> bool {
    let manifest = std::fs::read(project.folder.join(Language::Javascript.manifest()));
    let manifest = manifest.ok();
    let manifest = manifest.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    manifest.is_some_and(|manifest| manifest["scripts"]["test"].is_string())
}

fn run_cases(project: &Project, cases: &[Case]) -> Result<bool, Error> {
    let native: Vec<&Case> = cases.iter().filter(|case| case.native).collect();
    let (shown, words): (&str, &[&str]) = match project.language {
        Language::Python => ("python3", &["python3", "-m", "weir.testing"]),
        _ => ("node", &["node", "sdk/testing.js"]),
    };
    print(&format!("native  {shown}\n"));
    let exchanges: Vec<Value> = native.iter().map(|case| case.exchange()).collect();
    let said = piped(
        &mut command(project, words),
        &Value::from(exchanges).to_string(),
    )
    .map_err(|error| missing(project.language, &error))?;
    let seen = said.as_deref().and_then(|said| {
        // What the plugin itself prints comes before.
        let last = said.trim_end().lines().next_back()?;
        let seen: Vec<Value> = serde_json::from_str(last).ok()?;
        let seen: Vec<Observed> = seen.iter().filter_map(Observed::of_exchange).collect();
        (seen.len() == native.len()).then_some(seen)
    });
    let Some(seen) = seen else {
        print("  FAILED  the plugin could not be run\n");
        return Ok(false);
    };
    let mut passed = true;
    for (case, observed) in native.iter().zip(seen) {
        passed &= test::report(case, &observed);
    }
    Ok(passed)
}

/// Standard output of a command that is given `input`; none where it fails.
fn piped(command: &mut Command, input: &str) -> std::io::Result<Option<String>> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    // It reads all before it writes any; one that ends early leaves a broken pipe.
    let written = child
        .stdin
        .take()
        .map(|mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let whole = matches!(written, Some(Ok(()))) && output.status.success();
    Ok(whole.then_some(said))
}

fn command(project: &Project, words: &[&str]) -> Command {
    let python = project.language == Language::Python;
    let mut command = if python {
        Command::new(componentize::interpreter(&project.folder))
    } else {
        Command::new(words[0])
    };
    command.args(&words[1..]).current_dir(&project.folder);
    if python {
        let path = ["sdk", "src"].map(|folder| project.folder.join(folder));
        let path = std::env::join_paths(path).unwrap_or_default();
        command
            .env("PYTHONPATH", path)
            .env("PYTHONDONTWRITEBYTECODE", "1");
    }
    command
}

fn missing(language: Language, error: &std::io::Error) -> Error {
    Error::new(format!("cannot run the native tests: {error}")).help(match language {
        Language::Rust => toolchain::RUST,
        Language::Javascript => componentize::NODE,
        Language::Python => componentize::PYTHON3,
    })
}
