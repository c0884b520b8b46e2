//! The keys of `metrics`: where Weir's own metrics are pushed to.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretVar;
use super::upstream_tls::Tls;
use crate::config::units::Duration;

/// Weir's own metrics, which `/metrics` has too.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Metrics {
    /// Where they are pushed to, by name. Default: nowhere.
    pub(in crate::config) push: IndexMap<String, Push>,
}

/// Metrics that are sent, for whoever cannot scrape.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "MetricsPush", extend("required" = ["endpoint"]))]
pub(in crate::config) struct Push {
    /// Whether they are pushed. Default: true.
    pub(in crate::config) enabled: bool,
    /// URL of the form `http://host:port` or `https://host:port`. By `remote_write` it has a path,
    /// such as Prometheus' `/api/v1/write`; by `otlp_http` it may have one, and `/v1/metrics` is put
    /// behind it, unless it ends so.
    #[schemars(length(min = 1))]
    pub(in crate::config) endpoint: String,
    /// Prometheus' `remote_write`, or OTLP: `otlp_grpc` or `otlp_http`. Default: `remote_write`.
    pub(in crate::config) protocol: Protocol,
    /// Headers of each request, such as a token: text, or `env.NAME`. Default: none.
    pub(in crate::config) headers: IndexMap<String, SecretVar>,
    /// TLS to an `https` endpoint. Default: the system's authorities, and no certificate of its own.
    pub(in crate::config) tls: Tls,
    /// Time from one push to the next; from 1s. Default: 15s.
    pub(in crate::config) interval: Duration,
    /// Longest wait for the answer to a request, connecting included. Default: 10s.
    pub(in crate::config) timeout: Duration,
    /// What tells this Weir from others: the label `instance`, by OTLP the resource's
    /// `service.instance.id`. Default: the host's name.
    #[schemars(length(min = 1))]
    pub(in crate::config) instance: Option<String>,
    /// Labels of every series, such as a region; by OTLP, attributes of the resource. Default: none.
    pub(in crate::config) labels: IndexMap<String, String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum Protocol {
    #[default]
    RemoteWrite,
    OtlpGrpc,
    OtlpHttp,
}

impl Default for Push {
    fn default() -> Self {
        Self {
            enabled: true,
            endpoint: String::new(),
            protocol: Protocol::default(),
            headers: IndexMap::new(),
            tls: Tls::default(),
            interval: Duration::seconds(15),
            timeout: Duration::seconds(10),
            instance: None,
            labels: IndexMap::new(),
        }
    }
}
