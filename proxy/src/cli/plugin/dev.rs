//! `weir plugin dev`: serves a plugin while it is written.
//!
//! A change of the sources is built and swapped in by a reload; what cannot be built or loaded
//! changes nothing, so the last good one goes on serving. Traces come by way of the demo's broker,
//! which is in this process, and each is shown as it arrives.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::Value;

use super::project::{self, Project};
use super::{Error, build, bytes, print, trial};
use crate::app::{App, End};
use crate::cli::ConfigArgs;
use crate::config::report::Format;
use crate::config::{self, Config};
use crate::demo::broker::Broker;
use crate::demo::consumer::Consumer;
use crate::demo::{self, show};
use crate::run;

const TOPIC: &str = "weir-traces";

/// How often the sources are looked at. It is a stat of each file: cheaper than it sounds, and the
/// same on every file system.
const LOOK: Duration = Duration::from_millis(300);

/// What is in a project's folder but none of its sources.
const ASIDE: [&str; 5] = [
    project::DIST,
    "target",
    "node_modules",
    "__pycache__",
    "venv",
];

/// Build a plugin, serve its `weir.yaml`, and show the spans of each request as it ends. When a source
/// changes, it is built again and swapped in; while it cannot be, the last good one serves on. A
/// change of `weir.yaml` is taken up in the same way. Its exporters are not used.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  weir plugin dev
  weir plugin dev --example-upstream        # nothing to stand in front of? this answers
  weir plugin dev plugins/hello --config weir.yaml --set listeners.0.address=127.0.0.1:8081")]
pub struct DevArgs {
    /// The plugin's folder
    #[arg(value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
    /// Configuration file, in YAML; else `weir.yaml` in the plugin's folder
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set one value over the configuration; may be given several times
    #[arg(long, value_name = "KEY.PATH=VALUE")]
    pub set: Vec<String>,
    /// Let an upstream in this process answer in the place of all that are configured
    #[arg(long)]
    pub example_upstream: bool,
}

pub(super) fn run(args: &DevArgs) -> Result<ExitCode, Error> {
    let _log = run::init_log("warn,weir::app=info");
    let project = Project::find(&args.folder)?;
    let file = args.config.clone();
    let file = file.unwrap_or_else(|| project.folder.join("weir.yaml"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(format!("cannot start a runtime: {error}")))?;
    let broker = Broker::start(&[TOPIC]).map_err(|error| Error::new(error.to_string()))?;
    let mut set = args.set.clone();
    set.push("admin.address=127.0.0.1:0".to_owned());
    set.push(format!(
        "exporters={{dev: {{kafka: {{brokers: [\"{}\"], topic: {TOPIC}, flush_interval: 5ms}}}}}}",
        broker.bootstrap_servers()
    ));
    let config = ConfigArgs { config: file, set };
    let example = if args.example_upstream {
        let address = demo::example_upstream()
            .map_err(|error| Error::new(format!("example upstream: {error}")))?;
        Some(address)
    } else {
        None
    };
    let load = move || -> Result<Config, String> {
        let loaded = config.load();
        let mut config = loaded.map_err(|faults| faults.report(Format::Text))?.config;
        if let Some(address) = example {
            for upstream in config.upstreams.values_mut() {
                upstream.endpoints = vec![config::Entry {
                    endpoint: config::Endpoint::new(address.ip().to_string(), address.port()),
                    weight: 1,
                    srv: false,
                }];
            }
        }
        Ok(config)
    };
    runtime.block_on(serve(&project, &broker, load))
}

async fn serve(
    project: &Project,
    broker: &Broker,
    load: impl Fn() -> Result<Config, String> + Send + Sync + 'static,
) -> Result<ExitCode, Error> {
    let signals = run::Signals::new().map_err(|error| Error::new(error.to_string()))?;
    let mut sources = Sources::of(&project.folder);
    // A first version that cannot be built is an error of the start as well as of later.
    build_and_say(project)?;
    let config = load().map_err(|report| Error::new(report.trim_end()))?;
    let app = run::start(config, Box::new(load), None)
        .await
        .map_err(|error| Error::new(format!("{error:#}")))?;
    print("serving: each request's spans show here, each change of the sources is swapped in\n");
    follow(broker.bootstrap_servers())?;
    let watching = async {
        loop {
            tokio::time::sleep(LOOK).await;
            let now = Sources::of(&project.folder);
            if now == sources {
                continue;
            }
            sources = now;
            let project = project.clone();
            match tokio::task::spawn_blocking(move || build_and_say(&project)).await {
                Ok(Ok(())) => swap(&app).await,
                Ok(Err(error)) => print(&format!("{error}\nkept the last good one\n")),
                Err(error) => print(&format!("{error}\n")),
            }
        }
    };
    tokio::select! {
        () = signals.wait(&app) => {}
        () = watching => {}
    }
    app.shutdown(End::Stop).await;
    Ok(ExitCode::SUCCESS)
}

fn build_and_say(project: &Project) -> Result<(), Error> {
    let built = build::build(project)?;
    print(&format!(
        "built {}  {}  sha256 {}\n",
        project::shown(&built.file),
        bytes(built.size),
        built.digest
    ));
    Ok(())
}

async fn swap(app: &App) {
    match app.reload().await {
        Ok(generation) => print(&format!("swapped in: generation {generation}\n")),
        Err(error) => print(&format!("{error}\nkept the last good one\n")),
    }
}

/// Prints traces from now on, until the process ends.
fn follow(brokers: &str) -> Result<(), Error> {
    let consumer = Consumer::new(brokers, TOPIC).map_err(|error| Error::new(error.to_string()))?;
    let tail = move || {
        loop {
            match consumer.recv(Duration::from_millis(200)) {
                Ok(Some(message)) => print(&shown(&message.payload)),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "topic"),
            }
        }
    };
    std::thread::Builder::new()
        .name("dev-consumer".to_owned())
        .spawn(tail)
        .map_err(|error| Error::new(format!("cannot start a thread: {error}")))?;
    Ok(())
}

