//! Plugins in JavaScript and Python: each tutorial is followed to the letter, and what it leaves is looked
//! at. The scaffold is built and tested as it is on the way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use weir_tests::service::free_port;
use weir_tests::weir::binary;

/// A language's tutorial.
struct Tutorial {
    /// As `--language` names it.
    language: &'static str,
    /// What its blocks of code are marked as.
    code: &'static str,
    source: &'static str,
    /// What the native tests say.
    native: &'static str,
}

const JAVASCRIPT: Tutorial = Tutorial {
    language: "javascript",
    code: "js",
    source: "src/plugin.js",
    native: "pass 2",
};

const PYTHON: Tutorial = Tutorial {
    language: "python",
    code: "python",
    source: "src/plugin.py",
    native: "Ran 2 tests",
};

fn services() -> PathBuf {
    let target = binary();
    let target = target.parent().and_then(Path::parent);
    let target = target.expect("a target directory");
    target.join("services")
}

/// The path of commands, with the tools that `tests/services/install.sh` brings.
fn path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let tools = ["componentize-js/node_modules/.bin", "componentize-py/bin"];
    let tools = tools.map(|tool| services().join(tool).display().to_string());
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
    fn text(&self) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let file = root.join(format!("docs/plugins-in-{}.md", self.language));
        fs::read_to_string(file).expect("the tutorial")
    }

    /// Follows it in a folder; what that said.
    fn follow(&self, folder: &Path) -> String {
        let [upstream, proxy] = [(); 2].map(|()| free_port().to_string());
        let binary = binary();
        let commands = blocks(&self.text(), "sh").concat();
        let script = format!("set -euo pipefail\ntrap 'kill $(jobs -p)' EXIT\n{commands}")
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
        done(&run("bash", &["-c", &script], folder))
    }

    fn holds(&self) {
        let above = tempfile::tempdir().expect("a folder");
        let said = self.follow(above.path());
        assert!(said.contains(self.native), "{said}");
        // In the language itself, then in Weir.
        for case in ["a stranger is answered", "what is thrown has its place"] {
            let ok = said.matches(&format!("  ok      {case}")).count();
            assert_eq!(ok, 2, "{said}");
        }
        assert!(said.contains("8 cases: 8 ok, 0 failed"), "{said}");
        let vary = said.lines().any(|line| line.trim_end() == "vary: x-tenant");
        assert!(vary, "{said}");

        let folder = above.path().join("hello");
        let source = fs::read_to_string(folder.join(self.source)).expect("the source");
        for shown in blocks(&self.text(), self.code) {
            assert!(source.contains(&shown), "{} has no\n{shown}", self.source);
        }
        let inspected = done(&plugin(
            &folder,
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

    /// One more case: what a hook throws is told with message, file and line.
    fn thrown(&self) -> String {
        format!(
            "
  - name: what is thrown has its place
    config: {{tenants: [acme], header: upgrade}}
    request: {{headers: {{upgrade: acme}}}}
    expect: {{action: fail, failure: 'upgrade: forbidden, at {}:', response: {{status: 500}}}}
",
            self.source
        )
    }
}

#[test]
fn following_the_tutorial_in_javascript_ends_with_a_plugin_that_serves() {
    JAVASCRIPT.holds();
}

#[test]
fn following_the_tutorial_in_python_ends_with_a_plugin_that_serves() {
    PYTHON.holds();
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
