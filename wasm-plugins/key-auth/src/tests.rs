use serde_json::{Value, json};
use weir_sdk::Hook;
use weir_sdk::http::{self, Request as Sent};
use weir_sdk::testing::Host;

use super::*;

fn host() -> Host<KeyAuth> {
    Host::new(json!({"keys": ["first", "second"]})).unwrap()
}

fn sent(header: &str, key: &str) -> Sent<()> {
    Sent::get("http://example.com/")
        .header(header, key)
        .body(())
        .unwrap()
}

#[test]
fn each_key_opens() {
    let host = host();
    for key in ["first", "second"] {
        let exchange = host.request(sent("x-api-key", key));
        assert!(exchange.answer().is_none());
        assert_eq!(exchange.request_headers()["x-api-key"], key);
        assert_eq!(
            exchange.span(Hook::Request).attribute("key_auth.result"),
            Some(&"accepted".into())
        );
    }
}

#[test]
fn no_other_key_opens() {
    let host = host();
    for key in ["", "firs", "firstt", "First", "first ", "firstsecond"] {
        let exchange = host.request(sent("x-api-key", key));
        assert_eq!(exchange.answer().unwrap().status(), 401, "{key:?}");
        assert_eq!(
            exchange.span(Hook::Request).attribute("key_auth.result"),
            Some(&"unknown".into())
        );
    }
}

/// The upstream could take another of them than was compared.
#[test]
fn several_keys_open_only_where_the_upstream_sees_none() {
    for (hide, opens) in [(false, false), (true, true)] {
        let host: Host<KeyAuth> = Host::new(json!({ "keys": ["first"], "hide": hide })).unwrap();
        let request = Sent::get("http://example.com/")
            .header("x-api-key", "first")
            .header("x-api-key", "another's");
        let exchange = host.request(request.body(()).unwrap());
        assert_eq!(exchange.answer().is_none(), opens);
        assert!(!opens || !exchange.request_headers().contains_key("x-api-key"));
    }
}

#[test]
fn no_key_is_answered_with_a_challenge_and_a_problem() {
    let host = host();
    let exchange = host.request(Sent::get("http://example.com/").body(()).unwrap());
    let answer = exchange.answer().unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(
        answer.headers()["www-authenticate"],
        r#"Key header="x-api-key""#
    );
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem: Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(
        problem,
        json!({"title": "Unauthorized", "status": 401, "detail": "a key is needed"})
    );
    assert_eq!(
        exchange.span(Hook::Request).attribute("key_auth.result"),
        Some(&"missing".into())
    );
}

#[test]
fn the_key_is_read_from_the_header_that_is_configured() {
    let host = Host::<KeyAuth>::new(json!({"keys": ["k"], "header": "X-Token"})).unwrap();
    assert!(host.request(sent("x-token", "k")).answer().is_none());
    assert!(host.request(sent("x-api-key", "k")).answer().is_some());
}

#[test]
fn a_hidden_key_does_not_reach_the_upstream() {
    let host = Host::<KeyAuth>::new(json!({"keys": ["k"], "hide": true})).unwrap();
    let exchange = host.request(sent("x-api-key", "k"));
    assert!(exchange.answer().is_none());
    assert!(!exchange.request_headers().contains_key("x-api-key"));
}

#[test]
fn a_response_is_private_unless_it_says_otherwise() {
    let host = host();
    let silent = host
        .request(sent("x-api-key", "first"))
        .response(http::Response::new(""));
    assert_eq!(silent.headers()["cache-control"], "private");
    let public = http::Response::builder()
        .header("cache-control", "public")
        .body("")
        .unwrap();
    let public = host.request(sent("x-api-key", "first")).response(public);
    assert_eq!(public.headers()["cache-control"], "public");
}

#[test]
fn a_refusal_is_private_too() {
    let host = host();
    let response = host
        .request(sent("x-api-key", "wrong"))
        .response(http::Response::new("secret"));
    assert_eq!(response.headers()["cache-control"], "private");
    assert_eq!(response.status(), 401);
}

#[test]
fn the_key_is_nowhere_in_span_log_or_answer() {
    let host = host();
    for key in ["first", "a-wrong-key"] {
        let exchange = host.request(sent("x-api-key", key));
        let told = format!(
            "{:?} {:?} {:?}",
            exchange.span(Hook::Request),
            exchange.logs(),
            exchange.answer()
        );
        assert!(!told.contains(key), "{told}");
    }
}

#[test]
fn a_configuration_that_keeps_everybody_out_is_refused() {
    let fault = |config| Host::<KeyAuth>::new(config).unwrap_err();
    assert_eq!(fault(json!(null)), "missing field `keys`");
    assert_eq!(
        fault(json!({"keys": []})),
        "keys: at least one key is needed, else nobody gets in"
    );
    assert_eq!(fault(json!({"keys": ["a", ""]})), "keys[1]: is empty");
    assert_eq!(
        fault(json!({"keys": ["a"], "header": "a b"})),
        r#"header: "a b": not a header name"#
    );
    assert_eq!(
        fault(json!({"keys": ["a"], "header": "host"})),
        r#"header: "host": a header that belongs to the proxy"#
    );
}
