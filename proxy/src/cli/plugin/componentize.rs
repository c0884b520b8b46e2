//! What builds plugins in JavaScript and Python: componentize-js of npm and componentize-py of `PyPI`.
//!
//! A tool is looked for in the project, then in the path of commands; where it is in neither, it is put
//! into the project, by npm or pip. Each makes a component without any import of WASI, so that what a
//! plugin may do is what the contract lets it do.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Error;
use super::project::{Language, Project};
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

/// Builds a project's component to `made`.
pub(super) fn build(project: &Project, made: &Path) -> Result<(), Error> {
    let tool = get(project)?;
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

/// What a tool says goes to standard error, where it succeeds too.
fn run(command: &mut Command, language: Language) -> Result<(), Error> {
    let tool = if language == Language::Python {
        COMPONENTIZE_PY.name
    } else {
        COMPONENTIZE_JS.name
    };
    let output = command
        .output()
        .map_err(|error| Error::new(format!("cannot run {tool}: {error}")))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    // Of a fault in the plugin the tool shows where it was itself, too.
    let own = said.split("\nStack backtrace:").next().unwrap_or_default();
    eprint!("{own}");
    if output.status.success() {
        return Ok(());
    }
    Err(Error::new(format!("{tool} failed: {}", output.status)))
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
