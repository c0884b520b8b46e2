use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use aws_lc_rs::{hmac, rsa};
use serde_json::{Value, json};
use weir_sdk::testing::{Exchange, Host, Upstreams};
use weir_sdk::{Hook, http, http_client};

use super::*;

/// 2026-01-02T03:04:05Z, at which the fake host's clock begins.
const NOW: i64 = 1_767_323_045;

const SECRET: &str = "a secret that is long enough for HS256";

/// Keys as an issuer has them.
enum Signer {
    Rsa(rsa::KeyPair, &'static signature::RsaSignatureEncoding),
    Ecdsa(EcdsaKeyPair, usize),
    Ed25519(Ed25519KeyPair),
    Secret(Vec<u8>),
}

impl Signer {
    fn new(algorithm: &str) -> Self {
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
    fn public(&self) -> Vec<u8> {
        match self {
            Self::Rsa(pair, _) => pair.public_key().as_ref().to_vec(),
            Self::Ecdsa(pair, _) => pair.public_key().as_ref().to_vec(),
            Self::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
            Self::Secret(secret) => secret.clone(),
        }
    }

    fn jwk(&self, id: &str) -> Value {
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

    fn token(&self, header: &Value, claims: &Value) -> String {
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
fn encode(bytes: &[u8]) -> String {
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

fn claims() -> Value {
    json!({ "sub": "ada", "exp": NOW + 300, "iss": "https://id", "aud": ["other", "api"] })
}

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = claims();
    change(&mut claims);
    claims
}

fn host(config: Value) -> Host<JwtAuth> {
    Host::new(config).expect("the configuration is right")
}

fn show<'h>(host: &'h Host<JwtAuth>, token: &str) -> Exchange<'h, JwtAuth> {
    let request = http::Request::get("http://example.com/")
        .header("authorization", format!("Bearer {token}"))
        .header("x-user", "root");
    host.request(request.body(()).unwrap())
}

#[track_caller]
fn assert_result(exchange: &Exchange<'_, JwtAuth>, result: &str) {
    let span = exchange.span(Hook::Request);
    assert_eq!(span.attribute("jwt_auth.result"), Some(&result.into()));
    let status = exchange.answer().map(|answer| answer.status().as_u16());
    let expected = match result {
        "accepted" => None,
        "keys_unavailable" => Some(503),
        _ => Some(401),
    };
    assert_eq!(status, expected);
}

/// The upstream could take another of them than was checked.
#[test]
fn several_tokens_are_let_in_only_where_the_upstream_sees_none() {
    let token = Signer::new("HS256").token(&json!({ "alg": "HS256" }), &claims());
    for (hide, result) in [(false, "malformed"), (true, "accepted")] {
        let host = host(json!({ "secret": SECRET, "algorithms": ["HS256"], "hide": hide }));
        let request = http::Request::get("http://example.com/")
            .header("authorization", format!("Bearer {token}"))
            .header("authorization", "Bearer another's");
        assert_result(&host.request(request.body(()).unwrap()), result);
    }
}

#[test]
fn tokens_of_every_algorithm_are_let_in_and_forged_ones_are_not() {
    for algorithm in [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
        "HS256",
    ] {
        let signer = Signer::new(algorithm);
        let config = match signer {
            Signer::Secret(_) => json!({ "secret": SECRET, "algorithms": [algorithm] }),
            _ => json!({ "keys": [signer.jwk("k1")], "algorithms": [algorithm] }),
        };
        let host = host(config);
        let header = json!({ "alg": algorithm, "kid": "k1" });
        let token = signer.token(&header, &claims());
        assert_result(&show(&host, &token), "accepted");
        // Of no key id, too.
        let token = signer.token(&json!({ "alg": algorithm }), &claims());
        assert_result(&show(&host, &token), "accepted");

        let (signed, signature) = token.rsplit_once('.').unwrap();
        let other = with(|claims| claims["sub"] = "root".into()).to_string();
        let (header, _) = signed.split_once('.').unwrap();
        let forged = format!("{header}.{}.{signature}", encode(other.as_bytes()));
        assert_result(&show(&host, &forged), "signature");
        assert_result(&show(&host, &format!("{signed}.")), "signature");
        if algorithm != "HS256" {
            let stranger = Signer::new(algorithm).token(&json!({ "alg": algorithm }), &claims());
            assert_result(&show(&host, &stranger), "signature");
        }
    }
}

#[test]
fn a_token_does_not_choose_its_algorithm() {
    let rsa = Signer::new("RS256");
    let host = host(json!({ "keys": [rsa.jwk("k1")], "secret": SECRET, "algorithms": ["RS256"] }));
    let payload = encode(claims().to_string().as_bytes());
    for none in ["none", "None", "NONE", ""] {
        let header = encode(json!({ "alg": none }).to_string().as_bytes());
        assert_result(&show(&host, &format!("{header}.{payload}.")), "algorithm");
    }
    // The public key as a secret.
    for public in [rsa.public(), rsa.jwk("k1").to_string().into_bytes()] {
        let confused = Signer::Secret(public);
        let token = confused.token(&json!({ "alg": "HS256", "kid": "k1" }), &claims());
        assert_result(&show(&host, &token), "algorithm");
    }
    // An algorithm that is not asked for, though there is a key.
    let token = Signer::new("HS256").token(&json!({ "alg": "HS256" }), &claims());
    assert_result(&show(&host, &token), "algorithm");
    let token = rsa.token(&json!({ "alg": "RS512" }), &claims());
    assert_result(&show(&host, &token), "algorithm");
}

#[test]
fn a_public_key_is_no_secret_even_where_both_kinds_are_taken() {
    let rsa = Signer::new("RS256");
    let config = json!({
        "keys": [rsa.jwk("k1")], "secret": SECRET, "algorithms": ["RS256", "HS256", "ES256"],
    });
    let host = host(config);
    let confused = Signer::Secret(rsa.public());
    let token = confused.token(&json!({ "alg": "HS256", "kid": "k1" }), &claims());
    assert_result(&show(&host, &token), "signature");
    // A key of another kind does not fit.
    let token = rsa.token(&json!({ "alg": "ES256", "kid": "k1" }), &claims());
    assert_result(&show(&host, &token), "unknown_key");
}

#[test]
fn a_key_is_used_only_for_what_it_says() {
    let signer = Signer::new("RS256");
    let token = signer.token(&json!({ "alg": "RS256" }), &claims());
    let mut jwk = signer.jwk("k1");
    jwk["alg"] = "RS512".into();
    assert_result(
        &show(&host(json!({ "keys": [jwk] })), &token),
        "unknown_key",
    );
    jwk["alg"] = "RS256".into();
    assert_result(
        &show(&host(json!({ "keys": [jwk.clone()] })), &token),
        "accepted",
    );
    jwk["use"] = "enc".into();
    let refused = Host::<JwtAuth>::new(json!({ "keys": [jwk] }));
    assert_eq!(
        refused.err().as_deref(),
        Some("keys[0]: is no public key for signatures")
    );
}

#[test]
fn claims_are_checked_with_leeway() {
    let signer = Signer::new("HS256");
    let host = host(json!({
        "secret": SECRET, "issuer": "https://id", "audience": ["api", "admin"], "leeway_seconds": 10,
    }));
    for (claims, result) in [
        (claims(), "accepted"),
        (with(|c| c["exp"] = (NOW - 9).into()), "accepted"),
        (with(|c| c["exp"] = (NOW - 10).into()), "expired"),
        (with(|c| c["exp"] = 0.5.into()), "expired"),
        (with(|c| c["exp"] = Value::Null), "claims"),
        (with(|c| c["exp"] = "tomorrow".into()), "claims"),
        (with(|c| c["nbf"] = (NOW + 10).into()), "accepted"),
        (with(|c| c["nbf"] = (NOW + 11).into()), "not_yet_valid"),
        (with(|c| c["nbf"] = json!([])), "claims"),
        (with(|c| c["iss"] = "https://other".into()), "issuer"),
        (with(|c| c["iss"] = json!(["https://id"])), "issuer"),
        (with(|c| c["aud"] = "admin".into()), "accepted"),
        (with(|c| c["aud"] = json!(["web"])), "audience"),
        (with(|c| c["aud"] = Value::Null), "audience"),
        (json!("ada"), "malformed"),
    ] {
        let token = signer.token(&json!({ "alg": "HS256" }), &claims);
        let exchange = show(&host, &token);
        let span = exchange.span(Hook::Request);
        let seen = span.attribute("jwt_auth.result");
        assert_eq!(seen, Some(&result.into()), "{claims}");
    }
}

#[test]
fn what_is_no_token_is_refused() {
    let host = host(json!({ "secret": SECRET }));
    let request = http::Request::get("/").body(()).unwrap();
    let exchange = host.request(request);
    assert_result(&exchange, "missing");
    let challenge = &exchange.answer().unwrap().headers()["www-authenticate"];
    assert_eq!(challenge, "Bearer realm=\"restricted\"");

    let signer = Signer::new("HS256");
    let critical = signer.token(&json!({ "alg": "HS256", "crit": ["x"], "x": 1 }), &claims());
    let long = "a".repeat(20_000);
    for token in [
        "",
        "a",
        "a.b",
        "a.b.c.d",
        "..",
        "e30.e30.é",
        "e30=.e30.e30",
        &critical,
        &long,
    ] {
        assert_result(&show(&host, token), "malformed");
    }
    assert_result(&show(&host, "e30.e30.e30"), "algorithm");
    let exchange = show(&host, "a.b.c");
    let challenge = &exchange.answer().unwrap().headers()["www-authenticate"];
    assert_eq!(
        challenge,
        "Bearer realm=\"restricted\", error=\"invalid_token\""
    );
}

#[test]
fn claims_are_told_to_the_upstream_and_never_by_the_client() {
    let signer = Signer::new("HS256");
    let host = host(json!({
        "secret": SECRET, "hide": true,
        "claims_to_headers": { "sub": "x-user", "groups": "x-groups", "gone": "x-gone" },
    }));
    let claims = with(|claims| claims["groups"] = json!(["a", "b"]));
    let token = signer.token(&json!({ "alg": "HS256" }), &claims);
    let exchange = show(&host, &token);
    let headers = exchange.request_headers();
    assert_eq!(headers["x-user"], "ada");
    assert_eq!(headers["x-groups"], "a,b");
    assert!(!headers.contains_key("authorization"));
    let user = exchange.span(Hook::Request).attribute("enduser.id");
    assert_eq!(user, Some(&"ada".into()));

    // What cannot be in a header is not told, and what the client says does not take its place.
    let claims = with(|claims| claims["sub"] = "a\r\nx-admin: 1".into());
    let token = signer.token(&json!({ "alg": "HS256" }), &claims);
    let exchange = show(&host, &token);
    assert_result(&exchange, "accepted");
    assert!(!exchange.request_headers().contains_key("x-user"));
}

/// An issuer whose key set a test changes, and that counts how often it is fetched.
#[derive(Clone, Default)]
struct Issuer {
    set: Rc<RefCell<Option<Value>>>,
    fetched: Rc<Cell<u32>>,
}

impl Issuer {
    fn publish(&self, keys: &[Value]) {
        *self.set.borrow_mut() = Some(json!({ "keys": keys }));
    }

    fn host(&self) -> Host<JwtAuth> {
        let issuer = self.clone();
        let upstreams = Upstreams::new().with("issuer", move |request| {
            assert_eq!(request.uri(), "/keys");
            issuer.fetched.set(issuer.fetched.get() + 1);
            match &*issuer.set.borrow() {
                Some(set) => Ok(http::Response::new(set.to_string().into_bytes())),
                None => Err(http_client::Error::Timeout),
            }
        });
        let config = json!({ "jwks": { "upstream": "issuer", "path": "/keys" } });
        Host::calling(upstreams, config).expect("the configuration is right")
    }
}

#[test]
fn keys_are_fetched_once_and_again_when_they_are_old() {
    let (issuer, signer) = (Issuer::default(), Signer::new("ES256"));
    issuer.publish(&[
        json!({ "kty": "oct", "k": "AA" }),
        json!(1),
        signer.jwk("k1"),
    ]);
    let mut host = issuer.host();
    let token = signer.token(
        &json!({ "alg": "ES256", "kid": "k1" }),
        &with(|claims| claims["exp"] = (NOW + 100_000).into()),
    );
    for _ in 0..3 {
        assert_result(&show(&host, &token), "accepted");
    }
    assert_eq!(issuer.fetched.get(), 1);
    host.advance(Duration::from_secs(301));
    assert_result(&show(&host, &token), "accepted");
    assert_eq!(issuer.fetched.get(), 2);

    // While the issuer is down, what is known serves.
    *issuer.set.borrow_mut() = None;
    host.advance(Duration::from_hours(1));
    for _ in 0..5 {
        assert_result(&show(&host, &token), "accepted");
    }
    assert_eq!(issuer.fetched.get(), 3, "the others do not wait for it");
}

#[test]
fn an_unknown_key_has_keys_fetched_again_but_not_for_each_token() {
    let (issuer, old, new) = (
        Issuer::default(),
        Signer::new("EdDSA"),
        Signer::new("EdDSA"),
    );
    issuer.publish(&[old.jwk("old")]);
    let mut host = issuer.host();
    let token = old.token(&json!({ "alg": "EdDSA", "kid": "old" }), &claims());
    assert_result(&show(&host, &token), "accepted");

    issuer.publish(&[old.jwk("old"), new.jwk("new")]);
    let token = new.token(&json!({ "alg": "EdDSA", "kid": "new" }), &claims());
    assert_result(&show(&host, &token), "accepted");
    assert_eq!(issuer.fetched.get(), 2);

    let stranger = new.token(&json!({ "alg": "EdDSA", "kid": "stranger" }), &claims());
    for _ in 0..10 {
        assert_result(&show(&host, &stranger), "unknown_key");
    }
    assert_eq!(issuer.fetched.get(), 2, "not within the pause");
    host.advance(Duration::from_secs(31));
    assert_result(&show(&host, &stranger), "unknown_key");
    assert_eq!(issuer.fetched.get(), 3);
}

#[test]
fn without_keys_nobody_gets_in_and_the_issuer_is_not_stormed() {
    let (issuer, signer) = (Issuer::default(), Signer::new("EdDSA"));
    let mut host = issuer.host();
    let token = signer.token(&json!({ "alg": "EdDSA", "kid": "k1" }), &claims());
    for _ in 0..10 {
        assert_result(&show(&host, &token), "keys_unavailable");
    }
    assert_eq!(issuer.fetched.get(), 1);
    issuer.publish(&[signer.jwk("k1")]);
    host.advance(Duration::from_secs(3));
    assert_result(&show(&host, &token), "accepted");
}

#[test]
fn without_a_store_keys_serve_and_are_not_fetched_at_will() {
    let (issuer, signer) = (Issuer::default(), Signer::new("EdDSA"));
    issuer.publish(&[signer.jwk("k1")]);
    let mut host = issuer.host();
    host.lose_kv(true);
    let token = signer.token(&json!({ "alg": "EdDSA", "kid": "k1" }), &claims());
    let stranger = signer.token(&json!({ "alg": "EdDSA", "kid": "stranger" }), &claims());
    for _ in 0..10 {
        assert_result(&show(&host, &token), "accepted");
        assert_result(&show(&host, &stranger), "unknown_key");
    }
    assert_eq!(issuer.fetched.get(), 1);
}

#[test]
fn without_a_store_old_keys_serve_for_a_day_while_the_issuer_is_away() {
    let (issuer, signer) = (Issuer::default(), Signer::new("EdDSA"));
    issuer.publish(&[signer.jwk("k1")]);
    let mut host = issuer.host();
    host.lose_kv(true);
    let token = signer.token(
        &json!({ "alg": "EdDSA", "kid": "k1" }),
        &with(|claims| claims["exp"] = (NOW + 100_000).into()),
    );
    assert_result(&show(&host, &token), "accepted");
    *issuer.set.borrow_mut() = None;
    host.advance(Duration::from_hours(1));
    for _ in 0..5 {
        assert_result(&show(&host, &token), "accepted");
    }
    assert_eq!(issuer.fetched.get(), 2, "not for each token");
    host.advance(Duration::from_hours(24));
    for _ in 0..5 {
        assert_result(&show(&host, &token), "keys_unavailable");
    }
    assert_eq!(issuer.fetched.get(), 3);
}

#[test]
fn an_older_set_in_the_store_takes_the_place_of_no_newer_one() {
    let (issuer, old, new) = (
        Issuer::default(),
        Signer::new("EdDSA"),
        Signer::new("EdDSA"),
    );
    issuer.publish(&[old.jwk("old")]);
    let mut host = issuer.host();
    let far = with(|claims| claims["exp"] = (NOW + 100_000).into());
    let token = old.token(&json!({ "alg": "EdDSA", "kid": "old" }), &far);
    assert_result(&show(&host, &token), "accepted");

    host.lose_kv(true);
    host.advance(Duration::from_secs(301));
    issuer.publish(&[new.jwk("new")]);
    let token = new.token(&json!({ "alg": "EdDSA", "kid": "new" }), &far);
    assert_result(&show(&host, &token), "accepted");

    host.lose_kv(false);
    host.advance(Duration::from_secs(301));
    *issuer.set.borrow_mut() = None;
    assert_result(&show(&host, &token), "accepted");
    assert_eq!(issuer.fetched.get(), 3);
}

#[test]
fn a_configuration_that_lets_nobody_in_or_anybody_is_refused() {
    let refused = |config: Value| Host::<JwtAuth>::new(config).expect_err("it is refused");
    assert!(refused(json!({})).contains("is needed"));
    assert!(refused(json!({ "secret": "short" })).contains("fewer than 32 bytes"));
    assert!(refused(json!({ "secret": SECRET, "algorithms": [] })).contains("at least one"));
    assert!(refused(json!({ "secret": SECRET, "algorithms": ["none"] })).contains("none"));
    assert!(refused(json!({ "secret": SECRET, "header": "host" })).contains("header"));
    let jwks = json!({ "jwks": { "upstream": "issuer", "path": "/keys" } });
    assert_eq!(
        refused(jwks),
        "jwks.upstream: list `issuer` in `upstreams` of this plugin"
    );
}
