//! The configuration as the rest of Weir uses it: checked, resolved, with defaults filled in.
//!
//! `config/` makes it from a file, overrides and the environment; nothing else reads configuration.
//! Types here hold no YAML and no `Option` where a default exists.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

use crate::tls;
use crate::trace::context::b3;

mod chain;
mod clients;
mod document;
mod effective;
mod environment;
pub mod fault;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod kv;
mod load;
pub mod otlp;
mod otlp_exporter;
mod overrides;
mod path;
mod plugin_schema;
mod push;
mod raw;
pub mod report;
mod resolve;
mod route;
mod schema;
mod suggest;
#[cfg(test)]
mod tests;
mod tree;
mod units;
mod unsupported;
mod upstream;

pub use chain::PluginUse;
pub use clients::{
    AccessLog, AccessLogFormat, Clients, Forwarded, ListenerBalance, Network, Underscores,
};
pub use document::{Document, Edit, EditError, Edited, Field, Line, Text};
pub use effective::effective;
pub use environment::Environment;
pub use fault::Faults;
pub use kv::Redis;
pub use load::{Finding, Loaded, load, parse, with_findings};
pub use otlp_exporter::{Destination, LetterFile, OtlpCompression, OtlpExporter, OtlpProtocol};
pub use path::{Path as KeyPath, Step};
pub use plugin_schema::misfits;
pub use push::{Push, PushFormat};
pub use route::{
    Action, Mirror, Redirect, Respond, Rewrite, Route, RouteMatch, RouteTimeouts, Share, ValueMatch,
};
pub use schema::schema;
pub use units::duration;
pub use upstream::{
    Balance, Dns, Ejection, Endpoint, Entry, HashBy, Health, HttpCheck, MAX_REQUESTS, Probe,
    Protocol, ProxyProtocol, Retries, Upstream, UpstreamLimits, UpstreamTimeouts,
};

/// Everything that one generation of a running Weir is built from.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub listeners: Vec<Listener>,
    pub admin: Admin,
    /// `None`: traces are kept in memory only.
    pub data_dir: Option<PathBuf>,
    /// Below it compiled modules are kept: `data_dir`, where no command has another place for them.
    pub cache_dir: Option<PathBuf>,
    pub spool: Spool,
    /// Recent traces for the console; `None`: none are kept.
    pub store: Option<Store>,
    /// Worker threads, each with its own runtime, listeners, pools and plugin instances.
    pub workers: NonZeroUsize,
    /// How long a drain may take before what is still open is cut.
    pub shutdown_grace: Duration,
    /// How late a worker may be before it refuses requests; `None`: it never does.
    pub overload: Option<Duration>,
    pub dns: Dns,
    pub upstreams: IndexMap<String, Upstream>,
    pub plugins: IndexMap<String, Plugin>,
    /// What has plugins' values; `None`: they are in memory.
    pub kv: Option<Redis>,
    pub routes: Vec<Route>,
    pub clients: Clients,
    pub access_log: Option<AccessLog>,
    /// In which form B3 is sent on; `None` leaves its fields as they are.
    pub b3: Option<b3::Form>,
    pub exporters: IndexMap<String, Exporter>,
    /// Where metrics are pushed to; those that are enabled.
    pub pushes: IndexMap<String, Push>,
    /// OTLP in; `None` where it is not received.
    pub otlp: Option<otlp::Otlp>,
}

impl Config {
    /// The TLS of all that is listened on, but the admin address.
    pub fn tls(&self) -> impl Iterator<Item = &Arc<tls::Server>> {
        let listeners = self.listeners.iter().filter_map(|one| one.tls.as_ref());
        listeners.chain(self.otlp.iter().flat_map(otlp::Otlp::tls))
    }
}

/// How finished traces are kept in `data_dir`.
#[derive(Clone, Debug, PartialEq)]
pub struct Spool {
    /// Most bytes on the disk.
    pub max_bytes: u64,
    /// Bytes of one file.
    pub segment_bytes: u64,
    pub fsync: Fsync,
}

/// Which recent traces are kept for the console.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// Most bytes of traces; the oldest go first.
    pub max_bytes: u64,
    pub max_age: Duration,
    /// Over all workers.
    pub max_traces_per_second: u32,
    /// Of headers, content and attributes.
    pub filters: Filters,
}

