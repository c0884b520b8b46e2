//! Tokens of every algorithm, whose signatures the host checks for the plugin, by either ABI. An algorithm
//! that the host took for another would let none of its tokens in.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
    RsaSignatureEncoding,
};
use serde_json::{Value, json};
use weir_tests::abi::Abi;
use weir_tests::config::config;
use weir_tests::kafka::shared;
use weir_tests::upstream::Upstream;

use super::{claims, encode, show, token};
use crate::Stand;

const ALGORITHMS: [&str; 11] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
    "HS256",
];

/// Gives the signature of some bytes.
type Signing = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// A key of an issuer.
struct Key {
    /// As the plugin is told: a JSON Web Key, or the secret.
    told: Value,
    sign: Signing,
}

impl Key {
    fn new(algorithm: &str) -> Self {
        match algorithm {
            "RS256" => Self::rsa(&signature::RSA_PKCS1_SHA256),
            "RS384" => Self::rsa(&signature::RSA_PKCS1_SHA384),
            "RS512" => Self::rsa(&signature::RSA_PKCS1_SHA512),
            "PS256" => Self::rsa(&signature::RSA_PSS_SHA256),
            "PS384" => Self::rsa(&signature::RSA_PSS_SHA384),
            "PS512" => Self::rsa(&signature::RSA_PSS_SHA512),
            "ES256" => Self::ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"),
            "ES384" => Self::ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"),
            "ES512" => Self::ecdsa(&signature::ECDSA_P521_SHA512_FIXED_SIGNING, "P-521"),
            "EdDSA" => Self::ed25519(),
            "HS256" => Self::secret(),
            other => panic!("no algorithm {other}"),
        }
    }

    fn rsa(encoding: &'static RsaSignatureEncoding) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        // The sequence ends with the modulus, 256 bytes, and with the exponent: 02 03 01 00 01.
        let public: &[u8] = pair.public_key().as_ref();
        let (rest, e) = public.split_at(public.len() - 3);
        let n = &rest[rest.len() - 2 - 256..rest.len() - 2];
        Self {
            told: json!({ "kty": "RSA", "n": encode(n), "e": encode(e) }),
            sign: Box::new(move |message| {
                let mut made = vec![0; pair.public_modulus_len()];
                let random = SystemRandom::new();
                pair.sign(encoding, &random, message, &mut made)
                    .expect("a signature");
                made
            }),
        }
    }

    fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm, curve: &str) -> Self {
        let pair = EcdsaKeyPair::generate(algorithm).expect("a key");
        // An uncompressed point: 04, then both numbers.
        let point: &[u8] = pair.public_key().as_ref();
        let (x, y) = point[1..].split_at(point.len() / 2);
        Self {
            told: json!({ "kty": "EC", "crv": curve, "x": encode(x), "y": encode(y) }),
            sign: Box::new(move |message| {
                let made = pair.sign(&SystemRandom::new(), message);
                made.expect("a signature").as_ref().to_vec()
            }),
        }
    }

    fn ed25519() -> Self {
        let pair = Ed25519KeyPair::generate().expect("a key");
        let x = encode(pair.public_key().as_ref());
        Self {
            told: json!({ "kty": "OKP", "crv": "Ed25519", "x": x }),
            sign: Box::new(move |message| pair.sign(message).as_ref().to_vec()),
        }
    }

    fn secret() -> Self {
        let secret = format!("{:064x}", fastrand::u128(..));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        Self {
            told: secret.into(),
            sign: Box::new(move |message| hmac::sign(&key, message).as_ref().to_vec()),
        }
    }

    /// A token whose key is called as its algorithm is.
    fn token(&self, algorithm: &str) -> String {
        token(algorithm, algorithm, &claims(), &self.sign)
    }
}

/// The same token with other claims.
fn forged(token: &str) -> String {
    let mut pieces: Vec<_> = token.split('.').map(str::to_owned).collect();
    let mut other = claims();
    other["sub"] = "root".into();
    pieces[1] = encode(other.to_string().as_bytes());
    pieces.join(".")
}

#[test]
fn tokens_of_every_algorithm_are_let_in_and_forged_ones_are_not() {
    let [keys, strangers] = [(); 2].map(|()| ALGORITHMS.map(Key::new));
    let mut set = Vec::new();
    for (algorithm, key) in ALGORITHMS.iter().zip(&keys) {
        if key.told.is_object() {
            let mut jwk = key.told.clone();
            jwk["kid"] = json!(algorithm);
            set.push(jwk);
        }
    }
    for abi in Abi::BOTH {
        let upstream = Upstream::hello();
        let mut config = config(&upstream);
        config["plugins"]["auth"] = json!({
            "module": abi.guest("jwt-auth"),
            "config": {
                "keys": set, "secret": keys[10].told, "algorithms": ALGORITHMS,
                "claims_to_headers": { "sub": "x-user" },
            },
        });
        config["routes"][0]["plugins"] = json!(["auth"]);
        let stand = Stand::with(upstream, config);
        for ((algorithm, key), stranger) in ALGORITHMS.iter().zip(&keys).zip(&strangers) {
            let token = key.token(algorithm);
            assert_eq!(show(&stand, &token).status, 200, "{algorithm}, {abi:?}");
            assert_eq!(stand.seen().header("x-user"), Some("ada"));
            for wrong in [forged(&token), stranger.token(algorithm)] {
                assert_eq!(show(&stand, &wrong).status, 401, "{algorithm}, {abi:?}");
            }
        }
        assert_eq!(stand.upstream.seen().len(), ALGORITHMS.len());

        let traces = shared().traces(&stand.topic, 3 * ALGORITHMS.len());
        for (trace, algorithm) in traces.chunks(3).zip(ALGORITHMS) {
            let results = trace.iter().map(|one| {
                let said = one.attribute("plugin.auth.prehook", "jwt_auth.result");
                said.as_str().expect("a text")
            });
            let results: Vec<_> = results.collect();
            let expected = ["accepted", "signature", "signature"];
            assert_eq!(results, expected, "{algorithm}, {abi:?}");
        }
    }
}
