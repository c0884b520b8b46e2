//! What the process is and uses, by the names that Prometheus' own clients give it.

use std::fmt::Error;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use rustix::param::page_size;
use rustix::time::{ClockId, clock_gettime};

use crate::metrics::{descriptor, gauge};

/// Forced at the start.
pub(super) static STARTED: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);

/// Numbers of a moment.
#[derive(Debug)]
pub(super) struct Process {
    /// Of all threads, in user and system mode.
    cpu_seconds: f64,
    resident_bytes: u64,
    /// Since 1970.
    start_seconds: f64,
}

impl Process {
    pub(super) fn now() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let started = STARTED.duration_since(UNIX_EPOCH).unwrap_or_default();
        #[expect(
            clippy::cast_precision_loss,
            reason = "no process has run for that long"
        )]
        Self {
            cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            resident_bytes: resident_pages().unwrap_or_default() * page_size() as u64,
            start_seconds: started.as_secs_f64(),
        }
    }
}

/// `None` where there is no `/proc`.
fn resident_pages() -> Option<u64> {
    let sizes = std::fs::read_to_string("/proc/self/statm").ok()?;
    sizes.split(' ').nth(1)?.parse().ok()
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let encoder = &mut encoder;
        gauge(
            encoder,
            "weir_build_info",
            "1, beside the version.",
            [([("version", env!("CARGO_PKG_VERSION"))], 1)],
        )?;
        let help = "CPU that the process used, of all its threads.";
        descriptor(encoder, "process_cpu_seconds", help, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&self.cpu_seconds, None)?;
        gauge(
            encoder,
            "process_resident_memory_bytes",
            "Memory of the process, with what is mapped of the spool.",
            [([], self.resident_bytes)],
        )?;
        let help = "When the process started, since 1970.";
        descriptor(
            encoder,
            "process_start_time_seconds",
            help,
            MetricType::Gauge,
        )?
        .encode_gauge(&self.start_seconds)
    }
}
