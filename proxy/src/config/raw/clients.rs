//! Keys about clients and what is told of them: forwarded fields, the access log, B3.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which fields tell upstreams of the client.
#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum Forwarded {
    #[default]
    #[serde(rename = "x_forwarded")]
    X,
    #[serde(rename = "forwarded")]
    Standard,
    Both,
    Off,
}

/// How a listener's connections are shared out over workers.
#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum ListenerBalance {
    #[default]
    Kernel,
    Exact,
}

/// What becomes of fields with `_` in their names.
#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum Underscores {
    #[default]
    Drop,
    Refuse,
    Pass,
}

/// In which form B3 is sent on.
#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum B3 {
    #[default]
    Off,
    Single,
    Multi,
}

/// A line for each response.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-optional" = true))]
pub(in crate::config) struct AccessLog {
    /// What a line is. Default: json.
    pub(in crate::config) format: AccessLogFormat,
    /// File, relative to this file; SIGUSR1 opens it anew. Default: standard output.
    #[schemars(length(min = 1))]
    pub(in crate::config) path: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum AccessLogFormat {
    #[default]
    Json,
    Text,
}
