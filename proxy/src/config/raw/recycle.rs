//! `plugins.*.recycle`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Duration;

/// When a fresh instance takes an old one's place, so that a slow leak in a guest cannot grow for
/// ever. One that has grown into the last quarter of `limits.memory` is replaced too.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Recycle {
    /// Hooks that an instance serves at most; at least 1. Default: 100000.
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub(in crate::config) hooks: u32,
    /// How old an instance gets; an idle one that is older is dropped. Default: 1h.
    pub(in crate::config) age: Duration,
}

impl Default for Recycle {
    fn default() -> Self {
        Self {
            hooks: 100_000,
            age: Duration::seconds(3600),
        }
    }
}