/// When what is in the spool survives a power cut too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// When the kernel sees fit.
    Never,
    /// After so long at most.
    Interval(Duration),
    /// Before the response ends.
    Always,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    pub address: SocketAddr,
    /// Plugins that run on every request of this listener; only these may have pre-request hooks.
    pub plugins: Vec<PluginUse>,
    /// `None`: unencrypted.
    pub tls: Option<Arc<tls::Server>>,
    pub http2: Http2,
    pub timeouts: ListenerTimeouts,
    /// Most bytes a request head may have (431 past it).
    pub max_head_bytes: usize,
    /// Most bytes a request's body may have, where its route does not say it (413 past it).
    pub max_body_bytes: Option<u64>,
    /// Fewest bytes of it in a second of waiting, where its route does not say it (408 below it); 0 is any.
    pub min_body_rate: u64,
    pub underscores: Underscores,
    pub max_connections: Option<u64>,
    pub balance: ListenerBalance,
    /// Most requests on one connection.
    pub max_requests_per_connection: Option<u64>,
    /// Whether connections begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
}

/// HTTP/2 of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// Whether it is served to clients that begin with it.
    pub enabled: bool,
    /// Most requests under way on one connection.
    pub max_streams: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ListenerTimeouts {
    /// From the accept until the TLS handshake is complete.
    pub handshake: Duration,
    /// From the first byte of a request (or the accept) until its head is complete; also how long
    /// an idle connection is kept.
    pub head: Duration,
    /// Longest wait for the next piece of a request's body.
    pub body: Duration,
    /// Longest wait for a client to take the next piece of a response.
    pub send: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    pub address: SocketAddr,
    /// Demanded as `Authorization: Bearer` everywhere but on `/healthz` and `/readyz`.
    pub token: Option<Secret>,
    /// Names, in lower case, by which browsers may reach it without a token.
    pub hosts: Vec<String>,
}

#[derive(Clone, PartialEq)]
pub struct Plugin {
    pub module: Module,
    /// Lower-case hex; the module is refused where its digest differs.
    pub sha256: Option<String>,
    /// Handed to `configure`, with `env.NAME` strings already resolved. Secret when any was.
    pub config: serde_json::Value,
    /// Upstreams that it may call.
    pub upstreams: Vec<String>,
    pub on_error: OnError,
    pub on_large_body: OnLargeBody,
    pub limits: Limits,
    pub isolation: Isolation,
    pub breaker: Breaker,
    pub recycle: Recycle,
}

/// Whether requests share warm instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    Shared,
    /// A fresh one each, for all its hooks.
    Request,
}

/// When a plugin that keeps failing is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// In a row, on one worker; 0 where it never opens.
    pub failures: u32,
    /// Until one hook may try.
    pub pause: Duration,
}

/// When a fresh instance takes an old one's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recycle {
    /// Hooks that one serves.
    pub hooks: u32,
    pub age: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Module {
    /// `builtin:<name>`
    Builtin(String),
    /// A file, resolved against the configuration file's folder.
    File(PathBuf),
}

/// What a request meets when a plugin fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// 500; the plugin is named in the trace only.
    Reject,
    /// As if the plugin were not there.
    Continue,
}

/// What becomes of a body that is larger than a plugin may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLargeBody {
    /// 413 to a request, 502 instead of a response.
    Reject,
    /// It streams by, and the plugin is told so when it asks for it.
    Bypass,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Most bytes of linear memory an instance may have; where the file does not say, the registry puts
    /// in what the module's language needs.
    pub memory: Option<usize>,
    /// Most CPU time one hook may take.
    pub cpu_time: Duration,
    /// Longest time one hook may last, waiting included.
    pub wall_time: Duration,
    /// Most bytes of a body that are held for a hook, or set by one.
    pub body: usize,
    /// Most bytes of an answer that the plugin gives piece by piece.
    pub answer: u64,
    /// Longest time such an answer may last.
    pub answer_time: Duration,
    /// Most bytes of the plugin's key-value store, where it is in memory.
    pub kv: usize,
    /// Most calls to upstreams that one hook may make.
    pub calls: u32,
}

