//! The keys of `store`: recent traces, kept for the console.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::units::{ByteSize, Duration};

/// Recent traces, kept here for the console: in `data_dir`, or in memory where there is none.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-optional" = true))]
pub(in crate::config) struct Store {
    /// Whether traces are kept. Default: true.
    pub(in crate::config) enabled: bool,
    /// Most bytes of traces, from 1MiB on; the oldest go first. Default: 64MiB.
    pub(in crate::config) max_bytes: ByteSize,
    /// How long a trace is kept. Default: 24h.
    pub(in crate::config) max_age: Duration,
    /// Most traces that are kept each second, over all workers, with room for five seconds' worth
    /// at once; past it failed requests come first, then the first of each connection, and the
    /// others are only counted. From 1 to 10000. Default: 50.
    #[schemars(range(min = 1, max = 10_000))]
    pub(in crate::config) max_traces_per_second: u32,
    /// Request headers to keep: names in any case, `*` for any run of characters. Values of
    /// credentials are kept as `REDACTED`. Default: those that exporters capture.
    pub(in crate::config) request_headers: Option<Vec<String>>,
    /// Whether the content of messages to and from models is left out. Default: true where an
    /// exporter leaves it out.
    pub(in crate::config) disable_content_logging: Option<bool>,
    /// Exact names of attributes to leave out. Default: none.
    pub(in crate::config) excluded_attributes: Vec<String>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            enabled: true,
            max_bytes: ByteSize::mib(64),
            max_age: Duration::seconds(24 * 60 * 60),
            max_traces_per_second: 50,
            request_headers: None,
            disable_content_logging: None,
            excluded_attributes: Vec::new(),
        }
    }
}
