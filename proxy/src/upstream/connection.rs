//! A connection to an endpoint, of either version of HTTP: a request goes over it in the form that the
//! version has, and it says why there was no response.

mod heads;
mod http1;
mod http2;
pub(super) mod socket;

use std::rc::Rc;

use http::Response;
use hyper::body::Incoming;

use super::Outgoing;
use super::driver::Driver;
pub use http1::Http1;
pub use http2::Http2;

/// What may come for a request until its response's head has: bytes of it, of interim responses before it,
/// and, over HTTP/1.1, of what is read with it. Over HTTP/2 it is what heads cost.
const HEADS: usize = 512 << 10;

/// An open connection.
pub enum Connection {
    Http1(Http1),
    Http2(Rc<Http2>),
}

/// Why a request got no response.
pub enum Unanswered {
    /// Not a byte of it was looked at: it may go over another connection.
    Unsent(Outgoing),
    /// Nor here, but the connection stays open, and may refuse it again.
    Refused(Outgoing, hyper::Error),
    Failed(hyper::Error),
    /// The upstream cannot be asked to switch to another protocol.
    CannotSwitch,
}

impl Connection {
    /// What its responses' bodies are received by.
    pub fn driver(&self) -> Option<Rc<Driver>> {
        match self {
            Self::Http1(connection) => Some(Rc::clone(&connection.driver)),
            Self::Http2(_) => None,
        }
    }

    /// Sends a request whose target is in origin form, which may have `asked` to switch, and waits for
    /// the response's head.
    pub async fn send(
        &mut self,
        request: Outgoing,
        asked: bool,
    ) -> Result<Response<Incoming>, Unanswered> {
        match self {
            Self::Http1(connection) => connection.send(request, asked).await,
            // Boxed because it is large, and HTTP/1.1 shall not pay for it.
            Self::Http2(connection) => Box::pin(connection.send(request)).await,
        }
    }
}

/// Whether a request was never sent because of what it says itself: nothing that the upstream did.
pub fn is_requests_fault(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error);
    cause
        .and_then(|error| error.downcast_ref::<h2::Error>())
        .is_some_and(|error| error.reason().is_none() && !error.is_io())
}

#[cfg(test)]
mod tests {
    use http::header::HOST;
    use http::uri::Scheme;
    use http::{HeaderValue, Request};

    use super::http1::for_http1;
    use super::http2::for_http2;
    use crate::upstream::body::RequestBody;

    fn request() -> Request<RequestBody> {
        Request::get("/a?b=c")
            .header("host", "shop.example:81")
            .header("transfer-encoding", "chunked")
            .header("x", "y")
            .body(RequestBody::empty())
            .unwrap()
    }

    #[test]
    fn http2_has_the_host_in_its_target_and_no_framing_in_fields() {
        let mut request = request();
        for_http2(&mut request, &Scheme::HTTPS);
        assert_eq!(request.uri(), "https://shop.example:81/a?b=c");
        let mut names: Vec<_> = request
            .headers()
            .keys()
            .map(http::HeaderName::as_str)
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["te", "x"]);
    }

    #[test]
    fn a_request_that_was_for_http2_is_one_of_http1_again() {
        let mut request = request();
        for_http2(&mut request, &Scheme::HTTP);
        for_http1(&mut request);
        assert_eq!(request.uri(), "/a?b=c");
        assert_eq!(request.headers()["host"], "shop.example:81");
        assert_eq!(request.headers().get("te"), None);
    }

    #[test]
    fn a_further_try_has_the_host_that_it_was_given() {
        let mut request = request();
        for_http2(&mut request, &Scheme::HTTP);
        let other = HeaderValue::from_static("other.example");
        request.headers_mut().insert(HOST, other);
        for_http1(&mut request);
        assert_eq!(request.uri(), "/a?b=c");
        assert_eq!(request.headers()["host"], "other.example");
    }
}
