//! How everything fares, at one look.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Answer, Problem, requests};
use crate::admin::exporters::by_reason;
use crate::admin::{body, guard};
use crate::app::App;
use crate::config;
use crate::export::status::Status;
use crate::metrics::snapshot::Snapshot;
use crate::store::{Filter, Store, Summary};

/// Of how many recent traces quantiles are made.
const RECENT: usize = 300;

/// When the admin address began to answer.
pub(in crate::admin) static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What `/api/overview` answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct Overview {
    version: &'static str,
    generation: u64,
    uptime_s: u64,
    draining: bool,
    /// Why nothing can be saved, where nothing can.
    read_only: Option<String>,
    /// Why no request can be sent from here, where none can.
    no_send: Option<String>,
    /// Addresses that accept.
    listeners: Vec<String>,
    configured_listeners: Vec<String>,
    metrics: Snapshot,
    recent: Recent,
    exporters: Vec<Exporter>,
    /// Their keys.
    plugins: Vec<String>,
    upstreams: Vec<String>,
    /// `null` without `data_dir`.
    spool: Option<Spool>,
    /// `null` where recent traces are not kept.
    store: Option<Kept>,
}

/// How long recent requests took.
#[derive(Serialize, JsonSchema)]
struct Recent {
    /// Of those that reached an upstream.
    count: usize,
    /// Of all.
    total: Quantiles,
    /// Weir's own time, of those that reached an upstream.
    overhead: Quantiles,
    upstream: Quantiles,
}

/// `null` where there is nothing to tell of.
#[derive(Serialize, JsonSchema)]
struct Quantiles {
    p50_ns: Option<i64>,
    p99_ns: Option<i64>,
}

#[derive(Serialize, JsonSchema)]
struct Spool {
    bytes: u64,
    max_bytes: u64,
    full: bool,
    problem: Option<String>,
}

/// How the store of recent traces fares.
#[derive(Serialize, JsonSchema)]
struct Kept {
    traces: u64,
    bytes: u64,
    max_bytes: u64,
    /// Traces that were not kept.
    skipped: u64,
    /// Whether they survive a restart.
    durable: bool,
    problem: Option<String>,
}

/// What `/api/exporters` answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct Exporters {
    exporters: Vec<Exporter>,
    /// Keys of all plugins.
    plugins: Vec<String>,
}

/// An exporter, and how it fares; what is counted is `null` where it is disabled.
#[derive(Serialize, JsonSchema)]
struct Exporter {
    name: String,
    kind: &'static str,
    enabled: bool,
    /// `disabled`, `starting`, `ok` or `degraded`.
    state: &'static str,
    /// What is wrong, where something is.
    message: Option<String>,
    /// Where it sends to; of an exporter for OTLP, its endpoint.
    brokers: Vec<String>,
    /// Of an exporter for OTLP, its protocol.
    topic: String,
    plugin_span_filter: Option<SpanFilter>,
    queue_bytes: Option<u64>,
    /// Age of what waits for longest.
    oldest_s: Option<u64>,
    taken: Option<u64>,
    sampled_out: Option<u64>,
    delivered: Option<u64>,
    /// By reason; those that happened.
    dropped: BTreeMap<&'static str, u64>,
    dead_letters: BTreeMap<&'static str, u64>,
}

#[derive(Serialize, JsonSchema)]
struct SpanFilter {
    /// `include` or `exclude`.
    mode: &'static str,
    plugins: Vec<String>,
}

