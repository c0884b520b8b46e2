//! 5, 7 — What fields say of a body, where plugins change it; and how those see it that want it decoded.
//!
//! Around the hook of a plugin that wants bodies decoded lies a [`View`]: body and fields are as if they
//! had come in no coding, and as they came again behind it, unless the plugin replaced the body or its
//! pieces go through the plugin. What is undone, and how, is [`crate::coding`].

use std::fmt::Display;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use smallvec::SmallVec;

use super::buffer::Room;
use super::state::{Held, ResponseHead, State};
use crate::coding::{self, Coding, Codings, Decoder, Step, TURN};
use crate::plugin::Side;

/// Fields that are only of the very bytes they were made of (RFC 9530, and what came before it).
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// `error.type` of a hook's span, where its body is not encoded as it says.
pub const MALFORMED: &str = "content_encoding";

/// The body that a side's fields tell of is another now: they are put right, but for those that the
/// hook has set itself. What may still hold stays: a strong `etag` becomes a weak one.
pub fn changed(state: &mut State, side: Side) {
    let bodiless = !state.may_have_body();
    let State {
        request,
        response,
        changed,
        ..
    } = state;
    let headers = match side {
        Side::Request => &mut request.headers,
        Side::Response => &mut response.headers,
    };
    if !changed.contains(&CONTENT_ENCODING) {
        headers.remove(CONTENT_ENCODING);
    }
    strip_digests(headers, changed);
    if side == Side::Request {
        return;
    }
    if bodiless {
        // Of GET's response, or of the one that the client has: nobody knows what a plugin makes of that.
        headers.remove(CONTENT_LENGTH);
    }
    // Who asked for a part would get one of the body that was.
    if !changed.contains(&ACCEPT_RANGES) {
        headers.remove(ACCEPT_RANGES);
    }
    if !changed.contains(&ETAG)
        && let Some(tag) = headers.get_mut(ETAG)
        && !tag.as_bytes().starts_with(b"W/")
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat())
    {
        *tag = weak;
    }
    let is_partial = response.status == StatusCode::PARTIAL_CONTENT;
    if is_partial && !is_part(response) && !changed.contains(&CONTENT_RANGE) {
        response.status = StatusCode::OK;
        response.headers.remove(CONTENT_RANGE);
    }
}

/// Removes digests, which may be trailers too, but for those that a hook has set itself.
pub fn strip_digests(fields: &mut HeaderMap, changed: &[HeaderName]) {
    for name in DIGESTS.iter().filter(|name| !changed.contains(name)) {
        fields.remove(name);
    }
}

/// Whether a response has a part of what it is of: other bytes than as many would not fit into the rest.
pub fn is_part(response: &ResponseHead) -> bool {
    response.status == StatusCode::PARTIAL_CONTENT
        && !response.headers.get(CONTENT_RANGE).is_some_and(is_all)
}

/// As in `bytes 0-99/100`.
fn is_all(range: &HeaderValue) -> bool {
    let sizes = || {
        let (last, size) = range
            .to_str()
            .ok()?
            .strip_prefix("bytes 0-")?
            .split_once('/')?;
        Some((last.parse::<u64>().ok()?, size.parse::<u64>().ok()?))
    };
    sizes().is_some_and(|(last, size)| last.checked_add(1) == Some(size))
}

/// What a hook's span says of a body that is not encoded as it says.
pub fn malformed(error: &impl Display) -> String {
    format!("the body is not encoded as it says: {error}")
}

/// What is kept of a side while a plugin sees it decoded.
pub struct View {
    side: Side,
    /// The body as it came; none where it streams.
    body: Option<Bytes>,
    fields: SmallVec<[(HeaderName, HeaderValue); 2]>,
    decoder: Option<Decoder>,
    /// What the decoded body takes.
    _room: Room,
}

/// Why a body that was held is not seen decoded.
pub enum Undecoded {
    /// It would have more bytes than the plugin holds, if only between two of its codings.
    TooLarge,
    /// There is no room left for bodies.
    Full,
    /// It is not what it says.
    Malformed(String),
}

impl View {
    /// Which changes nothing.
    fn of(side: Side, body: Option<Bytes>) -> Self {
        Self {
            side,
            body,
            fields: SmallVec::new(),
            decoder: None,
            _room: Room::default(),
        }
    }

