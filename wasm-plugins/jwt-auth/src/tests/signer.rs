//! Who signs tokens, by each algorithm that there is.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use aws_lc_rs::{hmac, rsa};
use serde_json::{Value, json};

use super::SECRET;

/// Keys as an issuer has them.
pub(super) enum Signer {
    Rsa(rsa::KeyPair, &'static signature::RsaSignatureEncoding),
    Ecdsa(EcdsaKeyPair, usize),
    Ed25519(Ed25519KeyPair),
    Secret(Vec<u8>),
}

impl Signer {
    pub(super) fn new(algorithm: &str) -> Self {
        let rsa = |encoding| {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
            Self::Rsa(pair, encoding)
        };
        let ecdsa = |of: &'static EcdsaSigningAlgorithm, len| {
            Self::Ecdsa(EcdsaKeyPair::generate(of).unwrap(), len)
        };
        match algorithm {
            "RS256" => rsa(&signature::RSA_PKCS1_SHA256),
            "RS384" => rsa(&signature::RSA_PKCS1_SHA384),
            "RS512" => rsa(&signature::RSA_PKCS1_SHA512),
            "PS256" => rsa(&signature::RSA_PSS_SHA256),
            "PS384" => rsa(&signature::RSA_PSS_SHA384),
            "PS512" => rsa(&signature::RSA_PSS_SHA512),
            "ES256" => ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, 32),
            "ES384" => ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, 48),
            "ES512" => ecdsa(&signature::ECDSA_P521_SHA512_FIXED_SIGNING, 66),
            "EdDSA" => Self::Ed25519(Ed25519KeyPair::generate().unwrap()),
            _ => Self::Secret(SECRET.into()),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Self::Ecdsa(pair, _) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Secret(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, message).as_ref().to_vec()
            }
        }
    }

    /// The public key's bytes, as they would be taken for a secret by who confuses the two.
    pub(super) fn public(&self) -> Vec<u8> {
        match self {
            Self::Rsa(pair, _) => pair.public_key().as_ref().to_vec(),
            Self::Ecdsa(pair, _) => pair.public_key().as_ref().to_vec(),
            Self::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
            Self::Secret(secret) => secret.clone(),
        }
    }

    pub(super) fn jwk(&self, id: &str) -> Value {
        let public = self.public();
        match self {
            Self::Rsa(..) => {
                // The sequence ends with the modulus and 02 03 01 00 01.
                let (rest, e) = public.split_at(public.len() - 3);
                let n = &rest[rest.len() - 2 - 256..rest.len() - 2];
                json!({ "kty": "RSA", "kid": id, "use": "sig", "n": encode(n), "e": encode(e) })
            }
            Self::Ecdsa(_, len) => {
                let curve = match len {
                    32 => "P-256",
                    48 => "P-384",
                    _ => "P-521",
                };
                let (x, y) = public[1..].split_at(*len);
                json!({ "kty": "EC", "crv": curve, "kid": id, "x": encode(x), "y": encode(y) })
            }
            Self::Ed25519(_) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": encode(&public) })
            }
            Self::Secret(secret) => json!({ "kty": "oct", "kid": id, "k": encode(secret) }),
        }
    }

    pub(super) fn token(&self, header: &Value, claims: &Value) -> String {
        let (header, claims) = (header.to_string(), claims.to_string());
        let signed = format!(
            "{}.{}",
            encode(header.as_bytes()),
            encode(claims.as_bytes())
        );
        let signature = encode(&self.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

/// Base64 of RFC 4648, section 5, without padding.
pub(super) fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0_usize, |bits, index| {
            bits << 8 | usize::from(group.get(index).copied().unwrap_or(0))
        });
        for digit in 0..=group.len() {
            text.push(char::from(DIGITS[bits >> (18 - 6 * digit) & 63]));
        }
    }
    text
}
