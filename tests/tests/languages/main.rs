//! Plugins in JavaScript and Python: each tutorial is followed to the letter, and what it leaves is looked
//! at. The scaffold is built and tested as it is on the way, then changed while `dev` serves it, and an
//! exchange that it served is replayed.

mod certificates;
mod measured;
mod mistakes;
mod recycling;
mod types;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use serde_json::Value;
use weir_tests::dev::Dev;
use weir_tests::kafka::shared;
use weir_tests::service::free_port;
use weir_tests::steps;
use weir_tests::upstream::Upstream;
use weir_tests::weir::{Weir, binary};

/// A language's tutorial.
struct Tutorial {
    /// As `--language` names it.
    language: &'static str,
    /// What its blocks of code are marked as.
    code: &'static str,
    source: &'static str,
    /// What the native tests say.
    native: &'static str,
    /// A line that cannot be parsed.
    broken: &'static str,
    /// How the place of a fault is told, with `LINE` for the line.
    place: &'static str,
    /// The scaffold's native tests, which are of its own source.
    tests: &'static str,
    /// Runs a project's plugin on cases that it reads.
    host: &'static str,
}

const JAVASCRIPT: Tutorial = Tutorial {
    language: "javascript",
    code: "js",
    source: "src/plugin.js",
    native: "pass 2",
    broken: "const = 1;\n",
    place: "\nsrc/plugin.js:LINE\n",
    tests: "test",
    host: "node sdk/testing.js",
};

const PYTHON: Tutorial = Tutorial {
    language: "python",
    code: "python",
    source: "src/plugin.py",
    native: "Ran 2 tests",
    broken: "shown = = 1\n",
    place: "File \"src/plugin.py\", line LINE\n",
    tests: "tests",
    // What was compiled of a source is told from another's by its second and its size.
    host: "PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=sdk:src python3 -m weir.testing",
};

/// A folder in which a tutorial was followed, which no test changes, and what that said. A build takes
/// long: it is made once, for all tests, and stays until they run again.
struct Followed {
    folder: PathBuf,
    said: String,
}

static IN_JAVASCRIPT: LazyLock<Followed> = LazyLock::new(|| JAVASCRIPT.followed());
static IN_PYTHON: LazyLock<Followed> = LazyLock::new(|| PYTHON.followed());

impl Followed {
    /// The project for one test to change.
    fn copy(&self) -> (tempfile::TempDir, PathBuf) {
        let above = tempfile::tempdir().expect("a folder");
        let [from, to] = [&*self.folder, above.path()].map(|path| path.to_str().expect("a path"));
        done(&run("cp", &["-a", from, to], above.path()));
        let folder = above.path().join("hello");
        // Traces of the tutorial's own requests are none of the test's.
        fs::remove_dir_all(folder.join("dist/spool")).expect("removed");
        (above, folder)
    }