/// A trace's waterfall, then what each hook said and did.
fn shown(payload: &[u8]) -> String {
    let Ok(trace) = serde_json::from_slice::<Value>(payload) else {
        return String::new();
    };
    let mut out = show::waterfall(&trace);
    for (plugin, hook, span) in trial::hooks(&trace) {
        out += &format!("  {plugin} {hook}");
        let attributes = span["Attributes"].as_object().into_iter().flatten();
        for (key, value) in attributes {
            // Which module it was, and since when, is known here.
            if key != "weir.hook.module_digest" && key != "weir.hook.generation" {
                out += &format!("  {}={value}", key.trim_start_matches("weir.hook."));
            }
        }
        out.push('\n');
    }
    let lines = trace["PluginLogs"].as_array().into_iter().flatten();
    for line in lines {
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        out += &format!(
            "  {} {}: {}\n",
            text("level"),
            text("plugin_name"),
            text("message")
        );
    }
    out
}

/// The files of a folder that a build reads, as they are now.
#[derive(Debug, PartialEq, Eq)]
struct Sources(BTreeMap<PathBuf, (u64, Option<SystemTime>)>);

impl Sources {
    fn of(folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let aside = |name: &OsStr| ASIDE.iter().any(|aside| name == *aside);
                // A lock file is a build's own work.
                if name.as_encoded_bytes().starts_with(b".")
                    || aside(&name)
                    || name == "Cargo.lock"
                    || name == "package-lock.json"
                {
                    continue;
                }
                let path = entry.path();
                match entry.metadata() {
                    Ok(meta) if meta.is_dir() => folders.push(path),
                    Ok(meta) => {
                        files.insert(path, (meta.len(), meta.modified().ok()));
                    }
                    // It is gone since; the next look sees that.
                    Err(_) => {}
                }
            }
        }
        Self(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_a_source_is_seen_and_of_what_is_built_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            let above = path.parent().expect("a folder");
            std::fs::create_dir_all(above).expect("a folder");
            std::fs::write(path, text).expect("written");
        };
        write("src/lib.rs", "a");
        let before = Sources::of(folder.path());
        write("target/debug/x", "built");
        write("dist/x.wasm", "built");
        write(".git/HEAD", "ref");
        write("Cargo.lock", "lock");
        assert_eq!(Sources::of(folder.path()), before);
        write("src/lib.rs", "ab");
        assert_ne!(Sources::of(folder.path()), before);
    }

    #[test]
    fn a_trace_is_shown_with_its_hooks_and_their_logs() {
        let trace = serde_json::json!({
            "TraceID": "ab", "StartTime": "2026-11-22T05:30:00Z", "EndTime": "2026-11-22T05:30:01Z",
            "Spans": [{
                "Name": "plugin.hello.prehook", "StartTime": "2026-11-22T05:30:00Z",
                "EndTime": "2026-11-22T05:30:01Z", "Status": "ok", "StatusMsg": "",
                "Attributes": {"tenant": "acme", "weir.hook.decision": "continue", "weir.hook.module_digest": "x"},
            }],
            "PluginLogs": [{"plugin_name": "hello", "level": "warn", "message": "unknown"}],
        });
        let text = shown(trace.to_string().as_bytes());
        assert!(
            text.contains("hello prehook  tenant=\"acme\"  decision=\"continue\"\n"),
            "{text}"
        );
        assert!(text.contains("warn hello: unknown\n"), "{text}");
    }
}
