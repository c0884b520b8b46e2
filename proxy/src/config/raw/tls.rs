//! The keys of `listeners[].tls` and `listeners[].http2`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretVar, acme};

/// TLS of a listener.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-optional" = true, "anyOf" = [{ "required": ["certificates"] }, { "required": ["acme"] }]))]
pub(in crate::config) struct Tls {
    /// Certificates, chosen by the name that a client asks for among the DNS names in them; `*.` in
    /// a name stands for one label. The first is for clients that ask for none of them. At least
    /// one, or `acme`.
    #[schemars(length(min = 1))]
    pub(in crate::config) certificates: Vec<Certificate>,
    /// Certificates by ACME. Default: none.
    pub(in crate::config) acme: Option<acme::Acme>,
    /// Who may come in. Default: anybody.
    pub(in crate::config) client_auth: Option<ClientAuth>,
    /// Protocols that are offered, the preferred first. Default: [h2, http/1.1].
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub(in crate::config) alpn: Vec<Alpn>,
    /// The lowest version of TLS that is spoken. Default: "1.2".
    pub(in crate::config) min_version: Version,
}

/// A certificate with its private key.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["cert", "key"]))]
pub(in crate::config) struct Certificate {
    /// The certificate, then those that lead to an authority: PEM text, the path of a PEM file, or
    /// `env.NAME` of either.
    pub(in crate::config) cert: SecretVar,
    /// Its private key: PEM text, the path of a PEM file, or `env.NAME` of either.
    pub(in crate::config) key: SecretVar,
}

/// Which certificates clients show.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["ca"]))]
pub(in crate::config) struct ClientAuth {
    /// Whether clients without a certificate are let in. A certificate that is shown must be right
    /// in either mode. Default: required.
    pub(in crate::config) mode: ClientAuthMode,
    /// Authorities of clients: PEM text, the path of a PEM file, or `env.NAME` of either.
    pub(in crate::config) ca: SecretVar,
    /// Lists of clients' certificates that are revoked: PEM text, the path of a PEM file, or
    /// `env.NAME` of either. Default: none.
    pub(in crate::config) crl: Option<SecretVar>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum ClientAuthMode {
    #[default]
    Required,
    Optional,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(inline)]
pub(in crate::config) enum Alpn {
    #[serde(rename = "h2")]
    Http2,
    #[serde(rename = "http/1.1")]
    Http1,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(inline)]
pub(in crate::config) enum Version {
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    #[serde(rename = "1.3")]
    V1_3,
}

/// HTTP/2 of a listener.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Http2 {
    /// Whether HTTP/2 is served to clients that begin with it. `tls.alpn` says by itself whether it
    /// is offered there. Default: true.
    pub(in crate::config) enabled: bool,
    /// Most requests under way on one connection, from 1 to 10000. Default: 100.
    #[schemars(range(min = 1, max = 10_000))]
    pub(in crate::config) max_streams: u32,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            acme: None,
            client_auth: None,
            alpn: vec![Alpn::Http2, Alpn::Http1],
            min_version: Version::default(),
        }
    }
}

impl Default for Certificate {
    fn default() -> Self {
        Self {
            cert: SecretVar(String::new()),
            key: SecretVar(String::new()),
        }
    }
}

impl Default for ClientAuth {
    fn default() -> Self {
        Self {
            mode: ClientAuthMode::default(),
            ca: SecretVar(String::new()),
            crl: None,
        }
    }
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            enabled: true,
            max_streams: 100,
        }
    }
}