    /// What was served, and its trace sent to Kafka, goes through the plugin once more.
    fn replays(&self) {
        let (_above, folder) = self.copy();
        let topic = shared().topic();
        let upstream = Upstream::hello();
        let dist = folder.join("dist");
        let config = format!(
            "
listeners: [{{address: 127.0.0.1:0}}]
admin: {{address: 127.0.0.1:0}}
data_dir: {}
upstreams: {{site: {{endpoints: [\"{}\"]}}}}
plugins: {{hello: {{module: {}, config: {{tenants: [acme]}}}}}}
routes: [{{upstream: site, plugins: [hello]}}]
exporters:
  traces: {{kafka: {{brokers: [\"{}\"], topic: {topic}, request_headers: [x-tenant]}}}}
",
            dist.display(),
            upstream.url(),
            dist.join("hello.wasm").display(),
            shared().address(),
        );
        let weir = Weir::start(&config);
        assert_eq!(weir.get("/orders", &["x-tenant: ACME"]).status, 200);
        let message = shared().read(&topic, 1).remove(0);
        let recorded = folder.join("trace.json");
        fs::write(&recorded, &message.payload).expect("written");
        let file = weir.folder().join("weir.yaml");
        let file = file.to_str().expect("a path");
        let said = done(&plugin(
            &folder,
            &["replay", "trace.json", "--config", file],
        ));
        for shown in [
            "plugin.hello.prehook",
            "hello prehook: continue, changed x-tenant",
            "hello posthook: continue, changed vary",
            "/orders",
            "~ x-tenant: ACME -> acme",
            "response  200",
            "+ vary: x-tenant",
        ] {
            assert!(said.contains(shown), "no {shown} in\n{said}");
        }
        // The next version is judged by the same exchange.
        let other = plugin(
            &folder,
            &[
                "replay",
                "trace.json",
                "--config",
                file,
                "--set",
                "plugins.hello.config.tenants=[globex]",
            ],
        );
        assert!(done(&other).contains("hello prehook: respond"));
    }
}

fn target() -> PathBuf {
    let binary = binary();
    let target = binary.parent().and_then(Path::parent);
    target.expect("a target directory").to_path_buf()
}

/// The path of commands, with the tools that `tests/services/install.sh` brings.
fn path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let tools = ["componentize-js/node_modules/.bin", "componentize-py/bin"];
    let tools = tools.map(|tool| target().join("services").join(tool).display().to_string());
    format!("{}:{path}", tools.join(":"))
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> Output {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("PATH", path())
        .env("WEIR__ADMIN__ADDRESS", "127.0.0.1:0")
        .stdin(Stdio::null())
        .output();
    output.expect("it runs")
}

/// All that a command said, if it succeeded.
fn done(output: &Output) -> String {
    let said = [&*output.stdout, &*output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

fn plugin(folder: &Path, arguments: &[&str]) -> Output {
    let binary = binary();
    let arguments = [&["plugin"], arguments].concat();
    run(binary.to_str().expect("a path"), &arguments, folder)
}

/// Whether what a tutorial shows was said: each of its lines, where `…` stands for anything.
fn assert_said(shown: &str, said: &str) {
    let has = |line: &str, shown: &str| {
        let mut pieces = shown.split('…').map(str::trim);
        pieces
            .try_fold(line, |rest, piece| {
                rest.split_once(piece).map(|(_, rest)| rest)
            })
            .is_some()
    };
    for shown in shown.lines() {
        assert!(
            said.lines().any(|line| has(line, shown)),
            "{shown}\nis not in\n{said}"
        );
    }
}

/// The fenced blocks of a tutorial that are marked so.
fn blocks(text: &str, marked: &str) -> Vec<String> {
    let fenced = text.split("```").skip(1).step_by(2);
    let blocks = fenced.filter_map(|block| block.split_once('\n'));
    blocks
        .filter(|(mark, _)| *mark == marked)
        .map(|(_, text)| text.to_owned())
        .collect()
}

impl Tutorial {
    /// A new project, in a folder that goes with the first.
    fn project(&self) -> (tempfile::TempDir, PathBuf) {
        let above = tempfile::tempdir().expect("a folder");
        let new = ["new", "other", "--language", self.language];
        done(&plugin(above.path(), &new));
        let folder = above.path().join("other");
        (above, folder)
    }

    /// The same with another source.
    fn project_of(&self, source: &str) -> (tempfile::TempDir, PathBuf) {
        let (above, folder) = self.project();
        fs::write(folder.join(self.source), source).expect("written");
        fs::remove_dir_all(folder.join(self.tests)).expect("removed");
        (above, folder)
    }

    /// What the fake host sees of cases, as JSON.
    fn seen(&self, folder: &Path, cases: &str) -> Value {
        let script = format!("echo '{cases}' | {}", self.host);
        let said = done(&run("bash", &["-c", &script], folder));
        serde_json::from_str(said.trim()).expect("what was seen")
    }

    fn text(&self) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let file = root.join(format!("docs/plugins-in-{}.md", self.language));
        fs::read_to_string(file).expect("the tutorial")
    }

    /// Follows it in a folder of its own.
    fn followed(&self) -> Followed {
        let above = target().join("tutorials").join(self.language);
        if above.exists() {
            fs::remove_dir_all(&above).expect("removed");
        }
        fs::create_dir_all(&above).expect("a folder");
        let said = self.follow(&above);
        Followed {
            folder: above.join("hello"),
            said,
        }
    }

    /// Follows it in a folder; what that said.
    fn follow(&self, folder: &Path) -> String {
        let [upstream, proxy] = [(); 2].map(|()| free_port().to_string());
        let binary = binary();
        let commands = blocks(&self.text(), "sh").concat();
        let script = format!("{}{commands}", steps::BEGIN)
            .replace(
                "$PWD/weir/target/release",
                &binary
                    .parent()
                    .expect("it is in a folder")
                    .display()
                    .to_string(),
            )
            .replace("9000", &upstream)
            .replace("8080", &proxy)
            .replace(
                "cd hello\n",
                &format!("cd hello\ncat >>cases.yaml <<'EOF'{}EOF\n", self.thrown()),
            )
            // The ports stand in the file that is made, too; and what was compiled once will do.
            .replace(
                "weir plugin test\n",
                &format!(
                    "weir plugin test\nsed -i 's/9000/{upstream}/; s/8080/{proxy}/' weir.yaml\n\
                     echo 'data_dir: dist' >>weir.yaml\n"
                ),
            );
        let said = done(&run("bash", &["-c", &script], folder));
        steps::show(&said);
        said
    }

    fn holds(&self, Followed { folder, said }: &Followed) {
        assert!(said.contains(self.native), "{said}");
        // In the language itself, then in Weir.
        for case in ["a stranger is answered", "what is thrown has its place"] {
            let ok = said.matches(&format!("  ok      {case}")).count();
            assert_eq!(ok, 2, "{said}");
        }
        assert!(said.contains("8 cases: 8 ok, 0 failed"), "{said}");
        let vary = said.lines().any(|line| line.trim_end() == "vary: x-tenant");
        assert!(vary, "{said}");

        let [_, replayed] = self.shown();
        assert_said(&replayed, said);

        let source = fs::read_to_string(folder.join(self.source)).expect("the source");
        for shown in blocks(&self.text(), self.code) {
            assert!(source.contains(&shown), "{} has no\n{shown}", self.source);
        }
        let inspected = done(&plugin(
            folder,
            &[
                "inspect",
                "dist/hello.wasm",
                "--config",
                "{tenants: [acme]}",
            ],
        ));
        assert!(inspected.contains("request, response"), "{inspected}");
        assert!(!inspected.contains("wasi:"), "{inspected}");
        assert!(inspected.contains("\"x-tenant\""), "{inspected}");
    }

    /// What it shows of `dev`, and of a replay.
    fn shown(&self) -> [String; 2] {
        let shown = blocks(&self.text(), "text");
        shown.try_into().expect("two blocks")
    }

    /// The source is edited while `dev` serves: first to what cannot be parsed, then to what can.
    fn develops(&self, followed: &Followed) {
        let (_above, folder) = followed.copy();
        let path = path();
        let dev = Dev::start(&folder, &[("PATH", &path)]);
        assert_eq!(dev.answered("vary").as_deref(), Some("x-tenant"));
        dev.says("hello posthook  ", 1);
        assert!(!dev.said().contains("building by"), "{}", dev.said());

        let file = folder.join(self.source);
        let source = fs::read_to_string(&file).expect("the source");
        let line = (source.lines().count() + 1).to_string();
        fs::write(&file, format!("{source}{}", self.broken)).expect("written");
        dev.says("kept the last good one", 1);
        let place = self.place.replace("LINE", &line);
        assert!(dev.said().contains(&place), "no {place} in {}", dev.said());
        assert_eq!(dev.answered("vary").as_deref(), Some("x-tenant"));

        let vary = ["'", "\""].map(|quote| format!("{quote}vary{quote}"));
        let varies = vary.iter().fold(source, |source, vary| {
            source.replace(vary, &vary.replace("vary", "x-varies"))
        });
        fs::write(&file, varies).expect("written");
        dev.says("built dist/hello.wasm", 2);
        dev.says("swapped in: generation", 1);
        assert_eq!(dev.answered("x-varies").as_deref(), Some("x-tenant"));
        assert_eq!(dev.answered("vary"), None);
        let [shown, _] = self.shown();
        assert_said(&shown, &dev.said());
        assert!(dev.end().success());
    }

    /// One more case: what a hook throws is told with message, file and line.
    fn thrown(&self) -> String {
        format!(
            "
  - name: what is thrown has its place
    config: {{tenants: [acme], header: upgrade}}
    request: {{headers: {{upgrade: acme}}}}
    expect: {{action: fail, failure: 'upgrade: forbidden (the field belongs to the proxy), at {}:', response: {{status: 500}}}}
",
            self.source
        )
    }
}

#[test]
fn following_the_tutorial_in_javascript_ends_with_a_plugin_that_serves() {
    JAVASCRIPT.holds(&IN_JAVASCRIPT);
}

#[test]
fn following_the_tutorial_in_python_ends_with_a_plugin_that_serves() {
    PYTHON.holds(&IN_PYTHON);
}

#[test]
fn a_change_in_javascript_is_swapped_in_while_dev_serves_and_a_fault_is_not() {
    JAVASCRIPT.develops(&IN_JAVASCRIPT);
}

#[test]
fn a_change_in_python_is_swapped_in_while_dev_serves_and_a_fault_is_not() {
    PYTHON.develops(&IN_PYTHON);
}

#[test]
fn an_exchange_that_was_served_is_replayed_in_javascript() {
    IN_JAVASCRIPT.replays();
}

#[test]
fn an_exchange_that_was_served_is_replayed_in_python() {
    IN_PYTHON.replays();
}

#[test]
fn a_case_that_comes_out_otherwise_in_the_language_itself_fails_the_test() {
    let folder = tempfile::tempdir().expect("a folder");
    done(&plugin(folder.path(), &["new", "hello", "-l", "python"]));
    let folder = folder.path().join("hello");
    // What is no plugin cannot be built: so only what is native is said.
    fs::write(folder.join("sdk/app.py"), "raise ValueError('no plugin')\n").expect("written");
    let cases = fs::read_to_string(folder.join("cases.yaml")).expect("the cases");
    fs::write(
        folder.join("cases.yaml"),
        cases.replace("status: 403", "status: 404"),
    )
    .expect("written");
    let output = plugin(&folder, &["test"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("FAILED  a stranger is answered"), "{said}");
    assert!(said.contains("expected 404"), "{said}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("ValueError: no plugin"), "{errors}");
    assert!(errors.contains("componentize-py failed"), "{errors}");
}

#[test]
fn doctor_names_the_tools_and_the_way_to_get_them() {
    let folder = tempfile::tempdir().expect("a folder");
    for (language, tool) in [
        ("javascript", "componentize-js"),
        ("python", "componentize-py"),
    ] {
        let arguments = ["plugin", "doctor", "--language", language];
        let output = Command::new(binary())
            .args(arguments)
            .current_dir(folder.path())
            .env("PATH", folder.path())
            .output()
            .expect("weir runs");
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("not ready"), "{said}");
        assert!(said.contains(&format!("missing  {tool}")), "{said}");
        let ready = done(&plugin(folder.path(), &arguments[1..]));
        assert!(ready.contains(" ready\n"), "{ready}");
    }
}
