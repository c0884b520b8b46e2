use serde_json::{Value, json};
use weir_sdk::testing::Host;
use weir_sdk::{Hook, http};

use super::BodyLimit;

fn host(max: Value) -> Host<BodyLimit> {
    Host::new(json!({ "max": max })).expect("a good configuration")
}

fn post(length: Option<&str>) -> http::Request<()> {
    let mut request = http::Request::post("http://example.com/");
    if let Some(length) = length {
        request = request.header("content-length", length);
    }
    request.body(()).expect("a request")
}

#[test]
fn a_size_may_have_a_unit() {
    for (max, length, passes) in [
        (json!(5), "5", true),
        (json!("5"), "6", false),
        (json!("5B"), "6", false),
        (json!("1KiB"), "1024", true),
        (json!("1MiB"), "1048577", false),
        (json!("2GiB"), "2147483648", true),
    ] {
        let host = host(max.clone());
        let exchange = host.request(post(Some(length)));
        assert_eq!(exchange.answer().is_none(), passes, "{max} {length}");
    }
    for max in ["", "MiB", "5 MiB", "5MB", "99999999999GiB"] {
        let refused = Host::<BodyLimit>::new(json!({ "max": max })).expect_err("no size");
        assert!(refused.contains("is no size"), "{refused}");
    }
}

#[test]
fn a_length_that_is_too_large_is_refused_at_once() {
    let host = host(json!(10));
    let exchange = host.request(post(Some("11")));
    let answer = exchange.answer().expect("an answer");
    assert_eq!(answer.status(), 413);
    let result = exchange.span(Hook::Request).attribute("body_limit.result");
    assert_eq!(result, Some(&"refused".into()));
}

#[test]
fn a_body_without_a_length_is_counted() {
    let host = host(json!(10));
    let mut exchange = host.request(post(None));
    let sent = exchange.stream_request(["01234", "56789"]);
    assert_eq!(sent.bytes(), b"0123456789");
    assert!(sent.answer.is_none());

    let mut exchange = host.request(post(None));
    let sent = exchange.stream_request(["01234", "56789", "!", "never seen"]);
    assert_eq!(sent.bytes(), b"0123456789");
    assert_eq!(sent.answer.expect("an answer").status(), 413);
    let result = exchange.span(Hook::Request).attribute("body_limit.result");
    assert_eq!(result, Some(&"exceeded".into()));
}
