use serde_json::{Value, json};
use weir_sdk::http;
use weir_sdk::testing::Host;

use super::*;

fn redirected(config: Value, uri: &str) -> Option<(u16, String)> {
    let host = Host::<Redirect>::new(config).expect("the configuration is right");
    let exchange = host.request(http::Request::get(uri).body(()).unwrap());
    let answer = exchange.answer()?;
    let location = answer.headers()["location"].to_str().unwrap();
    Some((answer.status().as_u16(), location.to_owned()))
}

fn to(template: &str, uri: &str) -> String {
    redirected(json!({ "to": template }), uri)
        .expect("it is redirected")
        .1
}

#[test]
fn a_template_is_filled_with_what_was_asked_for() {
    let https = "https://{host}{path}{query}";
    assert_eq!(
        to(https, "http://a.example:8080/b/c?d=e"),
        "https://a.example/b/c?d=e"
    );
    assert_eq!(to(https, "http://a.example/"), "https://a.example/");
    assert_eq!(to(https, "http://[::1]:80/"), "https://[::1]/");
    assert_eq!(to(https, "http://[::1]/"), "https://[::1]/");
    let authority = "https://{authority}/new{path}";
    assert_eq!(
        to(authority, "http://a.example:8080/b"),
        "https://a.example:8080/new/b"
    );
    assert_eq!(to("/elsewhere", "http://a.example/b"), "/elsewhere");
}

#[test]
fn a_path_never_becomes_another_host() {
    for path in ["//evil.example/x", "///evil.example/x", "/\\evil.example/x"] {
        let uri = format!("http://a.example{path}");
        if uri.parse::<http::Uri>().is_ok() {
            assert_eq!(to("{path}", &uri), "/evil.example/x");
        }
    }
}

#[test]
fn the_status_is_as_configured() {
    let of = |config| redirected(config, "http://a.example/").unwrap().0;
    assert_eq!(of(json!({ "to": "/b" })), 308);
    assert_eq!(of(json!({ "to": "/b", "status": 302 })), 302);
}

#[test]
fn only_requests_of_a_scheme_may_be_meant() {
    let config = json!({ "to": "https://{host}{path}", "scheme": "http" });
    assert!(redirected(config.clone(), "http://a.example/").is_some());
    assert!(redirected(config, "https://a.example/").is_none());
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (config, expected) in [
        (json!({ "to": "" }), "to: "),
        (json!({ "to": "a\nb" }), "to: "),
        (json!({ "to": "/{paths}" }), "to: `{paths}` is not known"),
        (
            json!({ "to": "/{path" }),
            "to: has a `{` that is not closed",
        ),
        (json!({ "to": "/a", "status": 200 }), "status: 200"),
        (json!({ "to": "/a", "scheme": "ftp" }), "scheme: "),
    ] {
        let refused = Host::<Redirect>::new(config).unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }
}
