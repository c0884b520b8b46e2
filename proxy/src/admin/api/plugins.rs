//! Plugins: what they are, how their hooks fare, and what they logged lately.

use std::sync::Arc;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Answer, Problem, traces};
use crate::admin::body;
use crate::app::App;
use crate::config::{Isolation, OnError, PluginUse};
use crate::metrics::snapshot;
use crate::plugin::Hook;
use crate::plugin::vitals::Now;
use crate::store::{Filter, Store};
use crate::trace::record;

/// Of how many of a plugin's recent traces lines are taken.
const TRACES: usize = 100;

/// Most lines of an answer.
const LINES: usize = 100;

/// What `/api/plugins` answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct Plugins {
    plugins: Vec<Plugin>,
}

#[derive(Serialize, JsonSchema)]
struct Plugin {
    /// Of the configuration.
    key: String,
    /// As spans have it.
    name: String,
    module: String,
    /// By which ABI it is called: `component` or `module`.
    kind: &'static str,
    /// Of the module's bytes.
    digest: String,
    /// Whether the configuration says which digest it must have.
    pinned: bool,
    /// `reject` or `continue`.
    on_error: &'static str,
    limits: Limits,
    /// `shared` or `request`.
    isolation: &'static str,
    /// Those that chains give it, and its own where that is in use.
    configurations: usize,
    /// Over all workers.
    instances: u64,
    /// Bytes that these take.
    memory: u64,
    breaker: Breaker,
    workers: usize,
    /// That it has.
    hooks: Vec<&'static str>,
    /// Of hooks that ran.
    metrics: Vec<snapshot::Hook>,
    /// In whose chains it stands.
    routes: Vec<String>,
    listeners: Vec<String>,
}

/// Of a hook's call.
#[derive(Serialize, JsonSchema)]
struct Limits {
    /// Bytes.
    memory: usize,
    cpu_ms: f64,
    wall_ms: f64,
}

#[derive(Serialize, JsonSchema)]
struct Breaker {
    /// In a row, after which hooks are not called for a while.
    failures: u32,
    pause_ms: f64,
    /// Workers in which it is open.
    open: u64,
}

/// What `/api/plugins/{name}/logs` answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct Logs {
    /// The newest first.
    lines: Vec<Line>,
}

/// A line that a plugin wrote while it handled a request.
#[derive(Serialize, JsonSchema)]
struct Line {
    trace_id: String,
    /// Microseconds since 1970.
    at_us: u64,
    level: &'static str,
    message: String,
}

pub(super) fn plugins(app: &App) -> Answer {
    let generation = app.generation();
    let metrics = app.metrics().snapshot();
    let plugins = generation
        .plugins
        .iter()
        .map(|(key, variants)| {
            let plugin = variants.first();
            let config = &plugin.config;
            let module = config.module.to_string();
            let hooks = Hook::ALL
                .into_iter()
                .filter(|hook| variants.iter().any(|plugin| plugin.wants(*hook)));
            let counted = metrics.hooks.iter();
            let counted = counted.filter(|of| of.plugin == plugin.name && of.duration.count > 0);
            let routes = generation.config.routes.iter();
            let routes = routes.filter(|route| stands_in(key, &route.plugins));
            let listeners = generation.config.listeners.iter();
            let listeners = listeners.filter(|listener| stands_in(key, &listener.plugins));
            let vitals: Now = variants.iter().map(|plugin| plugin.vitals.now()).sum();
            Plugin {
                key: key.clone(),
                name: plugin.name.clone(),
                module,
                kind: plugin.kind(),
                digest: plugin.digest.clone(),
                pinned: config.sha256.is_some(),
                on_error: match config.on_error {
                    OnError::Reject => "reject",
                    OnError::Continue => "continue",
                },
                limits: Limits {
                    memory: config.limits.memory(),
                    cpu_ms: config.limits.cpu_time.as_secs_f64() * 1e3,
                    wall_ms: config.limits.wall_time.as_secs_f64() * 1e3,
                },
                isolation: match config.isolation {
                    Isolation::Shared => "shared",
                    Isolation::Request => "request",
                },
                configurations: variants.iter().count(),
                instances: vitals.instances,
                memory: vitals.memory,
                breaker: Breaker {
                    failures: config.breaker.failures,
                    pause_ms: config.breaker.pause.as_secs_f64() * 1e3,
                    open: vitals.open_breakers,
                },
                workers: generation.config.workers.get(),
                hooks: hooks.map(Hook::label).collect(),
                metrics: counted.cloned().collect(),
                routes: routes.map(|route| route.name.clone()).collect(),
                listeners: listeners.map(|of| of.address.to_string()).collect(),
            }
        })
        .collect();
    body(StatusCode::OK, &Plugins { plugins })
}

fn stands_in(key: &str, chain: &[PluginUse]) -> bool {
    chain.iter().any(|there| there.plugin == key)
}

/// What a plugin wrote, by its recent traces.
pub(super) async fn logs(app: &App, name: &str) -> Result<Answer, Problem> {
    let generation = app.generation();
    let found = generation.plugins.iter();
    let found = found.map(|(key, variants)| (key, &variants.first().name));
    let mut found = found.filter(|(key, plugin)| *key == name || *plugin == name);
    let (_, plugin) = found
        .next()
        .ok_or_else(|| Problem::missing("plugin of that name"))?;
    let (store, plugin) = (traces::store(app)?, plugin.clone());
    let lines = traces::ask(move || written(&store, &plugin)).await?;
    Ok(body(StatusCode::OK, &Logs { lines }))
}

fn written(store: &Arc<Store>, plugin: &str) -> rusqlite::Result<Vec<Line>> {
    let filter = Filter::parse([("plugin", plugin)]).unwrap_or_default();
    let mut lines = Vec::new();
    for summary in store.search(&filter, None, TRACES)?.traces {
        if lines.len() >= LINES {
            break;
        }
        let Some((_, bytes)) = store.trace(&summary.trace_id, Some(summary.id))? else {
            continue;
        };
        let Ok(trace) = record::read(&bytes) else {
            continue;
        };
        let own = trace
            .plugin_logs
            .iter()
            .filter(|line| line.plugin == plugin);
        let own = own.map(|line| Line {
            trace_id: summary.trace_id.clone(),
            at_us: trace.head.anchor.saturating_add(line.time) / 1000,
            level: line.level.as_str(),
            message: line.message.to_owned(),
        });
        lines.extend(own.rev());
    }
    lines.truncate(LINES);
    Ok(lines)
}
