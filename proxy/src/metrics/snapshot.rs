//! The counters at one moment, as the console shows them: sums over workers, and quantiles.

use std::sync::atomic::Ordering;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Histogram, Metrics, RouteCells, Sum, sum, summed};
use crate::lock::lock;
use crate::plugin::Failure;
use crate::upstream;

/// All that is counted, since the process began.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Snapshot {
    pub connections: u64,
    pub connections_open: u64,
    pub bad_requests: u64,
    pub routes: Vec<Route>,
    pub hooks: Vec<Hook>,
    pub upstreams: Vec<Upstream>,
}

/// Durations, in milliseconds. Quantiles are estimated from buckets that double in width.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Latency {
    pub count: u64,
    pub sum_ms: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Route {
    pub name: String,
    pub duration: Latency,
    /// By the status' hundreds, less one.
    pub responses: [u64; 5],
    pub aborted: u64,
    pub active: u64,
    /// When the latest request began, in microseconds since 1970.
    pub last_us: Option<u64>,
}

#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Hook {
    pub plugin: String,
    pub hook: &'static str,
    pub duration: Latency,
    /// By reason; those that happened.
    pub failures: Vec<(&'static str, u64)>,
}

#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Upstream {
    pub name: String,
    pub duration: Latency,
    pub connects: u64,
    pub active: u64,
    /// By reason; those that happened.
    pub failures: Vec<(&'static str, u64)>,
}

impl Metrics {
    /// The counters of now.
    pub fn snapshot(&self) -> Snapshot {
        let routes = lock(&self.routes);
        let routes = routes.iter().map(|(name, cells)| Route {
            name: name.clone(),
            duration: Latency::of(cells.iter().map(|cells| &cells.duration)),
            responses: std::array::from_fn(|at| sum(cells, |cells| &cells.responses[at])),
            aborted: sum(cells, |cells| &cells.aborted),
            active: sum(cells, |cells| &cells.active),
            last_us: latest(cells),
        });
        let hooks = lock(&self.hooks);
        let hooks = hooks.iter().map(|((plugin, hook), cells)| Hook {
            plugin: plugin.clone(),
            hook,
            duration: Latency::of(cells.iter().map(|cells| &cells.duration)),
            failures: happened(&Failure::REASONS, |at| sum(cells, |of| &of.failures[at])),
        });
        let upstreams = lock(&self.upstreams);
        let upstreams = upstreams.iter().map(|(name, cells)| Upstream {
            name: name.clone(),
            duration: Latency::of(cells.iter().map(|cells| &cells.duration)),
            connects: sum(cells, |cells| &cells.connects),
            active: sum(cells, |cells| &cells.active),
            failures: happened(&upstream::Error::REASONS, |at| {
                sum(cells, |of| &of.failures[at])
            }),
        });
        let listeners = lock(&self.listeners);
        let bad_heads = listeners.values().flat_map(|cells| cells.iter());
        Snapshot {
            connections: sum(&self.own, |cells| &cells.accepted),
            connections_open: sum(&self.own, |cells| &cells.open),
            bad_requests: bad_heads
                .flat_map(|cells| cells.bad_heads.iter())
                .map(super::Counter::get)
                .sum(),
            routes: routes.collect(),
            hooks: hooks.collect(),
            upstreams: upstreams.collect(),
        }
    }
}

fn latest(cells: &[RouteCells]) -> Option<u64> {
    let each = cells.iter().map(|of| of.latest.load(Ordering::Relaxed));
    each.max().filter(|at| *at > 0).map(|at| at / 1000)
}

fn happened(reasons: &[&'static str], count: impl Fn(usize) -> u64) -> Vec<(&'static str, u64)> {
    let counted = reasons
        .iter()
        .enumerate()
        .map(|(at, reason)| (*reason, count(at)));
    counted.filter(|(_, count)| *count > 0).collect()
}

impl Latency {
    fn of<'h>(histograms: impl Iterator<Item = &'h Histogram>) -> Self {
        let Sum {
            buckets,
            sum,
            count,
        } = summed(histograms);
        Self {
            count,
            sum_ms: sum * 1e3,
            p50_ms: quantile(&buckets, count, 0.5) * 1e3,
            p99_ms: quantile(&buckets, count, 0.99) * 1e3,
        }
    }
}

/// In seconds; within a bucket, evenly spread.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn quantile(buckets: &[(f64, u64)], count: u64, part: f64) -> f64 {
    let rank = count as f64 * part;
    let mut below = 0.0;
    let mut lower = 0.0;
    for (upper, inside) in buckets {
        let inside = *inside as f64;
        if inside > 0.0 && below + inside >= rank {
            if !upper.is_finite() {
                return lower;
            }
            return lower + (upper - lower) * ((rank - below) / inside);
        }
        below += inside;
        lower = if upper.is_finite() { *upper } else { lower };
    }
    0.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let histogram = Histogram::default();
        for _ in 0..99 {
            histogram.record(Duration::from_millis(1));
        }
        histogram.record(Duration::from_secs(1));
        let latency = Latency::of([&histogram].into_iter());
        assert_eq!(latency.count, 100);
        assert!((0.5..=1.1).contains(&latency.p50_ms), "{latency:?}");
        assert!((0.5..=1.1).contains(&latency.p99_ms), "{latency:?}");
        assert!((latency.sum_ms - 1099.0).abs() < 1e-6, "{latency:?}");
    }

    #[test]
    fn nothing_counted_is_nothing() {
        assert_eq!(Latency::of(std::iter::empty()), Latency::default());
    }
}
