//! What builds plugins in JavaScript and Python: componentize-js of npm and componentize-py of `PyPI`.
//!
//! A tool is looked for in the project, then in the path of commands; where it is in neither, it is put
//! into the project, by npm or pip. Each makes a component without any import of WASI, so that what a
//! plugin may do is what the contract lets it do.
//!
//! They take many seconds: so the language's own parser looks at the sources first, and one says how long
//! it has been.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use std::{io, thread};

use super::Error;
use super::project::{Language, Project};
use super::sources::{self, Sources};
use super::toolchain::said;

/// The release that the scaffolds name, and that is tested. That of componentize-js needs preview2-shim,
/// and does not say so.
pub(super) const JAVASCRIPT: &str = "0.23.0";
pub(super) const PYTHON: &str = "0.25.1";

/// What componentize-js would bring of WASI: nothing of it. Time and random numbers of JavaScript's own
/// then stand still; the SDK has the host's.
const WITHOUT: [&str; 5] = ["stdio", "random", "clocks", "http", "fetch-event"];

/// What is not found in the path of commands.
pub(super) const NODE: &str = "install Node.js 20 or later by https://nodejs.org";
pub(super) const PYTHON3: &str = "install Python 3.10 or later by https://python.org";

/// How often one is told that a tool has not ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// Compiles files as Python would, without running them.
const PARSE: &str = r#"
import sys, traceback
for file in sys.argv[1:]:
    try:
        with open(file, "rb") as source:
            compile(source.read(), file, "exec", dont_inherit=True)
    except SyntaxError as error:
        traceback.print_exception(error, limit=0)
        sys.exit(1)
"#;

/// What parsers call what cannot be parsed.
const FAULTS: [&str; 3] = ["SyntaxError", "IndentationError", "TabError"];

/// One of the two.
pub(super) struct Tool {
    name: &'static str,
    /// Where a project has it.
    place: &'static str,
}

const COMPONENTIZE_JS: Tool = Tool {
    name: "componentize-js",
    place: "node_modules/.bin",
};
const COMPONENTIZE_PY: Tool = Tool {
    name: "componentize-py",
    place: ".venv/bin",
};

impl Tool {
    pub(super) fn of(language: Language) -> Option<Self> {
        match language {
            Language::Rust => None,
            Language::Javascript => Some(COMPONENTIZE_JS),
            Language::Python => Some(COMPONENTIZE_PY),
        }
    }

    /// The tool as a project sees it: its own, or that of a folder above, or in the path of commands.
    pub(super) fn find(&self, folder: &Path) -> Option<PathBuf> {
        let local = |folder: &Path| folder.join(self.place).join(self.name);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let local = folder.ancestors().map(local);
        let global = std::env::split_paths(&path).map(|folder| folder.join(self.name));
        let mut all = local.chain(global);
        all.find(|file| file.is_file())
    }
}

/// Names what a project's module is made of; `None` where that cannot be read.
pub(super) fn made_of(project: &Project) -> Result<Option<String>, Error> {
    let tool = get(project)?;
    let version = tool.to_str();
    let version = version.and_then(|tool| said(&project.folder, tool, &["--version"]));
    Ok(version.and_then(|version| sources::digest(project, &version).ok()))
}

/// Builds a project's component to `made`.
pub(super) fn build(project: &Project, made: &Path) -> Result<(), Error> {
    let tool = get(project)?;
    parse(project)?;
    let mut command = Command::new(tool);
    command.current_dir(&project.folder).stdin(Stdio::null());
    match project.language {
        Language::Python => {
            command
                .args(["-q", "-d", "sdk/wit", "-w", "plugin"])
                .args([
                    "componentize",
                    "--stub-wasi",
                    "-p",
                    "sdk",
                    "-p",
                    "src",
                    "-o",
                ])
                .arg(made)
                .arg("app")
                // Else it would look for packages in a folder of another project.
                .env_remove("VIRTUAL_ENV")
                .env("PYTHONDONTWRITEBYTECODE", "1");
            let packages = project.folder.join(".venv");
            if packages.is_dir() {
                command.env("VIRTUAL_ENV", packages);
            }
        }
        _ => {
            command
                .args(["sdk/entry.js", "--wit", "sdk/wit", "-n", "plugin", "-o"])
                .arg(made)
                .arg("-d")
                .args(WITHOUT);
        }
    }
    run(&mut command, project.language)
}

