//! The head of the request, read and changed through the host.
#![allow(
    clippy::needless_question_mark,
    reason = "in guests `?` makes the SDK's errors of the bindings'"
)]

use std::net::IpAddr;

use http::{HeaderMap, Method};

use crate::{BodyError, Certificate, HeaderError, RerouteError, backend, head};

/// The head of the request, as the hooks before this one left it.
///
/// Nothing is copied into the plugin that it does not ask for: each method is one call to the
/// host, so ask once and keep the answer.
///
/// ```
/// use weir_sdk::{Action, HeaderError, Request};
///
/// fn name_the_tenant(request: &mut Request) -> Action {
///     let tenant = request.header("x-tenant").unwrap_or_else(|| "nobody".into());
///     match request.set_header("x-tenant-name", tenant.to_lowercase()) {
///         Ok(()) => {}
///         // What the client sent is no value of a header any more.
///         Err(HeaderError::InvalidValue) => weir_sdk::warn!("a tenant that cannot be told"),
///         Err(error) => panic!("{error}"),
///     }
///     Action::Continue
/// }
/// ```
pub struct Request(pub(crate) backend::Request);

impl Request {
    /// The method.
    pub fn method(&self) -> Method {
        head::method(&self.0.method())
    }

    /// `http` or `https`: how the client reached Weir.
    pub fn scheme(&self) -> String {
        self.0.scheme()
    }

    /// Host and, where given, port: what the request asks for.
    pub fn authority(&self) -> String {
        self.0.authority()
    }

    /// The path, as received, without the query.
    pub fn path(&self) -> String {
        self.0.path()
    }

    /// What follows `?`, without it.
    pub fn query(&self) -> Option<String> {
        self.0.query()
    }

    /// The client's address: the peer's, or the one that a trusted proxy names.
    pub fn client_address(&self) -> IpAddr {
        let address = self.0.client_address();
        address
            .parse()
            .expect("the host gives an IP address without port")
    }

    /// The certificate that the peer showed, which one of the listener's authorities has signed; none where
    /// it showed none, or without TLS.
    ///
    /// ```
    /// use weir_sdk::{Action, Request, http};
    ///
    /// fn only_billing(request: &Request) -> Action {
    ///     const BILLING: &str = "spiffe://shop.example/billing";
    ///     let shown = request.client_certificate();
    ///     if shown.is_some_and(|shown| shown.alternative_names.uri.iter().any(|uri| uri == BILLING)) {
    ///         return Action::Continue;
    ///     }
    ///     let mut answer = http::Response::new(Vec::new());
    ///     *answer.status_mut() = http::StatusCode::FORBIDDEN;
    ///     Action::Respond(answer)
    /// }
    /// ```
    pub fn client_certificate(&self) -> Option<Certificate> {
        self.0.client_certificate()
    }

    /// The first value of a header, by its name in any case. Bytes that are not UTF-8 are read as
    /// ISO-8859-1; [`headers`](Self::headers) has them exact.
    pub fn header(&self, name: impl AsRef<str>) -> Option<String> {
        self.0.header(name.as_ref())
    }

    /// All values of a header, exact, in order.
    pub fn header_values(&self, name: impl AsRef<str>) -> Vec<Vec<u8>> {
        self.0.header_values(name.as_ref())
    }

    /// All headers, values exact.
    pub fn headers(&self) -> HeaderMap {
        head::map(self.0.headers())
    }

    /// Replaces all values of a header by one.
    pub fn set_header(
        &mut self,
        name: impl AsRef<str>,
        value: impl AsRef<str>,
    ) -> Result<(), HeaderError> {
        Ok(self.0.set_header(name.as_ref(), value.as_ref())?)
    }

    /// Adds a value beside those there are.
    pub fn add_header(
        &mut self,
        name: impl AsRef<str>,
        value: impl AsRef<str>,
    ) -> Result<(), HeaderError> {
        Ok(self.0.add_header(name.as_ref(), value.as_ref())?)
    }

    /// Removes all values of a header; that there were none is no error.
    pub fn remove_header(&mut self, name: impl AsRef<str>) -> Result<(), HeaderError> {
        Ok(self.0.remove_header(name.as_ref())?)
    }

    /// The whole body, as the hooks before this one left it and in the encoding that
    /// `content-encoding` says (see [`Interests::decoded`](crate::Interests::decoded)); empty where
    /// there is none.
    ///
    /// Needs [`Interests::buffer_request_body`](crate::Interests::buffer_request_body).
    pub fn body(&self) -> Result<Vec<u8>, BodyError> {
        Ok(self.0.body()?)
    }

    /// Replaces the body, by bytes in no encoding. Weir puts right what told of the other, but for
    /// headers that the hook has set itself: `content-encoding` and digests go, and `content-length` is
    /// that of the new body.
    pub fn set_body(&mut self, body: impl AsRef<[u8]>) -> Result<(), BodyError> {
        Ok(self.0.set_body(body.as_ref())?)
    }

    /// Lets this request's body by unseen, where the plugin
    /// [streams](crate::Interests::stream_request_body) bodies: not every one is worth the calls.
    pub fn skip_body(&mut self) {
        self.0.skip_body();
    }

    /// Changes what the router is going to see. Only in `on_pre_request`.
    pub fn reroute(&mut self, route: Route<'_>) -> Result<(), RerouteError> {
        Ok(self
            .0
            .reroute(route.authority, route.path_and_query, route.upstream)?)
    }
}

/// What [`Request::reroute`] changes; what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Route<'a> {
    /// Host and, where needed, port, in place of the request's.
    pub authority: Option<&'a str>,
    /// Path and query, in place of the request's.
    pub path_and_query: Option<&'a str>,
    /// The upstream to call, by its name in the configuration, whatever the route says.
    pub upstream: Option<&'a str>,
}
