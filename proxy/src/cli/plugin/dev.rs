//! `weir plugin dev`: serves a plugin while it is written.
//!
//! A change of the sources is built and swapped in by a reload; what cannot be built or loaded
//! changes nothing, so the last good one goes on serving. Traces come by way of the demo's broker,
//! which is in this process, and each is shown as it arrives.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::project::{self, Language, Project};
use super::sources::Sources;
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

/// Build a plugin, serve its `weir.yaml`, and show the spans of each request as it ends. When a source
/// changes, it is built again and swapped in; while it cannot be, the last good one serves on. What changes
/// during a build is built once that has ended. A change of the configuration file is taken up in the same
/// way. Its exporters are not used.
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
        "exporters={{dev: {{kafka: {{brokers: [\"{}\"], topic: {TOPIC}, flush_interval_ms: 5}}}}}}",
        broker.bootstrap_servers()
    ));
    let config = ConfigArgs {
        config: file.clone(),
        set,
    };
    // As for its own tests: what was compiled once will do.
    let cache = project.dist();
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
        if config.cache_dir.is_none() {
            config.cache_dir = Some(cache.clone());
        }
        Ok(config)
    };
    let watched = Watched {
        project,
        config: file,
        except: Vec::new(),
    };
    let ended = runtime.block_on(serve(watched, &broker, load));
    // What is being built or compiled is not waited for.
    runtime.shutdown_background();
    ended
}

/// What a change is looked for in.
struct Watched {
    project: Project,
    /// The configuration file.
    config: PathBuf,
    /// Where the Weir that serves writes, should that be in the project's folder.
    except: Vec<PathBuf>,
}

impl Watched {
    fn look(&self) -> Sources {
        Sources::of(&self.project.folder, &self.except).and(&self.config)
    }

    /// Leaves out what a Weir with this configuration writes.
    fn leave_out(&mut self, config: &Config) {
        let log = config.access_log.as_ref().and_then(|log| log.path.as_ref());
        let written = config.data_dir.iter().chain(log);
        // They are there by now. One that the project itself is in leaves nothing to watch.
        self.except = written
            .filter_map(|path| path.canonicalize().ok())
            .filter(|path| !self.project.folder.starts_with(path))
            .collect();
    }

    /// Waits for a change after `before`, and until all has stood still for a moment: an editor writes several
    /// files, or one in pieces.
    async fn change(&self, before: &mut Sources) -> String {
        loop {
            tokio::time::sleep(LOOK).await;
            let mut now = self.look();
            let Some(file) = before.difference(&now) else {
                continue;
            };
            let file = project::shown(file);
            loop {
                tokio::time::sleep(LOOK).await;
                let next = self.look();
                if next == now {
                    break;
                }
                now = next;
            }
            *before = now;
            return file;
        }
    }
}

async fn serve(
    mut watched: Watched,
    broker: &Broker,
    load: impl Fn() -> Result<Config, String> + Send + Sync + 'static,
) -> Result<ExitCode, Error> {
    let sources = watched.look();
    // A first version that cannot be built is an error of the start as well as of later.
    build_and_say(&watched.project)?;
    // Not before: while nothing is served, a signal ends the process as it ends any.
    let mut signals = run::Signals::new().map_err(|error| Error::new(error.to_string()))?;
    let config = load().map_err(|report| Error::new(report.trim_end()))?;
    let written = config.clone();
    let app = run::start(config, Box::new(load), None)
        .await
        .map_err(|error| Error::new(format!("{error:#}")))?;
    watched.leave_out(&written);
    let mut sources = sources.without(&watched.except);
    print("serving: each request's spans show here, each change of the sources is swapped in\n");
    follow(broker.bootstrap_servers())?;
    let watching = async {
        loop {
            let changed = watched.change(&mut sources).await;
            print(&format!("\n{changed} has changed\n"));
            let project = watched.project.clone();
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
    app.shutdown(End::Stop, signals.stop()).await;
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
    if project.language != Language::Rust {
        print("compiling it, which takes some ten seconds unless it was before\n");
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
