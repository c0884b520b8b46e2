//! What is counted of upstreams, as cells and as families.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::Arc;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Counter, Histogram, counter, gauge, histogram, sum, summed};
use crate::upstream;

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
    /// By [`upstream::Error::reason`].
    pub failures: [Counter; upstream::Error::REASONS.len()],
    pub active: Counter,
}

pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    upstreams: &BTreeMap<String, Arc<[UpstreamCells]>>,
) -> Result<(), Error> {
    let mut durations = Vec::new();
    let mut failures = Vec::new();
    let mut connects = Vec::new();
    let mut retries = Vec::new();
    let mut refused = Vec::new();
    let mut active = Vec::new();
    for (upstream, cells) in upstreams {
        let labels = [("upstream", upstream.as_str())];
        durations.push((labels, summed(cells.iter().map(|cells| &cells.duration))));
        connects.push((labels, sum(cells, |cells| &cells.connects)));
        retries.push((labels, sum(cells, |cells| &cells.retries)));
        refused.push((labels, sum(cells, |cells| &cells.retries_refused)));
        active.push((labels, sum(cells, |cells| &cells.active)));
        for (index, reason) in upstream::Error::REASONS.into_iter().enumerate() {
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
    )
}
