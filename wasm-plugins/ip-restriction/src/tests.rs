use serde_json::{Value, json};
use weir_sdk::testing::Host;
use weir_sdk::{Hook, http};

use super::*;

fn result(config: Value, client: &str) -> String {
    let host = Host::<IpRestriction>::new(config).expect("the configuration is right");
    let request = http::Request::get("http://example.com/").body(()).unwrap();
    let exchange = host.request_from(client, request);
    let span = exchange.span(Hook::Request);
    match span.attribute("ip_restriction.result") {
        Some(weir_sdk::span::Value::Text(result)) => {
            assert_eq!(exchange.answer().is_none(), result == "allowed");
            result.clone().into_owned()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_listed_addresses_are_let_in() {
    let config = json!({ "allow": ["192.0.2.0/24", "2001:db8::/32", "10.1.2.3"] });
    for (client, expected) in [
        ("192.0.2.0", "allowed"),
        ("192.0.2.255", "allowed"),
        ("192.0.3.0", "unlisted"),
        ("10.1.2.3", "allowed"),
        ("10.1.2.4", "unlisted"),
        ("2001:db8:ffff::1", "allowed"),
        ("2001:db9::", "unlisted"),
        ("::ffff:192.0.2.7", "allowed"),
        ("::192.0.2.7", "unlisted"),
    ] {
        assert_eq!(result(config.clone(), client), expected, "{client}");
    }
}

#[test]
fn what_is_denied_is_so_whatever_is_allowed() {
    let config = json!({ "allow": ["192.0.2.0/24"], "deny": ["192.0.2.64/26"] });
    assert_eq!(result(config.clone(), "192.0.2.63"), "allowed");
    assert_eq!(result(config, "192.0.2.64"), "denied");
    let config = json!({ "deny": ["::/0"] });
    assert_eq!(result(config, "192.0.2.1"), "denied");
    let config = json!({ "deny": ["0.0.0.0/0"] });
    assert_eq!(result(config.clone(), "192.0.2.1"), "denied");
    assert_eq!(result(config, "2001:db8::1"), "allowed");
}

#[test]
fn the_answer_has_the_status_that_is_wanted() {
    let host = Host::<IpRestriction>::new(json!({ "deny": ["192.0.2.1"], "status": 404 })).unwrap();
    let exchange = host.request(http::Request::get("http://example.com/").body(()).unwrap());
    let answer = exchange.answer().expect("it is refused");
    assert_eq!(answer.status(), 404);
    let problem: Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(problem["title"], "Not Found");
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (config, expected) in [
        (json!({}), "at least one"),
        (
            json!({ "allow": ["example.com"] }),
            "allow[0]: \"example.com\" is no address",
        ),
        (
            json!({ "allow": ["192.0.2.0/33"] }),
            "has a prefix that is not from 0 to 32",
        ),
        (json!({ "deny": ["192.0.2.1/24"] }), "write `192.0.2.0/24`"),
        (
            json!({ "deny": ["2001:db8::1/64"] }),
            "write `2001:db8::/64`",
        ),
        (
            json!({ "deny": ["10.0.0.0/8"], "status": 200 }),
            "status: 200",
        ),
    ] {
        let refused = Host::<IpRestriction>::new(config).unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }
}
