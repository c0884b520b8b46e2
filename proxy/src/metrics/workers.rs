//! What workers count of themselves, as cells and as families.

use prometheus_client::encoding::DescriptorEncoder;

use super::{Counter, Histogram, counter, gauge, histogram, sum, summed};

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

pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    all: &[WorkerCells],
) -> Result<(), std::fmt::Error> {
    counter(
        encoder,
        "weir_connections",
        "Connections accepted.",
        [([], sum(all, |cells| &cells.accepted))],
    )?;
    gauge(
        encoder,
        "weir_connections_open",
        "Client connections open now.",
        [([], sum(all, |cells| &cells.open))],
    )?;
    let names: Vec<String> = (0..all.len()).map(|index| index.to_string()).collect();
    let each = || {
        let labels = names.iter().map(|name| [("worker", name.as_str())]);
        labels.zip(all)
    };
    gauge(
        encoder,
        "weir_worker_connections_open",
        "Client connections open now, by the worker that serves them.",
        each().map(|(worker, cells)| (worker, cells.open.get())),
    )?;
    histogram(
        encoder,
        "weir_worker_lateness_seconds",
        "How long what is ready on a worker waits for its turn; while there are requests.",
        each().map(|(worker, cells)| (worker, summed(std::iter::once(&cells.lateness)))),
    )?;
    counter(
        encoder,
        "weir_requests_shed",
        "Requests refused because their worker was overloaded.",
        [([], sum(all, |cells| &cells.shed))],
    )
}
