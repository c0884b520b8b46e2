//! The bundled plugins do what their documentation says.

use serde_json::json;
use weir_tests::client::Response;
use weir_tests::upstream::Upstream;

use crate::{Stand, key_auth, request_id, values};

fn assert_unauthorized(stand: &Stand, response: &Response, result: &str) {
    assert_eq!(response.status, 401);
    assert_eq!(
        response.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(
        response.header("www-authenticate"),
        Some("Key header=\"x-api-key\"")
    );
    assert_eq!(response.json()["status"], 401);
    assert!(stand.upstream.seen().is_empty());
    let trace = stand.trace();
    assert_eq!(
        trace.attribute("plugin.auth.prehook", "key_auth.result"),
        result
    );
    assert_eq!(
        trace.attribute("plugin.auth.prehook", "short_circuit"),
        true
    );
    assert_eq!(
        trace.span("plugin.auth.prehook")["StatusMsg"],
        "short-circuit"
    );
}

#[test]
fn key_auth_answers_401_without_a_key() {
    let stand = Stand::new(&key_auth(json!({ "keys": ["right"] })));
    assert_unauthorized(&stand, &stand.get(&[]), "missing");
}

#[test]
fn key_auth_answers_401_to_a_wrong_key() {
    let stand = Stand::new(&key_auth(json!({ "keys": ["right"] })));
    assert_unauthorized(&stand, &stand.get(&["x-api-key: wrong"]), "unknown");
}

#[test]
fn key_auth_lets_each_of_its_keys_in() {
    let stand = Stand::new(&key_auth(json!({ "keys": ["first", "second"] })));
    for key in ["first", "second"] {
        let header = format!("x-api-key: {key}");
        assert_eq!(stand.get(&[&header]).text(), "hello");
        assert_eq!(stand.seen().header("x-api-key"), Some(key));
    }
    let trace = stand.trace();
    assert_eq!(
        trace.attribute("plugin.auth.prehook", "key_auth.result"),
        "accepted"
    );
}

#[test]
fn key_auth_hides_the_key_where_it_is_told_to() {
    let stand = Stand::new(&key_auth(json!({ "keys": ["right"], "hide": true })));
    assert_eq!(stand.get(&["x-api-key: right"]).status, 200);
    assert_eq!(stand.seen().header("x-api-key"), None);
}

#[test]
fn key_auth_looks_at_the_header_it_is_given() {
    let stand = Stand::new(&key_auth(json!({ "keys": ["right"], "header": "X-Door" })));
    assert_eq!(stand.get(&["x-api-key: right"]).status, 401);
    assert_eq!(stand.get(&["x-door: right"]).status, 200);
}

#[test]
fn key_auth_keeps_shared_caches_away_unless_the_upstream_spoke_of_caching() {
    let stand = Stand::new(&key_auth(json!({ "keys": ["right"] })));
    assert_eq!(
        stand.get(&["x-api-key: right"]).header("cache-control"),
        Some("private")
    );

    let response = "HTTP/1.1 200 OK\r\ncache-control: public\r\ncontent-length: 0\r\n\r\n";
    let stand = Stand::before(
        Upstream::answering(response),
        &key_auth(json!({ "keys": ["right"] })),
    );
    assert_eq!(
        stand.get(&["x-api-key: right"]).header("cache-control"),
        Some("public")
    );
}

#[test]
fn request_id_makes_one_for_upstream_client_and_trace() {
    let stand = Stand::new(&request_id(json!({})));
    let response = stand.get(&[]);
    let id = response
        .header("x-request-id")
        .expect("the response has it");
    assert_eq!(id.len(), 36, "{id}");
    assert_eq!(stand.seen().header("x-request-id"), Some(id));
    let trace = stand.trace();
    assert_eq!(trace.0["RequestID"], id);
    assert_eq!(
        trace.attribute("plugin.id.prehook", "request_id.source"),
        "made"
    );
}

#[test]
fn request_id_keeps_the_clients() {
    let stand = Stand::new(&request_id(json!({})));
    let response = stand.get(&["x-request-id: mine-1"]);
    assert_eq!(response.header("x-request-id"), Some("mine-1"));
    assert_eq!(values(&stand.seen().headers, "x-request-id"), ["mine-1"]);
    let trace = stand.trace();
    assert_eq!(trace.0["RequestID"], "mine-1");
    assert_eq!(
        trace.attribute("plugin.id.prehook", "request_id.source"),
        "client"
    );
}

#[test]
fn request_id_replaces_one_that_is_not_sane() {
    let stand = Stand::new(&request_id(json!({})));
    let long = "x".repeat(201);
    let response = stand.get(&[&format!("x-request-id: {long}")]);
    let id = response
        .header("x-request-id")
        .expect("the response has it");
    assert_eq!(id.len(), 36, "{id}");
    assert_eq!(values(&stand.seen().headers, "x-request-id"), [id]);
    assert_eq!(stand.trace().0["RequestID"], id);
}

#[test]
fn request_id_is_not_echoed_where_it_is_told_so() {
    let stand = Stand::new(&request_id(json!({ "echo": false })));
    assert_eq!(
        stand.get(&["x-request-id: mine"]).header("x-request-id"),
        None
    );
    let names = stand.trace();
    assert_eq!(names.names(), ["GET all", "plugin.id.prehook", "GET"]);
}

#[test]
fn header_rewrite_changes_requests() {
    let rules = json!({ "request": {
        "remove": ["x-gone"], "set": { "x-set": "new" }, "add": { "x-added": "more" },
    } });
    let stand = Stand::new(&[(
        "headers",
        json!({ "module": "builtin:header-rewrite", "config": rules }),
    )]);
    stand.get(&["x-gone: a", "x-gone: b", "x-set: old", "x-added: first"]);
    let seen = stand.seen();
    assert_eq!(values(&seen.headers, "x-gone"), [""; 0]);
    assert_eq!(values(&seen.headers, "x-set"), ["new"]);
    assert_eq!(values(&seen.headers, "x-added"), ["first", "more"]);
    let trace = stand.trace();
    assert_eq!(trace.names(), ["GET all", "plugin.headers.prehook", "GET"]);
    assert_eq!(
        *trace.attribute("plugin.headers.prehook", "weir.hook.headers_changed"),
        json!(["x-gone", "x-set", "x-added"])
    );
}

#[test]
fn header_rewrite_changes_responses() {
    let rules = json!({ "response": {
        "remove": ["server"], "set": { "x-set": "new" }, "add": { "x-added": "more" },
    } });
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nserver: secret\r\nx-set: old\r\nx-added: first\r\ncontent-length: 0\r\n\r\n",
    );
    let plugin = json!({ "module": "builtin:header-rewrite", "config": rules });
    let stand = Stand::before(upstream, &[("headers", plugin)]);
    let response = stand.get(&[]);
    assert_eq!(response.header("server"), None);
    assert_eq!(values(&response.headers, "x-set"), ["new"]);
    assert_eq!(values(&response.headers, "x-added"), ["first", "more"]);
    assert_eq!(
        stand.trace().names(),
        ["GET all", "GET", "plugin.headers.posthook"]
    );
}
