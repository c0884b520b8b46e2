//! What links to the Redis of plugins' values count.

use std::sync::Arc;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Counter, Histogram, Metrics, counter, gauge, histogram, sum, summed};
use crate::lock::lock;
use crate::plugin::kv::redis::Gone;

/// One link's numbers.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct KvCells {
    /// From an operation's beginning to its answer.
    pub duration: Histogram,
    /// By [`Gone`].
    pub failures: [Counter; Gone::REASONS.len()],
    pub connects: Counter,
    pub connected: Counter,
}

impl Metrics {
    /// For one link: new ones, or those of a link that has ended.
    pub fn kv(&self) -> Arc<KvCells> {
        let mut all = lock(&self.kv);
        let free = all.iter().find(|cells| Arc::strong_count(cells) == 1);
        let cells = free.map_or_else(Arc::default, Arc::clone);
        if !all.iter().any(|known| Arc::ptr_eq(known, &cells)) {
            all.push(Arc::clone(&cells));
        }
        cells
    }
}

/// Nothing where no link was ever made.
pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    links: &[Arc<KvCells>],
) -> Result<(), std::fmt::Error> {
    if links.is_empty() {
        return Ok(());
    }
    let failures = Gone::REASONS
        .into_iter()
        .enumerate()
        .map(|(index, reason)| {
            let count = sum(links, |link| &link.failures[index]);
            ([("reason", reason)], count)
        });
    histogram(
        encoder,
        "weir_kv_duration_seconds",
        "Operations of plugins on their values in Redis, from the beginning to the answer.",
        [([], summed(links.iter().map(|link| &link.duration)))],
    )?;
    counter(
        encoder,
        "weir_kv_failures",
        "Operations of plugins on their values in Redis that got no answer, by reason.",
        failures,
    )?;
    counter(
        encoder,
        "weir_kv_connects",
        "Connections made to the Redis of plugins' values.",
        [([], sum(links, |link| &link.connects))],
    )?;
    gauge(
        encoder,
        "weir_kv_connections_open",
        "Connections open to the Redis of plugins' values.",
        [([], sum(links, |link| &link.connected))],
    )
}
