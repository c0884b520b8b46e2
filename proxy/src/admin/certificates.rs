//! Certificates that are shown, as `/readyz` and `/metrics` have them: those of the configuration, and
//! those by ACME.

use std::collections::BTreeMap;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use serde_json::{Value, json};

use crate::app::App;
use crate::app::generation::Generation;
use crate::health::State;
use crate::metrics::{counter, gauge};
use crate::tls::acme::Status;
use crate::tls::certificate::Identity;

pub(super) fn of(app: &App) -> Certificates {
    let generation = app.generation();
    Certificates {
        given: Given::of(&generation),
        issued: app.certificates(),
    }
}

#[derive(Debug)]
pub(super) struct Certificates {
    given: Vec<Given>,
    issued: Vec<Status>,
}

/// A certificate of the configuration.
#[derive(Debug)]
struct Given {
    /// Where it is shown.
    address: String,
    identity: Identity,
}

impl Given {
    fn of(generation: &Generation) -> Vec<Self> {
        let shown = generation.config.tls().flat_map(|(address, tls)| {
            let identities = tls.identities().iter().cloned();
            identities.map(move |identity| Self {
                address: address.to_string(),
                identity,
            })
        });
        shown.collect()
    }

    /// Its first, empty where it has none.
    fn name(&self) -> &str {
        self.identity.names.first().map_or("", String::as_str)
    }
}

impl Certificates {
    pub(super) fn ready(&self, now: SystemTime) -> Vec<Value> {
        let given = self.given.iter().map(|given| {
            let state = given
                .identity
                .complaint(now)
                .map_or(State::Ok, |complaint| State::Degraded(complaint.to_owned()));
            let name = match given.name() {
                "" => &given.address,
                name => name,
            };
            shown(name, &state, Some(given.identity.not_after))
        });
        let issued = self.issued.iter();
        let issued = issued.map(|status| shown(&status.domain, &status.state, status.expires));
        given.chain(issued).collect()
    }
}

/// `expires` is in seconds since 1970.
fn shown(name: &str, state: &State, expires: Option<i64>) -> Value {
    let (state, message) = state.told();
    let expires = expires
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map(|time| time.to_string());
    json!({ "name": name, "state": state, "message": message, "expires": expires })
}

/// As a gauge has it.
fn timestamp(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or_default()
}

impl Collector for Certificates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let encoder = &mut encoder;
        if !self.given.is_empty() {
            // The first that expires of those for a name, as where one has an RSA key and one another.
            let mut first: BTreeMap<(&str, &str), i64> = BTreeMap::new();
            for given in &self.given {
                let expires = given.identity.not_after;
                first
                    .entry((&given.address, given.name()))
                    .and_modify(|first| *first = expires.min(*first))
                    .or_insert(expires);
            }
            gauge(
                encoder,
                "weir_certificate_expiry_timestamp_seconds",
                "When a certificate of the configuration expires.",
                first.into_iter().map(|((address, name), expires)| {
                    ([("address", address), ("name", name)], timestamp(expires))
                }),
            )?;
        }
        if self.issued.is_empty() {
            return Ok(());
        }
        let each = |value: fn(&Status) -> u64| {
            let each = self.issued.iter();
            each.map(move |status| ([("domain", status.domain.as_str())], value(status)))
        };
        gauge(
            encoder,
            "weir_acme_certificate_expiry_timestamp_seconds",
            "When the certificate that is shown expires; 0 where there is none.",
            each(|status| timestamp(status.expires.unwrap_or_default())),
        )?;
        gauge(
            encoder,
            "weir_acme_degraded",
            "1 where the last order of a certificate failed.",
            each(|status| u64::from(matches!(status.state, State::Degraded(_)))),
        )?;
        let orders = self.issued.iter().flat_map(|status| {
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
