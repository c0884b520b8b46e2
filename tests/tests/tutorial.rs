//! `docs/writing-a-plugin.md`, followed to the letter: each command it shows is run, and what it shows of
//! files is what is made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use weir_tests::kafka::shared;
use weir_tests::service::free_port;
use weir_tests::steps;
use weir_tests::trace::Trace;
use weir_tests::weir::binary;

/// A fenced block of the tutorial.
struct Block {
    language: String,
    text: String,
}

fn repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().expect("the repository")
}

fn blocks() -> Vec<Block> {
    let tutorial = fs::read_to_string(repository().join("docs/writing-a-plugin.md"));
    let tutorial = tutorial.expect("the tutorial");
    let fenced = tutorial.split("```").skip(1).step_by(2);
    fenced
        .map(|block| {
            let (language, text) = block.split_once('\n').expect("a block has lines");
            Block {
                language: language.to_owned(),
                text: text.to_owned(),
            }
        })
        .collect()
}

/// One script of all commands, in order.
fn script(blocks: &[Block]) -> String {
    let commands = blocks.iter().filter(|block| block.language == "sh");
    let commands: String = commands.map(|block| block.text.as_str()).collect();
    format!("{}{commands}", steps::BEGIN)
}

fn folder_of(file: &Path) -> String {
    let folder = file.parent().expect("a file is in a folder");
    folder.display().to_string()
}

/// What scaffolds are made of is compiled once, for all tests of this kind.
fn target() -> PathBuf {
    let binary = binary();
    let target = binary.parent().and_then(Path::parent);
    target.expect("a target directory").join("scaffold")
}

/// Whether all that `part` has is in `whole` too.
fn has(whole: &Value, part: &Value) -> bool {
    match part {
        Value::Object(part) => part.iter().all(|(key, part)| has(&whole[key], part)),
        part => whole == part,
    }
}

#[test]
fn following_the_tutorial_ends_with_its_span_in_the_topic() {
    let blocks = blocks();
    let folder = tempfile::tempdir().expect("a folder");
    // The tutorial makes it too; kcat, which is run at once here, would not wait for it.
    shared().create_topic("weir-traces", &[]);
    let [upstream, proxy] = [(); 2].map(|()| free_port().to_string());
    let script = script(&blocks)
        .replace("$PWD/weir/target/release", &folder_of(&binary()))
        .replace("9000", &upstream)
        .replace("8080", &proxy)
        // The ports stand in the file that is made, too.
        .replace(
            "weir plugin test\n",
            &format!("weir plugin test\nsed -i 's/9000/{upstream}/; s/8080/{proxy}/' weir.yaml\n"),
        )
        .replace("localhost:9092", shared().address());

    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(folder.path())
        .env("CARGO_TARGET_DIR", target())
        .env("WEIR__ADMIN__ADDRESS", "127.0.0.1:0")
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    steps::show(&errors);
    assert!(said.contains("test result: ok. 2 passed"), "{said}");
    assert!(
        said.lines().any(|line| line.trim_end() == "vary: x-tenant"),
        "{said}"
    );

    let trace = fs::read(folder.path().join("hello/trace.json")).expect("the trace is kept");
    let trace = Trace::new(&trace);
    assert!(said.contains("hello prehook: respond"), "{said}");
    let shown = blocks
        .iter()
        .find(|block| block.language == "json")
        .expect("the span is shown");
    let shown: Value = serde_json::from_str(&shown.text).expect("the span is JSON");
    let span = trace.span(shown["Name"].as_str().expect("a name"));
    assert!(has(span, &shown), "{span:#}");
}

/// The lines of a text, without what indents them.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).collect()
}

#[test]
fn the_example_to_copy_is_what_is_made_and_what_the_tutorial_shows() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = Command::new(binary())
        .args(["plugin", "new", "hello"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .status();
    assert!(made.expect("weir runs").success());
    let example = repository().join("examples/plugins/hello");
    for file in [
        "src/lib.rs",
        "cases.yaml",
        "weir.yaml",
        "README.md",
        ".gitignore",
    ] {
        let made = fs::read_to_string(folder.path().join("hello").join(file));
        let made = made.expect("it is made");
        if std::env::var_os("BLESS").is_some() {
            fs::write(example.join(file), &made).expect("written");
        }
        let copy = fs::read_to_string(example.join(file)).expect("the example");
        assert_eq!(copy, made, "{file}: BLESS=1 brings the example up to date");
        for block in blocks() {
            let shown = (file == "src/lib.rs" && block.language == "rust")
                || (file == "cases.yaml" && block.language == "yaml");
            let (made, shown_lines) = (lines(&made), lines(block.text.trim()));
            assert!(
                !shown
                    || made
                        .windows(shown_lines.len())
                        .any(|piece| piece == shown_lines),
                "{file} has no such lines:\n{}",
                block.text
            );
        }
    }
}
