//! Cryptography on the host: faster than in a plugin, and constant in time where it has to be.
//!
//! In native tests it needs the feature `testing-crypto` of this crate, which builds aws-lc:
//!
//! ```toml
//! [target.'cfg(not(target_arch = "wasm32"))'.dependencies]
//! weir-sdk = { version = "0.1", features = ["testing-crypto"] }
//! ```
//!
//! ```no_run
//! use weir_sdk::crypto::{self, Hash};
//!
//! # let (secret, body, shown) = (b"", b"", b"");
//! let right = crypto::hmac(Hash::Sha256, secret, body);
//! let accepted = crypto::equal(&right, shown);
//! ```

use crate::backend;

/// Hash functions of FIPS 180-4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256: 32 bytes.
    Sha256,
    /// SHA-384: 48 bytes.
    Sha384,
    /// SHA-512: 64 bytes.
    Sha512,
}

/// Signature algorithms, by their names in JSON Web Algorithms (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
    /// `EdDSA` on Curve25519 (`EdDSA` in a token's head).
    Ed25519,
}

/// A public key.
#[derive(Clone, Copy, Debug)]
pub enum PublicKey<'a> {
    /// For RS and PS, of 2048 to 8192 bits: both numbers big-endian, without leading zeros.
    Rsa {
        /// The modulus.
        n: &'a [u8],
        /// The exponent.
        e: &'a [u8],
    },
    /// For ES the uncompressed point (`4`, x, y), for Ed25519 its 32 bytes.
    Point(&'a [u8]),
    /// A `SubjectPublicKeyInfo` in DER, for any.
    Spki(&'a [u8]),
}

/// The digest of at most 2 MiB.
pub fn digest(hash: Hash, data: &[u8]) -> Vec<u8> {
    backend::digest(hash, data)
}

/// A message authentication code (RFC 2104) of at most 2 MiB, the key included.
pub fn hmac(hash: Hash, key: &[u8], data: &[u8]) -> Vec<u8> {
    backend::hmac(hash, key, data)
}

/// Whether a signature of at most 2 MiB is right, in the form of JSON Web Signatures: of ECDSA, both
/// numbers one behind the other. It is not where the key is none of the algorithm's.
pub fn verify(algorithm: Algorithm, key: PublicKey<'_>, message: &[u8], signature: &[u8]) -> bool {
    backend::verify(algorithm, key, message, signature)
}

/// Whether two secrets are the same, in a time that tells only their lengths.
pub fn equal(one: &[u8], other: &[u8]) -> bool {
    backend::equal(one, other)
}
