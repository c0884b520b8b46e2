//! Calls to upstreams, metrics and cryptography, in native code.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::http_client::{self, Call};
use crate::metrics;
use crate::testing::calls::Called;
use crate::testing::context::{Context, Defined};

/// The default of `limits.calls`.
const MAX_CALLS: usize = 8;

pub(crate) fn may_call(upstream: &str) -> bool {
    Context::with(|context| context.upstreams.find(upstream).is_some())
}

pub(crate) fn send(call: &Call<'_>) -> Result<http::Response<Vec<u8>>, http_client::Error> {
    use http_client::Error;
    let answer = Context::with_exchange(|context| {
        let answer = context.upstreams.find(call.upstream);
        let answer = answer.ok_or(Error::NotAllowed)?;
        if context.calls_of_hook >= MAX_CALLS {
            return Err(Error::TooMany);
        }
        context.calls_of_hook += 1;
        Ok(answer)
    })?;
    if call.body.len() as u64 > super::MAX_BODY_BYTES {
        return Err(Error::TooLarge);
    }
    let request = request(call).ok_or(Error::Invalid)?;
    Context::with(|context| {
        context.calls.push(Called {
            upstream: call.upstream.into(),
            request: request.clone(),
        });
    });
    let response = answer(&request)?;
    if response.body().len() as u64 > super::MAX_BODY_BYTES {
        return Err(Error::TooLarge);
    }
    Ok(response)
}

/// The request, if it is one that Weir would send.
fn request(call: &Call<'_>) -> Option<http::Request<Vec<u8>>> {
    let method = Method::from_bytes(call.method.as_bytes()).ok()?;
    let mut headers = HeaderMap::new();
    for (name, value) in call.headers {
        if *name != "host" {
            crate::header_name(name).ok()?;
        }
        let name: HeaderName = name.parse().ok()?;
        headers.append(name, HeaderValue::from_bytes(value).ok()?);
    }
    let mut request = http::Request::builder()
        .method(method)
        .uri(call.target)
        .body(call.body.to_vec())
        .ok()?;
    *request.headers_mut() = headers;
    Some(request)
}

pub(crate) fn counter(name: &str, _: &str, labels: &[&str]) -> Result<u32, metrics::Error> {
    define("counter", name, labels)
}

pub(crate) fn gauge(name: &str, _: &str, labels: &[&str]) -> Result<u32, metrics::Error> {
    define("gauge", name, labels)
}

pub(crate) fn histogram(
    name: &str,
    _: &str,
    labels: &[&str],
    bounds: &[f64],
) -> Result<u32, metrics::Error> {
    if bounds.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err(metrics::Error::InvalidName);
    }
    define("histogram", name, labels)
}

fn define(kind: &'static str, name: &str, labels: &[&str]) -> Result<u32, metrics::Error> {
    let legal = |name: &str| {
        let mut bytes = name.bytes();
        bytes
            .next()
            .is_some_and(|first| first == b'_' || first.is_ascii_alphabetic())
            && bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
    };
    let reserved = |label: &&str| ["plugin", "le"].contains(label) || label.starts_with("__");
    if !legal(name) || !labels.iter().all(|label| legal(label) && !reserved(label)) {
        return Err(metrics::Error::InvalidName);
    }
    Context::with(|context| {
        let mut numbers = context.numbers.borrow_mut();
        let new = Defined {
            kind,
            name: name.into(),
            labels: labels.iter().map(|label| (*label).into()).collect(),
        };
        let index = match numbers.defined.iter().position(|known| known.name == name) {
            Some(index) if numbers.defined[index] == new => index,
            Some(_) => return Err(metrics::Error::Conflict),
            None => {
                numbers.defined.push(new);
                numbers.defined.len() - 1
            }
        };
        u32::try_from(index).map_err(|_| metrics::Error::TooMany)
    })
}

pub(crate) fn metric_add(metric: u32, labels: &[&str], value: f64) {
    change(metric, labels, |kind, number| {
        if kind != "counter" || value >= 0.0 {
            *number += value;
        }
    });
}

pub(crate) fn metric_set(metric: u32, labels: &[&str], value: f64) {
    change(metric, labels, |kind, number| {
        if kind == "gauge" {
            *number = value;
        }
    });
}

fn change(metric: u32, labels: &[&str], work: impl FnOnce(&str, &mut f64)) {
    Context::with(|context| {
        let mut numbers = context.numbers.borrow_mut();
        let numbers = &mut *numbers;
        let Some(defined) = numbers.defined.get(metric as usize) else {
            return;
        };
        if defined.labels.len() == labels.len() {
            let labels = labels.iter().map(|label| (*label).into()).collect();
            let key = (defined.name.clone(), labels);
            work(defined.kind, numbers.values.entry(key).or_default());
        }
    });
}

#[cfg(not(feature = "testing-crypto"))]
mod crypto {
    use crate::crypto::{Algorithm, Hash, PublicKey};

    const NEEDED: &str =
        "native tests that use `weir_sdk::crypto` need its feature `testing-crypto`";

    pub(crate) fn digest(_: Hash, _: &[u8]) -> Vec<u8> {
        panic!("{NEEDED}")
    }

    pub(crate) fn hmac(_: Hash, _: &[u8], _: &[u8]) -> Vec<u8> {
        panic!("{NEEDED}")
    }

    pub(crate) fn verify(_: Algorithm, _: PublicKey<'_>, _: &[u8], _: &[u8]) -> bool {
        panic!("{NEEDED}")
    }
}

#[cfg(feature = "testing-crypto")]
mod crypto {
    use aws_lc_rs::rsa::PublicKeyComponents;
    use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
    use aws_lc_rs::{digest, hmac};

    use crate::crypto::{Algorithm, Hash, PublicKey};

    pub(crate) fn digest(hash: Hash, data: &[u8]) -> Vec<u8> {
        let algorithm = match hash {
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha384 => &digest::SHA384,
            Hash::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, data).as_ref().to_vec()
    }

    pub(crate) fn hmac(hash: Hash, key: &[u8], data: &[u8]) -> Vec<u8> {
        let algorithm = match hash {
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha384 => hmac::HMAC_SHA384,
            Hash::Sha512 => hmac::HMAC_SHA512,
        };
        let tag = hmac::sign(&hmac::Key::new(algorithm, key), data);
        tag.as_ref().to_vec()
    }

    pub(crate) fn verify(
        algorithm: Algorithm,
        key: PublicKey<'_>,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let rsa = match algorithm {
            Algorithm::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
            Algorithm::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
            Algorithm::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
            _ => None,
        };
        let other: &'static dyn VerificationAlgorithm = match algorithm {
            Algorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Algorithm::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
            Algorithm::Es512 => &signature::ECDSA_P521_SHA512_FIXED,
            _ => &signature::ED25519,
        };
        match (key, rsa) {
            (PublicKey::Rsa { n, e }, Some(rsa)) => PublicKeyComponents { n, e }
                .verify(rsa, message, signature)
                .is_ok(),
            (PublicKey::Rsa { .. }, None) => false,
            (PublicKey::Point(key) | PublicKey::Spki(key), rsa) => {
                let algorithm = match rsa {
                    Some(rsa) => rsa as &'static dyn VerificationAlgorithm,
                    None => other,
                };
                let key = UnparsedPublicKey::new(algorithm, key);
                key.verify(message, signature).is_ok()
            }
        }
    }
}

pub(crate) use crypto::{digest, hmac, verify};

pub(crate) fn equal(one: &[u8], other: &[u8]) -> bool {
    one == other
}
