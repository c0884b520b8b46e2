use serde_json::{Value, json};
use weir_sdk::testing::{Exchange, Host};
use weir_sdk::{Hook, http};

use super::*;

fn host(config: Value) -> Host<Cors> {
    Host::new(config).expect("the configuration is right")
}

fn from<'h>(host: &'h Host<Cors>, origin: &str) -> Exchange<'h, Cors> {
    let request = http::Request::get("http://api.example/").header("origin", origin);
    host.request(request.body(()).unwrap())
}

fn preflight<'h>(host: &'h Host<Cors>, origin: &str, method: &str) -> Exchange<'h, Cors> {
    let request = http::Request::options("http://api.example/")
        .header("origin", origin)
        .header("access-control-request-method", method);
    host.request(request.body(()).unwrap())
}

fn page() -> Value {
    json!({ "origins": ["https://app.example"] })
}

#[test]
fn a_page_that_is_let_in_may_read_the_response() {
    let host = host(json!({
        "origins": ["https://app.example"], "credentials": true, "expose": ["etag", "x-total"],
    }));
    let mut exchange = from(&host, "https://app.example");
    let span = exchange.span(Hook::Request);
    assert_eq!(span.attribute("cors.result"), Some(&"allowed".into()));
    let response = exchange.response(http::Response::new(""));
    let headers = response.headers();
    assert_eq!(
        headers["access-control-allow-origin"],
        "https://app.example"
    );
    assert_eq!(headers["access-control-allow-credentials"], "true");
    assert_eq!(headers["access-control-expose-headers"], "etag, x-total");
    assert_eq!(headers["vary"], "origin");
}

#[test]
fn a_page_that_is_not_may_not_whatever_the_upstream_says() {
    let host = host(page());
    let upstream = http::Response::builder()
        .header("access-control-allow-origin", "*")
        .header("access-control-allow-credentials", "true")
        .body("");
    let response = from(&host, "https://evil.example").response(upstream.unwrap());
    assert!(
        !response
            .headers()
            .contains_key("access-control-allow-origin")
    );
    assert!(
        !response
            .headers()
            .contains_key("access-control-allow-credentials")
    );
    assert_eq!(response.headers()["vary"], "origin");
}

#[test]
fn a_preflight_is_answered() {
    let host = host(json!({
        "origins": ["https://app.example"], "methods": ["PUT"], "headers": ["x-a", "x-b"],
        "max_age": 5,
    }));
    let mut exchange = preflight(&host, "https://app.example", "PUT");
    let response = exchange.response(http::Response::new("never asked for"));
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    let headers = response.headers();
    assert_eq!(
        headers["access-control-allow-origin"],
        "https://app.example"
    );
    assert_eq!(headers["access-control-allow-methods"], "PUT");
    assert_eq!(headers["access-control-allow-headers"], "x-a, x-b");
    assert_eq!(headers["access-control-max-age"], "5");
    assert!(headers["vary"].to_str().unwrap().contains("origin"));
}

#[test]
fn a_preflight_of_another_origin_or_method_is_refused() {
    let host = host(page());
    for (origin, method) in [
        ("https://evil.example", "GET"),
        ("https://app.example", "DELETE"),
    ] {
        let mut exchange = preflight(&host, origin, method);
        let response = exchange.response(http::Response::new(""));
        assert_eq!(
            response.status(),
            StatusCode::FORBIDDEN,
            "{origin} {method}"
        );
        assert!(
            !response
                .headers()
                .contains_key("access-control-allow-origin")
        );
    }
}

#[test]
fn options_without_a_question_is_an_ordinary_request() {
    let host = host(page());
    let request =
        http::Request::options("http://api.example/").header("origin", "https://app.example");
    let mut exchange = host.request(request.body(()).unwrap());
    assert!(exchange.answer().is_none());
    let response = exchange.response(http::Response::new(""));
    assert_eq!(
        response.headers()["access-control-allow-origin"],
        "https://app.example"
    );
}

#[test]
fn a_request_without_an_origin_is_let_by() {
    let host = host(page());
    let request = http::Request::get("http://api.example/").body(()).unwrap();
    let response = host.request(request).response(http::Response::new(""));
    assert!(
        !response
            .headers()
            .contains_key("access-control-allow-origin")
    );
    assert_eq!(response.headers()["vary"], "origin", "for caches");
}

#[test]
fn all_origins_are_one() {
    let host = host(json!({ "origins": ["*"] }));
    let response = from(&host, "https://any.example").response(http::Response::new(""));
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    assert!(!response.headers().contains_key("vary"));
}

#[test]
fn a_star_stands_for_labels_and_nothing_else() {
    let host = host(json!({ "origins": ["https://*.example.org:8443"] }));
    for (origin, allowed) in [
        ("https://a.example.org:8443", true),
        ("https://a.b.example.org:8443", true),
        ("https://example.org:8443", false),
        ("https://.example.org:8443", false),
        ("https://a.example.org", false),
        ("http://a.example.org:8443", false),
        ("https://evil.test/.example.org:8443", false),
        ("https://evil.test?.example.org:8443", false),
        ("https://evil@a.example.org:8443", false),
        ("null", false),
    ] {
        let response = from(&host, origin).response(http::Response::new(""));
        let told = response
            .headers()
            .contains_key("access-control-allow-origin");
        assert_eq!(told, allowed, "{origin}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (config, expected) in [
        (json!({ "origins": [] }), "origins: at least one"),
        (
            json!({ "origins": ["*"], "credentials": true }),
            "credentials: ",
        ),
        (json!({ "origins": ["app.example"] }), "origins[0]: "),
        (json!({ "origins": ["https://a.example/"] }), "origins[0]: "),
        (json!({ "origins": ["https://a.*.example"] }), "first label"),
        (
            json!({ "origins": ["*"], "methods": ["A B"] }),
            "methods[0]: ",
        ),
        (
            json!({ "origins": ["*"], "headers": ["a b"] }),
            "headers[0]: ",
        ),
    ] {
        let refused = Host::<Cors>::new(config).unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }
}
