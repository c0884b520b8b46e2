//! The plugin's own metrics.

use super::Host;
use crate::plugin::measures::{Change, Error, Kind};
use crate::plugin::refusals::Refused;

impl Host {
    pub(in crate::plugin) fn define(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<u32, Error> {
        let defined = self.measures.define(kind, name, help, labels);
        self.counted(Refused::Metric, defined)
    }

    pub(in crate::plugin) fn measure(
        &mut self,
        metric: u32,
        labels: &[&str],
        value: f64,
        change: Change,
    ) {
        self.measures.take(metric, labels, value, change);
    }
}
