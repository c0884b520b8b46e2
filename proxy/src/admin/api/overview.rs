//! How everything fares, at one look.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{Answer, Problem, requests};
use crate::admin::{body, guard};
use crate::app::App;
use crate::config::Exporter;
use crate::export::status::{Reason, State, Status};
use crate::store::{Filter, Store, Summary};

/// Of how many recent traces quantiles are made.
const RECENT: usize = 300;

/// When the admin address began to answer.
pub(in crate::admin) static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

pub(super) async fn overview(app: &Arc<App>) -> Result<Answer, Problem> {
    let uptime = STARTED.elapsed().as_secs();
    let store = app.store();
    let recent = recent(store.clone()).await;
    let status = store.map(|store| store.status()).map(|status| {
        json!({
            "traces": status.traces,
            "bytes": status.bytes,
            "max_bytes": status.max_bytes,
            "skipped": status.skipped,
            "durable": status.durable,
            "problem": status.problem,
        })
    });
    let spool = app.spool().map(|spool| {
        json!({
            "bytes": spool.bytes,
            "max_bytes": spool.max_bytes,
            "full": spool.is_full(),
            "problem": spool.problem,
        })
    });
    let generation = app.generation();
    let listeners = generation.config.listeners.iter();
    let listeners: Vec<String> = listeners.map(|of| of.address.to_string()).collect();
    Ok(body(
        StatusCode::OK,
        &json!({
            "version": env!("CARGO_PKG_VERSION"),
            "generation": generation.number,
            "uptime_s": uptime,
            "draining": app.is_draining(),
            "read_only": guard::may_save(app).err(),
            "no_send": requests::may_send(app).err(),
            "listeners": app.bound().iter().map(ToString::to_string).collect::<Vec<_>>(),
            "configured_listeners": listeners,
            "metrics": app.metrics().snapshot(),
            "recent": recent_times(&recent),
            "exporters": exporters_json(app),
            "plugins": generation.config.plugins.keys().collect::<Vec<_>>(),
            "upstreams": generation.config.upstreams.keys().collect::<Vec<_>>(),
            "spool": spool,
            "store": status,
        }),
    ))
}

/// The latest traces, newest first; none without a store.
pub(in crate::admin) async fn recent(store: Option<Arc<Store>>) -> Vec<Summary> {
    let Some(store) = store else {
        return Vec::new();
    };
    let search = move || store.search(&Filter::default(), None, RECENT);
    let page = tokio::task::spawn_blocking(search).await;
    // What is wrong with the store is in its status.
    page.ok().and_then(Result::ok).unwrap_or_default().traces
}

/// Of recent requests, how long they took; of those that reached an upstream, its time and Weir's own.
fn recent_times(recent: &[Summary]) -> Value {
    let all: Vec<&Summary> = recent.iter().collect();
    let called: Vec<&Summary> = recent.iter().filter(|of| of.upstream_ns > 0).collect();
    let quantiles = |of: &[&Summary], time: fn(&Summary) -> i64| {
        let mut times: Vec<i64> = of.iter().map(|of| time(of)).collect();
        times.sort_unstable();
        let at = |percent: usize| {
            let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
            times.get(index).copied()
        };
        json!({ "p50_ns": at(50), "p99_ns": at(99) })
    };
    json!({
        "count": called.len(),
        "total": quantiles(&all, |of| of.duration_ns),
        "overhead": quantiles(&called, |of| of.duration_ns - of.upstream_ns),
        "upstream": quantiles(&called, |of| of.upstream_ns),
    })
}

pub(super) fn exporters(app: &App) -> Answer {
    let plugins: Vec<String> = app.generation().config.plugins.keys().cloned().collect();
    body(
        StatusCode::OK,
        &json!({ "exporters": exporters_json(app), "plugins": plugins }),
    )
}

fn exporters_json(app: &App) -> Vec<Value> {
    let statuses = app.exporters();
    let generation = app.generation();
    let exporters = generation.config.exporters.iter();
    exporters
        .map(|(name, exporter)| {
            let status = statuses.iter().find(|status| status.exporter == *name);
            exporter_json(name, exporter, status)
        })
        .collect()
}

fn exporter_json(name: &str, exporter: &Exporter, status: Option<&Status>) -> Value {
    // Where it sends to: addresses, and what they are asked for.
    let (brokers, topic) = match exporter {
        Exporter::Kafka(kafka) => (kafka.brokers.clone(), kafka.topic.as_str()),
        Exporter::Otlp(otlp) => (vec![otlp.to.url()], otlp.to.protocol.as_str()),
    };
    let (state, message) = match status.map(|status| &status.state) {
        None => ("disabled", None),
        Some(State::Starting) => ("starting", None),
        Some(State::Ok) => ("ok", None),
        Some(State::Degraded(message)) => ("degraded", Some(message.clone())),
    };
    let filter = exporter.filters().plugin_span_filter.as_ref();
    let filter = filter.map(|filter| {
        let mode = if filter.include { "include" } else { "exclude" };
        json!({ "mode": mode, "plugins": filter.plugins })
    });
    let dropped = by_reason(status.map_or(&[], |status| &status.dropped));
    let dead_letters = by_reason(status.map_or(&[], |status| &status.dead_letters));
    json!({
        "name": name,
        "kind": exporter.kind(),
        "enabled": exporter.is_enabled(),
        "state": state,
        "message": message,
        "brokers": brokers,
        "topic": topic,
        "plugin_span_filter": filter,
        "queue_bytes": status.map(|status| status.queue_bytes),
        "oldest_s": status.map(|status| status.oldest.as_secs()),
        "taken": status.map(|status| status.taken),
        "sampled_out": status.map(|status| status.sampled_out),
        "delivered": status.map(|status| status.delivered),
        "dropped": dropped,
        "dead_letters": dead_letters,
    })
}

/// Those that happened.
fn by_reason(counts: &[(Reason, u64)]) -> Map<String, Value> {
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    counts
        .map(|(reason, count)| (reason.as_str().to_owned(), json!(count)))
        .collect()
}
