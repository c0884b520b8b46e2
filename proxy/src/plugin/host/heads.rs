//! The heads of request and response, and answers instead of them.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};

use super::Host;
use crate::exchange::state::{Answer, HeadBytes, RequestHead};
use crate::exchange::{target, trailers};
use crate::plugin::contract::weir::plugin::http::{HeaderError, RerouteError, RespondError};
use crate::plugin::refusals::Refused;
use crate::plugin::{Failure, Hook};
use crate::tls::Certificate;

/// Most fields that a head may have after a plugin's change, and bytes beside those that came.
pub(super) const HEAD_FIELDS: usize = 256;
pub(super) const HEAD_BYTES: usize = 64 << 10;

/// Most bytes of a field's name that a plugin sets: each is noted, though it is removed again.
const NAME_BYTES: usize = 256;

/// Most bytes of a body that a plugin answers with at once.
const ANSWER_BYTES: usize = 4 << 20;

/// Which head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::plugin) enum Which {
    Request,
    Response,
    /// A piece of a body: the trailers behind it.
    Chunk,
}

/// What the router is to see instead.
pub(in crate::plugin) struct Reroute<'a> {
    pub(in crate::plugin) authority: Option<&'a str>,
    pub(in crate::plugin) path_and_query: Option<&'a str>,
    pub(in crate::plugin) upstream: Option<&'a str>,
}

/// A refusal that the guest is told, within a failure that it is not.
type Told<E> = wasmtime::Result<Result<(), E>>;

impl Host {
    pub(in crate::plugin) fn request(&mut self) -> wasmtime::Result<&RequestHead> {
        Ok(&self.state()?.request)
    }

