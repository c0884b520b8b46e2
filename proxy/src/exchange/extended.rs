//! Extended CONNECT (RFC 8441): WebSocket as one stream of HTTP/2, in the form that HTTP/1.1 has.
//!
//! It becomes a `GET` that asks for an upgrade, so that routes, plugins and upstreams see the one
//! form. What HTTP/1.1 has for WebSocket alone, a key and its answer, is made and checked here.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, StatusCode, request};
use hyper::ext::Protocol;

use super::state::{RequestHead, ResponseHead};
use crate::server::respond::Refusal;

/// Hashed behind the key (RFC 6455, section 1.3).
const WEBSOCKET: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The protocol that is asked for, of a head that becomes one of HTTP/1.1; `None` where it is another
/// request.
pub(super) fn take(head: &mut request::Parts) -> Result<Option<HeaderValue>, Refusal> {
    if head.method != Method::CONNECT {
        return Ok(None);
    }
    let Some(protocol) = head.extensions.remove::<Protocol>() else {
        return Ok(None);
    };
    let protocol = HeaderValue::from_str(protocol.as_str())
        .map_err(|_| Refusal::BadRequest(":protocol is malformed"))?;
    if head.uri.path_and_query().is_none() || head.uri.authority().is_none() {
        return Err(Refusal::BadRequest("a CONNECT without a target"));
    }
    head.method = Method::GET;
    // It has no body: what follows belongs to the protocol.
    for name in [CONTENT_LENGTH, TRANSFER_ENCODING, SEC_WEBSOCKET_KEY] {
        head.headers.remove(name);
    }
    Ok(Some(protocol))
}

/// Asks an upstream as a client of HTTP/1.1 does.
pub(super) fn ask(request: &mut RequestHead, headers: &mut HeaderMap) {
    let asks = request.upgrade.as_ref();
    if !asks.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        return;
    }
    let mut key = [0; 16];
    fastrand::fill(&mut key);
    let key = BASE64_STANDARD.encode(key);
    request.accept = Some(answer(&key));
    // Base64 is text.
    if let Ok(key) = HeaderValue::from_str(&key) {
        headers.insert(SEC_WEBSOCKET_KEY, key);
    }
}

/// What is answered to a key of WebSocket.
pub fn answer(key: &str) -> String {
    let digest = digest(
        &SHA1_FOR_LEGACY_USE_ONLY,
        (key.to_owned() + WEBSOCKET).as_bytes(),
    );
    BASE64_STANDARD.encode(digest)
}

/// Whether an upstream that switches has understood what it was asked.
pub(super) fn is_answered(request: &RequestHead, headers: &HeaderMap) -> bool {
    let given = headers.get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
    (request.accept.as_ref()).is_none_or(|wanted| given == Some(wanted.as_bytes()))
}

/// The head by which the stream is switched.
pub(super) fn switch(response: &mut ResponseHead) {
    response.status = StatusCode::OK;
    for name in [CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT] {
        response.headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn the_key_is_answered_as_rfc_6455_has_it() {
        assert_eq!(
            answer("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn a_connect_with_a_protocol_becomes_a_get() {
        let request = Request::connect("https://a.example/chat?x=y")
            .extension(Protocol::from_static("websocket"))
            .header("content-length", "0")
            .header("sec-websocket-version", "13");
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        let protocol = take(&mut head).unwrap();
        assert_eq!(protocol.unwrap(), "websocket");
        assert_eq!(head.method, Method::GET);
        assert_eq!(head.uri.path(), "/chat");
        assert_eq!(head.headers.len(), 1);
    }

    #[test]
    fn a_connect_without_a_protocol_stays_one() {
        let request = Request::connect("a.example:443").body(()).unwrap();
        let (mut head, ()) = request.into_parts();
        assert_eq!(take(&mut head).unwrap(), None);
        assert_eq!(head.method, Method::CONNECT);
    }

    #[test]
    fn an_upstream_that_answers_another_key_has_not_understood() {
        let mut request = RequestHead {
            upgrade: Some(HeaderValue::from_static("WebSocket")),
            ..RequestHead::default()
        };
        let mut headers = HeaderMap::new();
        assert!(is_answered(&request, &headers));
        ask(&mut request, &mut headers);
        assert!(!is_answered(&request, &headers));
        let key = headers[SEC_WEBSOCKET_KEY].to_str().unwrap().to_owned();
        headers.insert(SEC_WEBSOCKET_ACCEPT, answer(&key).parse().unwrap());
        assert!(is_answered(&request, &headers));
    }
}
