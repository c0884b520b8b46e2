use serde_json::json;
use weir_sdk::Hook;
use weir_sdk::http::{Request as Sent, Response as Received};
use weir_sdk::testing::Host;

use super::*;

fn host() -> Host<RequestId> {
    Host::new(json!(null)).unwrap()
}

fn sent(id: &[u8]) -> Sent<()> {
    Sent::get("http://example.com/")
        .header("x-request-id", id)
        .body(())
        .unwrap()
}

#[test]
fn an_id_that_was_sent_is_kept_and_echoed() {
    let host = host();
    let mut exchange = host.request(sent(b"mine-1"));
    assert_eq!(exchange.request_headers()["x-request-id"], "mine-1");
    assert_eq!(exchange.request_id(), "mine-1");
    assert_eq!(
        exchange.span(Hook::Request).attribute("request_id.source"),
        Some(&"client".into())
    );
    assert_eq!(
        exchange.response(Received::new("")).headers()["x-request-id"],
        "mine-1"
    );
}

#[test]
fn a_request_without_id_gets_a_uuid() {
    let host = host();
    let mut exchange = host.request(Sent::get("http://example.com/").body(()).unwrap());
    let id = exchange.request_id().to_owned();
    let lengths: Vec<_> = id.split('-').map(str::len).collect();
    assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
    assert!(
        id.bytes()
            .all(|byte| byte == b'-' || byte.is_ascii_hexdigit()),
        "{id}"
    );
    assert_eq!(&id[14..15], "4", "the version of {id}");
    assert!("89ab".contains(&id[19..20]), "the variant of {id}");
    assert_eq!(exchange.request_headers()["x-request-id"], id);
    assert_eq!(
        exchange.span(Hook::Request).attribute("request_id.source"),
        Some(&"made".into())
    );
    assert_eq!(
        exchange.response(Received::new("")).headers()["x-request-id"],
        id
    );
}

#[test]
fn no_two_requests_get_the_same_id() {
    let host = host();
    let id = || host.request(Sent::new(())).request_id().to_owned();
    assert_ne!(id(), id());
}

#[test]
fn an_id_that_is_not_sane_is_replaced() {
    let host = host();
    for id in [&b""[..], b"a b", b"caf\xe9", &[b'a'; 201]] {
        let exchange = host.request(sent(id));
        assert_eq!(
            exchange
                .request_headers()
                .get_all("x-request-id")
                .iter()
                .count(),
            1
        );
        assert_eq!(
            exchange.request_headers()["x-request-id"],
            exchange.request_id()
        );
        assert_eq!(exchange.request_id().len(), 36);
    }
}

#[test]
fn the_id_replaces_one_of_the_upstream() {
    let host = host();
    let response = Received::builder()
        .header("x-request-id", "theirs")
        .body("")
        .unwrap();
    let response = host.request(sent(b"mine")).response(response);
    assert_eq!(
        response
            .headers()
            .get_all("x-request-id")
            .iter()
            .collect::<Vec<_>>(),
        ["mine"]
    );
}

#[test]
fn without_echo_the_response_is_left_alone() {
    let host = Host::<RequestId>::new(json!({"echo": false})).unwrap();
    let mut exchange = host.request(sent(b"mine"));
    assert!(
        !exchange
            .response(Received::new(""))
            .headers()
            .contains_key("x-request-id")
    );
    assert!(!exchange.called(Hook::Response));
}

#[test]
fn another_header_may_hold_the_id() {
    let host = Host::<RequestId>::new(json!({"header": "X-Correlation-Id"})).unwrap();
    let request = Sent::get("http://example.com/")
        .header("x-correlation-id", "mine")
        .body(())
        .unwrap();
    let mut exchange = host.request(request);
    assert_eq!(exchange.request_id(), "mine");
    assert_eq!(
        exchange.response(Received::new("")).headers()["x-correlation-id"],
        "mine"
    );
}

#[test]
fn a_head_without_room_is_noted_and_the_trace_still_has_the_id() {
    let host = host();
    let mut full = Sent::get("http://example.com/");
    for n in 0..256 {
        full = full.header(format!("x-{n}"), "full");
    }
    let exchange = host.request(full.body(()).unwrap());
    assert_eq!(
        exchange.span(Hook::Request).error.as_deref(),
        Some("more headers than the host allows")
    );
    assert_eq!(exchange.request_id().len(), 36);
    assert!(exchange.answer().is_none());
}

#[test]
fn a_header_that_cannot_be_set_is_refused() {
    let fault = Host::<RequestId>::new(json!({"header": "trailer"})).unwrap_err();
    assert_eq!(
        fault,
        r#"header: "trailer": a header that belongs to the proxy"#
    );
}
