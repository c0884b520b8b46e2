//! Cryptography for guests, by aws-lc.

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use aws_lc_rs::{constant_time, digest, hmac};

use super::Host;
use crate::plugin::Failure;
use crate::plugin::contract::weir::plugin::crypto::{Algorithm, Hash};

/// Most bytes at once: no epoch interrupts a call of the host, and the worker's other requests wait for
/// it. SHA-512 takes four milliseconds for so many.
const DATA: usize = 2 << 20;

/// A public key, as a guest passed it.
#[derive(Clone, Copy)]
pub(in crate::plugin) enum PublicKey<'a> {
    Rsa {
        n: &'a [u8],
        e: &'a [u8],
    },
    /// An uncompressed point or 32 bytes, or a `SubjectPublicKeyInfo`: they tell themselves apart.
    Encoded(&'a [u8]),
}

impl Host {
    pub(in crate::plugin) fn digest(hash: Hash, data: &[u8]) -> wasmtime::Result<digest::Digest> {
        check(data.len())?;
        Ok(digest::digest(
            match hash {
                Hash::Sha256 => &digest::SHA256,
                Hash::Sha384 => &digest::SHA384,
                Hash::Sha512 => &digest::SHA512,
            },
            data,
        ))
    }

    pub(in crate::plugin) fn hmac(
        hash: Hash,
        key: &[u8],
        data: &[u8],
    ) -> wasmtime::Result<hmac::Tag> {
        check(key.len().saturating_add(data.len()))?;
        let algorithm = match hash {
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha384 => hmac::HMAC_SHA384,
            Hash::Sha512 => hmac::HMAC_SHA512,
        };
        Ok(hmac::sign(&hmac::Key::new(algorithm, key), data))
    }

    pub(in crate::plugin) fn verify(
        algorithm: Algorithm,
        key: PublicKey<'_>,
        message: &[u8],
        signature: &[u8],
    ) -> wasmtime::Result<bool> {
        check(message.len())?;
        let rsa = match algorithm {
            Algorithm::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
            Algorithm::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
            Algorithm::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
            _ => None,
        };
        Ok(match (key, rsa) {
            (PublicKey::Rsa { n, e }, Some(rsa)) => {
                // More would take long, and is no key of this size.
                n.len() <= 1024
                    && e.len() <= 8
                    && PublicKeyComponents { n, e }
                        .verify(rsa, message, signature)
                        .is_ok()
            }
            (PublicKey::Rsa { .. }, None) => false,
            (PublicKey::Encoded(key), Some(rsa)) => is_right(rsa, key, message, signature),
            (PublicKey::Encoded(key), None) => match algorithm {
                Algorithm::Es256 => {
                    is_right(&signature::ECDSA_P256_SHA256_FIXED, key, message, signature)
                }
                Algorithm::Es384 => {
                    is_right(&signature::ECDSA_P384_SHA384_FIXED, key, message, signature)
                }
                Algorithm::Es512 => {
                    is_right(&signature::ECDSA_P521_SHA512_FIXED, key, message, signature)
                }
                _ => is_right(&signature::ED25519, key, message, signature),
            },
        })
    }

    /// In constant time for their lengths.
    pub(in crate::plugin) fn equal(one: &[u8], other: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(one, other).is_ok()
    }
}

fn is_right(
    algorithm: &'static dyn VerificationAlgorithm,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    key.len() <= 2048
        && UnparsedPublicKey::new(algorithm, key)
            .verify(message, signature)
            .is_ok()
}

fn check(bytes: usize) -> wasmtime::Result<()> {
    if bytes <= DATA {
        return Ok(());
    }
    let what = format!("{bytes} bytes for cryptography at once");
    Err(wasmtime::Error::new(Failure::Bounds(what)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(byte).collect()
    }

    #[test]
    fn a_digest_is_as_in_fips_180_4() {
        let digest = Host::digest(Hash::Sha256, b"abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.as_ref(), bytes(expected));
        assert!(Host::digest(Hash::Sha512, &vec![0; DATA + 1]).is_err());
    }

    #[test]
    fn a_code_is_as_in_rfc_4231() {
        let data = b"what do ya want for nothing?";
        let tag = Host::hmac(Hash::Sha256, b"Jefe", data).unwrap();
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(tag.as_ref(), bytes(expected));
        let half = vec![0; DATA / 2 + 1];
        assert!(Host::hmac(Hash::Sha256, &half, &half).is_err());
    }

    #[test]
    fn a_signature_is_right_for_its_key_message_and_algorithm_alone() {
        // RFC 8032, section 7.1, test 1: of nothing.
        let key = bytes("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let signature = bytes(
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        );
        let check = |algorithm, key, message: &[u8]| {
            Host::verify(algorithm, key, message, &signature).unwrap()
        };
        assert!(check(Algorithm::Ed25519, PublicKey::Encoded(&key), b""));
        assert!(!check(
            Algorithm::Ed25519,
            PublicKey::Encoded(&key),
            b"more"
        ));
        assert!(!check(
            Algorithm::Ed25519,
            PublicKey::Encoded(&key[1..]),
            b""
        ));
        assert!(!check(Algorithm::Es256, PublicKey::Encoded(&key), b""));
        assert!(!check(Algorithm::Rs256, PublicKey::Encoded(&key), b""));
        let rsa = PublicKey::Rsa { n: &key, e: &[3] };
        assert!(!check(Algorithm::Rs256, rsa, b""));
        assert!(!check(Algorithm::Ed25519, rsa, b""));
        let none = PublicKey::Rsa { n: &[], e: &[] };
        assert!(!check(Algorithm::Ps256, none, b""));
    }
}
