//! Counters of the hot path, and the Prometheus text made of them.
//!
//! Each worker writes cells of its own, found through handles that a generation holds, so counting
//! takes no lock, no look-up and no shared cache line. `/metrics` sums the workers' cells.

mod encode;
mod kv;
mod plugins;
pub mod snapshot;
mod workers;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use crate::plugin::measures::Families;
use crate::plugin::{Failure, Hook};
use crate::server::admission::Refused;
use crate::server::{BadHead, Cut};
use crate::tls;
use encode::histogram;
pub(crate) use encode::{Labels, counter, descriptor, gauge};
pub use kv::KvCells;

/// Counts up; written by one thread, read by any.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0
            .store(self.get().wrapping_add(count), Ordering::Relaxed);
    }

    pub fn inc(&self) {
        self.add(1);
    }

    /// For what a counter of the same type counts up and down, such as connections.
    pub fn dec(&self) {
        self.0.store(self.get().wrapping_sub(1), Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of a histogram's buckets are powers of two from 256 ns to 68 s.
const BUCKETS: usize = 29;
const SMALLEST: u32 = 8;

/// A histogram of durations; written by one thread, read by any.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    /// In nanoseconds.
    sum: Counter,
    count: Counter,
}

impl Histogram {
    pub fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bits = u64::BITS - nanos.saturating_sub(1).leading_zeros();
        let index = bits.saturating_sub(SMALLEST) as usize;
        if let Some(bucket) = self.buckets.get(index) {
            bucket.inc();
        }
        self.sum.add(nanos);
        self.count.inc();
    }
}

/// One worker's numbers of one hook of one plugin.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct HookCells {
    duration: Histogram,
    failures: [Counter; Failure::REASONS.len()],
}

impl HookCells {
    pub fn record(&self, duration: Duration, failure: Option<&Failure>) {
        self.duration.record(duration);
        if let Some(failure) = failure {
            self.fail(failure);
        }
    }

    /// A failure beside the calls.
    pub fn fail(&self, failure: &Failure) {
        self.failures[failure.index()].inc();
    }
}

/// One worker's numbers of one route.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct RouteCells {
    pub duration: Histogram,
    /// By the status' hundreds, less one.
    pub responses: [Counter; 5],
    /// Requests whose client left before the response's end.
    pub aborted: Counter,
    pub active: Counter,
    /// When the latest request began, in nanoseconds since 1970; zero before the first.
    latest: AtomicU64,
}

impl RouteCells {
    /// A request that began at `start` takes the route.
    pub fn take(&self, start: u64) {
        self.active.inc();
        self.latest.store(start, Ordering::Relaxed);
    }
}

/// One worker's numbers of one upstream.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct UpstreamCells {
    /// Until the response's head.
    pub duration: Histogram,
    pub connects: Counter,
    /// Further tries, and those that the budget refused.
    pub retries: Counter,
    pub retries_refused: Counter,
    /// By [`crate::upstream::Error::reason`].
    pub failures: [Counter; crate::upstream::Error::REASONS.len()],
    pub active: Counter,
}

/// One worker's numbers of itself.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerCells {
    /// Connections.
    pub accepted: Counter,
    pub open: Counter,
    /// How late what is ready gets its turn.
    pub lateness: Histogram,
    /// Requests that were refused because of it.
    pub shed: Counter,
}

/// One worker's numbers of one listener.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ListenerCells {
    /// By [`BadHead`].
    pub bad_heads: [Counter; BadHead::REASONS.len()],
    /// By [`Cut`].
    pub cuts: [Counter; Cut::REASONS.len()],
    /// TLS handshakes that were completed.
    pub handshakes: Counter,
    /// By [`tls::Failure::REASONS`].
    pub handshake_failures: [Counter; tls::Failure::REASONS.len()],
    /// Connections that have a place; with `balance: exact`, other workers count here too.
    pub open: AtomicU64,
    /// By [`Refused`].
    pub refused: [Counter; Refused::REASONS.len()],
}

type Cells<K, T> = Mutex<BTreeMap<K, Arc<[T]>>>;

