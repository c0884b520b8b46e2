//! Numbers of the plugin's own, on Weir's `/metrics` as `weir_plugin_<plugin>_<name>`, with the label
//! `plugin` beside its own.
//!
//! Define them in [`Plugin::new`](crate::Plugin::new); all instances on all workers count into the same.
//! A plugin may have 64 metrics with 8 labels each, and 2,000 sets of labels in all: never make a label
//! of what clients choose.
//!
//! ```
//! use weir_sdk::metrics::{Counter, Gauge, Histogram};
//!
//! # fn main() -> Result<(), weir_sdk::Error> {
//! let refused = Counter::new("refused", "Requests refused, by reason.", &["reason"])?;
//! let level = Gauge::new("level", "Water at the weir, in metres.", &[])?;
//! let sizes = Histogram::new("size_bytes", "Sizes of what was kept.", &[], &[1e3, 1e6])?;
//! refused.add(1, &["expired"]);
//! level.set(2.5, &[]);
//! sizes.observe(512, &[]);
//! # Ok(())
//! # }
//! ```

use crate::backend;

/// Why there is no such metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a name or label by Prometheus' rules, a label of the host's (`plugin`, `le`, and what begins
    /// with `__`), or bounds that do not rise.
    #[error("not a metric's name, label or bounds")]
    InvalidName,
    /// The plugin has one of this name, of another kind or with other labels or bounds.
    #[error("the plugin has another metric of this name")]
    Conflict,
    /// More metrics, labels or bounds than a plugin may have.
    #[error("more metrics, labels or bounds than a plugin may have")]
    TooMany,
}

/// Counts up.
#[derive(Clone, Copy, Debug)]
pub struct Counter(u32);

impl Counter {
    /// Defines it, without `_total` in its name; the same definition gives the same counter.
    pub fn new(name: &str, help: &str, labels: &[&str]) -> Result<Self, Error> {
        backend::counter(name, help, labels).map(Self)
    }

    /// Counts, with a value for each label. What is negative is dropped.
    pub fn add(&self, value: impl Into<f64>, labels: &[&str]) {
        backend::metric_add(self.0, labels, value.into());
    }
}

/// Goes up and down.
#[derive(Clone, Copy, Debug)]
pub struct Gauge(u32);

impl Gauge {
    /// Defines it.
    pub fn new(name: &str, help: &str, labels: &[&str]) -> Result<Self, Error> {
        backend::gauge(name, help, labels).map(Self)
    }

    /// Sets it.
    pub fn set(&self, value: impl Into<f64>, labels: &[&str]) {
        backend::metric_set(self.0, labels, value.into());
    }

    /// Adds to it, or with a negative value takes from it.
    pub fn add(&self, value: impl Into<f64>, labels: &[&str]) {
        backend::metric_add(self.0, labels, value.into());
    }
}

/// Counts values by their size.
#[derive(Clone, Copy, Debug)]
pub struct Histogram(u32);

impl Histogram {
    /// Defines it; `bounds` are the upper bounds of its buckets, rising, at most 32.
    pub fn new(name: &str, help: &str, labels: &[&str], bounds: &[f64]) -> Result<Self, Error> {
        backend::histogram(name, help, labels, bounds).map(Self)
    }

    /// Counts a value.
    pub fn observe(&self, value: impl Into<f64>, labels: &[&str]) {
        backend::metric_add(self.0, labels, value.into());
    }
}
