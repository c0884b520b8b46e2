//! `jwt-auth` in Weir, with keys that it fetches, and with one of each algorithm.

mod algorithms;

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _, SigningKey as _};
use serde_json::{Value, json};
use weir_tests::client::Response;
use weir_tests::config::config;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;

use crate::Stand;

/// An issuer that replies with its keys, or not at all.
struct Issuer {
    key: KeyPair,
    upstream: Upstream,
    is_up: Arc<AtomicBool>,
    /// The key set.
    set: Arc<Mutex<String>>,
}

/// A key of the issuer's with a name.
fn jwk(key: &KeyPair, name: &str) -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "kid": name, "x": encode(key.der_bytes()) })
}

impl Issuer {
    fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        let set = json!({ "keys": [jwk(&key, "k1")] }).to_string();
        let set = Arc::new(Mutex::new(set));
        let published = Arc::clone(&set);
        let is_up = Arc::new(AtomicBool::new(true));
        let up = Arc::clone(&is_up);
        let upstream = Upstream::new(move |_, stream| {
            let (status, body) = if up.load(Ordering::SeqCst) {
                ("200 OK", published.lock().expect("lock").clone())
            } else {
                ("500 Internal Server Error", String::new())
            };
            let len = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-length: {len}\r\n\r\n{body}"
            );
        });
        Self {
            key,
            upstream,
            is_up,
            set,
        }
    }

    /// From now on these are its keys.
    fn publish(&self, keys: &[Value]) {
        *self.set.lock().expect("lock") = json!({ "keys": keys }).to_string();
    }

    fn token(&self, key: &str, claims: &Value) -> String {
        token("EdDSA", key, claims, |message| {
            self.key.sign(message).expect("a signature")
        })
    }

    fn stand(&self) -> Stand {
        self.stand_with(json!({ "upstream": "issuer", "path": "/keys" }))
    }

    /// With these keys of `jwks`.
    fn stand_with(&self, jwks: Value) -> Stand {
        let upstream = Upstream::hello();
        let mut config = config(&upstream);
        config["upstreams"]["issuer"] = json!({ "endpoints": [self.upstream.url()] });
        config["plugins"]["auth"] = json!({
            "module": "builtin:jwt-auth",
            "upstreams": ["issuer"],
            "config": {
                "jwks": jwks,
                "audience": ["api"],
                "claims_to_headers": { "sub": "x-user" },
            },
        });
        config["routes"][0]["plugins"] = json!(["auth"]);
        Stand::with(upstream, config)
    }
}

/// A JSON Web Token by the key of this name.
fn token(algorithm: &str, key: &str, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let header = json!({ "alg": algorithm, "kid": key }).to_string();
    let claims = claims.to_string();
    let signed = format!(
        "{}.{}",
        encode(header.as_bytes()),
        encode(claims.as_bytes())
    );
    format!("{signed}.{}", encode(&sign(signed.as_bytes())))
}

/// Base64 of RFC 4648, section 5, without padding.
fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn claims() -> Value {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time");
    json!({ "sub": "ada", "aud": "api", "exp": now.as_secs() + 3600 })
}

fn show(stand: &Stand, token: &str) -> Response {
    stand.get(&[&format!("authorization: Bearer {token}"), "x-user: root"])
}

#[test]
fn keys_are_fetched_by_a_call_of_the_plugins_own_and_kept() {
    let issuer = Issuer::new();
    let stand = issuer.stand();
    let token = issuer.token("k1", &claims());
    for _ in 0..3 {
        assert_eq!(show(&stand, &token).status, 200);
        assert_eq!(stand.seen().header("x-user"), Some("ada"));
    }
    let seen = issuer.upstream.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!((&*seen[0].method, &*seen[0].target), ("GET", "/keys"));

    let trace = stand.trace();
    let hook = "plugin.auth.prehook";
    assert_eq!(trace.attribute(hook, "jwt_auth.result"), "accepted");
    assert_eq!(trace.attribute(hook, "enduser.id"), "ada");
    let call = trace.span("GET");
    assert_eq!(call["Attributes"]["weir.upstream.name"], "issuer");
    assert_eq!(trace.parent("GET"), hook);
    let parent = seen[0].header("traceparent").expect("it is traced");
    assert!(parent.contains(call["SpanID"].as_str().expect("an id")));
}