/// All cells of a process, by name; kept over reloads.
#[derive(Debug)]
pub struct Metrics {
    workers: usize,
    hooks: Cells<(String, &'static str), HookCells>,
    routes: Cells<String, RouteCells>,
    upstreams: Cells<String, UpstreamCells>,
    own: Arc<[WorkerCells]>,
    listeners: Cells<String, ListenerCells>,
    /// What plugins count themselves, by plugin.
    families: Mutex<BTreeMap<String, Arc<Families>>>,
    /// Of links to the Redis of plugins' values.
    kv: Mutex<Vec<Arc<KvCells>>>,
}

impl Metrics {
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            workers,
            hooks: Mutex::default(),
            routes: Mutex::default(),
            upstreams: Mutex::default(),
            own: row(workers),
            listeners: Mutex::default(),
            families: Mutex::default(),
            kv: Mutex::default(),
        })
    }

    pub fn hook(&self, plugin: &str, hook: Hook) -> Arc<[HookCells]> {
        self.cells(&self.hooks, (plugin.to_owned(), hook.label()))
    }

    pub fn route(&self, route: &str) -> Arc<[RouteCells]> {
        self.cells(&self.routes, route.to_owned())
    }

    pub fn upstream(&self, upstream: &str) -> Arc<[UpstreamCells]> {
        self.cells(&self.upstreams, upstream.to_owned())
    }

    /// Of workers themselves.
    pub fn own(&self) -> Arc<[WorkerCells]> {
        Arc::clone(&self.own)
    }

    /// By the configured address: listeners with port 0 share theirs.
    pub fn listener(&self, address: SocketAddr) -> Arc<[ListenerCells]> {
        self.cells(&self.listeners, address.to_string())
    }

    /// For a plugin that is loaded: what it defined before counts on.
    pub fn families_after(&self, plugin: &str) -> Arc<Families> {
        let before = lock(&self.families).get(plugin).cloned();
        Arc::new(before.map_or_else(Families::default, |before| Families::after(&before)))
    }

    /// The plugin is in place: `/metrics` shows these.
    pub fn count_into(&self, plugin: &str, families: Arc<Families>) {
        lock(&self.families).insert(plugin.to_owned(), families);
    }

    fn cells<K: Ord, T: Default>(&self, all: &Cells<K, T>, key: K) -> Arc<[T]> {
        Arc::clone(lock(all).entry(key).or_insert_with(|| row(self.workers)))
    }
}

