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
mod filters;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod kafka;
mod kv;
mod listener;
mod load;
pub mod otlp;
mod otlp_exporter;
mod overrides;
mod path;
mod plugin;
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
mod upstream;

pub use chain::PluginUse;
pub use clients::{
    AccessLog, AccessLogFormat, Clients, Forwarded, ListenerBalance, Network, Underscores,
};
pub use document::{Document, Edit, EditError, Edited, Field, Line, Text};
pub use effective::effective;
pub use environment::Environment;
pub use fault::Faults;
pub use filters::{Filters, PluginSpanFilter, Sampling};
pub use kafka::{Acks, Compression, DeadLetter, Format, Kafka, Partitioner, Producer, Sasl, Tls};
pub use kv::Redis;
pub use listener::{Http2, Listener, ListenerTimeouts};
pub use load::{Finding, Loaded, load, parse, with_findings};
pub use otlp_exporter::{Destination, LetterFile, OtlpCompression, OtlpExporter, OtlpProtocol};
pub use path::{Path as KeyPath, Step};
pub use plugin::{
    Breaker, Isolation, Limits, Module, OnError, OnLargeBody, Plugin, Recycle, normal_name,
};
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
    /// Certificates, keys and authorities that it names.
    pub files: Vec<PemFile>,
}

/// A file whose text is part of a configuration, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemFile {
    pub path: PathBuf,
    /// SHA-256 of its bytes.
    pub digest: [u8; 32],
}

impl Config {
    /// The TLS of all that is listened on, by address.
    pub fn tls(&self) -> impl Iterator<Item = (SocketAddr, &Arc<tls::Server>)> {
        let listeners = self.listeners.iter();
        let listeners = listeners.map(|one| (one.address, one.tls.as_ref()));
        let otlp = self.otlp.iter().flat_map(otlp::Otlp::tls);
        let admin = (self.admin.address, self.admin.tls.as_ref());
        let all = listeners.chain(otlp).chain([admin]);
        all.filter_map(|(address, tls)| Some((address, tls?)))
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
pub struct Admin {
    pub address: SocketAddr,
    /// Demanded as `Authorization: Bearer` everywhere but on `/healthz` and `/readyz`.
    pub token: Option<Secret>,
    /// Names, in lower case, by which browsers may reach it without a token.
    pub hosts: Vec<String>,
    /// `None`: unencrypted.
    pub tls: Option<Arc<tls::Server>>,
}

impl Admin {
    /// Whether other machines reach it, and need to prove nothing.
    pub fn is_open(&self) -> bool {
        let certified = self
            .tls
            .as_ref()
            .is_some_and(|tls| tls.requires_certificate());
        self.token.is_none() && !certified && !self.address.ip().is_loopback()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Exporter {
    Kafka(Box<Kafka>),
    Otlp(Box<OtlpExporter>),
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
