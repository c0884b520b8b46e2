//! The keys of `upstreams.<name>` about TLS and the version of HTTP.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretVar;
use super::tls::Version;

/// TLS to an upstream.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-optional" = true))]
pub(in crate::config) struct Tls {
    /// Authorities of the upstream: PEM text, the path of a PEM file, or `env.NAME` of either.
    /// Default: those of the system.
    pub(in crate::config) ca: Option<SecretVar>,
    /// The name that is asked for and that the upstream's certificate must have. Default: the
    /// endpoint's host.
    #[schemars(length(min = 1))]
    pub(in crate::config) server_name: Option<String>,
    /// Certificate that is shown to an upstream that asks for one: PEM text, the path of a PEM file,
    /// or `env.NAME` of either; with `client_key`. Default: none.
    pub(in crate::config) client_cert: Option<SecretVar>,
    /// Its private key: PEM text, the path of a PEM file, or `env.NAME` of either; with
    /// `client_cert`. Default: none.
    pub(in crate::config) client_key: Option<SecretVar>,
    /// The lowest version of TLS that is spoken. Default: "1.2".
    pub(in crate::config) min_version: Version,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum Protocol {
    #[default]
    Auto,
    H1,
    H2,
}