fn row<T: Default>(workers: usize) -> Arc<[T]> {
    (0..workers).map(|_| T::default()).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sums workers' cells when `/metrics` is read.
#[derive(Debug)]
pub struct Summed(pub Arc<Metrics>);

impl Collector for Summed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let metrics = &self.0;
        let encoder = &mut encoder;
        workers::encode(encoder, &metrics.own)?;

        let listeners = lock(&metrics.listeners);
        let (mut bad, mut cuts) = (Vec::new(), Vec::new());
        let (mut handshakes, mut failures) = (Vec::new(), Vec::new());
        for (listener, cells) in &*listeners {
            let listener = ("listener", listener.as_str());
            for (index, reason) in BadHead::REASONS.into_iter().enumerate() {
                let count = sum(cells, |cells| &cells.bad_heads[index]);
                bad.push(([listener, ("reason", reason)], count));
            }
            for (index, reason) in Cut::REASONS.into_iter().enumerate() {
                let count = sum(cells, |cells| &cells.cuts[index]);
                cuts.push(([listener, ("reason", reason)], count));
            }
            handshakes.push(([listener], sum(cells, |cells| &cells.handshakes)));
            for (index, reason) in tls::Failure::REASONS.into_iter().enumerate() {
                let count = sum(cells, |cells| &cells.handshake_failures[index]);
                if count > 0 {
                    failures.push(([listener, ("reason", reason)], count));
                }
            }
        }
        counter(
            encoder,
            "weir_http_bad_requests",
            "Requests whose head could not be read, by reason.",
            bad,
        )?;
        counter(
            encoder,
            "weir_http_cuts",
            "Connections and streams that were cut, by reason.",
            cuts,
        )?;
        counter(
            encoder,
            "weir_tls_handshakes",
            "TLS handshakes with clients.",
            handshakes,
        )?;
        counter(
            encoder,
            "weir_tls_handshake_failures",
            "TLS handshakes with clients that failed, by reason.",
            failures,
        )?;

        let mut refused = Vec::new();
        for (listener, cells) in &*listeners {
            for (index, reason) in Refused::REASONS.into_iter().enumerate() {
                refused.push((
                    [("listener", listener.as_str()), ("reason", reason)],
                    sum(cells, |cells| &cells.refused[index]),
                ));
            }
        }
        counter(
            encoder,
            "weir_connections_refused",
            "Connections closed before a request, by reason.",
            refused,
        )?;

        let routes = lock(&metrics.routes);
        let mut responses = Vec::new();
        let mut durations = Vec::new();
        let mut aborted = Vec::new();
        let mut active = Vec::new();
        for (route, cells) in &*routes {
            for (index, class) in ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().enumerate() {
                responses.push((
                    [("route", route.as_str()), ("status", class)],
                    sum(cells, |cells| &cells.responses[index]),
                ));
            }
            durations.push((
                [("route", route.as_str())],
                summed(cells.iter().map(|cells| &cells.duration)),
            ));
            aborted.push((
                [("route", route.as_str())],
                sum(cells, |cells| &cells.aborted),
            ));
            active.push((
                [("route", route.as_str())],
                sum(cells, |cells| &cells.active),
            ));
        }
        counter(
            encoder,
            "weir_requests",
            "Requests answered to their end, by route and class of status.",
            responses,
        )?;
        counter(
            encoder,
            "weir_requests_aborted",
            "Requests whose response did not reach its end.",
            aborted,
        )?;
        gauge(
            encoder,
            "weir_requests_active",
            "Requests under way.",
            active,
        )?;
        histogram(
            encoder,
            "weir_request_duration_seconds",
            "From a request's head to its response's end.",
            durations,
        )?;

        let hooks = lock(&metrics.hooks);
        let mut durations = Vec::new();
        let mut failures = Vec::new();
        for ((plugin, hook), cells) in &*hooks {
            let labels = [("plugin", plugin.as_str()), ("hook", *hook)];
            durations.push((labels, summed(cells.iter().map(|cells| &cells.duration))));
            for (index, reason) in Failure::REASONS.into_iter().enumerate() {
                let count = sum(cells, |cells| &cells.failures[index]);
                if count > 0 {
                    failures.push(([labels[0], labels[1], ("reason", reason)], count));
                }
            }
        }
        histogram(
            encoder,
            "weir_hook_duration_seconds",
            "Duration of plugin hooks.",
            durations,
        )?;
        counter(
            encoder,
            "weir_hook_failures",
            "Plugin hooks that failed, by reason.",
            failures,
        )?;

        let upstreams = lock(&metrics.upstreams);
        let mut durations = Vec::new();
        let mut failures = Vec::new();
        let mut connects = Vec::new();
        let mut retries = Vec::new();
        let mut refused = Vec::new();
        let mut active = Vec::new();
        for (upstream, cells) in &*upstreams {
            let labels = [("upstream", upstream.as_str())];
            durations.push((labels, summed(cells.iter().map(|cells| &cells.duration))));
            connects.push((labels, sum(cells, |cells| &cells.connects)));
            retries.push((labels, sum(cells, |cells| &cells.retries)));
            refused.push((labels, sum(cells, |cells| &cells.retries_refused)));
            active.push((labels, sum(cells, |cells| &cells.active)));
            for (index, reason) in crate::upstream::Error::REASONS.into_iter().enumerate() {
                failures.push((
                    [labels[0], ("reason", reason)],
                    sum(cells, |cells| &cells.failures[index]),
                ));
            }
        }
        histogram(
            encoder,
            "weir_upstream_duration_seconds",
            "From a call's start to its response's head.",
            durations,
        )?;
        counter(
            encoder,
            "weir_upstream_connects",
            "Connections made to upstreams.",
            connects,
        )?;
        counter(
            encoder,
            "weir_upstream_retries",
            "Requests tried again with another endpoint.",
            retries,
        )?;
        counter(
            encoder,
            "weir_upstream_retries_refused",
            "Requests not tried again because the budget was spent.",
            refused,
        )?;
        gauge(
            encoder,
            "weir_upstream_requests_active",
            "Requests under way to upstreams.",
            active,
        )?;
        counter(
            encoder,
            "weir_upstream_failures",
            "Calls to upstreams that failed, by reason.",
            failures,
        )?;
        kv::encode(encoder, &lock(&metrics.kv))?;
        plugins::encode(encoder, &lock(&metrics.families))
    }
}

fn sum<T>(cells: &[T], counter: impl Fn(&T) -> &Counter) -> u64 {
    cells
        .iter()
        .fold(0, |sum, cells| sum.wrapping_add(counter(cells).get()))
}

/// Cumulative counts are the encoder's affair; this gives (upper bound, count) of each bucket.
struct Sum {
    buckets: Vec<(f64, u64)>,
    sum: f64,
    count: u64,
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are floats")]
fn summed<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Sum {
    let mut buckets = [0; BUCKETS];
    let (mut sum, mut count) = (0, 0);
    for histogram in histograms {
        for (total, bucket) in buckets.iter_mut().zip(&histogram.buckets) {
            *total += bucket.get();
        }
        sum += histogram.sum.get();
        count += histogram.count.get();
    }
    let past = count.saturating_sub(buckets.iter().sum());
    let bound = |index: usize| (1_u64 << (index + SMALLEST as usize)) as f64 / 1e9;
    let buckets = buckets
        .into_iter()
        .enumerate()
        .map(|(index, count)| (bound(index), count))
        .chain([(f64::INFINITY, past)])
        .collect();
    Sum {
        buckets,
        sum: sum as f64 / 1e9,
        count,
    }
}
