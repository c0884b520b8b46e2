//! `docs/writing-a-plugin.md`, followed to the letter: each file it shows is written, each command
//! it shows is run.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use weir_tests::kafka::shared;
use weir_tests::trace::Trace;
use weir_tests::weir::binary;

/// A fenced block of the tutorial.
struct Block {
    language: String,
    text: String,
}

impl Block {
    /// The file that it is, which its first line names in a comment.
    fn file(&self) -> Option<(&str, &str)> {
        let (first, rest) = self.text.split_once('\n')?;
        let name = first
            .strip_prefix("# ")
            .or_else(|| first.strip_prefix("// "))?;
        (!name.contains(' ')).then_some((name, rest))
    }
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

/// One script of all files and commands, in order.
fn script(blocks: &[Block]) -> String {
    let mut script = "set -euo pipefail\ntrap 'kill $(jobs -p)' EXIT\n".to_owned();
    for block in blocks {
        if let Some((name, text)) = block.file() {
            script += &format!("cat >{name} <<'END OF FILE'\n{text}END OF FILE\n");
        } else if block.language == "sh" {
            script += &block.text;
        }
    }
    script
}

/// A port that was free a moment ago.
fn port() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener
        .local_addr()
        .expect("an address")
        .port()
        .to_string()
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
    symlink(repository(), folder.path().join("weir")).expect("a link to the clone");
    // The tutorial makes it too; kcat, which is run at once here, would not wait for it.
    shared().create_topic("weir-traces", &[]);
    let script = script(&blocks)
        .replace(
            "../weir/target/release/weir",
            &binary().display().to_string(),
        )
        .replace("9000", &port())
        .replace("8080", &port())
        .replace("localhost:9092", shared().address());

    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(folder.path())
        .env_remove("CARGO_TARGET_DIR")
        .env("WEIR__ADMIN__ADDRESS", "127.0.0.1:0")
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(said.contains("test result: ok. 2 passed"), "{said}");
    assert!(
        said.lines()
            .any(|line| line.trim_end() == "x-hello: hello, Ada"),
        "{said}"
    );

    let (_, json) = said.split_once("\n{\n").expect("a trace is printed");
    let trace = Trace::new(format!("{{{json}").as_bytes());
    let shown = blocks
        .iter()
        .find(|block| block.language == "json")
        .expect("the span is shown");
    let shown: Value = serde_json::from_str(&shown.text).expect("the span is JSON");
    let span = trace.span(shown["Name"].as_str().expect("a name"));
    assert!(has(span, &shown), "{span:#}");
}

#[test]
fn the_example_to_copy_is_the_tutorials_plugin() {
    let blocks = blocks();
    let source = blocks
        .iter()
        .filter_map(Block::file)
        .find(|(name, _)| *name == "src/lib.rs");
    let (_, source) = source.expect("the tutorial shows the source");
    let example = repository().join("examples/plugins/hello/src/lib.rs");
    let example = fs::read_to_string(example).expect("the example");
    let words = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(words(&example), words(source));
}
