//! The certificate of who sends a request.

/// What a client's certificate says.
///
/// In tests it is an extension of the request:
///
/// ```
/// use weir_sdk::{AlternativeNames, Certificate, http};
///
/// let request = http::Request::get("https://shop.example/").extension(Certificate {
///     subject: "CN=alice,O=Shop".into(),
///     alternative_names: AlternativeNames {
///         uri: vec!["spiffe://shop.example/alice".into()],
///         ..AlternativeNames::default()
///     },
///     ..Certificate::default()
/// });
/// assert!(request.body(()).is_ok());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    not(target_arch = "wasm32"),
    derive(serde::Deserialize, serde::Serialize),
    serde(default, deny_unknown_fields)
)]
pub struct Certificate {
    /// Its subject by RFC 4514, such as `CN=alice,O=Shop\, Inc.`; empty where it has none. An attribute
    /// that is in no table of that RFC, but for `serialNumber` and `emailAddress`, has its OID and a value
    /// in hexadecimal. Compare the whole: a part of it may stand in another attribute's value.
    pub subject: String,
    /// Who issued it, in the same way.
    pub issuer: String,
    /// The SHA-256 of its DER, in upper-case hexadecimal.
    pub sha256: String,
    /// Its other names.
    pub alternative_names: AlternativeNames,
}

/// The names that a certificate has beside its subject, as they stand there: Weir does not look at their
/// form. Those of other kinds are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    not(target_arch = "wasm32"),
    derive(serde::Deserialize, serde::Serialize),
    serde(default, deny_unknown_fields)
)]
pub struct AlternativeNames {
    /// DNS names.
    pub dns: Vec<String>,
    /// URIs, such as SPIFFE IDs.
    pub uri: Vec<String>,
    /// Mail addresses.
    pub email: Vec<String>,
    /// IP addresses.
    pub ip: Vec<String>,
}
