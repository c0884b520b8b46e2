//! What authors who come from elsewhere try first: each mistake is told in words that lead on, by the fake
//! host and in Weir alike, and what can work as it does elsewhere works. `mistakes/` has a plugin that tries
//! all of it, and what is to come of each.

use std::fs;
use std::path::{Path, PathBuf};

use super::{done, plugin, run};

const JAVASCRIPT: [&str; 3] = [
    "javascript",
    include_str!("mistakes/plugin.js"),
    include_str!("mistakes/cases.js.yaml"),
];
const PYTHON: [&str; 3] = [
    "python",
    include_str!("mistakes/plugin.py"),
    include_str!("mistakes/cases.py.yaml"),
];

/// A new project with another source.
fn project(above: &Path, language: &str, source: &str) -> PathBuf {
    done(&plugin(above, &["new", "tries", "--language", language]));
    let folder = above.join("tries");
    let file = if language == "python" {
        "plugin.py"
    } else {
        "plugin.js"
    };
    fs::write(folder.join("src").join(file), source).expect("written");
    // Those of the scaffold are of its own source.
    fs::remove_dir_all(folder.join(if language == "python" {
        "tests"
    } else {
        "test"
    }))
    .expect("removed");
    folder
}

fn tries([language, source, cases]: [&str; 3]) {
    let above = tempfile::tempdir().expect("a folder");
    let folder = project(above.path(), language, source);
    fs::write(folder.join("cases.yaml"), cases).expect("written");
    let said = done(&plugin(&folder, &["test"]));
    let count = cases.matches("- name: ").count();
    assert!(
        said.contains(&format!("{count} cases: {count} ok, 0 failed")),
        "{said}"
    );
}

/// Why a plugin of this source is refused on the fake host.
fn refused(language: &str, source: &str) -> String {
    let above = tempfile::tempdir().expect("a folder");
    let folder = project(above.path(), language, source);
    let host = match language {
        "python" => "PYTHONPATH=sdk:src python3 -m weir.testing",
        _ => "node sdk/testing.js",
    };
    let said = done(&run(
        "bash",
        &["-c", &format!("echo '[{{}}]' | {host}")],
        &folder,
    ));
    let seen: serde_json::Value = serde_json::from_str(said.trim()).expect("what was seen");
    seen[0]["refused"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn each_mistake_in_javascript_is_told_in_words_that_lead_on() {
    tries(JAVASCRIPT);
}

#[test]
fn each_mistake_in_python_is_told_in_words_that_lead_on() {
    tries(PYTHON);
}

#[test]
fn a_hook_that_would_never_be_called_is_refused() {
    let javascript = |class: &str| refused("javascript", &format!("export default {class}"));
    let python = |class: &str| {
        let source = format!("from weir import plugin\n\n{class}");
        refused("python", &source)
    };
    for (said, told) in [
        (
            javascript("class { onRequestHeaders() {} }"),
            "onRequestHeaders is no hook; there are onPre",
        ),
        (
            javascript("class { on_request() {} }"),
            "on_request is no hook",
        ),
        (javascript("class { fetch() {} }"), "the class has no hook"),
        (
            javascript("{ fetch() {} }"),
            "is to have a class as its default export",
        ),
        (
            javascript("class { static requestBody = 5; onRequest() {} }"),
            "static requestBody is to be { buffer: BYTES }",
        ),
        (
            python("@plugin\nclass P:\n    def onRequest(self, request): pass\n"),
            "onRequest is no hook; there are on_pre_request",
        ),
        (
            python("@plugin\nclass P:\n    pass\n"),
            "the class has no hook",
        ),
        (
            python("class P:\n    def on_request(self, request): pass\n"),
            "no class of src/plugin.py is marked by @plugin",
        ),
        (
            python(
                "@plugin\nclass P:\n    request_body = '5'\n    def on_request(self, request): pass\n",
            ),
            "request_body is to be a number of bytes",
        ),
    ] {
        assert!(said.contains(told), "{told} is not in {said}");
    }
    // One without a constructor takes any configuration.
    let well = "@plugin\nclass P:\n    def on_request(self, request): pass\n";
    assert_eq!(python(well), "");
}
