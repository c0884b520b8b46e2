//! What authors who come from elsewhere try first: each mistake is told in words that lead on, by the fake
//! host and in Weir alike, and what can work as it does elsewhere works. `mistakes/` has a plugin that tries
//! all of it, and what is to come of each.

use std::fs;
use std::path::Path;

use super::{JAVASCRIPT, PYTHON, Tutorial, done, plugin};

fn tries(tutorial: &Tutorial, source: &str, cases: &str) {
    let (_above, folder) = tutorial.project_of(source);
    fs::write(folder.join("cases.yaml"), cases).expect("written");
    let said = done(&plugin(&folder, &["test"]));
    let count = cases.matches("- name: ").count();
    assert!(
        said.contains(&format!("{count} cases: {count} ok, 0 failed")),
        "{said}"
    );
}

#[test]
fn each_mistake_in_javascript_is_told_in_words_that_lead_on() {
    let cases = include_str!("mistakes/cases.js.yaml");
    tries(&JAVASCRIPT, include_str!("mistakes/plugin.js"), cases);
}

#[test]
fn each_mistake_in_python_is_told_in_words_that_lead_on() {
    let cases = include_str!("mistakes/cases.py.yaml");
    tries(&PYTHON, include_str!("mistakes/plugin.py"), cases);
}

#[test]
fn a_hook_that_would_never_be_called_is_refused() {
    let [(_js, in_javascript), (_py, in_python)] = [&JAVASCRIPT, &PYTHON].map(Tutorial::project);
    // Why a plugin of this source is refused on the fake host.
    let refused = |tutorial: &Tutorial, folder: &Path, source: String| {
        fs::write(folder.join(tutorial.source), source).expect("written");
        let seen = tutorial.seen(folder, "[{}]");
        seen[0]["refused"].as_str().unwrap_or_default().to_owned()
    };
    let javascript = |class: &str| {
        let source = format!("export default {class}");
        refused(&JAVASCRIPT, &in_javascript, source)
    };
    let python = |class: &str| {
        let source = format!("from weir import plugin\n\n{class}");
        refused(&PYTHON, &in_python, source)
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
