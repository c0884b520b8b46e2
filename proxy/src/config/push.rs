//! What `metrics.push.<name>` becomes.

use std::time::Duration;

use super::Destination;

/// Metrics that are sent at regular times.
#[derive(Clone, Debug, PartialEq)]
pub struct Push {
    pub to: Destination,
    pub format: PushFormat,
    /// From one push to the next.
    pub interval: Duration,
    /// What tells this Weir from others.
    pub instance: String,
    /// Of every series, with their values.
    pub labels: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushFormat {
    /// Prometheus' remote write 1.0.
    RemoteWrite,
    Otlp,
}
