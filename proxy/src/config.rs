//! The configuration as the rest of Weir uses it: checked, resolved, with defaults filled in.
//!
//! `config/` makes it from a file, overrides and the environment; nothing else reads configuration.
//! Types here hold no YAML and no `Option` where a default exists.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;

mod document;
mod effective;
mod environment;
pub mod fault;
mod load;
mod overrides;
mod path;
mod raw;
pub mod report;
mod resolve;
mod schema;
mod suggest;
#[cfg(test)]
mod tests;
mod tree;
mod units;
mod unsupported;

pub use document::{Document, Edit, EditError, Edited, Field, Text, snippet};
pub use effective::effective;
pub use environment::Environment;
pub use fault::Faults;
pub use load::{Loaded, Unreachable, load, parse, with_unreachable};
pub use schema::schema;

/// Everything that one generation of a running Weir is built from.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub listeners: Vec<Listener>,
    pub admin: Admin,
    /// `None`: traces are kept in memory only.
    pub data_dir: Option<PathBuf>,
    pub spool: Spool,
    /// Recent traces for the console; `None`: none are kept.
    pub store: Option<Store>,
    /// Worker threads, each with its own runtime, listeners, pools and plugin instances.
    pub workers: NonZeroUsize,
    /// How long a drain may take before what is still open is cut.
    pub shutdown_grace: Duration,
    pub upstreams: IndexMap<String, Upstream>,
    pub plugins: IndexMap<String, Plugin>,
    pub routes: Vec<Route>,
    pub exporters: IndexMap<String, Exporter>,
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
    /// Names of plugins that run on every request of this listener; only these may have
    /// pre-request hooks.
    pub plugins: Vec<String>,
    pub timeouts: ListenerTimeouts,
    /// Most bytes a request head may have (431 past it).
    pub max_head_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ListenerTimeouts {
    /// From the first byte of a request (or the accept) until its head is complete; also how long
    /// an idle connection is kept.
    pub head: Duration,
    /// Longest wait for the next piece of a request's body.
    pub body: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    pub address: SocketAddr,
    /// Demanded as `Authorization: Bearer` everywhere but on `/healthz` and `/readyz`.
    pub token: Option<Secret>,
    /// Names, in lower case, by which browsers may reach it without a token.
    pub hosts: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// At least one; taken in turn.
    pub endpoints: Vec<Endpoint>,
    pub timeouts: UpstreamTimeouts,
    /// Most requests that wait for a response's head at once (503 past it).
    pub max_requests: u64,
}

/// `http://host:port`. The host is resolved when a connection is made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpstreamTimeouts {
    /// Until a connection is made, name resolution included.
    pub connect: Duration,
    /// From the request's last byte until the response's head.
    pub response: Duration,
    /// Longest wait for the next piece of a response's body.
    pub body: Duration,
    /// How long an unused connection is kept.
    pub idle: Duration,
}

#[derive(Clone, PartialEq)]
pub struct Plugin {
    pub module: Module,
    /// Lower-case hex; the module is refused where its digest differs.
    pub sha256: Option<String>,
    /// Handed to `configure`, with `env.NAME` strings already resolved. Secret when any was.
    pub config: serde_json::Value,
    pub on_error: OnError,
    pub limits: Limits,
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

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Most bytes of linear memory an instance may have.
    pub memory: usize,
    /// Most CPU time one hook may take.
    pub cpu_time: Duration,
    /// Longest time one hook may last, waiting included.
    pub wall_time: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// As in traces and metrics: `name` where it is given, else the path pattern.
    pub name: String,
    pub matches: RouteMatch,
    /// Name of an upstream.
    pub upstream: String,
    /// Names of plugins: request hooks in this order, response hooks in reverse.
    pub plugins: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RouteMatch {
    /// Lower case, without port; `None` is any.
    pub host: Option<String>,
    /// `/exact`, `/prefix/*` or `/with/{captures}/inside`.
    pub path: String,
    /// Empty is any.
    pub methods: Vec<http::Method>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Exporter {
    Kafka(Box<Kafka>),
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
    /// Most bytes of traces kept in memory for this exporter.
    pub buffer_bytes: usize,
    pub filters: Filters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    OtlpJson,
    OtlpProtobuf,
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
            .field("on_error", &self.on_error)
            .field("limits", &self.limits)
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
        }
    }
}
