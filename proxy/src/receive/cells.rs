//! What workers have received: cells that each worker writes alone, and the metrics made of them
//! and of the lanes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use schemars::JsonSchema;
use serde::Serialize;

use super::lane::Lane;
use super::refusal::Refusal;
use super::{Door, Protocol, Receiver};
use crate::export::status::Reason;
use crate::health::State;
use crate::metrics::{Counter, counter, gauge};
use crate::otlp::Signal;
use crate::tls;

/// One worker's numbers.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Cells {
    of: [[Cell; 3]; 3],
    /// By [`Door`].
    pub(super) connections: [Connections; 2],
    /// By [`tls::Failure::REASONS`].
    pub(super) handshake_failures: [Counter; tls::Failure::REASONS.len()],
}

/// Of one door.
#[derive(Debug, Default)]
pub(super) struct Connections {
    pub(super) open: Counter,
    /// Closed because there were as many as there may be.
    pub(super) refused: Counter,
}

/// Of one signal and protocol.
#[derive(Debug, Default)]
pub(super) struct Cell {
    pub(super) requests: Counter,
    /// Bytes of protobuf or JSON, after decompression.
    pub(super) bytes: Counter,
    /// Spans, data points or log records in requests that are well-formed.
    pub(super) items: Counter,
    pub(super) acknowledged: Counter,
    /// Messages for Kafka.
    pub(super) messages: Counter,
    /// Items too large for any message, in requests that were acknowledged but for them.
    pub(super) rejected: Counter,
    /// By [`Refusal::REASONS`].
    pub(super) refused: [Counter; Refusal::REASONS.len()],
}

impl Cells {
    pub(super) fn of(&self, signal: Signal, protocol: Protocol) -> &Cell {
        &self.of[signal as usize][protocol as usize]
    }
}

/// What was received of one signal by one protocol, over all workers.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Received {
    protocol: &'static str,
    requests: u64,
    /// Of protobuf or JSON, after decompression.
    bytes: u64,
    /// Spans, data points or log records.
    items: u64,
    /// Requests answered with success.
    acknowledged: u64,
    /// Made for Kafka.
    messages: u64,
    /// Items that are too large for a message.
    rejected: u64,
    /// Requests answered with an error, by reason.
    refused: BTreeMap<&'static str, u64>,
}

/// Sums workers' numbers.
pub fn received(receiver: &Receiver, signal: Signal, protocol: Protocol) -> Received {
    let sum = |of: &dyn Fn(&Cell) -> &Counter| sum(receiver, signal, protocol, of);
    let refused = Refusal::REASONS.into_iter().enumerate();
    let refused = refused.map(|(index, reason)| (reason, sum(&|cell| &cell.refused[index])));
    Received {
        protocol: protocol.as_str(),
        requests: sum(&|cell| &cell.requests),
        bytes: sum(&|cell| &cell.bytes),
        items: sum(&|cell| &cell.items),
        acknowledged: sum(&|cell| &cell.acknowledged),
        messages: sum(&|cell| &cell.messages),
        rejected: sum(&|cell| &cell.rejected),
        refused: refused.filter(|(_, count)| *count > 0).collect(),
    }
}

fn sum(
    receiver: &Receiver,
    signal: Signal,
    protocol: Protocol,
    of: impl Fn(&Cell) -> &Counter,
) -> u64 {
    let cells = receiver.cells().iter();
    cells
        .map(|cells| of(cells.of(signal, protocol)).get())
        .fold(0, u64::wrapping_add)
}

/// The receiver's metrics.
#[derive(Debug)]
pub struct Collected(pub Arc<Receiver>);

impl Collected {
    fn each(
        &self,
        of: impl Fn(&Cell) -> &Counter + Copy,
    ) -> impl Iterator<Item = ([(&'static str, &'static str); 2], u64)> {
        let pairs = Signal::ALL
            .into_iter()
            .flat_map(|signal| Protocol::ALL.map(|protocol| (signal, protocol)));
        pairs.map(move |(signal, protocol)| {
            let labels = [("signal", signal.as_str()), ("protocol", protocol.as_str())];
            (labels, sum(&self.0, signal, protocol, of))
        })
    }
}

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let encoder = &mut encoder;
        counter(
            encoder,
            "weir_otlp_received",
            "Export requests received.",
            self.each(|cell| &cell.requests),
        )?;
        counter(
            encoder,
            "weir_otlp_received_bytes",
            "Bytes of export requests, after decompression.",
            self.each(|cell| &cell.bytes),
        )?;
        counter(
            encoder,
            "weir_otlp_received_items",
            "Spans, data points and log records received.",
            self.each(|cell| &cell.items),
        )?;
        counter(
            encoder,
            "weir_otlp_acknowledged",
            "Export requests answered with success.",
            self.each(|cell| &cell.acknowledged),
        )?;
        counter(
            encoder,
            "weir_otlp_messages",
            "Messages made of export requests.",
            self.each(|cell| &cell.messages),
        )?;
        counter(
            encoder,
            "weir_otlp_rejected_items",
            "Items that are too large for a message, told by partial success.",
            self.each(|cell| &cell.rejected),
        )?;
        let refused = Refusal::REASONS
            .into_iter()
            .enumerate()
            .flat_map(|(index, reason)| {
                self.each(move |cell| &cell.refused[index])
                    .filter(|(_, count)| *count > 0)
                    .map(move |([signal, protocol], count)| {
                        ([signal, protocol, ("reason", reason)], count)
                    })
            });
        counter(
            encoder,
            "weir_otlp_refused",
            "Export requests answered with an error, by reason.",
            refused,
        )?;
        let reasons = tls::Failure::REASONS.into_iter().enumerate();
        let failures = reasons.map(|(index, reason)| {
            let cells = self.0.cells().iter();
            let count = cells.map(|cells| cells.handshake_failures[index].get());
            ([("reason", reason)], count.fold(0, u64::wrapping_add))
        });
        counter(
            encoder,
            "weir_otlp_handshake_failures",
            "TLS handshakes that failed, by reason.",
            failures.filter(|(_, count)| *count > 0),
        )?;
        self.connections(encoder)?;
        self.lanes(encoder)
    }
}

