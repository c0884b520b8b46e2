//! The keys of `kv`: where plugins' values are kept, if not in memory.

use schemars::JsonSchema;
use serde::Deserialize;

use super::SecretVar;
use super::upstream_tls::Tls;
use crate::config::units::Duration;

/// Where the values of plugins' key-value stores are. Without it they are in memory, and each process
/// has its own.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["redis"]))]
pub(in crate::config) struct Kv {
    /// A Redis, whose values all processes share that use it.
    pub(in crate::config) redis: Redis,
}

/// Values of plugins, in Redis.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["url"]))]
pub(in crate::config) struct Redis {
    /// URL of the form `redis://host:port/database`, or `rediss://` for TLS. The port is 6379 and the
    /// database 0 where they are left out.
    #[schemars(length(min = 1))]
    pub(in crate::config) url: String,
    /// The user, where Redis has others than its default one. Default: none.
    #[schemars(length(min = 1))]
    pub(in crate::config) username: Option<String>,
    /// The password, or `env.NAME`. Default: none.
    pub(in crate::config) password: Option<SecretVar>,
    /// TLS to a `rediss` URL. Default: the system's authorities, and no certificate of its own.
    pub(in crate::config) tls: Tls,
    /// What all keys begin with, up to a colon: processes that shall share values have the same.
    /// Default: weir.
    #[schemars(
        title = "prefix of letters, digits, dots, underscores, colons and hyphens",
        regex(pattern = "^[a-zA-Z0-9._:-]{1,64}$")
    )]
    pub(in crate::config) prefix: String,
    /// How long a plugin waits for one operation, and Weir for a connection. Default: 1s.
    pub(in crate::config) timeout: Duration,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: String::new(),
            username: None,
            password: None,
            tls: Tls::default(),
            prefix: "weir".to_owned(),
            timeout: Duration::seconds(1),
        }
    }
}
