//! Plugins: what they are, how their hooks fare, and what they logged lately.

use std::sync::Arc;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Answer, Problem, traces};
use crate::admin::body;
use crate::app::App;
use crate::config::{Isolation, OnError, PluginUse};
use crate::plugin::Hook;
use crate::plugin::vitals::Now;
use crate::store::{Filter, Store};
use crate::trace::record;

/// Of how many of a plugin's recent traces lines are taken.
const TRACES: usize = 100;

/// Most lines of an answer.
const LINES: usize = 100;

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
    let plugins: Vec<Value> = generation
        .plugins
        .iter()
        .map(|(key, variants)| {
            let plugin = variants.first();
            let config = &plugin.config;
            let module = config.module.to_string();
            let hooks = Hook::ALL
                .into_iter()
                .filter(|hook| variants.iter().any(|plugin| plugin.wants(*hook)));
            let counted: Vec<_> = metrics
                .hooks
                .iter()
                .filter(|of| of.plugin == plugin.name && of.duration.count > 0)
                .collect();
            let routes = generation.config.routes.iter();
            let routes = routes.filter(|route| stands_in(key, &route.plugins));
            let listeners = generation.config.listeners.iter();
            let listeners = listeners.filter(|listener| stands_in(key, &listener.plugins));
            let vitals: Now = variants.iter().map(|plugin| plugin.vitals.now()).sum();
            json!({
                "key": key,
                "name": plugin.name,
                "module": module,
                "kind": plugin.kind(),
                "digest": plugin.digest,
                "pinned": config.sha256.is_some(),
                "on_error": match config.on_error {
                    OnError::Reject => "reject",
                    OnError::Continue => "continue",
                },
                "limits": {
                    "memory": config.limits.memory(),
                    "cpu_ms": config.limits.cpu_time.as_secs_f64() * 1e3,
                    "wall_ms": config.limits.wall_time.as_secs_f64() * 1e3,
                },
                "isolation": match config.isolation {
                    Isolation::Shared => "shared",
                    Isolation::Request => "request",
                },
                "configurations": variants.iter().count(),
                "instances": vitals.instances,
                "memory": vitals.memory,
                "breaker": {
                    "failures": config.breaker.failures,
                    "pause_ms": config.breaker.pause.as_secs_f64() * 1e3,
                    "open": vitals.open_breakers,
                },
                "workers": generation.config.workers,
                "hooks": hooks.map(Hook::label).collect::<Vec<_>>(),
                "metrics": counted,
                "routes": routes.map(|route| route.name.as_str()).collect::<Vec<_>>(),
                "listeners": listeners.map(|of| of.address.to_string()).collect::<Vec<_>>(),
            })
        })
        .collect();
    body(StatusCode::OK, &json!({ "plugins": plugins }))
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
