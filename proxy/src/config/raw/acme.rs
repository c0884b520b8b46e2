//! The keys of `tls.acme`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretVar;
use crate::config::units::Duration;

/// Certificates by ACME (RFC 8555), which are renewed in time. They are kept in `data_dir`, which
/// must be set.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["domains", "terms_of_service_agreed"]))]
pub(in crate::config) struct Acme {
    /// DNS names, without `*`. Each has a certificate of its own, so that one which cannot be had
    /// holds up no other.
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub(in crate::config) domains: Vec<String>,
    /// That you agree to the terms of whoever runs the directory; must be true.
    pub(in crate::config) terms_of_service_agreed: bool,
    /// URL of the directory, of https. Default: Let's Encrypt's.
    pub(in crate::config) directory: String,
    /// Mail addresses that the directory may write to. Default: none.
    pub(in crate::config) contact: Vec<String>,
    /// How it is shown that a name is yours: `tls-alpn-01` on port 443 of the name, which must lead to
    /// this listener; `http-01` on its port 80, which must lead to any listener without TLS. Default:
    /// tls-alpn-01.
    pub(in crate::config) challenge: Challenge,
    /// Authorities of the directory itself: PEM text, the path of a PEM file, or `env.NAME` of
    /// either. Default: the system's.
    pub(in crate::config) ca: Option<SecretVar>,
    /// How long before it expires a certificate is renewed; half of its time at most. Default: a
    /// third of its time.
    pub(in crate::config) renew_before: Option<Duration>,
    /// An account elsewhere that the directory asks for. Default: none.
    pub(in crate::config) external_account: Option<ExternalAccount>,
}

/// What an account is bound to (RFC 8555, section 7.3.4).
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["key_id", "hmac_key"]))]
pub(in crate::config) struct ExternalAccount {
    /// Name of the key.
    pub(in crate::config) key_id: String,
    /// The key, in base64url as it is given out.
    pub(in crate::config) hmac_key: SecretVar,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(inline)]
pub(in crate::config) enum Challenge {
    #[default]
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    #[serde(rename = "http-01")]
    Http01,
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            terms_of_service_agreed: false,
            directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
            contact: Vec::new(),
            challenge: Challenge::default(),
            ca: None,
            renew_before: None,
            external_account: None,
        }
    }
}

impl Default for ExternalAccount {
    fn default() -> Self {
        Self {
            key_id: String::new(),
            hmac_key: SecretVar(String::new()),
        }
    }
}
