//! Keys that are fetched from their issuer: when, how often, and what serves while it is away.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use weir_sdk::testing::{Host, Upstreams};
use weir_sdk::{http, http_client};

use super::signer::Signer;
use super::{JwtAuth, NOW, assert_result, claims, show, with};

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
        self.host_with(&json!({}))
    }

    /// With further keys of `jwks`.
    fn host_with(&self, keys: &Value) -> Host<JwtAuth> {
        let issuer = self.clone();
        let upstreams = Upstreams::new().with("issuer", move |request| {
            assert_eq!(request.uri(), "/keys");
            issuer.fetched.set(issuer.fetched.get() + 1);
            match &*issuer.set.borrow() {
                Some(set) => Ok(http::Response::new(set.to_string().into_bytes())),
                None => Err(http_client::Error::Timeout),
            }
        });
        let mut config = json!({ "jwks": { "upstream": "issuer", "path": "/keys" } });
        for (key, value) in keys.as_object().expect("keys") {
            config["jwks"][key] = value.clone();
        }
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
fn keys_are_fetched_as_often_as_is_asked_for_and_by_one_at_a_time() {
    for seconds in [0, 1, 2, 9] {
        let (issuer, signer) = (Issuer::default(), Signer::new("EdDSA"));
        issuer.publish(&[signer.jwk("k1")]);
        let mut host = issuer.host_with(&json!({ "refresh_seconds": seconds }));
        let token = signer.token(&json!({ "alg": "EdDSA", "kid": "k1" }), &claims());
        for fetched in 1..=5 {
            assert_result(&show(&host, &token), "accepted");
            assert_eq!(issuer.fetched.get(), fetched, "each {seconds} s");
            host.advance(Duration::from_millis(1000 * seconds.max(1) + 1));
        }
        // One that fails is not tried by each.
        *issuer.set.borrow_mut() = None;
        for _ in 0..5 {
            assert_result(&show(&host, &token), "accepted");
        }
        assert_eq!(issuer.fetched.get(), 6, "each {seconds} s");
    }
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
