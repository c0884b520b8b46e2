//! `plugins.*.breaker`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Duration;

/// When a plugin that keeps failing is not called any more, on the worker it failed on.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Breaker {
    /// Failures in a row of one hook after which none is called; `on_error` decides what requests
    /// meet meanwhile. 0 calls for ever. Default: 50.
    #[schemars(range(max = 4_294_967_295_u32))]
    pub(in crate::config) failures: u32,
    /// How long until one hook is called again, to try: where it goes well all are. Default: 5s.
    pub(in crate::config) pause: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failures: 50,
            pause: Duration::seconds(5),
        }
    }
}