    /// How the client reached Weir.
    pub(in crate::plugin) fn scheme(&mut self) -> wasmtime::Result<&'static str> {
        Ok(self.request()?.scheme)
    }

    pub(in crate::plugin) fn client_address(&mut self) -> wasmtime::Result<String> {
        let client = self.request()?.client;
        Ok(client.map_or_else(String::new, |client| client.ip().to_string()))
    }

    pub(in crate::plugin) fn client_certificate(
        &mut self,
    ) -> wasmtime::Result<Option<Arc<Certificate>>> {
        Ok(self.request()?.certificate.clone())
    }

    /// A field of the request, for a response hook that asked for it.
    pub(in crate::plugin) fn request_header(
        &mut self,
        name: &str,
    ) -> wasmtime::Result<Option<&HeaderValue>> {
        if !self.request_head {
            return Err(wasmtime::Error::new(Failure::NoRequestHead));
        }
        self.header(Which::Request, name)
    }

    pub(in crate::plugin) fn header(
        &mut self,
        which: Which,
        name: &str,
    ) -> wasmtime::Result<Option<&HeaderValue>> {
        Ok(self.headers(which)?.get(name))
    }

    pub(in crate::plugin) fn headers(&mut self, which: Which) -> wasmtime::Result<&mut HeaderMap> {
        let state = self.state()?;
        Ok(match which {
            Which::Request => &mut state.request.headers,
            Which::Response => &mut state.response.headers,
            Which::Chunk => &mut state.piece.trailers,
        })
    }

    pub(in crate::plugin) fn set_header(
        &mut self,
        which: Which,
        name: &[u8],
        value: &[u8],
    ) -> Told<HeaderError> {
        self.change(which, name, Change::Set(value))
    }

    pub(in crate::plugin) fn add_header(
        &mut self,
        which: Which,
        name: &[u8],
        value: &[u8],
    ) -> Told<HeaderError> {
        self.change(which, name, Change::Add(value))
    }

    pub(in crate::plugin) fn remove_header(
        &mut self,
        which: Which,
        name: &[u8],
    ) -> Told<HeaderError> {
        self.change(which, name, Change::Remove)
    }

    /// Changes a head, or counts that it may not be.
    fn change(&mut self, which: Which, name: &[u8], change: Change<'_>) -> Told<HeaderError> {
        let told = self.change_within(which, name, change)?;
        Ok(self.counted(Refused::Header, told))
    }

    /// Changes a head within its bounds.
    fn change_within(
        &mut self,
        which: Which,
        name: &[u8],
        change: Change<'_>,
    ) -> Told<HeaderError> {
        self.state()?;
        if self.answered {
            return Ok(Err(HeaderError::Immutable));
        }
        let name = match field_name(name) {
            Ok(name) => name,
            Err(error) => return Ok(Err(error)),
        };
        if which == Which::Chunk {
            if !self.chunk()?.last {
                return Ok(Err(HeaderError::Immutable));
            }
            if !trailers::may_be(&name) {
                return Ok(Err(HeaderError::Forbidden));
            }
        }
        self.remember();
        let headers = self.headers(which)?;
        let (value, replaces) = match change {
            Change::Set(value) => (value, true),
            Change::Add(value) => (value, false),
            Change::Remove => {
                if headers.remove(&name).is_some() {
                    self.note_changed(&name)?;
                }
                return Ok(Ok(()));
            }
        };
        let Ok(value) = HeaderValue::from_bytes(value) else {
            return Ok(Err(HeaderError::InvalidValue));
        };
        if !self.takes(which, &name, &value, replaces)? {
            return Ok(Err(HeaderError::TooLarge));
        }
        self.note_changed(&name)?;
        let headers = self.headers(which)?;
        if replaces {
            headers.insert(name, value);
        } else {
            headers.append(name, value);
        }
        Ok(Ok(()))
    }

    /// Whether a head has room for a field, beside those of its name or in their place; it is counted
    /// then.
    fn takes(
        &mut self,
        which: Which,
        name: &HeaderName,
        value: &HeaderValue,
        replaces: bool,
    ) -> wasmtime::Result<bool> {
        let state = self.state()?;
        let [request, response] = &mut state.head_bytes;
        // Trailers are few.
        let mut uncounted = HeadBytes {
            taken: 0,
            most: HEAD_BYTES,
        };
        let (headers, counted) = match which {
            Which::Request => (&state.request.headers, request),
            Which::Response => (&state.response.headers, response),
            Which::Chunk => (&state.piece.trailers, &mut uncounted),
        };
        let is_full = headers.len() >= HEAD_FIELDS && !(replaces && headers.contains_key(name));
        if is_full || name.as_str().len() > NAME_BYTES {
            return Ok(false);
        }
        let sizes = |stays: &dyn Fn(&HeaderName) -> bool| -> usize {
            let stay = headers.iter().filter(|(name, _)| stays(name));
            stay.map(|(name, value)| size(name, value)).sum()
        };
        if counted.most == 0 {
            // How much came is bounded elsewhere, and takes no room from plugins.
            counted.taken = sizes(&|_| true);
            counted.most = counted.taken + HEAD_BYTES;
        }
        let own = size(name, value);
        let mut taken = counted.taken;
        // What was removed or replaced is still in what was counted.
        if taken == 0 || taken + own > counted.most {
            taken = sizes(&|other| !replaces || other != name);
        }
        taken += own;
        if taken > counted.most {
            return Ok(false);
        }
        counted.taken = taken;
        Ok(true)
    }

    fn note_changed(&mut self, name: &HeaderName) -> wasmtime::Result<()> {
        let state = self.state()?;
        if !state.changed.contains(name) {
            if state.changed.len() < HEAD_FIELDS {
                state.changed.push(name.clone());
            } else {
                state.recorder.count_dropped();
                self.measures.refuse(Refused::Note, 1);
            }
        }
        Ok(())
    }

    pub(in crate::plugin) fn status(&mut self) -> wasmtime::Result<u16> {
        Ok(self.state()?.response.status.as_u16())
    }

    pub(in crate::plugin) fn set_status(&mut self, status: u16) -> Told<RespondError> {
        let status = match self.counted(Refused::Answer, answer_status(status)) {
            Ok(status) => status,
            Err(error) => return Ok(Err(error)),
        };
        self.remember();
        self.state()?.response.status = status;
        Ok(Ok(()))
    }

    /// Answers instead of the upstream, or instead of its response; without a body, with one that comes
    /// piece by piece.
    pub(in crate::plugin) fn respond(
        &mut self,
        status: u16,
        fields: &[(&str, &[u8])],
        body: Option<&[u8]>,
    ) -> Told<RespondError> {
        let mut answer = answer(status, fields, body.unwrap_or_default());
        if matches!(self.hook, Hook::ResponseBody | Hook::AnswerBody) {
            answer = answer.and(Err(RespondError::TooLate));
        }
        let answer = match self.counted(Refused::Answer, answer) {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error)),
        };
        let answered = self.answered;
        let state = self.state()?;
        state.streams_answer = body.is_none();
        let before = state.answer.replace(answer);
        if !answered {
            self.before = before;
            self.answered = true;
        }
        Ok(Ok(()))
    }

    /// Has the router see another request, or counts that it may not.
    pub(in crate::plugin) fn reroute(&mut self, to: &Reroute<'_>) -> Told<RerouteError> {
        let told = self.route_anew(to)?;
        Ok(self.counted(Refused::Reroute, told))
    }

    fn route_anew(&mut self, to: &Reroute<'_>) -> Told<RerouteError> {
        if self.hook != Hook::PreRequest {
            return Ok(Err(RerouteError::TooLate));
        }
        let invalid = |what, text| Ok(Err(RerouteError::Invalid(format!("{what} {text:?}"))));
        let authority = match to.authority.map(|text| (text.parse::<Authority>(), text)) {
            Some((Ok(authority), text)) if !text.contains('@') => Some(authority),
            Some((_, text)) => return invalid("authority", text),
            None => None,
        };
        let path = match to
            .path_and_query
            .map(|text| (text.parse::<PathAndQuery>(), text))
        {
            Some((Ok(path), text)) if text.starts_with('/') => Some(path),
            Some((_, text)) => return invalid("path", text),
            None => None,
        };
        let uri = path.map(Uri::from);
        let normal = match uri.as_ref().map(target::normal).transpose() {
            Ok(normal) => normal.flatten(),
            Err(wrong) => return Ok(Err(RerouteError::Invalid(wrong.to_owned()))),
        };
        self.remember();
        let state = self.state()?;
        if let Some(authority) = authority {
            authority.as_str().clone_into(&mut state.request.authority);
            if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
                state.request.headers.insert(http::header::HOST, host);
            }
        }
        if let Some(uri) = normal.or(uri) {
            state.request.uri = uri;
        }
        if let Some(upstream) = to.upstream {
            state.upstream = Some(upstream.to_owned());
        }
        Ok(Ok(()))
    }
}

