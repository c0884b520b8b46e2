use serde_json::{Value, json};
use weir_sdk::testing::{Exchange, Host};
use weir_sdk::{Hook, http};

use super::*;

fn host(config: Value) -> Host<RateLimit> {
    Host::new(config).expect("the configuration is right")
}

fn get() -> http::Request<()> {
    http::Request::get("http://example.com/").body(()).unwrap()
}

fn status(exchange: &Exchange<'_, RateLimit>) -> Option<StatusCode> {
    exchange.answer().map(http::Response::status)
}

fn allowed(host: &Host<RateLimit>, client: &str) -> bool {
    status(&host.request_from(client, get())).is_none()
}

#[test]
fn what_is_over_the_burst_is_answered_with_429() {
    let host = host(json!({ "requests": 2, "seconds": 10 }));
    assert!(allowed(&host, "192.0.2.1"));
    assert!(allowed(&host, "192.0.2.1"));
    let mut exchange = host.request(get());
    let answer = exchange.answer().expect("it is limited");
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers()["retry-after"], "5");
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let span = exchange.span(Hook::Request);
    assert_eq!(span.attribute("rate_limit.result"), Some(&"limited".into()));
    let response = exchange.response(http::Response::new(""));
    assert_eq!(
        response.headers()["ratelimit-policy"],
        "\"default\";q=2;w=10"
    );
    assert_eq!(response.headers()["ratelimit"], "\"default\";r=0;t=5");
}

#[test]
fn tokens_come_back_one_by_one() {
    let mut host = host(json!({ "requests": 2, "seconds": 10 }));
    assert!(allowed(&host, "a::1") && allowed(&host, "a::1") && !allowed(&host, "a::1"));
    host.advance(Duration::from_secs(5));
    assert!(allowed(&host, "a::1"));
    assert!(!allowed(&host, "a::1"));
    host.advance(Duration::from_hours(1));
    assert!(allowed(&host, "a::1") && allowed(&host, "a::1") && !allowed(&host, "a::1"));
}

#[test]
fn a_refusal_takes_no_token() {
    let mut host = host(json!({ "requests": 1, "seconds": 10 }));
    assert!(allowed(&host, "a::1"));
    for _ in 0..100 {
        assert!(!allowed(&host, "a::1"));
    }
    host.advance(Duration::from_secs(10));
    assert!(allowed(&host, "a::1"));
}

#[test]
fn each_client_has_a_bucket_of_its_own() {
    let host = host(json!({ "requests": 1, "seconds": 10 }));
    assert!(allowed(&host, "192.0.2.1"));
    assert!(allowed(&host, "192.0.2.2"));
    assert!(!allowed(&host, "192.0.2.1"));
}

#[test]
fn all_may_share_one() {
    let host = host(json!({ "requests": 1, "seconds": 10, "by": "all" }));
    assert!(allowed(&host, "192.0.2.1"));
    assert!(!allowed(&host, "192.0.2.2"));
}

#[test]
fn a_header_tells_who_shares_one() {
    let host = host(json!({ "requests": 1, "seconds": 10, "by": "header", "header": "X-Key" }));
    let with = |key: &str| {
        let request = http::Request::get("http://example.com/").header("x-key", key);
        status(&host.request(request.body(()).unwrap())).is_none()
    };
    assert!(with("one"));
    assert!(with("two"));
    assert!(!with("one"));
    // Without it, the client's address counts; a header that looks like one does not.
    assert!(with("client:192.0.2.1"));
    assert!(allowed(&host, "192.0.2.1"));
    assert!(!allowed(&host, "192.0.2.1"));
}

#[test]
fn a_burst_may_be_less_than_the_rate() {
    let mut host = host(json!({ "requests": 100, "seconds": 10, "burst": 2 }));
    assert!(allowed(&host, "a::1") && allowed(&host, "a::1") && !allowed(&host, "a::1"));
    host.advance(Duration::from_millis(100));
    assert!(allowed(&host, "a::1"));
    assert!(!allowed(&host, "a::1"));
}

#[test]
fn responses_tell_what_is_left() {
    let host = host(json!({ "requests": 10, "seconds": 10 }));
    let response = host.request(get()).response(http::Response::new(""));
    assert_eq!(response.headers()["ratelimit"], "\"default\";r=9;t=1");
}

#[test]
fn responses_are_left_alone_where_that_is_wanted() {
    let host = host(json!({ "requests": 1, "headers": false }));
    assert!(!host.interests().contains(Hook::Response));
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (config, expected) in [
        (json!({ "requests": 0 }), "requests: "),
        (json!({ "requests": 1, "seconds": 0 }), "seconds: 0 is not"),
        (json!({ "requests": 1, "seconds": 86_401 }), "seconds: "),
        (json!({ "requests": 1, "burst": 0 }), "burst: "),
        (
            json!({ "requests": 1, "seconds": 3600, "burst": 100 }),
            "burst: takes more",
        ),
        (
            json!({ "requests": 1, "by": "header" }),
            "header: is needed",
        ),
        (
            json!({ "requests": 1, "header": "x-a" }),
            "header: is of use",
        ),
        (
            json!({ "requests": 1, "by": "header", "header": "x a" }),
            "header: \"x a\"",
        ),
        (json!({}), "missing field `requests`"),
    ] {
        let refused = Host::<RateLimit>::new(config).unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }
}

#[test]
#[should_panic(expected = "a store that is not available")]
fn a_store_that_is_gone_fails_the_hook() {
    let mut host = host(json!({ "requests": 1 }));
    host.lose_kv(true);
    allowed(&host, "192.0.2.1");
}
