//! A piece of a body, read and replaced through the host.
#![allow(
    clippy::needless_question_mark,
    reason = "in guests `?` makes the SDK's errors of the bindings'"
)]

use http::HeaderMap;

use crate::{BodyError, HeaderError, backend, head};

/// A piece of a body that streams, for [`Plugin::on_request_body`](crate::Plugin::on_request_body)
/// and [`Plugin::on_response_body`](crate::Plugin::on_response_body); and the end of an answer, for
/// [`Plugin::on_answer_body`](crate::Plugin::on_answer_body).
///
/// Pieces come as the client or the upstream sent them, at most 64 KiB each: what a plugin looks for
/// may be spread over two. One is the last, and it may be empty.
///
/// ```
/// use weir_sdk::{Chunk, Flow};
///
/// /// Puts a line behind a body.
/// fn sign(chunk: &mut Chunk) -> Flow {
///     if !chunk.is_last() {
///         return Flow::Pass;
///     }
///     let mut bytes = chunk.data();
///     bytes.extend_from_slice(b"\n-- \nsent by weir\n");
///     Flow::Replace(bytes)
/// }
/// ```
pub struct Chunk(pub(crate) backend::Chunk);

impl Chunk {
    /// Its bytes, as the plugins before this one left them and in the encoding that the head's
    /// `content-encoding` says; see [`Interests::decoded`](crate::Interests::decoded).
    pub fn data(&self) -> Vec<u8> {
        self.0.data()
    }

    /// How many bytes it has, without a copy of them.
    #[allow(clippy::len_without_is_empty, reason = "an empty piece is the last")]
    pub fn len(&self) -> usize {
        self.0.len() as usize
    }

    /// Whether nothing comes behind it but trailers.
    pub fn is_last(&self) -> bool {
        self.0.is_last()
    }

    /// Adds to what goes on instead of it, before what
    /// [`Flow::Replace`](crate::Flow::Replace) has; each call makes a piece. One hook may write
    /// 1024, and as much as the operator's `limits.body` allows.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), BodyError> {
        Ok(self.0.write(bytes.as_ref())?)
    }

    /// The trailers behind the last piece; of another there are none.
    pub fn trailers(&self) -> HeaderMap {
        head::map(self.0.trailers())
    }

    /// Replaces all values of a trailer by one; only of the last piece.
    pub fn set_trailer(
        &mut self,
        name: impl AsRef<str>,
        value: impl AsRef<str>,
    ) -> Result<(), HeaderError> {
        Ok(self.0.set_trailer(name.as_ref(), value.as_ref())?)
    }

    /// Removes all values of a trailer; only of the last piece.
    pub fn remove_trailer(&mut self, name: impl AsRef<str>) -> Result<(), HeaderError> {
        Ok(self.0.remove_trailer(name.as_ref())?)
    }
}
