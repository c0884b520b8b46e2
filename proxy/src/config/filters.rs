//! What of a trace leaves, by an exporter or to the store.

use std::time::Duration;

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

impl Default for Sampling {
    fn default() -> Self {
        Self {
            ratio: 1.0,
            keep_errors: true,
            keep_slower_than: None,
        }
    }
}