/// What cannot be parsed fails at once, with file and line. It could not be tested natively either.
fn parse(project: &Project) -> Result<(), Error> {
    let folder = &project.folder;
    let sources = Sources::of(&folder.join("src"), &[]);
    let written_in = |ends: &[&str]| -> Vec<PathBuf> {
        let relative = sources.files().filter_map(|file| {
            let end = file.extension()?;
            let file = file.strip_prefix(folder).ok()?;
            ends.iter()
                .any(|one| end == *one)
                .then(|| file.to_path_buf())
        });
        relative.collect()
    };
    if project.language == Language::Python {
        let mut command = Command::new(interpreter(folder));
        command.args(["-W", "ignore", "-c", PARSE]);
        command.args(written_in(&["py"])).stdin(Stdio::null());
        return parsed(command.current_dir(folder), "");
    }
    for file in written_in(&["js", "mjs"]) {
        // By its standard input, which is a module whatever `package.json` says.
        let Ok(source) = File::open(folder.join(&file)) else {
            continue;
        };
        let mut command = Command::new("node");
        command.args(["--check", "--input-type=module", "-"]);
        command.stdin(source).current_dir(folder);
        parsed(&mut command, &file.to_string_lossy())?;
    }
    Ok(())
}

/// What a parser says of `file`, which is its standard input, or of files that it was told.
fn parsed(command: &mut Command, file: &str) -> Result<(), Error> {
    let Ok(output) = command.output() else {
        // Where there is no parser, the tool finds the fault.
        return Ok(());
    };
    let said = String::from_utf8_lossy(&output.stderr).replace("[stdin]", file);
    // Below it Node says where it was itself.
    let said = said.split("\n    at ").next().unwrap_or_default();
    if output.status.success() || !FAULTS.iter().any(|fault| said.contains(fault)) {
        return Ok(());
    }
    Err(Error::new(said.trim()))
}

/// The project's own Python, or that in the path of commands.
pub(super) fn interpreter(folder: &Path) -> PathBuf {
    let own = folder.join(".venv/bin/python3");
    if own.is_file() {
        own
    } else {
        PathBuf::from("python3")
    }
}

/// What a tool says goes to standard error, where it succeeds too.
fn run(command: &mut Command, language: Language) -> Result<(), Error> {
    let tool = if language == Language::Python {
        COMPONENTIZE_PY.name
    } else {
        COMPONENTIZE_JS.name
    };
    eprintln!("building by {tool}, which takes some 15 s");
    let output = patiently(command, tool)
        .map_err(|error| Error::new(format!("cannot run {tool}: {error}")))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    if output.status.success() {
        eprint!("{said}");
        return Ok(());
    }
    let own = fault(language, &said);
    Err(Error::new(format!(
        "{own}\n{tool} failed: {}",
        output.status
    )))
}

/// Runs a command to its end, and says now and then that it still runs.
fn patiently(command: &mut Command, tool: &str) -> io::Result<Output> {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (sender, ended) = mpsc::channel();
    // The receiver is there until it has this.
    thread::spawn(move || sender.send(child.wait_with_output()));
    let mut waited = Duration::ZERO;
    loop {
        match ended.recv_timeout(PATIENCE) {
            Ok(output) => return output,
            Err(RecvTimeoutError::Timeout) => {
                waited += PATIENCE;
                eprintln!("{tool} has been building for {} s", waited.as_secs());
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("nobody waits for it"));
            }
        }
    }
}

/// What a tool says of a fault in the plugin, without where it was itself, and with files as they are
/// called in the project.
fn fault(language: Language, said: &str) -> String {
    let said = said.split("\nStack backtrace:").next().unwrap_or_default();
    let own = match language {
        Language::Python => {
            let told = said.split_once("AssertionError: ");
            let told = told.map_or(said, |(_, told)| told);
            let told = told.split("\n\nCaused by:").next().unwrap_or_default();
            // Folders that it searches, in the order of `-p`.
            ["sdk", "src"]
                .iter()
                .enumerate()
                .fold(told.to_owned(), |told, (index, folder)| {
                    told.replace(&format!("\"/{index}/"), &format!("\"{folder}/"))
                        .replace(&format!("(/{index}/"), &format!("({folder}/"))
                })
        }
        _ => {
            let told = said.split_once("Failed to initialize component ");
            let told = told.and_then(|(_, told)| told.split_once('\n'));
            let told = told.map_or(said, |(_, told)| told);
            told.split("\n    at ")
                .next()
                .unwrap_or_default()
                .to_owned()
        }
    };
    own.trim().to_owned()
}