impl Collected {
    fn connections(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let each = |of: fn(&Connections) -> &Counter| {
            Door::ALL.map(|door| {
                let cells = self.0.cells().iter();
                let count = cells.map(|cells| of(&cells.connections[door as usize]).get());
                (door.as_str(), count.fold(0, u64::wrapping_add))
            })
        };
        gauge(
            encoder,
            "weir_otlp_connections_open",
            "Connections open now.",
            each(|door| &door.open).map(|(door, count)| ([("protocol", door)], count)),
        )?;
        counter(
            encoder,
            "weir_otlp_connections_refused",
            "Connections closed before a request, by reason.",
            each(|door| &door.refused)
                .map(|(door, count)| ([("protocol", door), ("reason", "limit")], count)),
        )
    }

    fn lanes(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let lanes: Vec<_> = self
            .0
            .lanes()
            .iter()
            .filter_map(|lane| {
                let labels = [("signal", lane.signal.as_str())];
                Some((labels, lane.held(), lane.spool(), lane.status()?))
            })
            .collect();
        gauge(
            encoder,
            "weir_otlp_queue_requests",
            "Requests that wait in memory.",
            lanes.iter().map(|(labels, held, ..)| (*labels, held.0)),
        )?;
        gauge(
            encoder,
            "weir_otlp_queue_bytes",
            "Bytes of requests that are received or wait in memory.",
            lanes.iter().map(|(labels, held, ..)| (*labels, held.1)),
        )?;
        let spools = self.0.lanes().iter().filter(|lane| lane.spool().is_some());
        gauge(
            encoder,
            "weir_otlp_spool_messages",
            "Messages that wait in the spool for Kafka.",
            spools.map(|lane| ([("signal", lane.signal.as_str())], lane.spooled())),
        )?;
        gauge(
            encoder,
            "weir_otlp_spool_bytes",
            "Bytes of the disk that messages take.",
            lanes
                .iter()
                .filter_map(|(labels, _, spool, _)| Some((*labels, spool.as_ref()?.bytes))),
        )?;
        counter(
            encoder,
            "weir_otlp_spool_unsynced",
            "Messages that could not be synced to the disk, so that a power cut may take them.",
            lanes
                .iter()
                .filter_map(|(labels, _, spool, _)| Some((*labels, spool.as_ref()?.unsynced))),
        )?;
        gauge(
            encoder,
            "weir_otlp_degraded",
            "1 where messages cannot be delivered.",
            lanes.iter().map(|(labels, .., status)| {
                let degraded = matches!(status.state, State::Degraded(_));
                (*labels, u64::from(degraded))
            }),
        )?;
        self.fates(encoder)
    }

    /// What became of messages.
    fn fates(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut all = Vec::new();
        for lane in self.0.lanes() {
            for protocol in Protocol::ALL {
                let labels = [
                    ("signal", lane.signal.as_str()),
                    ("protocol", protocol.as_str()),
                ];
                all.extend(lane.fates(protocol).map(|fates| (labels, fates)));
            }
        }
        let lost = self.0.lanes().iter().flat_map(|lane| {
            let labels = [("signal", lane.signal.as_str()), ("protocol", "unknown")];
            by_reason(labels, &unknown(lane)).collect::<Vec<_>>()
        });
        counter(
            encoder,
            "weir_otlp_produced",
            "Messages that Kafka has acknowledged.",
            all.iter().map(|(labels, fates)| (*labels, fates.delivered)),
        )?;
        counter(
            encoder,
            "weir_otlp_dead_letters",
            "Messages that Kafka refused for good, and that were kept elsewhere, by reason.",
            all.iter()
                .flat_map(|(labels, fates)| by_reason(*labels, &fates.dead_letters)),
        )?;
        counter(
            encoder,
            "weir_otlp_dropped",
            "Messages that are lost, by reason.",
            all.iter()
                .flat_map(|(labels, fates)| by_reason(*labels, &fates.dropped))
                .chain(lost),
        )
    }
}

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// What was lost before anybody looked at what it was, such as what does not read in the spool.
fn unknown(lane: &Lane) -> Vec<(Reason, u64)> {
    let known = Protocol::ALL.map(|protocol| lane.fates(protocol));
    let of = |reason: Reason| {
        let known = known.iter().flatten().flat_map(|fates| fates.dropped);
        known
            .filter(|(other, _)| *other == reason)
            .map(|(_, count)| count)
            .sum()
    };
    let all = lane.status().map(|status| status.dropped);
    let all = all.into_iter().flatten();
    all.map(|(reason, count)| (reason, count.saturating_sub(of(reason))))
        .collect()
}

/// Those that there are.
fn by_reason(
    [signal, protocol]: Labels<2>,
    counts: &[(Reason, u64)],
) -> impl Iterator<Item = (Labels<3>, u64)> {
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    counts.map(move |(reason, count)| ([signal, protocol, ("reason", reason.as_str())], *count))
}