#[test]
fn forged_expired_and_misdirected_tokens_are_answered_with_401() {
    let issuer = Issuer::new();
    let stand = issuer.stand();
    let stranger = Issuer::new();
    let with = |key: &str, value: Value| {
        let mut claims = claims();
        claims[key] = value;
        claims
    };
    for token in [
        stranger.token("k1", &claims()),
        issuer.token("k1", &with("exp", 1.into())),
        issuer.token("k1", &with("aud", "web".into())),
        issuer.token("k2", &claims()),
        format!(
            "{}.{}.",
            encode(br#"{"alg":"none"}"#),
            encode(claims().to_string().as_bytes())
        ),
        String::new(),
    ] {
        let response = show(&stand, &token);
        assert_eq!(response.status, 401, "{token}");
        assert!(response.header("www-authenticate").is_some());
    }
    assert!(stand.upstream.seen().is_empty());
}

#[test]
fn while_the_issuer_is_down_nobody_gets_in_but_with_keys_that_are_known() {
    let issuer = Issuer::new();
    issuer.is_up.store(false, Ordering::SeqCst);
    let stand = issuer.stand();
    let token = issuer.token("k1", &claims());
    let response = show(&stand, &token);
    assert_eq!(response.status, 503);
    assert_eq!(response.json()["title"], "Service Unavailable");
    assert!(stand.upstream.seen().is_empty());
    issuer.is_up.store(true, Ordering::SeqCst);
    eventually("keys are fetched again", || {
        (show(&stand, &token).status == 200).then_some(())
    });
    issuer.is_up.store(false, Ordering::SeqCst);
    assert_eq!(show(&stand, &token).status, 200);
}

/// A key that is there is used until its set is old: then one that the issuer has taken back opens nothing more.
#[test]
fn when_the_issuer_swaps_its_key_the_new_one_passes_and_the_old_one_no_more() {
    let (mut issuer, first) = (Issuer::new(), claims());
    let stand = issuer.stand_with(json!({
        "upstream": "issuer", "path": "/keys", "refresh_seconds": 1, "refetch_seconds": 3600,
    }));
    let old = issuer.token("k1", &first);
    let status = |token: &str| show(&stand, token).status;
    assert_eq!(status(&old), 200);

    // Both are published at first; an unknown one has the set fetched at once, for once.
    let before = jwk(&issuer.key, "k1");
    issuer.key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let after = jwk(&issuer.key, "k2");
    issuer.publish(&[before, after.clone()]);
    let new = issuer.token("k2", &claims());
    assert_eq!(status(&new), 200);
    assert_eq!(status(&old), 200);

    // Only a set that is fetched because it has become old has it no more.
    issuer.publish(&[after]);
    eventually("the old key passes no more", || {
        (status(&old) == 401).then_some(())
    });
    assert_eq!(status(&new), 200);
    assert_eq!(status(&old), 401);
}

#[test]
fn routes_with_issuers_of_their_own_never_take_a_key_of_the_other() {
    let (one, two) = (Issuer::new(), Issuer::new());
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    config["upstreams"]["one"] = json!({ "endpoints": [one.upstream.url()] });
    config["upstreams"]["two"] = json!({ "endpoints": [two.upstream.url()] });
    config["plugins"]["auth"] = json!({
        "module": "builtin:jwt-auth", "upstreams": ["one", "two"], "config": { "audience": ["api"] },
    });
    let route = |name: &str| {
        let jwks = json!({ "upstream": name, "path": "/keys" });
        json!({
            "match": { "path": format!("/{name}") }, "upstream": "up",
            "plugins": [{ "auth": { "jwks": jwks } }],
        })
    };
    config["routes"] = json!([route("one"), route("two")]);
    let weir = weir_tests::weir::Weir::start(&config.to_string());
    let status = |path: &str, issuer: &Issuer| {
        let token = issuer.token("k1", &claims());
        let header = format!("authorization: Bearer {token}");
        weir.get(path, &[&header]).status
    };
    for _ in 0..2 {
        assert_eq!([status("/one", &one), status("/two", &two)], [200, 200]);
        assert_eq!([status("/one", &two), status("/two", &one)], [401, 401]);
    }
}

#[test]
fn routes_that_want_another_issuer_fetch_keys_of_their_own() {
    let issuer = Issuer::new();
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    config["upstreams"]["issuer"] = json!({ "endpoints": [issuer.upstream.url()] });
    config["plugins"]["auth"] = json!({
        "module": "builtin:jwt-auth", "upstreams": ["issuer"],
        "config": { "jwks": { "upstream": "issuer", "path": "/keys" } },
    });
    let route = |name: &str| {
        json!({
            "match": { "path": format!("/{name}") }, "upstream": "up",
            "plugins": [{ "auth": { "issuer": name } }],
        })
    };
    config["routes"] = json!([route("one"), route("two")]);
    let weir = weir_tests::weir::Weir::start(&config.to_string());
    for name in ["one", "two", "one", "two"] {
        let mut claims = claims();
        claims["iss"] = name.into();
        let token = issuer.token("k1", &claims);
        let header = format!("authorization: Bearer {token}");
        assert_eq!(weir.get(&format!("/{name}"), &[&header]).status, 200);
    }
    assert_eq!(issuer.upstream.seen().len(), 2);
}