impl Limits {
    /// Most bytes of linear memory of an instance: what is given, or else what small modules need.
    pub fn memory(&self) -> usize {
        self.memory.unwrap_or(16 << 20)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Exporter {
    Kafka(Box<Kafka>),
    Otlp(Box<OtlpExporter>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Kafka {
    pub enabled: bool,
    /// `host:port`, at least one.
    pub brokers: Vec<String>,
    pub topic: String,
    pub format: Format,
    pub tls: Option<Tls>,
    pub sasl: Option<Sasl>,
    pub compression: Compression,
    /// Most messages in a batch.
    pub batch_size: u32,
    /// Longest wait for a batch.
    pub flush_interval: Duration,
    pub auto_create_topic: bool,
    pub producer: Producer,
    /// `None`: what is refused for good is dropped.
    pub dead_letter: Option<DeadLetter>,
    /// Most bytes of traces kept in memory for this exporter.
    pub buffer_bytes: usize,
    pub filters: Filters,
}

/// Where messages go that a broker refuses for good.
#[derive(Clone, Debug, PartialEq)]
pub enum DeadLetter {
    Topic(String),
    /// A file with the most bytes that it, and those it was before, may have.
    File {
        path: PathBuf,
        max_bytes: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    OtlpJson,
    OtlpProtobuf,
    /// Records are messages already, as receivers make them of this signal.
    Prepared(crate::otlp::Signal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// How messages are produced.
#[derive(Clone, Debug, PartialEq)]
pub struct Producer {
    pub acks: Acks,
    pub client_id: String,
    pub max_message_bytes: usize,
    pub retries: u32,
    pub retry_backoff: Duration,
    pub retry_backoff_max: Duration,
    /// Zero is for ever.
    pub message_timeout: Duration,
    pub request_timeout: Duration,
    /// Most bytes of a batch.
    pub batch_bytes: usize,
    pub partitioner: Partitioner,
    /// Properties of librdkafka, put over all others.
    pub custom_config: IndexMap<String, Secret>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    None,
    One,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partitioner {
    Consistent,
    ConsistentRandom,
    Murmur2,
    Murmur2Random,
    Fnv1a,
    Fnv1aRandom,
}

impl Default for Producer {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            client_id: "weir".to_owned(),
            max_message_bytes: 1_000_000,
            retries: i32::MAX.unsigned_abs(),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            message_timeout: Duration::from_mins(5),
            request_timeout: Duration::from_secs(30),
            batch_bytes: 1_000_000,
            partitioner: Partitioner::ConsistentRandom,
            custom_config: IndexMap::new(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tls {
    /// PEM text; `None` is the system's roots.
    pub ca_cert: Option<Secret>,
    /// PEM text of certificate and key, for mutual TLS.
    pub client: Option<(String, Secret)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sasl {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: &'static str,
    pub username: Secret,
    pub password: Secret,
}

/// What of a trace an exporter gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Filters {
    pub plugin_span_filter: Option<PluginSpanFilter>,
    /// Lower case patterns; `*` stands for any run of characters, anywhere.
    pub request_headers: Vec<String>,
    pub redact_headers: bool,
    pub disable_content_logging: bool,
    pub excluded_attributes: Vec<String>,
    pub sampling: Sampling,
}

impl Default for Filters {
    fn default() -> Self {
        Self {
            plugin_span_filter: None,
            request_headers: Vec::new(),
            redact_headers: true,
            disable_content_logging: false,
            excluded_attributes: Vec::new(),
            sampling: Sampling::default(),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct PluginSpanFilter {
    pub include: bool,
    /// Normalised plugin names (lower case, spaces as `-`).
    pub plugins: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Part of the traces kept, from 0.0 to 1.0, decided by trace id.
    pub ratio: f64,
    pub keep_errors: bool,
    pub keep_slower_than: Option<Duration>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            ratio: 1.0,
            keep_errors: true,
            keep_slower_than: None,
        }
    }
}

impl std::fmt::Debug for Plugin {
    /// Without `config`, which may have secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("module", &self.module)
            .field("sha256", &self.sha256)
            .field("upstreams", &self.upstreams)
            .field("on_error", &self.on_error)
            .field("on_large_body", &self.on_large_body)
            .field("limits", &self.limits)
            .field("isolation", &self.isolation)
            .field("breaker", &self.breaker)
            .field("recycle", &self.recycle)
            .finish_non_exhaustive()
    }
}

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value itself; for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Exporter {
    /// What of a trace this exporter gets.
    pub fn filters(&self) -> &Filters {
        match self {
            Self::Kafka(kafka) => &kafka.filters,
            Self::Otlp(otlp) => &otlp.filters,
        }
    }
}
