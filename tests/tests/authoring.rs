//! What an author of plugins does with `weir plugin`, by the real binary: a scaffold is made, built,
//! tested, looked at, measured and served as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::thread;

use serde_json::Value;
use weir::plugin::registry;
use weir_tests::client;
use weir_tests::dev::Dev;
use weir_tests::kafka::shared;
use weir_tests::trace::Trace;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::{Weir, binary, guest};

/// Runs `weir plugin` with arguments, in a folder.
fn plugin(folder: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(binary())
        .arg("plugin")
        .args(arguments)
        .current_dir(folder)
        // What scaffolds are made of is compiled once, for all tests of this kind.
        .env("CARGO_TARGET_DIR", target())
        .env_remove("RUSTFLAGS")
        .stdin(Stdio::null())
        .output();
    output.expect("weir runs")
}

fn target() -> PathBuf {
    binary()
        .parent()
        .and_then(Path::parent)
        .expect("a target directory")
        .join("scaffold")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Standard output of a command that succeeds.
fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}\n{}", out(output), err(output));
    out(output)
}

/// A project in Rust as it was made, built and tested, which no test changes.
struct Hello {
    above: tempfile::TempDir,
    tested: String,
}

impl Hello {
    fn folder(&self) -> PathBuf {
        self.above.path().join("hello")
    }
}

static HELLO: LazyLock<Hello> = LazyLock::new(|| {
    let above = tempfile::tempdir().expect("a folder");
    done(&plugin(above.path(), &["new", "hello"]));
    let tested = done(&plugin(&above.path().join("hello"), &["test"]));
    Hello { above, tested }
});

#[test]
fn a_scaffold_is_built_and_tested_natively_and_in_weir() {
    let said = &HELLO.tested;
    assert!(said.contains("test result: ok. 2 passed"), "{said}");
    assert!(said.contains("weir    dist/hello.wasm"), "{said}");
    assert!(said.contains("7 cases: 7 ok, 0 failed"), "{said}");
}

#[test]
fn a_case_that_comes_out_otherwise_is_shown_with_its_difference() {
    let folder = HELLO.folder();
    let cases = fs::read_to_string(folder.join("cases.yaml")).expect("the cases");
    let other = tempfile::tempdir().expect("a folder");
    let file = other.path().join("other.yaml");
    fs::write(&file, cases.replace("status: 403", "status: 404")).expect("written");
    let file = file.to_str().expect("a path");
    let output = plugin(&folder, &["test", "dist/hello.wasm", "--cases", file]);
    assert_eq!(output.status.code(), Some(1));
    let said = out(&output);
    assert!(said.contains("FAILED  a stranger is answered"), "{said}");
    assert!(said.contains("response.status"), "{said}");
    assert!(said.contains("expected 404"), "{said}");
    assert!(said.contains("got      403"), "{said}");
    assert!(said.contains("7 cases: 6 ok, 1 failed"), "{said}");
}

/// Has a module try such cases.
fn tried(module: &str, cases: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("cases.yaml");
    fs::write(&file, cases).expect("written");
    let file = file.display().to_string();
    plugin(folder.path(), &["test", module, "--cases", &file])
}

#[test]
fn a_panic_is_told_with_its_message_file_and_line() {
    let cases = "cases: [{name: it traps, expect: {action: fail, failure: nothing of the kind}}]";
    let output = tried(&guest("trap").display().to_string(), cases);
    assert_eq!(output.status.code(), Some(1));
    let said = out(&output);
    let panic = "guest panicked: sprung by nothing, at wasm-plugins/trap/src/lib.rs:";
    assert!(said.contains(panic), "{said}");
}

#[test]
fn a_case_comes_by_the_scheme_of_its_url() {
    let cases = "config: {to: 'https://{host}{path}', scheme: http}
cases:
  - name: what came encrypted goes on
    request: {url: 'https://a.example/x'}
    expect: {action: continue, request: {url: 'https://a.example/x'}}
  - name: other is redirected
    request: {url: 'http://a.example/x'}
    expect: {action: respond, response: {status: 308}}";
    let said = done(&tried("builtin:redirect", cases));
    assert!(said.contains("2 cases: 2 ok, 0 failed"), "{said}");
}

#[test]
fn limits_hold_for_cases_too() {
    let cases = "cases: [{name: a loop is stopped, native: false, config: {mode: loop},
                          expect: {action: fail, failure: CPU time, response: {status: 500}}}]";
    let said = done(&tried(&guest("hostile").display().to_string(), cases));
    assert!(said.contains("1 case: 1 ok, 0 failed"), "{said}");
}

