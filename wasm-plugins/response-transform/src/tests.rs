use serde_json::json;
use weir_sdk::testing::Host;
use weir_sdk::{Hook, http};

use super::*;

fn transformed(
    config: Value,
    response: http::Response<String>,
) -> (http::Response<Vec<u8>>, String) {
    let host = Host::<ResponseTransform>::new(config).expect("the configuration is right");
    let mut exchange = host.request(http::Request::get("http://example.com/").body(()).unwrap());
    let response = exchange.response(response);
    let span = exchange.span(Hook::Response);
    let result = match span.attribute("response_transform.result") {
        Some(weir_sdk::span::Value::Text(result)) => result.clone().into_owned(),
        other => panic!("{other:?}"),
    };
    (response, result)
}

fn of(config: Value, body: Value) -> Value {
    let response = http::Response::builder()
        .header("content-type", "application/json")
        .body(body.to_string());
    let (response, _) = transformed(config, response.unwrap());
    serde_json::from_slice(response.body()).expect("it is JSON still")
}

#[test]
fn members_and_items_are_removed() {
    let config = json!({ "remove": ["/password", "/items/*/secret", "/items/1", "/a~1b/~0", "/none/at/all"] });
    let body = json!({
        "password": 1, "user": "ada", "a/b": { "~": 1, "c": 2 },
        "items": [{ "secret": 1, "id": 1 }, { "id": 2 }, { "secret": { "deep": 1 }, "id": 3 }, 4],
    });
    let expected = json!({
        "user": "ada", "a/b": { "c": 2 }, "items": [{ "id": 1 }, { "id": 3 }, 4],
    });
    assert_eq!(of(config, body), expected);
}

#[test]
fn members_are_renamed_in_their_place() {
    let config = json!({ "rename": { "/b": "B", "/list/*/ident": "id" } });
    let body = json!({ "a": 1, "b": 2, "c": 3, "B": 4, "list": [{ "ident": 5 }, {}] });
    let changed = of(config, body);
    assert_eq!(
        changed.to_string(),
        r#"{"a":1,"B":2,"c":3,"list":[{"id":5},{}]}"#
    );
}

#[test]
fn values_are_set_where_their_way_is() {
    let config = json!({ "set": { "/a/b": 1, "/list/-": "last", "/list/0": "first", "/no/way": 1, "/map/*": 0 } });
    let body = json!({ "a": {}, "list": ["one", "two"], "map": { "x": 1, "y": [2] } });
    let expected =
        json!({ "a": { "b": 1 }, "list": ["first", "two", "last"], "map": { "x": 0, "y": 0 } });
    assert_eq!(of(config, body), expected);
}

#[test]
fn numbers_and_order_are_kept() {
    let response = http::Response::builder()
        .header("content-type", "application/json")
        .body(r#"{"z":18446744073709551615,"a":-0.5,"gone":1,"m":1e3}"#.to_owned());
    let (response, _) = transformed(json!({ "remove": ["/gone"] }), response.unwrap());
    let text = String::from_utf8_lossy(response.body());
    assert_eq!(text, r#"{"z":18446744073709551615,"a":-0.5,"m":1000.0}"#);
}

#[test]
fn what_tells_of_the_old_body_goes_with_it() {
    let builder = || {
        http::Response::builder()
            .header("content-type", "application/problem+json; charset=utf-8")
            .header("etag", "\"1\"")
            .header("digest", "md5=x")
            .header("x-kept", "1")
    };
    let config = json!({ "remove": ["/a"] });
    let (changed, result) =
        transformed(config.clone(), builder().body(r#"{"a":1}"#.into()).unwrap());
    assert_eq!(result, "changed");
    assert_eq!(changed.headers()["etag"], "W/\"1\"");
    assert!(!changed.headers().contains_key("digest"));
    assert!(changed.headers().contains_key("x-kept"));
    let (same, result) = transformed(config, builder().body(r#"{"b": 1}"#.into()).unwrap());
    assert_eq!(result, "unchanged");
    assert_eq!(same.headers()["etag"], "\"1\"");
    assert!(same.headers().contains_key("digest"));
    assert_eq!(same.body(), br#"{"b": 1}"#);
}

#[test]
fn what_it_does_not_understand_it_leaves_alone() {
    let body = r#"{"a":1"#;
    for (status, headers, result) in [
        (200, vec![("content-type", "application/json")], "malformed"),
        (200, vec![("content-type", "text/html")], "no_json"),
        (200, vec![], "no_json"),
        (404, vec![("content-type", "application/json")], "status"),
        (
            200,
            vec![
                ("content-type", "application/json"),
                ("content-encoding", "br"),
            ],
            "encoded",
        ),
    ] {
        let mut builder = http::Response::builder().status(status);
        for (name, value) in headers {
            builder = builder.header(name, value);
        }
        let config = json!({ "remove": ["/a"] });
        let (response, told) = transformed(config, builder.body(body.into()).unwrap());
        assert_eq!(told, result);
        assert_eq!(response.body(), body.as_bytes());
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (config, expected) in [
        (json!({}), "at least one"),
        (
            json!({ "remove": ["a"] }),
            "remove: \"a\" is no JSON Pointer",
        ),
        (
            json!({ "rename": { "/~2": "a" } }),
            "rename: \"/~2\" is no JSON Pointer",
        ),
        (json!({ "set": { "": 1 } }), "set: \"\" is no JSON Pointer"),
        (json!({ "remove": ["/a"], "max_bytes": 0 }), "max_bytes: "),
    ] {
        let refused = Host::<ResponseTransform>::new(config).unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }
}
