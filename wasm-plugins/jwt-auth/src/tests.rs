mod issuer;
mod signer;

use serde_json::{Value, json};
use weir_sdk::testing::{Exchange, Host};
use weir_sdk::{Hook, http};

use super::*;
use signer::{Signer, encode};

/// 2026-01-02T03:04:05Z, at which the fake host's clock begins.
const NOW: i64 = 1_767_323_045;

const SECRET: &str = "a secret that is long enough for HS256";

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
