use serde_json::{Value, json};
use weir_sdk::testing::Host;
use weir_sdk::{Hook, http};

use super::*;

fn host(config: Value) -> Host<Maintenance> {
    Host::new(config).expect("the configuration is right")
}

fn get(header: Option<(&str, &str)>) -> http::Request<()> {
    let request = http::Request::get("http://example.com/");
    match header {
        Some((name, value)) => request.header(name, value).body(()).unwrap(),
        None => request.body(()).unwrap(),
    }
}

#[test]
fn every_request_is_answered() {
    let host = host(json!(null));
    let exchange = host.request(get(None));
    let answer = exchange.answer().expect("it is answered");
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert!(!answer.headers().contains_key("retry-after"));
    let problem: Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(problem["status"], 503);
    let result = exchange.span(Hook::Request).attribute("maintenance.result");
    assert_eq!(result, Some(&"answered".into()));
}

#[test]
fn the_answer_is_as_configured() {
    let host = host(json!({
        "status": 500, "retry_after": 60, "content_type": "text/html", "body": "<h1>Soon</h1>",
    }));
    let exchange = host.request(get(None));
    let answer = exchange.answer().expect("it is answered");
    assert_eq!(answer.status(), 500);
    assert_eq!(answer.headers()["content-type"], "text/html");
    assert_eq!(answer.headers()["retry-after"], "60");
    assert_eq!(answer.body(), b"<h1>Soon</h1>");
}

#[test]
fn who_has_the_header_goes_on() {
    let host = host(json!({ "pass": { "header": "x-preview", "value": "secret" } }));
    let exchange = host.request(get(Some(("x-preview", "secret"))));
    assert!(exchange.answer().is_none());
    for wrong in ["", "Secret", "secrets", "secre"] {
        let exchange = host.request(get(Some(("x-preview", wrong))));
        assert!(exchange.answer().is_some(), "{wrong:?}");
    }
}

#[test]
fn what_is_off_is_never_called() {
    let host = host(json!({ "enabled": false }));
    assert!(!host.request(get(None)).called(Hook::Request));
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (config, expected) in [
        (json!({ "status": 200 }), "status: 200"),
        (json!({ "content_type": "a\nb" }), "content_type: "),
        (
            json!({ "pass": { "header": "x-a", "value": "" } }),
            "pass.value: ",
        ),
        (
            json!({ "pass": { "header": "host", "value": "a" } }),
            "pass.header: ",
        ),
        (json!({ "retry": 1 }), "unknown field `retry`"),
    ] {
        let refused = Host::<Maintenance>::new(config).unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }
}