#[test]
fn a_hook_that_fails_in_a_piece_of_a_body_has_failed() {
    let cases =
        "cases: [{name: the second piece, native: false, config: {response: {work: trap, at: 2}},
                          response: {body: [one, two]}, expect: {action: fail, failure: piece}}]";
    let said = done(&tried(&guest("pieces").display().to_string(), cases));
    assert!(said.contains("1 case: 1 ok, 0 failed"), "{said}");
}

#[test]
fn a_module_is_shown_for_what_it_is() {
    let folder = HELLO.folder();
    let module = "dist/hello.wasm";
    let json = done(&plugin(
        &folder,
        &["inspect", module, "--json", "--config", "{tenants: [acme]}"],
    ));
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["kind"], "module");
    assert_eq!(json["world"], "weir:plugin/plugin@0.1.0");
    assert_eq!(json["hooks"], serde_json::json!(["request", "response"]));
    assert_eq!(
        json["config_schema"]["properties"]["header"]["default"],
        "x-tenant"
    );
    let built = fs::read(folder.join(module)).expect("the module");
    assert_eq!(json["size_bytes"], built.len());
    let table = done(&plugin(&folder, &["inspect", module]));
    assert!(
        table.contains("unknown: refused its configuration"),
        "{table}"
    );
    assert!(table.contains("weir:plugin/http@0.1.0:"), "{table}");
}

#[test]
fn what_is_no_plugin_is_refused_with_a_way_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let inspected = plugin(folder.path(), &["inspect", "builtin:nothing"]);
    assert_eq!(inspected.status.code(), Some(1));
    assert!(
        err(&inspected).contains("header-rewrite, "),
        "{}",
        err(&inspected)
    );

    let built = plugin(folder.path(), &["build"]);
    assert_eq!(built.status.code(), Some(1));
    assert!(err(&built).contains("holds no plugin"), "{}", err(&built));
    assert!(err(&built).contains("weir plugin new NAME"));

    fs::write(folder.path().join("x.wasm"), "\0asm\x01\0\0\0").expect("written");
    let inspected = plugin(folder.path(), &["inspect", "x.wasm"]);
    assert_eq!(inspected.status.code(), Some(1));
    let tested = plugin(folder.path(), &["test", "x.wasm"]);
    assert!(
        err(&tested).contains("there are no cases"),
        "{}",
        err(&tested)
    );

    let twice = ["new", "once"];
    done(&plugin(folder.path(), &twice));
    let again = plugin(folder.path(), &twice);
    assert!(err(&again).contains("already there"), "{}", err(&again));
}

#[test]
fn what_does_not_compile_leaves_the_last_module() {
    let folder = tempfile::tempdir().expect("a folder");
    done(&plugin(folder.path(), &["new", "broken"]));
    let project = folder.path().join("broken");
    fs::create_dir(project.join("dist")).expect("a folder");
    fs::write(project.join("dist/broken.wasm"), "the last one").expect("written");
    fs::write(project.join("src/lib.rs"), "fn broken( {}").expect("written");
    let output = plugin(&project, &["build"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("src/lib.rs:1"), "{}", err(&output));
    assert!(err(&output).contains("cargo build failed"));
    let module = fs::read(project.join("dist/broken.wasm")).expect("it stays");
    assert_eq!(module, b"the last one");
}

#[test]
fn hooks_are_measured() {
    let folder = HELLO.folder();
    let said = done(&plugin(
        &folder,
        &["bench", "dist/hello.wasm", "--iterations", "20"],
    ));
    assert!(said.contains("a fresh instance takes"), "{said}");
    let rows = said.lines().filter(|line| line.starts_with("request "));
    assert_eq!(rows.count(), 5, "{said}");
    assert!(said.contains(" MiB   a known tenant goes on"), "{said}");
}

/// The repository's root.
fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().expect("the repository")
}

#[test]
fn the_typical_exchange_of_each_bundled_plugin_comes_out_as_it_says() {
    for name in registry::builtins() {
        let cases = root().join("wasm-plugins").join(name).join("cases.yaml");
        let cases = cases.display().to_string();
        let module = format!("builtin:{name}");
        let said = done(&plugin(&root(), &["test", &module, "--cases", &cases]));
        assert!(said.contains("1 case: 1 ok, 0 failed"), "{said}");
    }
}

