//! What is counted of plugins' hooks, as cells and as families.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Counter, Histogram, counter, histogram, sum, summed};
use crate::plugin::Failure;

/// One worker's numbers of one hook of one plugin.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct HookCells {
    pub(super) duration: Histogram,
    pub(super) failures: [Counter; Failure::REASONS.len()],
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

pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    hooks: &BTreeMap<(String, &'static str), Arc<[HookCells]>>,
) -> Result<(), Error> {
    let mut durations = Vec::new();
    let mut failures = Vec::new();
    for ((plugin, hook), cells) in hooks {
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
    )
}
