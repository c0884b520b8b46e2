use serde_json::{Value, json};
use weir_sdk::testing::{Exchange, Host};
use weir_sdk::{Hook, http};

use super::*;

fn host(config: Value) -> Host<BasicAuth> {
    Host::new(config).expect("the configuration is right")
}

fn ada() -> Host<BasicAuth> {
    host(json!({ "users": { "ada": "päss:word", "bob": "secret" } }))
}

fn show<'h>(host: &'h Host<BasicAuth>, authorization: &str) -> Exchange<'h, BasicAuth> {
    let request = http::Request::get("http://example.com/")
        .header("authorization", authorization)
        .header("x-user", "root");
    host.request(request.body(()).unwrap())
}

#[track_caller]
fn assert_result(exchange: &Exchange<'_, BasicAuth>, result: &str) {
    let span = exchange.span(Hook::Request);
    assert_eq!(span.attribute("basic_auth.result"), Some(&result.into()));
    let accepted = result == "accepted";
    assert_eq!(exchange.answer().is_none(), accepted);
    assert_eq!(span.attribute("enduser.id").is_some(), accepted);
}

/// The upstream could take another of them than was checked.
#[test]
fn several_credentials_are_let_in_only_where_the_upstream_sees_none() {
    for (hide, result) in [(false, "malformed"), (true, "accepted")] {
        let host = host(json!({ "users": { "bob": "secret" }, "hide": hide }));
        let request = http::Request::get("http://example.com/")
            .header("authorization", "Basic Ym9iOnNlY3JldA==")
            .header("authorization", "Bearer another's");
        assert_result(&host.request(request.body(()).unwrap()), result);
    }
}

#[test]
fn the_right_password_is_let_in_and_hidden() {
    let host = ada();
    // ada:päss:word, with and without padding; bob:secret.
    for shown in [
        "Basic YWRhOnDDpHNzOndvcmQ=",
        "basic YWRhOnDDpHNzOndvcmQ",
        "BASIC  Ym9iOnNlY3JldA==",
    ] {
        let exchange = show(&host, shown);
        assert_result(&exchange, "accepted");
        assert!(!exchange.request_headers().contains_key("authorization"));
        assert_eq!(
            exchange.request_headers()["x-user"],
            "root",
            "not its affair"
        );
    }
}

#[test]
fn the_upstream_is_told_who_it_is() {
    let host =
        host(json!({ "users": { "bob": "secret" }, "hide": false, "user_header": "X-User" }));
    let exchange = show(&host, "Basic Ym9iOnNlY3JldA==");
    assert_eq!(exchange.request_headers()["x-user"], "bob");
    assert!(exchange.request_headers().contains_key("authorization"));
    let exchange = show(&host, "Basic Ym9iOndyb25n");
    assert!(!exchange.request_headers().contains_key("x-user"));
}

#[test]
fn a_request_without_room_for_the_user_is_not_let_through() {
    let host = host(json!({ "users": { "bob": "secret" }, "user_header": "x-user" }));
    let mut request =
        http::Request::get("http://example.com/").header("authorization", "Basic Ym9iOnNlY3JldA==");
    for n in 0..256 {
        request = request.header(format!("x-{n}"), "full");
    }
    let exchange = host.request(request.body(()).unwrap());
    assert_eq!(exchange.answer().unwrap().status(), 431);
    assert_eq!(
        exchange.span(Hook::Request).error.as_deref(),
        Some("more headers than the host allows")
    );
}

#[test]
fn others_are_challenged() {
    let host = ada();
    for (shown, result) in [
        // bob:wrong, bob:, eve:secret, ada:secret.
        ("Basic Ym9iOndyb25n", "refused"),
        ("Basic Ym9iOg==", "refused"),
        ("Basic ZXZlOnNlY3JldA==", "refused"),
        ("Basic YWRhOnNlY3JldA==", "refused"),
        ("Bearer Ym9iOnNlY3JldA==", "missing"),
        ("Basic", "malformed"),
        ("Basic Ym9i", "malformed"),
        ("Basic Ym9iOnNlY3JldA===", "malformed"),
        ("Basic Ym9iOnNlY3JldB=A", "malformed"),
        ("Basic Ym9iO", "malformed"),
        ("Basic /////w==", "malformed"),
    ] {
        let exchange = show(&host, shown);
        assert_result(&exchange, result);
        let answer = exchange.answer().unwrap();
        assert_eq!(answer.status(), 401);
        let challenge = "Basic realm=\"restricted\", charset=\"UTF-8\"";
        assert_eq!(answer.headers()["www-authenticate"], challenge);
    }
    let request = http::Request::get("http://example.com/").body(()).unwrap();
    assert_result(&host.request(request), "missing");
}

#[test]
fn base64_reads_every_length_and_byte() {
    assert_eq!(decode(""), Some(vec![]));
    assert_eq!(decode("Zg=="), Some(b"f".to_vec()));
    assert_eq!(decode("Zm8="), Some(b"fo".to_vec()));
    assert_eq!(decode("Zm9v"), Some(b"foo".to_vec()));
    assert_eq!(decode("+/+/"), Some(vec![0xfb, 0xff, 0xbf]));
    for wrong in ["Z", "Zg===", "Z g=", "Zm9v\n", "_-_-", "Zm=v"] {
        assert_eq!(decode(wrong), None, "{wrong:?}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (config, expected) in [
        (json!({ "users": {} }), "users: at least one"),
        (json!({ "users": { "a:b": "c" } }), "users: \"a:b\""),
        (
            json!({ "users": { "a": "" } }),
            "users.a: has an empty password",
        ),
        (json!({ "users": { "a": "b" }, "realm": "a\"b" }), "realm: "),
        (
            json!({ "users": { "a": "b" }, "user_header": "host" }),
            "user_header: \"host\"",
        ),
    ] {
        let refused = Host::<BasicAuth>::new(config).unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }
}
