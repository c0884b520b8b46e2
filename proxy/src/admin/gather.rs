//! All metrics of a moment, as one text of `OpenMetrics`: what is scraped, and what is pushed.

use std::fmt::Error;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;

use super::{api, certificates, endpoints, exposition, process};
use crate::app::App;
use crate::app::history::Reloads;
use crate::export::metrics::Clients;
use crate::export::spool;
use crate::export::status::Status;
use crate::health::State;
use crate::listener::descriptors;
use crate::metrics::{Summed, counter, gauge};
use crate::push::Pushed;
use crate::receive::cells::Collected;

/// Without traces beside buckets.
pub(super) fn text(app: &App) -> Result<String, Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Summed(Arc::clone(app.metrics()))));
    if let Some(receiver) = app.receiver() {
        registry.register_collector(Box::new(Collected(Arc::clone(receiver))));
    }
    registry.register_collector(Box::new(Exported {
        exporters: app.exporters(),
        spool: app.spool(),
        generation: app.generation().number,
        reloads: app.history().reloads(),
        kv: app.generation().kv.as_ref().map(|kv| kv.state()),
    }));
    registry.register_collector(Box::new(process::Process::now()));
    registry.register_collector(Box::new(Descriptors(descriptors::status())));
    registry.register_collector(Box::new(endpoints::Endpoints(app.generation())));
    registry.register_collector(Box::new(Clients(app.exporters())));
    registry.register_collector(Box::new(certificates::of(app)));
    registry.register_collector(Box::new(Pushed(app.pushes().all())));
    let mut out = String::new();
    prometheus_client::encoding::text::encode(&mut out, &registry)?;
    Ok(out)
}

/// With a recent trace beside each bucket of durations that one fell into.
pub(crate) async fn with_traces(app: &App) -> Result<String, Error> {
    let text = text(app)?;
    let traces = api::recent(app.store()).await;
    Ok(exposition::with_exemplars(&text, &traces))
}

/// What the process has open, and whether connections wait for that.
#[derive(Debug)]
struct Descriptors(descriptors::Status);

impl Collector for Descriptors {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let encoder = &mut encoder;
        let descriptors::Status {
            count,
            paused,
            pauses,
        } = self.0;
        gauge(
            encoder,
            "weir_descriptors_open",
            "Descriptors of files and sockets that the process has.",
            [([], count.open)],
        )?;
        gauge(
            encoder,
            "weir_descriptors_max",
            "Most descriptors that the process may have.",
            [([], count.most)],
        )?;
        gauge(
            encoder,
            "weir_accept_paused",
            "1 where connections wait to be accepted for want of descriptors.",
            [([], u64::from(paused))],
        )?;
        counter(
            encoder,
            "weir_accept_pauses",
            "Times that connections began to wait for want of descriptors.",
            [([], pauses)],
        )
    }
}

/// Numbers of the exporters, the spool and the Redis of plugins' values, the generation and reloads.
#[derive(Debug)]
struct Exported {
    exporters: Vec<Status>,
    spool: Option<spool::Status>,
    generation: u64,
    reloads: Reloads,
    /// How the Redis of plugins' values fares, where there is one.
    kv: Option<State>,
}

impl Collector for Exported {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let encoder = &mut encoder;
        let each = |value: fn(&Status) -> u64| {
            self.exporters
                .iter()
                .map(move |status| ([("exporter", status.exporter.as_str())], value(status)))
        };
        gauge(
            encoder,
            "weir_config_generation",
            "Number of the configuration in use.",
            [([], self.generation)],
        )?;
        let Reloads { ok, failed } = self.reloads;
        counter(
            encoder,
            "weir_reloads",
            "Reloads, by result; one that failed changed nothing.",
            [("ok", ok), ("failed", failed)].map(|(result, count)| ([("result", result)], count)),
        )?;
        let is_degraded = |kv| u64::from(matches!(kv, &State::Degraded(_)));
        gauge(
            encoder,
            "weir_kv_degraded",
            "1 where plugins' values in Redis are not available.",
            self.kv.iter().map(|kv| ([], is_degraded(kv))),
        )?;
        counter(
            encoder,
            "weir_export_taken",
            "Traces an exporter looked at.",
            each(|status| status.taken),
        )?;
        counter(
            encoder,
            "weir_export_sampled_out",
            "Traces that sampling left out.",
            each(|status| status.sampled_out),
        )?;
        counter(
            encoder,
            "weir_export_delivered",
            "Traces the destination acknowledged.",
            each(|status| status.delivered),
        )?;
        gauge(
            encoder,
            "weir_export_queue_bytes",
            "Bytes of traces held in memory.",
            each(|status| status.queue_bytes),
        )?;
        gauge(
            encoder,
            "weir_export_degraded",
            "1 where the exporter cannot deliver.",
            each(|status| u64::from(matches!(status.state, State::Degraded(_)))),
        )?;
        if let Some(spool) = &self.spool {
            gauge(
                encoder,
                "weir_spool_bytes",
                "Bytes of the disk that the spool takes.",
                [([], spool.bytes)],
            )?;
            gauge(
                encoder,
                "weir_spool_max_bytes",
                "Most bytes that the spool may take.",
                [([], spool.max_bytes)],
            )?;
            counter(
                encoder,
                "weir_spool_unsynced",
                "Traces that could not be synced to the disk, so that a power cut may take them.",
                [([], spool.unsynced)],
            )?;
            gauge(
                encoder,
                "weir_spool_oldest_age_seconds",
                "About how long the oldest trace has waited for an exporter.",
                each(|status| status.oldest.as_secs()),
            )?;
        }
        let dropped = self.exporters.iter().flat_map(|status| {
            status.dropped.iter().map(move |(reason, count)| {
                (
                    [
                        ("exporter", status.exporter.as_str()),
                        ("reason", reason.as_str()),
                    ],
                    *count,
                )
            })
        });
        counter(
            encoder,
            "weir_export_dropped",
            "Traces lost, by reason.",
            dropped,
        )
    }
}