    /// Decodes a body that is held; none where there is nothing to decode, or it cannot be.
    pub async fn held(
        state: &mut State,
        side: Side,
        most: usize,
    ) -> Result<Option<Box<Self>>, Undecoded> {
        let Some(codings) = codings(state, side) else {
            return Ok(None);
        };
        let body = match state.body(side) {
            Held::Whole(bytes) if !bytes.is_empty() => bytes.clone(),
            _ => return Ok(None),
        };
        let mut room = Room::default();
        let windows = Room::windows(side);
        let decoded = decode(&codings, body.clone(), most, windows, |len| room.grow(len)).await?;
        let mut view = Self {
            _room: room,
            ..Self::of(side, Some(body))
        };
        view.hide(state);
        if view.fields.iter().any(|(name, _)| *name == CONTENT_LENGTH) {
            let length = HeaderValue::from(decoded.len());
            state.headers(side).insert(CONTENT_LENGTH, length);
        }
        *state.body(side) = Held::Whole(decoded.into());
        Ok(Some(Box::new(view)))
    }

    /// Of a body that streams; none where there is nothing to decode, it cannot be, or may not be.
    pub fn streamed(state: &mut State, side: Side) -> Option<Box<Self>> {
        let codings = codings(state, side)?;
        if forbids_change(state.headers(side)) {
            return None;
        }
        let mut view = Self {
            decoder: Some(Decoder::new(&codings).ok()?),
            ..Self::of(side, None)
        };
        view.hide(state);
        Some(Box::new(view))
    }

    /// Of a body that is too large to be seen: not at hand, and with its fields as they are.
    pub fn bypassed(state: &mut State, side: Side) -> Option<Box<Self>> {
        match std::mem::replace(state.body(side), Held::Part) {
            Held::Whole(body) => Some(Box::new(Self::of(side, Some(body)))),
            Held::Unread | Held::Part => None,
        }
    }

    /// What decodes the body on its way, for who has it go through the plugin.
    pub fn take_decoder(&mut self) -> Option<Decoder> {
        self.decoder.take()
    }

    fn hide(&mut self, state: &mut State) {
        let headers = state.headers(self.side);
        for name in [CONTENT_ENCODING, CONTENT_LENGTH] {
            let values = headers.get_all(&name).iter().cloned();
            self.fields
                .extend(values.map(|value| (name.clone(), value)));
            headers.remove(name);
        }
    }

    /// Body and fields are as they came again.
    pub fn restore(self, state: &mut State) {
        let headers = state.headers(self.side);
        if !self.fields.is_empty() {
            headers.remove(CONTENT_ENCODING);
            headers.remove(CONTENT_LENGTH);
        }
        for (name, value) in self.fields {
            headers.append(name, value);
        }
        if let Some(body) = self.body {
            *state.body(self.side) = Held::Whole(body);
        }
    }
}

/// What can be undone of a side's body; none where that is nothing. A part of something encoded cannot
/// be read by itself.
fn codings(state: &mut State, side: Side) -> Option<Codings> {
    let is_part = match side {
        Side::Request => state.request.headers.contains_key(CONTENT_RANGE),
        Side::Response => state.response.status == StatusCode::PARTIAL_CONTENT,
    };
    if is_part {
        return None;
    }
    coding::of(state.headers(side)).filter(|codings| !codings.is_empty())
}

/// `no-transform`, which holds for gateways too (RFC 9111, sections 5.2.1.6 and 5.2.2.6).
fn forbids_change(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CACHE_CONTROL).iter();
    values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

/// `has_room` is asked before there are so many bytes.
async fn decode(
    codings: &[Coding],
    body: Bytes,
    most: usize,
    mut windows: Room,
    mut has_room: impl FnMut(usize) -> bool,
) -> Result<Vec<u8>, Undecoded> {
    let malformed = |error: std::io::Error| Undecoded::Malformed(malformed(&error));
    let mut decoder = Decoder::new(codings).map_err(malformed)?;
    decoder.feed(body);
    decoder.end();
    let mut all = Vec::new();
    loop {
        for _ in 0..TURN {
            let step = decoder.step().map_err(malformed)?;
            if !windows.grow(decoder.memory()) {
                return Err(Undecoded::Full);
            }
            if decoder.made() > most as u64 {
                return Err(Undecoded::TooLarge);
            }
            match step {
                Step::Piece(piece) => {
                    if !has_room(all.len() + piece.len()) {
                        return Err(Undecoded::Full);
                    }
                    all.extend_from_slice(&piece);
                }
                Step::Again => {}
                Step::Hungry | Step::Ended => return Ok(all),
            }
        }
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests;
