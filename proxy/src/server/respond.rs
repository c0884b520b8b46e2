//! The one place where an error becomes a status: `application/problem+json` (RFC 9457).

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::exchange::state::Answer;
use crate::router::Miss;
use crate::upstream::body::Fault;

/// Why Weir answers by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    BadRequest(&'static str),
    /// CONNECT: Weir is no forward proxy.
    Connect,
    /// CONNECT for a protocol that the upstream may not be asked for.
    Protocol,
    /// What was to be a tunnel is none.
    NoTunnel,
    NoRoute(Miss),
    /// A plugin named an upstream that no route has.
    NoUpstream(String),
    /// A plugin failed that may not be passed over; the trace says which.
    PluginFailed,
    /// The request's body is larger than its route, its listener or a plugin takes.
    RequestTooLarge,
    /// The response's body is.
    ResponseTooLarge,
    /// The response's body is not in the coding that it names.
    ResponseEncoding,
    BadGateway,
    GatewayTimeout,
    Overload,
    /// The worker is behind with its work.
    Shed,
    /// Something other than `100-continue` was expected.
    Expectation,
    /// The client's body did not come to its end.
    Upload(Fault),
}

/// The response to a refusal.
pub fn refusal(refusal: &Refusal) -> Answer {
    let (status, detail) = match refusal {
        Refusal::BadRequest(detail) => (StatusCode::BAD_REQUEST, *detail),
        Refusal::Connect => (StatusCode::NOT_IMPLEMENTED, "CONNECT is not served"),
        Refusal::Protocol => (
            StatusCode::NOT_IMPLEMENTED,
            "the protocol cannot be switched to here",
        ),
        Refusal::NoTunnel => (
            StatusCode::BAD_GATEWAY,
            "the upstream did not switch to the protocol",
        ),
        Refusal::NoRoute(Miss::NoRoute) => (StatusCode::NOT_FOUND, "no route matches the request"),
        Refusal::NoRoute(Miss::Method(_)) => (
            StatusCode::METHOD_NOT_ALLOWED,
            "no route takes this method here",
        ),
        Refusal::NoUpstream(_) | Refusal::PluginFailed | Refusal::Upload(Fault::Plugin(_)) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the request could not be processed",
        ),
        Refusal::RequestTooLarge | Refusal::Upload(Fault::TooLarge) => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "the request's body is too large",
        ),
        Refusal::ResponseTooLarge => (
            StatusCode::BAD_GATEWAY,
            "the upstream's response is too large to be processed",
        ),
        Refusal::ResponseEncoding => (
            StatusCode::BAD_GATEWAY,
            "the upstream's response is not encoded as it says",
        ),
        Refusal::BadGateway => (
            StatusCode::BAD_GATEWAY,
            "the upstream could not be reached or broke off",
        ),
        Refusal::GatewayTimeout => (
            StatusCode::GATEWAY_TIMEOUT,
            "the upstream did not answer in time",
        ),
        Refusal::Overload => (
            StatusCode::SERVICE_UNAVAILABLE,
            "too many requests wait for the upstream",
        ),
        Refusal::Upload(Fault::Full) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "there is no room to decode the request's body",
        ),
        Refusal::Shed => (StatusCode::SERVICE_UNAVAILABLE, "the server is overloaded"),
        Refusal::Expectation => (
            StatusCode::EXPECTATION_FAILED,
            "only 100-continue can be expected",
        ),
        Refusal::Upload(Fault::Timeout) => (
            StatusCode::REQUEST_TIMEOUT,
            "the request's body did not come in time",
        ),
        Refusal::Upload(Fault::Broken | Fault::Gone) => {
            (StatusCode::BAD_REQUEST, "the request's body is broken")
        }
        Refusal::Upload(Fault::Encoding) => (
            StatusCode::BAD_REQUEST,
            "the request's body is not encoded as it says",
        ),
    };
    let mut headers = HeaderMap::with_capacity(3);
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    let again_later = matches!(
        refusal,
        Refusal::Overload | Refusal::Shed | Refusal::Upload(Fault::Full)
    );
    if again_later {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    match refusal {
        Refusal::NoRoute(Miss::Method(methods)) => {
            let mut allowed: Vec<&str> = methods.iter().map(http::Method::as_str).collect();
            allowed.sort_unstable();
            allowed.dedup();
            if let Ok(value) = HeaderValue::from_str(&allowed.join(", ")) {
                headers.insert(ALLOW, value);
            }
        }
        Refusal::BadRequest(_)
        | Refusal::Connect
        | Refusal::Expectation
        | Refusal::RequestTooLarge
        | Refusal::Upload(_) => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    let problem = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": detail,
    });
    Answer {
        status,
        headers,
        body: Bytes::from(problem.to_string()),
    }
}
