//! Counters of the hot path, and the Prometheus text made of them.
//!
//! Each worker writes cells of its own, found through handles that a generation holds, so counting
//! takes no lock, no look-up and no shared cache line. `/metrics` sums the workers' cells. What there is
//! to count of a thing, and by which names, is a file below.

mod encode;
mod hooks;
mod kv;
mod listeners;
mod plugins;
mod routes;
pub mod snapshot;
mod upstreams;
mod workers;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use crate::lock::lock;
use crate::plugin::Hook;
use crate::plugin::measures::Families;
use encode::histogram;
pub(crate) use encode::{Labels, counter, descriptor, gauge};
pub use hooks::HookCells;
pub use kv::KvCells;
pub use listeners::ListenerCells;
pub use routes::RouteCells;
pub use upstreams::UpstreamCells;
pub use workers::WorkerCells;

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

/// Sums workers' cells when `/metrics` is read.
#[derive(Debug)]
pub struct Summed(pub Arc<Metrics>);

impl Collector for Summed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let metrics = &self.0;
        let encoder = &mut encoder;
        workers::encode(encoder, &metrics.own)?;
        listeners::encode(encoder, &lock(&metrics.listeners))?;
        routes::encode(encoder, &lock(&metrics.routes))?;
        hooks::encode(encoder, &lock(&metrics.hooks))?;
        upstreams::encode(encoder, &lock(&metrics.upstreams))?;
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
