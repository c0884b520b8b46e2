//! `overload`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Duration;

/// When workers that cannot keep up refuse new requests.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Overload {
    /// Whether they do, with 503. Default: true.
    pub(in crate::config) enabled: bool,
    /// How late whatever is ready on a worker may get its turn, from 5ms to 10s: requests are refused
    /// where it is later all through 500ms, until it is not. Default: 50ms.
    pub(in crate::config) lateness: Duration,
}

impl Default for Overload {
    fn default() -> Self {
        Self {
            enabled: true,
            lateness: Duration::millis(50),
        }
    }
}
