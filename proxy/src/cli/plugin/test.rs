//! `weir plugin test`: an author's cases on the module, in Weir itself, after the native tests.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::Value;
use sha2::{Digest, Sha256};
use weir_sdk::testing::cases::{self, Action, Case, Observed, Place};

use super::calls::Canned;
use super::project::{self, Project};
use super::trial::{self, Alone, Done, Trial};
use super::{Error, build, bytes, inspect, native, print};
use crate::config::{self, Breaker, Isolation, Limits, Module, OnError, OnLargeBody, Recycle};
use crate::hex;
use crate::plugin::chain::{Chain, Outcome};
use crate::plugin::{Failure, Plugin, registry};

/// Test a plugin: build it, run its native tests (`cargo test`, `npm test` or Python's unittest) and its
/// cases on a fake host, then its cases on the module as a server would run them, within their limits. A module alone is only run. Exits with 1
/// if a test fails or a case comes out otherwise than it says.
///
/// The cases are in `cases.yaml` beside the code; `weir plugin new` makes one to start from.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  weir plugin test
  weir plugin test plugins/hello --no-native
  weir plugin test hello.wasm --cases hello/cases.yaml")]
pub struct TestArgs {
    /// The plugin's folder, or a module: a file, or `builtin:NAME`
    #[arg(value_name = "DIR|FILE", default_value = ".")]
    pub plugin: PathBuf,
    /// The file of cases; else `cases.yaml` in the folder, or beside the module
    #[arg(long, value_name = "FILE")]
    pub cases: Option<PathBuf>,
    /// Do not run the native tests
    #[arg(long)]
    pub no_native: bool,
}

/// The limits that cases run under: those of a plugin that is configured without any.
const LIMITS: Limits = Limits {
    // By the language.
    memory: None,
    cpu_time: std::time::Duration::from_millis(50),
    wall_time: std::time::Duration::from_secs(5),
    body: 4 << 20,
    answer: 1 << 30,
    answer_time: std::time::Duration::from_hours(1),
    kv: 1 << 20,
    calls: 8,
};

