//! A response's body that was read to its end, as it goes out.

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::exchange::state::State;

/// A body that was read whole, its length put right in the head.
pub(in crate::exchange) struct Whole {
    pub(in crate::exchange) bytes: Bytes,
    pub(in crate::exchange) trailers: Option<HeaderMap>,
}

/// The body that hooks left, and its length in the head.
pub(super) fn whole(state: &mut State, bytes: Bytes, trailers: Option<HeaderMap>) -> Whole {
    if !state.may_have_body() {
        if state.response.status == StatusCode::NO_CONTENT {
            state.response.headers.remove(CONTENT_LENGTH);
        }
        return Whole {
            bytes: Bytes::new(),
            trailers: None,
        };
    }
    let headers = &mut state.response.headers;
    if trailers.is_some() {
        headers.remove(CONTENT_LENGTH);
    } else {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    }
    Whole { bytes, trailers }
}
