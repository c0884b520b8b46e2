//! The command line as a user meets it: the real binary, its output and its exit code.

use std::path::PathBuf;
use std::process::{Command, Output};

fn weir(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(args).env_remove("API_KEY");
    command.output().expect("the binary starts")
}

fn example(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples");
    folder.join(name).display().to_string()
}

#[test]
fn check_exits_with_0_for_a_configuration_without_faults() {
    let output = weir(&["check", "--config", &example("minimal.yaml")]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("minimal.yaml: valid\n"));
}

#[test]
fn check_exits_with_1_and_shows_the_fault() {
    let output = weir(&["check", "--config", &example("weir.yaml")]);
    assert_eq!(output.status.code(), Some(1));
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(report.contains(": environment variable `API_KEY` is not set"));
    assert!(report.ends_with("weir.yaml: 1 error\n"));
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    assert_eq!(weir(&["check"]).status.code(), Some(2));
    assert_eq!(weir(&["serve"]).status.code(), Some(2));
    let minimal = example("minimal.yaml");
    let asked = ["check", "--config", &minimal, "--route", "GET http://a/"];
    assert_ne!(weir(&asked).status.code(), Some(2));
    // Which it would not do.
    for more in [&["--connect"][..], &["--format", "json"]] {
        assert_eq!(weir(&[&asked[..], more].concat()).status.code(), Some(2));
    }
}

#[test]
fn schema_prints_a_schema_of_draft_2020_12() {
    let output = weir(&["schema"]);
    assert_eq!(output.status.code(), Some(0));
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    assert_eq!(schema["title"], "Weir");
}

#[test]
fn help_of_each_command_has_an_example() {
    for command in [
        "run",
        "check",
        "config print",
        "explain",
        "schema",
        "demo",
        "completions",
        "man",
    ] {
        let arguments: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let output = weir(&arguments);
        assert_eq!(output.status.code(), Some(0));
        let help = String::from_utf8_lossy(&output.stdout);
        assert!(help.contains(&format!("  weir {command}")), "{help}");
    }
}

#[test]
fn explain_says_what_the_code_of_a_fault_means() {
    let report = weir(&["check", "--config", &example("weir.yaml")]).stdout;
    let report = String::from_utf8_lossy(&report).into_owned();
    let (_, code) = report.split_once("error[").expect("a code");
    let (code, _) = code.split_once(']').expect("a code");
    let output = weir(&["explain", code]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with(&format!("{code}: ")), "{text}");
    assert!(report.contains(&format!("weir explain {code}")), "{report}");

    let output = weir(&["explain", "WEIR-X1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
}

#[test]
fn config_print_shows_what_is_in_force() {
    let minimal = example("minimal.yaml");
    let output = weir(&["config", "print", "--sources", "--config", &minimal]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("shutdown_grace: \"30s\"  # default\n"),
        "{text}"
    );

    let output = weir(&[
        "config",
        "print",
        "--config",
        &minimal,
        "--set",
        "workers=none",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let faults = String::from_utf8_lossy(&output.stderr);
    assert!(
        faults.contains("workers: must be a whole number"),
        "{faults}"
    );
}

/// What bash offers for the last of these words.
fn completed(words: &[&str]) -> String {
    let script = format!(
        "source <(\"$WEIR\" completions bash); COMP_WORDS=({}); COMP_CWORD={}; \
         _weir weir \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[*]}}\"",
        words.join(" "),
        words.len() - 1,
    );
    let output = Command::new("bash")
        .args(["--norc", "-c", &script])
        .env("WEIR", env!("CARGO_BIN_EXE_weir"))
        .output()
        .expect("bash");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned()
}

#[test]
fn a_shell_completes_commands_and_options() {
    assert_eq!(completed(&["weir", "pl"]), "plugin");
    assert_eq!(completed(&["weir", "plugin", "ins"]), "inspect");
    assert_eq!(completed(&["weir", "run", "--conf"]), "--config");
    assert_eq!(
        completed(&["weir", "import", "--from", "kafka"]),
        "kafka-connect"
    );
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let output = weir(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        let script = String::from_utf8_lossy(&output.stdout);
        assert!(script.contains("completions"), "{shell}: {script}");
    }
    let output = weir(&["completions", "tcsh"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("possible values: bash, "));
}

#[test]
fn each_command_has_a_manual_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let pages = folder.path().join("share/man1");
    let place = pages.display().to_string();
    assert_eq!(weir(&["man", &place]).status.code(), Some(0));
    for (page, says) in [
        ("weir.1", "weir\\-plugin(1)"),
        ("weir-run.1", "\\-\\-config"),
        ("weir-plugin-test.1", "Examples:"),
        ("weir-traces-tail.1", "\\-\\-json"),
    ] {
        let page = std::fs::read_to_string(pages.join(page)).expect(page);
        assert!(page.contains("\n.TH "), "{page}");
        assert!(page.contains(says), "{says}: {page}");
    }
    let file = pages.join("weir.1").display().to_string();
    let output = weir(&["man", &file]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with(&file));
}
