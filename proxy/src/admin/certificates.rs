//! Certificates by ACME, as `/readyz` and `/metrics` have them.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use serde_json::json;

use crate::health::State;
use crate::metrics::{counter, gauge};
use crate::tls::acme::Status;

pub(super) fn ready(status: &Status) -> serde_json::Value {
    let (state, message) = status.state.told();
    let expires = status
        .expires
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map(|time| time.to_string());
    json!({ "name": status.domain, "state": state, "message": message, "expires": expires })
}

#[derive(Debug)]
pub(super) struct Certificates(pub(super) Vec<Status>);

impl Collector for Certificates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        if self.0.is_empty() {
            return Ok(());
        }
        let encoder = &mut encoder;
        let each = |value: fn(&Status) -> u64| {
            let each = self.0.iter();
            each.map(move |status| ([("domain", status.domain.as_str())], value(status)))
        };
        gauge(
            encoder,
            "weir_acme_certificate_expiry_timestamp_seconds",
            "When the certificate that is shown expires; 0 where there is none.",
            each(|status| {
                let expires = status.expires.unwrap_or_default();
                u64::try_from(expires).unwrap_or_default()
            }),
        )?;
        gauge(
            encoder,
            "weir_acme_degraded",
            "1 where the last order of a certificate failed.",
            each(|status| u64::from(matches!(status.state, State::Degraded(_)))),
        )?;
        let orders = self.0.iter().flat_map(|status| {
            let domain = ("domain", status.domain.as_str());
            [
                ([domain, ("result", "issued")], status.issued),
                ([domain, ("result", "failed")], status.failed),
            ]
        });
        counter(
            encoder,
            "weir_acme_orders",
            "Orders of certificates, by what came of them.",
            orders,
        )
    }
}
