use serde_json::{Value, json};
use weir_sdk::Hook;
use weir_sdk::http::{Request as Sent, Response as Received};
use weir_sdk::testing::Host;

use super::*;

fn host(config: Value) -> Host<HeaderRewrite> {
    Host::new(config).unwrap()
}

fn rules() -> Value {
    json!({"remove": ["X-Old"], "set": {"X-Set": "new"}, "add": {"via": "edge"}})
}

#[test]
fn requests_are_rewritten() {
    let host = host(json!({"request": rules()}));
    let request = Sent::get("http://example.com/")
        .header("x-old", "1")
        .header("x-old", "2");
    let request = request
        .header("x-set", "a")
        .header("x-set", "b")
        .header("via", "client");
    let exchange = host.request(request.body(()).unwrap());
    let headers = exchange.request_headers();
    assert!(!headers.contains_key("x-old"));
    assert_eq!(headers.get_all("x-set").iter().collect::<Vec<_>>(), ["new"]);
    assert_eq!(
        headers.get_all("via").iter().collect::<Vec<_>>(),
        ["client", "edge"]
    );
}

#[test]
fn responses_are_rewritten() {
    let host = host(json!({"response": rules()}));
    let response = Received::builder()
        .header("x-old", "1")
        .header("x-set", "a")
        .header("via", "origin");
    let response = host
        .request(Sent::new(()))
        .response(response.body("body").unwrap());
    assert!(!response.headers().contains_key("x-old"));
    assert_eq!(response.headers()["x-set"], "new");
    assert_eq!(
        response.headers().get_all("via").iter().collect::<Vec<_>>(),
        ["origin", "edge"]
    );
    assert_eq!(response.body(), b"body");
}

#[test]
fn what_is_removed_may_be_set_anew() {
    let host = host(json!({"request": {"remove": ["x-a"], "add": {"x-a": "mine"}}}));
    let exchange = host.request(
        Sent::get("http://example.com/")
            .header("x-a", "theirs")
            .body(())
            .unwrap(),
    );
    assert_eq!(
        exchange
            .request_headers()
            .get_all("x-a")
            .iter()
            .collect::<Vec<_>>(),
        ["mine"]
    );
}

#[test]
fn only_hooks_with_something_to_change_are_called() {
    let interests = |config| host(config).interests();
    assert_eq!(interests(json!(null)), Interests::none());
    assert_eq!(
        interests(json!({"request": {"remove": ["a"]}})),
        Interests::none().on_request()
    );
    assert_eq!(
        interests(json!({"response": {"add": {"a": "b"}}})),
        Interests::none().on_response()
    );
    assert_eq!(
        interests(json!({"request": rules(), "response": rules()})),
        Interests::none().on_request().on_response()
    );
}

#[test]
fn a_request_that_cannot_take_a_header_is_not_let_through() {
    let host = host(json!({"request": {"set": {"x-user": "a".repeat(65_530)}}}));
    let exchange = host.request(Sent::new(()));
    assert_eq!(exchange.answer().unwrap().status(), 431);
    assert_eq!(
        exchange.span(Hook::Request).error.as_deref(),
        Some("more headers than the host allows")
    );
}

#[test]
fn a_response_that_cannot_take_a_header_is_replaced() {
    let host = host(json!({"response": {"set": {"x-large": "a".repeat(65_530)}}}));
    let response = host.request(Sent::new(())).response(Received::new("page"));
    assert_eq!(response.status(), 502);
    assert!(response.body().is_empty());
}

#[test]
fn faults_are_named_with_their_place() {
    let fault = |config| Host::<HeaderRewrite>::new(config).unwrap_err();
    assert_eq!(
        fault(json!({"request": {"remove": ["a b"]}})),
        r#"request.remove: "a b": not a header name"#
    );
    assert_eq!(
        fault(json!({"response": {"set": {"content-length": "1"}}})),
        r#"response.set: "content-length": a header that belongs to the proxy"#
    );
    assert_eq!(
        fault(json!({"response": {"add": {"x-a": "a\nb"}}})),
        r#"response.add: "x-a": a header value with a control character"#
    );
    assert_eq!(
        fault(json!({"response": {"append": {}}})),
        "response.append: unknown field `append`, expected one of `remove`, `set`, `add`"
    );
}
