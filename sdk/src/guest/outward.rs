//! Calls to upstreams, metrics and cryptography, by the host.

use super::wit;
use crate::crypto::{Algorithm, Hash, PublicKey};
use crate::http_client::{self, Call};
use crate::metrics;

pub(crate) use wit::crypto::equal;
pub(crate) use wit::http_client::may_call;
pub(crate) use wit::metrics::{add as metric_add, set as metric_set};

pub(crate) fn send(call: &Call<'_>) -> Result<http::Response<Vec<u8>>, http_client::Error> {
    let reply = wit::http_client::send(
        call.upstream,
        call.method,
        call.target,
        call.headers,
        call.body,
        call.timeout_ms,
    )?;
    let mut response = http::Response::new(reply.body());
    *response.status_mut() =
        http::StatusCode::from_u16(reply.status()).expect("the host gives a status");
    for (name, value) in reply.headers() {
        let name = name.parse::<http::HeaderName>();
        if let (Ok(name), Ok(value)) = (name, http::HeaderValue::from_bytes(&value)) {
            response.headers_mut().append(name, value);
        }
    }
    Ok(response)
}

pub(crate) fn counter(name: &str, help: &str, labels: &[&str]) -> Result<u32, metrics::Error> {
    Ok(wit::metrics::counter(name, help, labels)?)
}

pub(crate) fn gauge(name: &str, help: &str, labels: &[&str]) -> Result<u32, metrics::Error> {
    Ok(wit::metrics::gauge(name, help, labels)?)
}

pub(crate) fn histogram(
    name: &str,
    help: &str,
    labels: &[&str],
    bounds: &[f64],
) -> Result<u32, metrics::Error> {
    Ok(wit::metrics::histogram(name, help, labels, bounds)?)
}

pub(crate) fn digest(hash: Hash, data: &[u8]) -> Vec<u8> {
    wit::crypto::digest(hash.into(), data)
}

pub(crate) fn hmac(hash: Hash, key: &[u8], data: &[u8]) -> Vec<u8> {
    wit::crypto::hmac(hash.into(), key, data)
}

pub(crate) fn verify(
    algorithm: Algorithm,
    key: PublicKey<'_>,
    message: &[u8],
    signature: &[u8],
) -> bool {
    let key = match key {
        PublicKey::Rsa { n, e } => wit::crypto::PublicKey::Rsa(wit::crypto::Rsa { n, e }),
        PublicKey::Point(point) => wit::crypto::PublicKey::Point(point),
        PublicKey::Spki(spki) => wit::crypto::PublicKey::Spki(spki),
    };
    wit::crypto::verify(algorithm.into(), key, message, signature)
}

impl From<Hash> for wit::crypto::Hash {
    fn from(hash: Hash) -> Self {
        match hash {
            Hash::Sha256 => Self::Sha256,
            Hash::Sha384 => Self::Sha384,
            Hash::Sha512 => Self::Sha512,
        }
    }
}

impl From<Algorithm> for wit::crypto::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Rs256 => Self::Rs256,
            Algorithm::Rs384 => Self::Rs384,
            Algorithm::Rs512 => Self::Rs512,
            Algorithm::Ps256 => Self::Ps256,
            Algorithm::Ps384 => Self::Ps384,
            Algorithm::Ps512 => Self::Ps512,
            Algorithm::Es256 => Self::Es256,
            Algorithm::Es384 => Self::Es384,
            Algorithm::Es512 => Self::Es512,
            Algorithm::Ed25519 => Self::Ed25519,
        }
    }
}

impl From<wit::http_client::Error> for http_client::Error {
    fn from(error: wit::http_client::Error) -> Self {
        use wit::http_client::Error;
        match error {
            Error::NotAllowed => Self::NotAllowed,
            Error::TooMany => Self::TooMany,
            Error::Invalid => Self::Invalid,
            Error::Connect => Self::Connect,
            Error::Timeout => Self::Timeout,
            Error::Broken => Self::Broken,
            Error::TooLarge => Self::TooLarge,
            Error::Overload => Self::Overload,
        }
    }
}

impl From<wit::metrics::Error> for metrics::Error {
    fn from(error: wit::metrics::Error) -> Self {
        match error {
            wit::metrics::Error::InvalidName => Self::InvalidName,
            wit::metrics::Error::Conflict => Self::Conflict,
            wit::metrics::Error::TooMany => Self::TooMany,
        }
    }
}
