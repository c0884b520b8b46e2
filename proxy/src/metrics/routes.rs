//! What is counted of routes, as cells and as families.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::DescriptorEncoder;

use super::{Counter, Histogram, counter, gauge, histogram, sum, summed};

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
    pub(super) latest: AtomicU64,
}

impl RouteCells {
    /// A request that began at `start` takes the route.
    pub fn take(&self, start: u64) {
        self.active.inc();
        self.latest.store(start, Ordering::Relaxed);
    }
}

pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    routes: &BTreeMap<String, Arc<[RouteCells]>>,
) -> Result<(), Error> {
    let mut responses = Vec::new();
    let mut durations = Vec::new();
    let mut aborted = Vec::new();
    let mut active = Vec::new();
    for (route, cells) in routes {
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
    )
}
