//! The configuration as it is written: the one source of keys, types, defaults and their
//! documentation.
//!
//! The JSON Schema is made from these types, and a file is judged by that schema before it is read
//! into them. So that one fault does not hide another, every field reads when it is missing; what
//! must be there is said by `required` in the schema. What the values mean together is not judged
//! here (see `resolve`).

use std::num::NonZeroU16;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{ByteSize, Duration};

pub(super) mod acme;
pub(super) mod chain;
pub(super) mod clients;
pub(super) mod dead_letter;
pub(super) mod filters;
pub(super) mod kafka;
pub(super) mod kv;
pub(super) mod listener;
pub(super) mod metrics;
pub(super) mod otlp;
pub(super) mod otlp_exporter;
pub(super) mod overload;
pub(super) mod plugin;
pub(super) mod producer;
pub(super) mod route;
pub(super) mod store;
pub(super) mod tls;
pub(super) mod upstream;
pub(super) mod upstream_tls;

/// The configuration of Weir.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(
    title = "Weir",
    extend("anyOf" = [
        { "required": ["listeners", "routes"] },
        { "required": ["receivers"], "properties": { "receivers": { "required": ["otlp"] } } },
    ]),
    extend("dependentRequired" = { "listeners": ["routes"], "routes": ["listeners"] })
)]
pub(super) struct Config {
    /// Where requests come in. At least one, or none with `receivers`.
    #[schemars(length(min = 1))]
    pub(super) listeners: Vec<listener::Listener>,
    /// The address for health, metrics and reload.
    pub(super) admin: Admin,
    /// Folder for what must survive a restart, relative to this file. Without it, traces are kept
    /// in memory only.
    #[schemars(length(min = 1))]
    pub(super) data_dir: Option<String>,
    /// How finished traces are kept in `data_dir` until they are delivered.
    pub(super) spool: Spool,
    /// Recent traces, kept for the console. Without it, none are.
    pub(super) store: Option<store::Store>,
    /// Worker threads. Default: one for each available core.
    pub(super) workers: Option<NonZeroU16>,
    /// How long a drain may take before what is still open is cut. Default: 30s.
    pub(super) shutdown_grace: Duration,
    /// When workers that cannot keep up refuse new requests.
    pub(super) overload: overload::Overload,
    /// Who is asked for SRV records. Default: what `/etc/resolv.conf` says.
    pub(super) dns: upstream::Dns,
    /// Groups of endpoints to which routes send requests, by name.
    pub(super) upstreams: IndexMap<String, upstream::Upstream>,
    /// Plugins, by name. The name may not have a dot, because span names are made of it.
    pub(super) plugins: IndexMap<String, plugin::Plugin>,
    /// Where plugins' values are kept that workers share. Default: in memory.
    pub(super) kv: Option<kv::Kv>,
    /// Which request goes where, through which plugins. At least one, or none with `receivers`.
    #[schemars(length(min = 1))]
    pub(super) routes: Vec<route::Route>,
    /// Peers that are believed about clients behind them, as addresses or networks such as
    /// `10.0.0.0/8`: in `X-Forwarded-For`, `Forwarded` and the PROXY protocol. Default: none.
    pub(super) trusted_proxies: Vec<String>,
    /// Which fields tell upstreams of the client: `x_forwarded` is `X-Forwarded-For`, `-Proto` and
    /// `-Host`, `forwarded` the one of RFC 7239; or `both`, or `off`. Default: `x_forwarded`.
    pub(super) forwarded: clients::Forwarded,
    /// A line for each response. Default: none.
    pub(super) access_log: Option<clients::AccessLog>,
    /// B3 beside W3C Trace Context: `single` or `multi` reads it in either form where a request has no
    /// valid `traceparent`, and sends it on in this one; `off` leaves its fields as they are. Default:
    /// off.
    pub(super) b3: clients::B3,
    /// Where traces are delivered, by name.
    pub(super) exporters: IndexMap<String, Exporter>,
    /// Where Weir's own metrics go, beside `/metrics`.
    pub(super) metrics: metrics::Metrics,
    /// Where telemetry of others comes in.
    pub(super) receivers: otlp::Receivers,
}

/// How finished traces are kept in `data_dir` until they are delivered.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Spool {
    /// Most bytes on the disk; past it the newest traces are dropped, and counted. At least two
    /// segments for each worker. Default: 16GiB.
    pub(super) max_bytes: ByteSize,
    /// Bytes of one file, laid out when it is made; from 2MiB to 1GiB. Default: 32MiB.
    pub(super) segment_bytes: ByteSize,
    /// When traces are made safe from a power cut: `never` leaves it to the kernel, `interval` does
    /// it each `fsync_interval`, `always` before a response ends. A process that is killed loses
    /// nothing by any of them. Default: interval.
    pub(super) fsync: Fsync,
    /// Default: 200ms.
    pub(super) fsync_interval: Duration,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum Fsync {
    Never,
    #[default]
    Interval,
    Always,
}

/// The admin address: health, metrics and reload.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Admin {
    /// IP address and port. Default: 127.0.0.1:9901.
    pub(super) address: String,
    /// Demanded as `Authorization: Bearer` everywhere but on `/healthz` and `/readyz`.
    /// Default: none.
    pub(super) token: Option<SecretVar>,
    /// Names by which browsers reach the console, where it asks for no token: others are refused,
    /// as the page of a stranger could have made them point here. IP addresses and `localhost` need
    /// not be named. Default: none.
    pub(super) hosts: Vec<String>,
    /// TLS with these certificates; of `alpn` it takes `http/1.1` alone. Where clients must show a
    /// certificate, that does for a token. Default: none, so unencrypted.
    pub(super) tls: Option<tls::Tls>,
}

/// A destination of traces: one of these.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Exporter {
    /// One message for each trace, to a Kafka topic.
    pub(super) kafka: Option<kafka::Kafka>,
    /// Many traces in a request, to a collector.
    pub(super) otlp: Option<otlp_exporter::Otlp>,
}

/// The text itself, or `env.NAME` to read it from the environment. Never shown.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("minLength" = 1, "writeOnly" = true))]
pub(super) struct SecretVar(pub(super) String);

impl Default for Config {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            admin: Admin::default(),
            data_dir: None,
            spool: Spool::default(),
            store: None,
            workers: None,
            shutdown_grace: Duration::seconds(30),
            overload: overload::Overload::default(),
            dns: upstream::Dns::default(),
            upstreams: IndexMap::new(),
            plugins: IndexMap::new(),
            kv: None,
            routes: Vec::new(),
            trusted_proxies: Vec::new(),
            forwarded: clients::Forwarded::default(),
            access_log: None,
            b3: clients::B3::default(),
            exporters: IndexMap::new(),
            metrics: metrics::Metrics::default(),
            receivers: otlp::Receivers::default(),
        }
    }
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            max_bytes: ByteSize::mib(16 << 10),
            segment_bytes: ByteSize::mib(32),
            fsync: Fsync::default(),
            fsync_interval: Duration::millis(200),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:9901".to_owned(),
            token: None,
            hosts: Vec::new(),
            tls: None,
        }
    }
}