enum Change<'a> {
    Set(&'a [u8]),
    Add(&'a [u8]),
    Remove,
}

/// A field name that a plugin may change.
pub(super) fn field_name(name: &[u8]) -> Result<HeaderName, HeaderError> {
    if name.starts_with(b":") {
        return Err(HeaderError::Forbidden);
    }
    let name = HeaderName::from_bytes(name).map_err(|_| HeaderError::InvalidName)?;
    if is_proxys(&name) {
        Err(HeaderError::Forbidden)
    } else {
        Ok(name)
    }
}

/// Fields that only the proxy may set: the host, framing and hop-by-hop fields.
fn is_proxys(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "host"
            | "connection"
            | "content-length"
            | "transfer-encoding"
            | "te"
            | "trailer"
            | "upgrade"
            | "keep-alive"
            | "proxy-connection"
    )
}

fn answer(status: u16, fields: &[(&str, &[u8])], body: &[u8]) -> Result<Answer, RespondError> {
    let status = answer_status(status)?;
    if body.len() > ANSWER_BYTES {
        return Err(RespondError::TooLarge);
    }
    let bytes: usize = fields
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if fields.len() > HEAD_FIELDS || bytes > HEAD_BYTES {
        return Err(RespondError::Header(HeaderError::TooLarge));
    }
    let mut headers = HeaderMap::with_capacity(fields.len() + 1);
    for (name, value) in fields {
        let name = field_name(name.as_bytes()).map_err(RespondError::Header)?;
        let value = HeaderValue::from_bytes(value)
            .map_err(|_| RespondError::Header(HeaderError::InvalidValue))?;
        headers.append(name, value);
    }
    Ok(Answer {
        status,
        headers,
        body: Bytes::copy_from_slice(body),
    })
}

fn answer_status(status: u16) -> Result<StatusCode, RespondError> {
    if !(200..600).contains(&status) {
        return Err(RespondError::InvalidStatus);
    }
    StatusCode::from_u16(status).map_err(|_| RespondError::InvalidStatus)
}

/// Of a field as HTTP/1.1 has it.
fn size(name: &HeaderName, value: &HeaderValue) -> usize {
    name.as_str().len() + value.len() + ": \r\n".len()
}

/// A field's value as text: UTF-8, else ISO-8859-1.
pub(in crate::plugin) fn text(value: &HeaderValue) -> Cow<'_, str> {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => text.into(),
        Err(_) => {
            let chars = value.as_bytes().iter().map(|byte| char::from(*byte));
            chars.collect::<String>().into()
        }
    }
}