/// The tool; it is fetched where it is missing.
fn get(project: &Project) -> Result<PathBuf, Error> {
    let tool = Tool::of(project.language).ok_or_else(|| Error::new("Rust needs no such tool"))?;
    let folder = &project.folder;
    if let Some(found) = tool.find(folder) {
        return Ok(found);
    }
    eprintln!("fetching {}", tool.name);
    let fetched = match project.language {
        Language::Python => python(folder),
        _ => npm(folder),
    };
    match (fetched, tool.find(folder)) {
        (true, Some(found)) => Ok(found),
        _ => Err(Error::new(format!(
            "there is no {} here, and it could not be fetched",
            tool.name
        ))
        .help("`weir plugin doctor` says what is missing, and how to get it")),
    }
}

fn npm(folder: &Path) -> bool {
    let mut command = Command::new("npm");
    command.args(["install", "--no-audit", "--no-fund"]);
    succeeds(command.current_dir(folder))
}

fn python(folder: &Path) -> bool {
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", ".venv"]).current_dir(folder);
    let mut pip = Command::new(folder.join(".venv/bin/pip"));
    pip.args(["install", "-q", "--disable-pip-version-check"])
        .arg(format!("componentize-py=={PYTHON}"))
        .current_dir(folder);
    succeeds(&mut venv) && succeeds(&mut pip)
}

fn succeeds(command: &mut Command) -> bool {
    // Standard output is for what was asked.
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status();
    status.is_ok_and(|status| status.success())
}

/// What a tool says of itself, or how to get it.
pub(super) fn doctor(language: Language) -> Result<String, String> {
    let here = Path::new(".");
    let tool = Tool::of(language).and_then(|tool| tool.find(&here.canonicalize().ok()?));
    let version = tool.and_then(|tool| said(here, tool.to_str()?, &["--version"]));
    version.ok_or_else(|| match language {
        Language::Python => format!(
            "`weir plugin build` puts it into `.venv`, or: `pip install componentize-py=={PYTHON}`"
        ),
        _ => format!(
            "`weir plugin build` puts it into `node_modules`, or:\n\
             `npm install --global @bytecodealliance/componentize-js@{JAVASCRIPT} @bytecodealliance/preview2-shim@0.25.0`"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_without_the_tools_own_places() {
        let said = "Traceback (most recent call last):\n  File \"/x/bin/componentize-py\", line 8\n\
            AssertionError: Traceback (most recent call last):\n  File \"/0/app.py\", line 91\n  \
            File \"/1/plugin.py\", line 6\nImportError: no 'lag' in 'weir' (/0/weir/__init__.py)\n\n\n\
            Caused by:\n    ImportError: no 'lag'\n\nStack backtrace:\n   0: x\n";
        let told = "Traceback (most recent call last):\n  File \"sdk/app.py\", line 91\n  \
            File \"src/plugin.py\", line 6\nImportError: no 'lag' in 'weir' (sdk/weir/__init__.py)";
        assert_eq!(fault(Language::Python, said), told);

        let said = "file:///x/componentize.js:365\n    throw new Error(err);\n          ^\n\n\
            Error: Failed to initialize component (wizer (/x/wizer)):\n\
            Exception while evaluating top-level script\n\
            src/plugin.js:63:1 ReferenceError: nonsense is not defined\n    at componentize (file:///x)\n\n\
            Node.js v20.20.2\n";
        let told = "Exception while evaluating top-level script\n\
            src/plugin.js:63:1 ReferenceError: nonsense is not defined";
        assert_eq!(fault(Language::Javascript, said), told);

        for language in [Language::Javascript, Language::Python] {
            assert_eq!(fault(language, "something else\n"), "something else");
        }
    }

    #[test]
    fn a_projects_own_tool_comes_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let project = folder.path().join("plugins/hello");
        let bin = project.join("node_modules/.bin");
        std::fs::create_dir_all(&bin).expect("a folder");
        let above = folder.path().join("node_modules/.bin");
        std::fs::create_dir_all(&above).expect("a folder");
        std::fs::write(above.join("componentize-js"), "").expect("written");
        let found = |project: &Path| COMPONENTIZE_JS.find(project);
        assert_eq!(found(&project), Some(above.join("componentize-js")));
        std::fs::write(bin.join("componentize-js"), "").expect("written");
        assert_eq!(found(&project), Some(bin.join("componentize-js")));
    }
}
