//! The keys of `exporters.<name>.otlp`: the collector, how requests are gathered and sent, and what
//! of a trace goes there.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretVar;
use super::filters::{PluginSpanFilter, Sampling};
use super::upstream_tls::Tls;
use crate::config::units::{ByteSize, Duration};

/// Delivery by OTLP, to a collector or whatever else takes it.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "OtlpExporter", extend("required" = ["endpoint"]))]
pub(in crate::config) struct Otlp {
    /// Whether this exporter runs. Default: true.
    pub(in crate::config) enabled: bool,
    /// URL of the form `http://host:port` or `https://host:port`. For the HTTP protocols it may have
    /// a path; `/v1/traces` is put behind it, unless it ends so.
    #[schemars(length(min = 1))]
    pub(in crate::config) endpoint: String,
    /// `grpc`, or over HTTP `http_protobuf` or `http_json`. Default: grpc.
    pub(in crate::config) protocol: Protocol,
    /// Headers of each request, such as a token: text, or `env.NAME`. Default: none.
    pub(in crate::config) headers: IndexMap<String, SecretVar>,
    /// TLS to an `https` endpoint. Default: the system's authorities, and no certificate of its own.
    pub(in crate::config) tls: Tls,
    /// Compression of requests. Default: gzip.
    pub(in crate::config) compression: Compression,
    /// Longest wait for the answer to a request, connecting included. Default: 10s.
    pub(in crate::config) timeout: Duration,
    /// Most spans in a request, from 1 to 1000000, unless one trace has more. Default: 8192.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) batch_spans: u32,
    /// Most bytes of a request before compression, from 16KiB. A trace that has more is split.
    /// Default: 2MiB.
    pub(in crate::config) batch_bytes: ByteSize,
    /// Longest wait for a request to fill. Default: 1s.
    pub(in crate::config) flush_interval: Duration,
    /// Wait before a request is sent again, doubled from time to time; a collector that says how
    /// long to wait is given that time. Default: 500ms.
    pub(in crate::config) retry_backoff: Duration,
    /// Longest such wait that nobody asked for. Default: 30s.
    pub(in crate::config) retry_backoff_max: Duration,
    /// Where traces go that the collector refuses for good. Default: they are dropped, and counted.
    pub(in crate::config) dead_letter: Option<LetterFile>,
    /// Most bytes of traces kept in memory for this exporter. Default: 64MiB.
    pub(in crate::config) buffer_bytes: ByteSize,
    /// Which plugins' spans are exported. Default: all.
    pub(in crate::config) plugin_span_filter: Option<PluginSpanFilter>,
    /// Request headers to export: names in any case, `*` for any run of characters. Default: none.
    pub(in crate::config) request_headers: Vec<String>,
    /// Whether the values of headers that carry credentials are exported as `REDACTED`.
    /// Default: true.
    pub(in crate::config) redact_headers: bool,
    /// Whether the content of messages to and from models is left out. Default: false.
    pub(in crate::config) disable_content_logging: bool,
    /// Exact names of attributes to leave out. Default: none.
    pub(in crate::config) excluded_attributes: Vec<String>,
    /// Which traces are exported. Default: all.
    pub(in crate::config) sampling: Sampling,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum Protocol {
    #[default]
    Grpc,
    HttpProtobuf,
    HttpJson,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum Compression {
    #[default]
    Gzip,
    None,
    Zstd,
}

/// A file for what is refused for good.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["file"]))]
pub(in crate::config) struct LetterFile {
    /// A file, relative to this one, that gets a line of JSON for each trace.
    #[schemars(length(min = 1))]
    pub(in crate::config) file: String,
    /// Most bytes of the file and those it was before, `FILE.1` and so on; from 4MiB. Past it,
    /// letters are lost, and counted. Default: 1GiB.
    pub(in crate::config) max_bytes: Option<ByteSize>,
}

impl Default for Otlp {
    fn default() -> Self {
        Self {
            enabled: true,
            endpoint: String::new(),
            protocol: Protocol::default(),
            headers: IndexMap::new(),
            tls: Tls::default(),
            compression: Compression::default(),
            timeout: Duration::seconds(10),
            batch_spans: 8192,
            batch_bytes: ByteSize::mib(2),
            flush_interval: Duration::seconds(1),
            retry_backoff: Duration::millis(500),
            retry_backoff_max: Duration::seconds(30),
            dead_letter: None,
            buffer_bytes: ByteSize::mib(64),
            plugin_span_filter: None,
            request_headers: Vec::new(),
            redact_headers: true,
            disable_content_logging: false,
            excluded_attributes: Vec::new(),
            sampling: Sampling::default(),
        }
    }
}