#[test]
fn the_table_of_costs_has_each_bundled_plugin() {
    let output = Command::new("python3")
        .arg(root().join("benches/plugins.py"))
        .args(["--iterations", "1", "--weir"])
        .arg(binary())
        .stdin(Stdio::null())
        .output();
    let table = done(&output.expect("python3 runs"));
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(2)
        .map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let mut names: Vec<String> = registry::builtins()
        .map(|name| format!("`{name}`"))
        .collect();
    names.sort_unstable();
    let told: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(told, names, "{table}");
    let page = std::fs::read_to_string(root().join("docs/running-plugins.md"));
    let page = page.expect("the page");
    for row in &rows {
        let begin = format!("| {} | {} | ", row[0], row[1]);
        assert!(page.contains(&begin), "a table without {begin}");
    }
    for row in rows {
        let costs: Vec<&str> = row[2].split(", ").collect();
        assert_eq!(row[1].split(", ").count(), costs.len(), "{row:?}");
        let mut figures = costs.into_iter().chain(row[3..=5].iter().copied());
        assert!(
            figures.all(|figure| figure.parse::<u64>().is_ok()),
            "{row:?}"
        );
    }
}

#[test]
fn a_served_exchange_has_its_span_and_can_be_replayed() {
    let topic = shared().topic();
    let upstream = Upstream::hello();
    let folder = HELLO.folder();
    let module = folder.join("dist/hello.wasm");
    let config = format!(
        "
listeners: [{{address: 127.0.0.1:0}}]
admin: {{address: 127.0.0.1:0}}
upstreams: {{site: {{endpoints: [\"{}\"]}}}}
plugins: {{hello: {{module: {}, config: {{tenants: [other]}}}}}}
routes: [{{upstream: site, plugins: [{{hello: {{tenants: [acme]}}}}]}}]
exporters:
  traces: {{kafka: {{brokers: [\"{}\"], topic: {topic}, request_headers: [x-tenant]}}}}
",
        upstream.url(),
        module.display(),
        shared().address(),
    );
    let weir = Weir::start(&config);
    let response = weir.get("/orders", &["x-tenant: ACME"]);
    assert_eq!(response.status, 200);
    assert_eq!(client::get(weir.proxy(), "/orders", &[]).status, 400);
    let messages = shared().read(&topic, 2);
    let message = messages
        .iter()
        .find(|message| String::from_utf8_lossy(&message.payload).contains("acme"))
        .expect("the first request's trace");
    let trace = Trace::new(&message.payload);
    let span = trace.span("plugin.hello.prehook");
    assert_eq!(span["Attributes"]["tenant"], "acme");

    let recorded = weir.folder().join("trace.json");
    fs::write(&recorded, &message.payload).expect("written");
    let file = weir.folder().join("weir.yaml");
    let said = done(&plugin(
        &folder,
        &[
            "replay",
            recorded.to_str().expect("a path"),
            "--config",
            file.to_str().expect("a path"),
        ],
    ));
    assert!(said.contains("plugin.hello.prehook"), "{said}");
    assert!(said.contains("hello prehook: continue"), "{said}");
    assert!(said.contains("~ x-tenant: ACME -> acme"), "{said}");
    assert!(said.contains("+ vary: x-tenant"), "{said}");
}

#[test]
fn a_change_is_swapped_in_while_dev_serves_and_one_that_does_not_compile_is_not() {
    // What it is made of is compiled by then.
    LazyLock::force(&HELLO);
    let above = tempfile::tempdir().expect("a folder");
    done(&plugin(above.path(), &["new", "changing"]));
    let folder = above.path().join("changing");
    let target = target().display().to_string();
    let dev = Dev::start(&folder, &[("CARGO_TARGET_DIR", &target)]);
    assert_eq!(dev.answered("vary").as_deref(), Some("x-tenant"));
    dev.says("changing prehook  tenant=\"acme\"", 1);

    let source = folder.join("src/lib.rs");
    let text = fs::read_to_string(&source).expect("the source");
    let line = text.lines().count() + 1;
    fs::write(&source, format!("{text}fn broken() -> u8 {{}}\n")).expect("written");
    dev.says("kept the last good one", 1);
    dev.says(&format!("src/lib.rs:{line}"), 1);
    assert_eq!(dev.answered("vary").as_deref(), Some("x-tenant"));

    fs::write(&source, text.replace("\"vary\"", "\"x-varies\"")).expect("written");
    dev.says("swapped in: generation", 1);
    assert_eq!(dev.answered("x-varies").as_deref(), Some("x-tenant"));
    assert_eq!(dev.answered("vary"), None);
    assert!(dev.end().success());
}

/// In the place of a tool that takes long: it notes the source it is given, ends when the test lets it,
/// and makes a module that is there already, or says what is wrong.
const SLOW_TOOL: &str = r#"#!/bin/sh
if [ "$1" = --version ]; then echo 1; exit; fi
cat src/plugin.js >>"$RUNS"
read -r _ <"$GO"
if grep -q unknown src/plugin.js; then
    echo 'Error: Failed to initialize component (wizer):' >&2
    echo 'src/plugin.js:1:1 ReferenceError: unknown is not defined' >&2
    exit 1
fi
cp "$MODULE" "$7"
"#;

#[test]
fn what_changes_during_a_build_leads_to_one_more_and_what_is_no_source_to_none() {
    let above = tempfile::tempdir().expect("a folder");
    let folder = above.path().join("made");
    let write = |path: &str, text: &str| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("written");
    };
    write("package.json", r#"{"name": "made", "type": "module"}"#);
    write("src/plugin.js", "export default 'one';\n");
    write(
        "weir.yaml",
        "
listeners: [{address: 127.0.0.1:0}]
data_dir: data
access_log: {path: access.log}
upstreams: {site: {endpoints: ['http://127.0.0.1:9']}}
plugins: {made: {module: dist/made.wasm}}
routes: [{upstream: site, plugins: [made]}]
",
    );
    let tool = "node_modules/.bin/componentize-js";
    write(tool, SLOW_TOOL);
    let [runs, go] = ["runs", "go"].map(|name| above.path().join(name));
    let script = format!(
        "chmod +x '{}' && mkfifo '{}'",
        folder.join(tool).display(),
        go.display()
    );
    let made = Command::new("sh").args(["-c", &script]).status();
    assert!(made.expect("sh runs").success());
    // Whoever writes waits for the reader.
    let release = || fs::write(&go, "\n").expect("the tool reads");
    let built = || fs::read_to_string(&runs).unwrap_or_default();

    let texts = [&runs, &go, &guest("annotate")].map(|path| path.display().to_string());
    let environment = [
        ("RUNS", &*texts[0]),
        ("GO", &*texts[1]),
        ("MODULE", &*texts[2]),
    ];
    let dev = thread::scope(|scope| {
        scope.spawn(release);
        Dev::start(&folder, &environment)
    });
    assert_eq!(dev.get("/", &[]).status, 200);
    dev.says("made prehook", 1);
    for aside in [
        ".venv/lib/x.py",
        "__pycache__/x.pyc",
        "dist/x.wasm",
        "env/pyvenv.cfg",
        "node_modules/x/index.js",
        "package-lock.json",
    ] {
        write(aside, "x");
    }

    write("src/plugin.js", "export default 'two';\n");
    eventually("the second build is under way", || {
        built().contains("'two'").then_some(())
    });
    write("src/plugin.js", "export default 'three';\n");
    write("src/more.js", "export default 'more';\n");
    write("src/plugin.js", "export default 'four';\n");
    release();
    dev.says("swapped in: generation", 1);
    release();
    dev.says("swapped in: generation", 2);
    // What has changed is the file alone: it need not be built again.
    write("src/more.js", "export default 'more';\n");
    dev.says("swapped in: generation", 3);
    let once = "export default 'one';\nexport default 'two';\nexport default 'four';\n";
    assert_eq!(built(), once);
    let changes = dev.said().matches(" has changed").count();
    assert_eq!(changes, 3, "{}", dev.said());

    write("src/plugin.js", "export default unknown;\n");
    release();
    dev.says("kept the last good one", 1);
    let said = dev.said();
    assert!(
        said.contains("\nsrc/plugin.js:1:1 ReferenceError: unknown is not defined\n"),
        "{said}"
    );
    assert_eq!(dev.get("/", &[]).status, 200);
    assert!(dev.end().success());
}

#[test]
fn doctor_says_what_there_is_and_how_to_get_what_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = done(&plugin(folder.path(), &["doctor", "--language", "rust"]));
    assert!(said.starts_with("Rust        ready\n"), "{said}");

    let output = Command::new(binary())
        .args(["plugin", "doctor", "--language", "rust"])
        .env("PATH", folder.path())
        .output()
        .expect("weir runs");
    assert_eq!(output.status.code(), Some(1));
    let said = out(&output);
    assert!(said.starts_with("Rust        not ready\n"), "{said}");
    assert!(said.contains("https://rustup.rs"), "{said}");
}
