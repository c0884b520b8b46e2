//! What is counted of listeners, as cells and as families.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Counter, counter, sum};
use crate::server::admission::Refused;
use crate::server::{BadHead, Cut};
use crate::tls;

/// One worker's numbers of one listener.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ListenerCells {
    /// By [`BadHead`].
    pub bad_heads: [Counter; BadHead::REASONS.len()],
    /// By [`Cut`].
    pub cuts: [Counter; Cut::REASONS.len()],
    /// TLS handshakes that were completed.
    pub handshakes: Counter,
    /// By [`tls::Failure::REASONS`].
    pub handshake_failures: [Counter; tls::Failure::REASONS.len()],
    /// Connections that have a place; with `balance: exact`, other workers count here too.
    pub open: AtomicU64,
    /// By [`Refused`].
    pub refused: [Counter; Refused::REASONS.len()],
}

pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    listeners: &BTreeMap<String, Arc<[ListenerCells]>>,
) -> Result<(), Error> {
    let (mut bad, mut cuts) = (Vec::new(), Vec::new());
    let (mut handshakes, mut failures) = (Vec::new(), Vec::new());
    for (listener, cells) in listeners {
        let listener = ("listener", listener.as_str());
        for (index, reason) in BadHead::REASONS.into_iter().enumerate() {
            let count = sum(cells, |cells| &cells.bad_heads[index]);
            bad.push(([listener, ("reason", reason)], count));
        }
        for (index, reason) in Cut::REASONS.into_iter().enumerate() {
            let count = sum(cells, |cells| &cells.cuts[index]);
            cuts.push(([listener, ("reason", reason)], count));
        }
        handshakes.push(([listener], sum(cells, |cells| &cells.handshakes)));
        for (index, reason) in tls::Failure::REASONS.into_iter().enumerate() {
            let count = sum(cells, |cells| &cells.handshake_failures[index]);
            if count > 0 {
                failures.push(([listener, ("reason", reason)], count));
            }
        }
    }
    counter(
        encoder,
        "weir_http_bad_requests",
        "Requests whose head could not be read, by reason.",
        bad,
    )?;
    counter(
        encoder,
        "weir_http_cuts",
        "Connections and streams that were cut, by reason.",
        cuts,
    )?;
    counter(
        encoder,
        "weir_tls_handshakes",
        "TLS handshakes with clients.",
        handshakes,
    )?;
    counter(
        encoder,
        "weir_tls_handshake_failures",
        "TLS handshakes with clients that failed, by reason.",
        failures,
    )?;

    let mut refused = Vec::new();
    for (listener, cells) in listeners {
        for (index, reason) in Refused::REASONS.into_iter().enumerate() {
            refused.push((
                [("listener", listener.as_str()), ("reason", reason)],
                sum(cells, |cells| &cells.refused[index]),
            ));
        }
    }
    counter(
        encoder,
        "weir_connections_refused",
        "Connections closed before a request, by reason.",
        refused,
    )
}
