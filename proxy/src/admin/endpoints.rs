//! What is known of upstreams' endpoints, for `/readyz`, `/metrics` and the console.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::app::generation::Generation;
use crate::metrics::{counter, gauge};
use crate::upstream::{Endpoint, Upstream};

/// Of an upstream that would have nothing left.
const NONE_WELL: &str = "no endpoint is well: all are used as if they were";

/// Each upstream with its endpoints; `degraded` where one of them is not well.
pub(super) fn ready(generation: &Generation) -> Vec<Value> {
    let now = Instant::now();
    let upstreams = generation.upstreams.values();
    upstreams
        .map(|upstream| {
            let out = (upstream.endpoints.iter())
                .filter(|endpoint| !endpoint.state.is_available(now))
                .count();
            let all = upstream.endpoints.len();
            let message = match out {
                0 => None,
                _ if upstream.spares_none(now) => Some(NONE_WELL.to_owned()),
                _ => Some(format!("{out} of {all} endpoints are left out")),
            };
            let endpoints: Vec<_> = known(upstream, now)
                .map(
                    |Known {
                         endpoint,
                         state,
                         message,
                         ..
                     }| {
                        json!({ "endpoint": endpoint, "state": state, "message": message })
                    },
                )
                .collect();
            json!({
                "name": upstream.name,
                "state": if out > 0 { "degraded" } else { "ok" },
                "message": message,
                "endpoints": endpoints,
            })
        })
        .collect()
}

/// An endpoint at one moment.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Known<'e> {
    endpoint: &'e str,
    /// `ok`, or why it gets no requests: `ejected` or `unhealthy`.
    state: &'static str,
    /// What the last active check found wrong.
    message: Option<String>,
    /// Times it was left out because it kept failing.
    ejections: u64,
    /// Whether connections to it are encrypted.
    tls: bool,
    /// When the certificate that it showed last expires, in seconds since 1970.
    certificate_expires: Option<i64>,
}

/// What is known of an upstream's endpoints.
pub(super) fn known(upstream: &Upstream, now: Instant) -> impl Iterator<Item = Known<'_>> {
    upstream.endpoints.iter().map(move |endpoint| Known {
        endpoint: &endpoint.label,
        state: state(endpoint, now),
        message: endpoint.last_check().and_then(Result::err),
        ejections: endpoint.state.ejections(),
        tls: endpoint.config.tls.is_some(),
        certificate_expires: endpoint.certificate_expires(),
    })
}

fn state(endpoint: &Endpoint, now: Instant) -> &'static str {
    if endpoint.state.is_unhealthy() {
        "unhealthy"
    } else if endpoint.state.is_ejected(now) {
        "ejected"
    } else {
        "ok"
    }
}

/// Numbers of endpoints.
pub(super) struct Endpoints(pub(super) Arc<Generation>);

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoints").finish_non_exhaustive()
    }
}

impl Endpoints {
    fn each<'e>(
        &'e self,
        value: impl Fn(&Endpoint) -> u64 + 'e,
    ) -> impl Iterator<Item = ([(&'e str, &'e str); 2], u64)> + 'e {
        let pairs = self
            .0
            .upstreams
            .values()
            .flat_map(|upstream: &Arc<Upstream>| {
                let endpoints = upstream.endpoints.iter();
                endpoints.map(move |endpoint| (upstream.name.as_str(), endpoint))
            });
        pairs.map(move |(upstream, endpoint)| {
            let labels = [
                ("upstream", upstream),
                ("endpoint", endpoint.label.as_str()),
            ];
            (labels, value(endpoint))
        })
    }
}

impl Collector for Endpoints {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let now = Instant::now();
        gauge(
            &mut encoder,
            "weir_endpoint_available",
            "1 where the endpoint gets requests, 0 where it is left out.",
            self.each(|endpoint| u64::from(endpoint.state.is_available(now))),
        )?;
        counter(
            &mut encoder,
            "weir_endpoint_ejections",
            "Times the endpoint was left out because it kept failing.",
            self.each(|endpoint| endpoint.state.ejections()),
        )?;
        let log = self.0.access_log.as_ref();
        counter(
            &mut encoder,
            "weir_access_log_dropped",
            "Lines of the access log for which there was no room.",
            log.map(|log| ([], log.dropped())),
        )
    }
}
