//! What authors who come from elsewhere try first: each mistake is told in words that lead on, by the fake
//! host and in Weir alike, and what can work as it does elsewhere works. `mistakes/` has a plugin that tries
//! all of it, and what is to come of each.

use std::fs;
use std::path::Path;

use serde_json::json;
use weir_tests::config::{config, exporter};
use weir_tests::kafka::shared;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use super::{JAVASCRIPT, PYTHON, Tutorial, done, plugin};

/// A mistake, the hook it is made in, and what is told of it.
type Told = (&'static str, &'static str, &'static str);

fn tries(tutorial: &Tutorial, source: &str, cases: &str, told: &[Told]) {
    let (_above, folder) = tutorial.project_of(source);
    fs::write(folder.join("cases.yaml"), cases).expect("written");
    let said = done(&plugin(&folder, &["test"]));
    let count = cases.matches("- name: ").count();
    assert!(
        said.contains(&format!("{count} cases: {count} ok, 0 failed")),
        "{said}"
    );
    serves(&folder.join("dist"), told);
}

/// What was built serves: what of each mistake stands on the hook's span, and of the first in the log.
fn serves(dist: &Path, told: &[Told]) {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnone");
    let mut config = config(&upstream);
    // What was compiled once will do.
    config["data_dir"] = json!(dist);
    config["plugins"]["tries"] = json!({
        "module": dist.join("other.wasm"),
        "limits": { "cpu_time": "5s", "wall_time": "1m" },
    });
    config["routes"][0]["plugins"] = json!(["tries"]);
    let topic = shared().topic();
    config["exporters"]["traces"] = exporter(shared(), &topic);
    let weir = Weir::start(&config.to_string());
    for (mistake, hook, _) in told {
        let response = weir.get("/", &[&format!("x-do: {mistake}")]);
        // The head of what streams has been sent.
        let is_streamed = *hook == "posthook";
        let status = if is_streamed { 200 } else { 500 };
        assert_eq!(response.status, status, "{mistake}");
        assert_eq!(response.complete, !is_streamed, "{mistake}");
    }
    let traces = shared().traces(&topic, told.len());
    for ((mistake, hook, told), trace) in told.iter().zip(&traces) {
        let span = trace.span(&format!("plugin.tries.{hook}"));
        assert_eq!(span["Status"], "error", "{mistake}");
        assert_eq!(span["StatusMsg"], format!("guest panicked: {told}"));
        assert_eq!(span["Attributes"]["error.type"], "panic", "{mistake}");
    }
    let first = format!("guest panicked: {}", told[0].2);
    eventually("the first is in the log", || {
        let log = weir.log();
        let mut failed = log.iter().filter(|line| line["message"] == "plugin failed");
        failed
            .any(|line| line["plugin"] == "tries" && line["error"] == first)
            .then_some(())
    });
}

#[test]
fn each_mistake_in_javascript_is_told_in_words_that_lead_on() {
    let cases = include_str!("mistakes/cases.js.yaml");
    let told = [
        (
            "thrown",
            "prehook",
            "RangeError: too many, at src/plugin.js:21",
        ),
        ("words", "prehook", "no more words"),
        (
            "absent",
            "prehook",
            "TypeError: x-a: a text is wanted, not undefined, at src/plugin.js:7",
        ),
        (
            "printed",
            "posthook",
            "TypeError: onResponseBody returned no piece, but number",
        ),
    ];
    tries(
        &JAVASCRIPT,
        include_str!("mistakes/plugin.js"),
        cases,
        &told,
    );
}

#[test]
fn each_mistake_in_python_is_told_in_words_that_lead_on() {
    let cases = include_str!("mistakes/cases.py.yaml");
    let told = [
        (
            "thrown",
            "prehook",
            "LookupError: too many, at src/plugin.py:17",
        ),
        (
            "absent",
            "prehook",
            "TypeError: x-a: a text is wanted, not NoneType, at src/plugin.py:26",
        ),
        (
            "module",
            "prehook",
            "ModuleNotFoundError: No module named 'csv', at src/plugin.py:40",
        ),
        (
            "printed",
            "posthook",
            "TypeError: on_response_body returned no piece, but int",
        ),
    ];
    tries(&PYTHON, include_str!("mistakes/plugin.py"), cases, &told);
}

/// What `weir plugin build` says of a source that it refuses.
fn unbuilt(tutorial: &Tutorial, source: &str) -> String {
    let (_above, folder) = tutorial.project_of(source);
    let built = plugin(&folder, &["build"]);
    assert_eq!(built.status.code(), Some(1));
    assert!(!folder.join("dist/other.wasm").exists());
    String::from_utf8_lossy(&built.stderr).into_owned()
}

#[test]
fn what_fails_as_a_plugin_in_javascript_is_built_is_told_with_its_place() {
    let missing = "SyntaxError: The requested module";
    for (source, told) in [
        (
            "export class Guard { onRequest() {} }\n",
            format!("{missing} 'src/plugin.js' doesn't provide an export named: 'default'\n"),
        ),
        (
            "import { Guard } from '../sdk/weir.js';\nexport default Guard;\n",
            format!(
                "src/plugin.js:1:10 {missing} 'sdk/weir.js' doesn't provide an export named: 'Guard'\n"
            ),
        ),
        (
            "import 'node:fs';\nexport default class { onRequest() {} }\n",
            "ReferenceError: Error loading module \"node:fs\" (resolved path \"src/node:fs\"): No such file or directory\n".to_owned(),
        ),
    ] {
        let said = unbuilt(&JAVASCRIPT, source);
        let own = "Exception while evaluating top-level script\n";
        assert!(said.contains(own), "{said}");
        assert!(said.contains(&told), "no {told} in {said}");
        assert!(said.contains("componentize-js failed: "), "{said}");
        assert!(!said.contains("componentize.js:"), "{said}");
    }
}

#[test]
fn what_fails_as_a_plugin_in_python_is_built_is_told_with_its_place() {
    for (source, told) in [
        (
            "from weir import guard\n",
            "ImportError: cannot import name 'guard' from 'weir' (sdk/weir/__init__.py)\n",
        ),
        (
            "import requests\n",
            "ModuleNotFoundError: No module named 'requests'\n",
        ),
    ] {
        let said = unbuilt(&PYTHON, source);
        let place = "  File \"src/plugin.py\", line 1, in <module>\n";
        assert!(said.contains(place), "{said}");
        assert!(said.contains(told), "no {told} in {said}");
        assert!(said.contains("componentize-py failed: "), "{said}");
        assert!(!said.contains("Stack backtrace"), "{said}");
    }
}

#[test]
fn a_class_that_is_no_plugin_refuses_the_start() {
    let upstream = Upstream::hello();
    for (tutorial, source, told) in [
        (
            &JAVASCRIPT,
            "export default class { onRequestHeaders() {} }\n",
            "onRequestHeaders is no hook; there are onPreRequest, ",
        ),
        (
            &PYTHON,
            "from weir import plugin\n\n@plugin\nclass Guard:\n    pass\n",
            "the class has no hook; there are on_pre_request, ",
        ),
    ] {
        let (_above, folder) = tutorial.project_of(source);
        done(&plugin(&folder, &["build"]));
        let mut config = config(&upstream);
        config["plugins"]["guard"] = json!({ "module": folder.join("dist/other.wasm") });
        config["routes"][0]["plugins"] = json!(["guard"]);
        let said = Weir::refusal(&config.to_string());
        let told = format!("plugin `guard`: refused its configuration: {told}");
        assert!(said.contains(&told), "no {told} in {said}");
        assert!(said.contains("error[WEIR-C015]"), "{said}");
    }
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
