//! The keys of an exporter that have keys of their own, about what of a trace goes to it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::Duration;

/// Which plugins' spans are exported; other spans always are.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["mode", "plugins"]))]
pub(in crate::config) struct PluginSpanFilter {
    /// Whether `plugins` are the only ones exported, or the ones left out.
    pub(in crate::config) mode: FilterMode,
    /// Names of plugins.
    pub(in crate::config) plugins: Vec<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum FilterMode {
    Include,
    #[default]
    Exclude,
}

/// Which traces are exported, decided when a trace is complete.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Sampling {
    /// Part of the traces that is kept, from 0.0 to 1.0, chosen by trace id. Default: 1.0.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub(in crate::config) ratio: f64,
    /// What is kept whatever the ratio.
    pub(in crate::config) keep: Keep,
}

/// Traces that are kept whatever the ratio.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Keep {
    /// Traces with an error. Default: true.
    pub(in crate::config) errors: bool,
    /// Traces that lasted longer than this. Default: none for their length alone.
    pub(in crate::config) slower_than: Option<Duration>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            ratio: 1.0,
            keep: Keep::default(),
        }
    }
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            errors: true,
            slower_than: None,
        }
    }
}
