//! The head of the response, read and changed through the host.
#![allow(
    clippy::needless_question_mark,
    reason = "in guests `?` makes the SDK's errors of the bindings'"
)]

use http::{HeaderMap, Method, StatusCode};

use crate::{BodyError, HeaderError, RespondError, backend, head};

/// The head of the response, as the hooks before this one left it.
///
/// Nothing is copied into the plugin that it does not ask for: each method is one call to the
/// host, so ask once and keep the answer.
///
/// ```
/// use weir_sdk::{Action, Response, http};
///
/// fn hide_what_went_wrong(response: &mut Response) -> Action {
///     if !response.status().is_server_error() {
///         return Action::Continue;
///     }
///     let mut answer = http::Response::new(b"try again later\n".to_vec());
///     *answer.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
///     Action::Respond(answer)
/// }
/// ```
pub struct Response(pub(crate) backend::Response);

impl Response {
    /// The status code.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status()).expect("the host gives a status code")
    }

    /// Changes the status. Only 200 to 599.
    pub fn set_status(&mut self, status: StatusCode) -> Result<(), RespondError> {
        Ok(self.0.set_status(status.as_u16())?)
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
    /// Needs [`Interests::buffer_response_body`](crate::Interests::buffer_response_body).
    pub fn body(&self) -> Result<Vec<u8>, BodyError> {
        Ok(self.0.body()?)
    }

    /// Replaces the body, by bytes in no encoding. Weir puts right what told of the other, but for
    /// headers that the hook has set itself: `content-encoding`, digests and `accept-ranges` go, a strong
    /// `etag` becomes a weak one, `content-length` is that of the new body. Where the response has none (to
    /// HEAD, with status 204 and 304), `content-length` goes.
    pub fn set_body(&mut self, body: impl AsRef<[u8]>) -> Result<(), BodyError> {
        Ok(self.0.set_body(body.as_ref())?)
    }

    /// Lets this response's body by unseen, where the plugin
    /// [streams](crate::Interests::stream_response_body) bodies: not every one is worth the calls.
    pub fn skip_body(&mut self) {
        self.0.skip_body();
    }

    /// The first value of a header of the request as it went to the upstream.
    ///
    /// # Panics
    ///
    /// The hook fails unless [`Interests::request_head`](crate::Interests::request_head) was
    /// asked for.
    pub fn request_header(&self, name: impl AsRef<str>) -> Option<String> {
        self.0.request_header(name.as_ref())
    }

    /// The method of the request.
    pub fn request_method(&self) -> Method {
        head::method(&self.0.request_method())
    }

    /// The path of the request, without the query.
    pub fn request_path(&self) -> String {
        self.0.request_path()
    }
}
