//! An upgrade asked of an upstream of HTTP/2: extended CONNECT (RFC 8441), in whose answer HTTP/1.1's is
//! made again, so that all behind it knows one form.

use http::header::{CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::ext::Protocol;

use crate::exchange::extended;

/// What a request asks to switch to.
pub(super) struct Asked {
    protocol: HeaderValue,
    key: Option<HeaderValue>,
}

impl Asked {
    /// Makes a CONNECT of a GET that asks. Any other method has no such form: it goes on without asking.
    pub(super) fn take<B>(request: &mut Request<B>) -> Option<Self> {
        let headers = request.headers_mut();
        let protocol = headers.remove(UPGRADE)?;
        headers.remove(CONNECTION);
        if request.method() != Method::GET {
            return None;
        }
        let key = request.headers_mut().remove(SEC_WEBSOCKET_KEY);
        let name = Protocol::from(protocol.to_str().ok()?);
        request.extensions_mut().insert(name);
        *request.method_mut() = Method::CONNECT;
        Some(Self { protocol, key })
    }

    /// Makes the request again what it was.
    pub(super) fn restore<B>(self, request: &mut Request<B>) {
        *request.method_mut() = Method::GET;
        request.extensions_mut().remove::<Protocol>();
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, self.protocol);
        if let Some(key) = self.key {
            headers.insert(SEC_WEBSOCKET_KEY, key);
        }
    }

    /// Where the upstream has switched, its answer says so as one of HTTP/1.1 does.
    pub(super) fn answered<B>(self, response: &mut Response<B>) {
        if !response.status().is_success() {
            return;
        }
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.remove(CONTENT_LENGTH);
        headers.insert(UPGRADE, self.protocol);
        let key = self.key.as_ref().and_then(|key| key.to_str().ok());
        let accept = key.and_then(|key| HeaderValue::from_str(&extended::answer(key)).ok());
        if let Some(accept) = accept {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
    }
}
