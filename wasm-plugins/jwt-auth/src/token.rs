//! A token as it is shown: JSON Web Signature in its compact form (RFC 7515).

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use weir_sdk::crypto;

/// Most bytes of a token: heads are not much longer.
const LONGEST: usize = 16 << 10;

/// Algorithms by their names in RFC 7518 and RFC 8037. There is no `none`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[allow(clippy::upper_case_acronyms, reason = "they are called so")]
pub(crate) enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    ES512,
    EdDSA,
    HS256,
}

impl Algorithm {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::RS256,
            "RS384" => Self::RS384,
            "RS512" => Self::RS512,
            "PS256" => Self::PS256,
            "PS384" => Self::PS384,
            "PS512" => Self::PS512,
            "ES256" => Self::ES256,
            "ES384" => Self::ES384,
            "ES512" => Self::ES512,
            "EdDSA" => Self::EdDSA,
            "HS256" => Self::HS256,
            _ => return None,
        })
    }

    /// As the host knows it; `None` of one that takes a secret.
    pub(crate) fn of_host(self) -> Option<crypto::Algorithm> {
        Some(match self {
            Self::RS256 => crypto::Algorithm::Rs256,
            Self::RS384 => crypto::Algorithm::Rs384,
            Self::RS512 => crypto::Algorithm::Rs512,
            Self::PS256 => crypto::Algorithm::Ps256,
            Self::PS384 => crypto::Algorithm::Ps384,
            Self::PS512 => crypto::Algorithm::Ps512,
            Self::ES256 => crypto::Algorithm::Es256,
            Self::ES384 => crypto::Algorithm::Es384,
            Self::ES512 => crypto::Algorithm::Es512,
            Self::EdDSA => crypto::Algorithm::Ed25519,
            Self::HS256 => return None,
        })
    }
}

pub(crate) struct Token<'t> {
    header: Value,
    /// What is signed.
    pub(crate) signed: &'t str,
    claims: &'t str,
    pub(crate) signature: Vec<u8>,
}

impl<'t> Token<'t> {
    pub(crate) fn parse(text: &'t str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        if claims.contains('.') {
            return None;
        }
        let header: Value = serde_json::from_slice(&decode(header)?).ok()?;
        // An extension that must be understood is not (RFC 7515, section 4.1.11).
        if !header.is_object() || !header["crit"].is_null() {
            return None;
        }
        Some(Self {
            header,
            signed,
            claims,
            signature: decode(signature)?,
        })
    }

    pub(crate) fn algorithm(&self) -> Option<Algorithm> {
        Algorithm::named(self.header["alg"].as_str()?)
    }

    /// The id of its key.
    pub(crate) fn key_id(&self) -> Option<&str> {
        self.header["kid"].as_str()
    }

    /// To be believed once the signature is right.
    pub(crate) fn claims(&self) -> Option<Value> {
        let claims: Value = serde_json::from_slice(&decode(self.claims)?).ok()?;
        claims.is_object().then_some(claims)
    }
}

/// Base64 of RFC 4648, section 5, without padding (RFC 7515, section 2).
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if digits.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        let mut bits = 0_u32;
        for digit in group {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'-' => 62,
                b'_' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}