pub(super) fn run(args: &TestArgs) -> Result<ExitCode, Error> {
    let subject = Subject::find(&args.plugin, args.cases.as_deref())?;
    let native = match &subject.project {
        Some(project) if !args.no_native => native::run(project, &subject.cases)?,
        _ => true,
    };
    let ready = subject.build()?;
    print(&format!("weir    {}  {}\n", ready.shown, bytes(ready.size)));

    let trial = subject.trial()?;
    let plugins = subject.load(&trial, &ready.module)?;
    let mut failed = 0;
    for (case, plugin) in subject.cases.iter().zip(&plugins) {
        if !report(case, &observe(&trial, case, plugin)) {
            failed += 1;
        }
    }
    let count = subject.cases.len();
    let cases = if count == 1 { "case" } else { "cases" };
    let native_failed = if native { "" } else { "; native tests failed" };
    print(&format!(
        "{count} {cases}: {} ok, {failed} failed{native_failed}\n",
        count - failed
    ));
    Ok(if failed == 0 && native {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Says whether a case came out as it says, and what came out otherwise.
pub(super) fn report(case: &Case, observed: &Observed) -> bool {
    let differences = case.differences(observed);
    if differences.is_empty() {
        print(&format!("  ok      {}\n", case.name));
        return true;
    }
    let mut text = format!("  FAILED  {}\n", case.name);
    for difference in differences {
        let indented = difference.to_string().replace('\n', "\n          ");
        let _ = writeln!(text, "          {indented}");
    }
    print(&text);
    false
}

/// What is tested or measured: a project or a module, with its cases.
pub(super) struct Subject {
    project: Option<Project>,
    module: Module,
    name: String,
    pub(super) cases: Vec<Case>,
}

/// A module that is there.
pub(super) struct Ready {
    pub(super) module: Module,
    /// As one would name it here.
    pub(super) shown: String,
    pub(super) size: u64,
    pub(super) digest: String,
}

impl Subject {
    pub(super) fn find(plugin: &Path, cases: Option<&Path>) -> Result<Self, Error> {
        let named = plugin
            .to_str()
            .and_then(|name| name.strip_prefix("builtin:"));
        if let Some(name) = named {
            return Ok(Self {
                project: None,
                module: Module::Builtin(name.to_owned()),
                name: name.to_owned(),
                cases: read(cases.map(Path::to_path_buf))?,
            });
        }
        if !plugin.is_file() {
            let project = Project::find(plugin)?;
            let file = cases.map(Path::to_path_buf);
            let file = file.or_else(|| project::cases(&project.folder));
            return Ok(Self {
                module: Module::File(project.module()),
                name: project.name.clone(),
                cases: read(file)?,
                project: Some(project),
            });
        }
        let beside = || {
            let plugin = plugin.canonicalize().ok()?;
            let mut folders = plugin.ancestors().skip(1).take(2);
            folders.find_map(project::cases)
        };
        let file = cases.map(Path::to_path_buf).or_else(beside);
        let stem = plugin.file_stem().and_then(|stem| stem.to_str());
        Ok(Self {
            project: None,
            module: Module::File(plugin.to_path_buf()),
            name: stem.unwrap_or("plugin").replace('.', "-"),
            cases: read(file)?,
        })
    }

    /// The module, which is built where there is a project.
    pub(super) fn build(&self) -> Result<Ready, Error> {
        if let Some(project) = &self.project {
            let built = build::build(project)?;
            return Ok(Ready {
                shown: project::shown(&built.file),
                size: built.size,
                digest: built.digest,
                module: Module::File(built.file),
            });
        }
        let shown = self.module.to_string();
        let module = inspect::read(&shown)?;
        match inspect::no_plugin(&module) {
            Some(reason) => Err(Error::new(format!("{shown} is no plugin: {reason}"))),
            None => Ok(Ready {
                size: module.len() as u64,
                digest: hex::text(&Sha256::digest(&module)),
                module: self.module.clone(),
                shown,
            }),
        }
    }

    /// A place for the exchanges; what was compiled of a project is kept in its folder.
    pub(super) fn trial(&self) -> Result<Trial, Error> {
        let kept = self.project.as_ref().map(Project::dist);
        Trial::keeping(kept.as_deref())
    }

    /// The plugin of each case; the same where the configuration is.
    pub(super) fn load(&self, trial: &Trial, module: &Module) -> Result<Vec<Loaded>, Error> {
        let mut configs: Vec<&Value> = Vec::new();
        for case in &self.cases {
            if !configs.contains(&case.config()) {
                configs.push(case.config());
            }
        }
        let configured: Vec<_> = configs
            .iter()
            .map(|config| (self.name.clone(), self.configured(module, config)))
            .collect();
        let mut loaded = Vec::new();
        for plugin in trial.load(&configured) {
            loaded.push(match plugin {
                Ok(plugin) => Loaded::Ready(plugin),
                Err(registry::Error {
                    cause: registry::Cause::Failure { failure, .. },
                    ..
                }) => Loaded::Failed(failure),
                Err(error) => return Err(Error::new(error.to_string())),
            });
        }
        let of = |case: &Case| {
            let index = configs.iter().position(|config| *config == case.config());
            index.map(|index| loaded[index].clone())
        };
        Ok(self.cases.iter().filter_map(of).collect())
    }
}

fn read(file: Option<PathBuf>) -> Result<Vec<Case>, Error> {
    let file = file.ok_or_else(|| {
        Error::new("there are no cases: no cases.yaml is beside the plugin").help(
            "write one, or give its place by --cases; `weir plugin new` makes one to start from",
        )
    })?;
    let text = std::fs::read_to_string(&file)
        .map_err(|error| Error::new(format!("cannot read {}: {error}", file.display())))?;
    cases::parse(&text).map_err(|fault| Error::new(format!("{}: {fault}", project::shown(&file))))
}

impl Subject {
    fn configured(&self, module: &Module, config: &Value) -> config::Plugin {
        let cases = self.cases.iter().filter(|case| case.config() == config);
        let mut upstreams: Vec<_> = cases.flat_map(Case::upstreams).map(str::to_owned).collect();
        upstreams.sort_unstable();
        upstreams.dedup();
        configured(module, config, upstreams)
    }
}

pub(super) fn configured(
    module: &Module,
    config: &Value,
    upstreams: Vec<String>,
) -> config::Plugin {
    config::Plugin {
        upstreams,
        module: module.clone(),
        sha256: None,
        config: match config {
            // As where the key is not there.
            Value::Null => Value::Object(serde_json::Map::new()),
            config => config.clone(),
        },
        on_error: OnError::Reject,
        on_large_body: OnLargeBody::Reject,
        limits: LIMITS,
        isolation: Isolation::Shared,
        // Each case is to fail by itself.
        breaker: Breaker {
            failures: 0,
            pause: std::time::Duration::from_secs(1),
        },
        recycle: Recycle {
            hooks: 100_000,
            age: std::time::Duration::from_hours(1),
        },
    }
}

/// A plugin, or why its configuration made none.
#[derive(Clone)]
pub(super) enum Loaded {
    Ready(Arc<Plugin>),
    Failed(Failure),
}

fn observe(trial: &Trial, case: &Case, plugin: &Loaded) -> Observed {
    let plugin = match plugin {
        Loaded::Ready(plugin) => plugin,
        Loaded::Failed(Failure::Configure(reason)) => {
            return Observed {
                refused: Some(reason.clone()),
                ..Observed::default()
            };
        }
        Loaded::Failed(failure) => {
            return Observed {
                failure: Some(failure.to_string()),
                action: Action::Fail,
                ..Observed::default()
            };
        }
    };
    // Cases are checked when they are read.
    let (Ok(request), Ok(response)) = (case.request(), case.response()) else {
        return Observed::default();
    };
    let way = Alone(Chain::new(vec![Arc::clone(plugin)]));
    let calls = Canned::new(Some(case));
    let done = trial.run(&way, &request, &response, &calls);
    Observed {
        calls: calls.made(),
        ..seen(done)
    }
}

/// What of an exchange a case can speak of.
fn seen(done: Done) -> Observed {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut observed = Observed {
        action: match done.outcome {
            Outcome::Proceed if done.upstream.is_some() => Action::Reroute,
            Outcome::Proceed => Action::Continue,
            Outcome::Answered => Action::Respond,
            Outcome::Failed => Action::Fail,
        },
        request: Some(done.request),
        request_body: done.request_body.to_vec(),
        upstream: done.upstream,
        response: Some(done.response.map(|body| body.to_vec())),
        ..Observed::default()
    };
    for (_, hook, span) in trial::hooks(&done.trace) {
        let place = match hook {
            "prerequesthook" => Place::PreRequest,
            "prehook" => Place::Request,
            _ => Place::Response,
        };
        let attributes = span["Attributes"].as_object().cloned().unwrap_or_default();
        let decision = attributes.get("weir.hook.decision").and_then(Value::as_str);
        // Or for a piece of the body behind it.
        let failed = |count: &Value| count.as_u64() > Some(0);
        if decision == Some("error") || attributes.get("plugin.error_count").is_some_and(failed) {
            observed.failure = Some(text(&span["StatusMsg"]));
            observed.action = Action::Fail;
        }
        observed.spans.insert(place, attributes);
    }
    let spans = done.trace["Spans"].as_array().into_iter().flatten();
    for span in spans.filter(|span| span["SpanID"] == *done.call) {
        let attributes = span["Attributes"].as_object().cloned();
        observed
            .spans
            .insert(Place::Upstream, attributes.unwrap_or_default());
    }
    let lines = done.trace["PluginLogs"].as_array().into_iter().flatten();
    observed.logs = lines.map(|line| text(&line["message"])).collect();
    observed
}