pub(super) async fn overview(app: &Arc<App>) -> Result<Answer, Problem> {
    let uptime = STARTED.elapsed().as_secs();
    let store = app.store();
    let recent = recent(store.clone()).await;
    let status = store.map(|store| store.status()).map(|status| Kept {
        traces: status.traces,
        bytes: status.bytes,
        max_bytes: status.max_bytes,
        skipped: status.skipped,
        durable: status.durable,
        problem: status.problem,
    });
    let spool = app.spool().map(|spool| Spool {
        bytes: spool.bytes,
        max_bytes: spool.max_bytes,
        full: spool.is_full(),
        problem: spool.problem,
    });
    let generation = app.generation();
    let listeners = generation.config.listeners.iter();
    let listeners: Vec<String> = listeners.map(|of| of.address.to_string()).collect();
    let answer = Overview {
        version: env!("CARGO_PKG_VERSION"),
        generation: generation.number,
        uptime_s: uptime,
        draining: app.is_draining(),
        read_only: guard::may_save(app).err(),
        no_send: requests::may_send(app).err(),
        listeners: app.bound().iter().map(ToString::to_string).collect(),
        configured_listeners: listeners,
        metrics: app.metrics().snapshot(),
        recent: recent_times(&recent),
        exporters: all(app),
        plugins: generation.config.plugins.keys().cloned().collect(),
        upstreams: generation.config.upstreams.keys().cloned().collect(),
        spool,
        store: status,
    };
    Ok(body(StatusCode::OK, &answer))
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
fn recent_times(recent: &[Summary]) -> Recent {
    let all: Vec<&Summary> = recent.iter().collect();
    let called: Vec<&Summary> = recent.iter().filter(|of| of.upstream_ns > 0).collect();
    let quantiles = |of: &[&Summary], time: fn(&Summary) -> i64| {
        let mut times: Vec<i64> = of.iter().map(|of| time(of)).collect();
        times.sort_unstable();
        let at = |percent: usize| {
            let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
            times.get(index).copied()
        };
        Quantiles {
            p50_ns: at(50),
            p99_ns: at(99),
        }
    };
    Recent {
        count: called.len(),
        total: quantiles(&all, |of| of.duration_ns),
        overhead: quantiles(&called, |of| of.duration_ns - of.upstream_ns),
        upstream: quantiles(&called, |of| of.upstream_ns),
    }
}

pub(super) fn exporters(app: &App) -> Answer {
    let answer = Exporters {
        exporters: all(app),
        plugins: app.generation().config.plugins.keys().cloned().collect(),
    };
    body(StatusCode::OK, &answer)
}

fn all(app: &App) -> Vec<Exporter> {
    let statuses = app.exporters();
    let generation = app.generation();
    let exporters = generation.config.exporters.iter();
    exporters
        .map(|(name, exporter)| {
            let status = statuses.iter().find(|status| status.exporter == *name);
            fares(name, exporter, status)
        })
        .collect()
}

fn fares(name: &str, exporter: &config::Exporter, status: Option<&Status>) -> Exporter {
    // Where it sends to: addresses, and what they are asked for.
    let (brokers, topic) = match exporter {
        config::Exporter::Kafka(kafka) => (kafka.brokers.clone(), kafka.topic.as_str()),
        config::Exporter::Otlp(otlp) => (vec![otlp.to.url()], otlp.to.protocol.as_str()),
    };
    let (state, message) = status.map_or(("disabled", None), |status| status.state.told());
    let filter = exporter.filters().plugin_span_filter.as_ref();
    let filter = filter.map(|filter| SpanFilter {
        mode: if filter.include { "include" } else { "exclude" },
        plugins: filter.plugins.clone(),
    });
    Exporter {
        name: name.to_owned(),
        kind: exporter.kind(),
        enabled: exporter.is_enabled(),
        state,
        message: message.map(str::to_owned),
        brokers,
        topic: topic.to_owned(),
        plugin_span_filter: filter,
        queue_bytes: status.map(|status| status.queue_bytes),
        oldest_s: status.map(|status| status.oldest.as_secs()),
        taken: status.map(|status| status.taken),
        sampled_out: status.map(|status| status.sampled_out),
        delivered: status.map(|status| status.delivered),
        dropped: by_reason(status.map_or(&[], |status| &status.dropped)),
        dead_letters: by_reason(status.map_or(&[], |status| &status.dead_letters)),
    }
}
