//! What is known of one exchange while it is under way: the heads, the answer a hook gave, the
//! spans so far.
//!
//! A worker keeps these boxed and uses them again; a hook's call lends the box to the guest's store
//! and takes it back. No I/O, no clock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use smallvec::SmallVec;

use super::buffer::Room;
use crate::listener::proxy_protocol::Addresses;
use crate::plugin::Side;
use crate::plugin::stream::Piece;
use crate::tls::Certificate;
use crate::trace::recorder::{self, Recorder};
use crate::trace::{Kind, SpanIndex, Status, Value};
use crate::upstream::Upstream;

/// Of a span whose response's body broke off.
pub const UNFINISHED: &str = "response body did not reach its end";

/// What plugins left for their later hooks: (plugin's id, key, value).
pub type Left = SmallVec<[(u32, String, String); 2]>;

/// See the module's documentation.
#[derive(Default)]
pub struct State {
    pub recorder: Recorder,
    pub request: RequestHead,
    pub version: Version,
    /// For the access log: the upstream that was called, its last endpoint's place, and the tries.
    pub called: Option<(Arc<Upstream>, usize, u32)>,
    pub response: ResponseHead,
    /// What a hook answers instead of the upstream (or instead of its response).
    pub answer: Option<Answer>,
    /// Upstream that a pre-request hook chose by name.
    pub upstream: Option<String>,
    pub held: Left,
    /// Attributes and events for the upstream call's span, set before it began.
    for_upstream: Vec<UpstreamNote>,
    /// About how many bytes these are.
    kept_for_upstream: usize,
    /// What hooks say that the call is, and that it failed: for its span, at the exchange's end.
    pub call_named: Option<(Kind, String)>,
    pub call_failed: Option<String>,
    /// The upstream call's span, once it began.
    pub call: Option<SpanIndex>,
    /// The span of the call's last further try, if there was one.
    pub retry: Option<SpanIndex>,
    /// Of the heads, by [`Side`].
    pub head_bytes: [HeadBytes; 2],
    /// Names of the fields that the last hook changed, in order, each once.
    pub changed: Vec<HeaderName>,
    /// The bodies, as far as hooks asked for them.
    pub request_body: Held,
    pub response_body: Held,
    /// The last hook put another body in the place of its side's.
    pub body_replaced: bool,
    /// The last hook's body is to pass by.
    pub skips_body: bool,
    /// The body of the last hook's answer comes piece by piece.
    pub streams_answer: bool,
    /// The piece of a body that a hook is called for, and what is to go on instead.
    pub piece: Piece,
    pub written: Vec<Bytes>,
    /// What the bodies take of the room there is for all.
    pub room: Option<Room>,
    /// Lines and bytes of plugin logs so far.
    pub logged: (u32, u32),
}

/// A body that hooks may see.
#[derive(Clone, Debug, Default)]
pub enum Held {
    /// No hook asked for it.
    #[default]
    Unread,
    /// It is larger than any hook so far may hold.
    Part,
    Whole(Bytes),
}

#[derive(Default)]
pub struct RequestHead {
    pub method: Method,
    /// Of the client's connection: `http` or `https`.
    pub scheme: &'static str,
    pub uri: Uri,
    /// Host and port as the client asked for: `Host`, or the authority of an absolute target.
    pub authority: String,
    pub headers: HeaderMap,
    pub client: Option<SocketAddr>,
    /// What the certificate says that was shown on the client's connection.
    pub certificate: Option<Arc<Certificate>>,
    /// What the client's connection was made to.
    pub local: Option<SocketAddr>,
    /// It is a call of gRPC, whose status comes in trailers.
    pub grpc: bool,
    /// The protocol that the client asks to switch to.
    pub upgrade: Option<HeaderValue>,
    /// What the upstream is to answer to a key of ours.
    pub accept: Option<String>,
}

#[derive(Default)]
pub struct ResponseHead {
    pub status: StatusCode,
    pub headers: HeaderMap,
}

/// A whole response that did not come from an upstream.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Something a hook said of the upstream call before there was one.
pub enum UpstreamNote {
    Attribute(String, OwnedValue),
    Event(String, Vec<(String, OwnedValue)>, Instant),
}

/// A [`crate::trace::Value`] that owns its text.
pub enum OwnedValue {
    Text(String),
    Boolean(bool),
    Integer(i64),
    Float(f64),
    List(Vec<String>),
}

impl From<Value<'_>> for OwnedValue {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Text(text) => Self::Text(text.to_owned()),
            Value::Boolean(value) => Self::Boolean(value),
            Value::Integer(value) => Self::Integer(value),
            Value::Float(value) => Self::Float(value),
            Value::List(texts) => Self::List(texts.into_iter().map(str::to_owned).collect()),
        }
    }
}

impl UpstreamNote {
    fn size(&self) -> usize {
        match self {
            Self::Attribute(name, value) => name.len() + value.size(),
            Self::Event(name, attributes, _) => {
                let each = attributes
                    .iter()
                    .map(|(key, value)| key.len() + value.size());
                name.len() + each.sum::<usize>()
            }
        }
    }

    /// Records it on the call's span.
    pub fn record(&self, recorder: &mut Recorder, span: SpanIndex) {
        match self {
            Self::Attribute(name, value) => recorder.attribute(span, name, value.borrowed()),
            Self::Event(name, attributes, time) => {
                let attributes: Vec<_> = attributes
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.borrowed()))
                    .collect();
                recorder.event(span, name, &attributes, *time);
            }
        }
    }
}

impl OwnedValue {
    fn size(&self) -> usize {
        /// Of a value with what is around it.
        const EACH: usize = 32;
        EACH + match self {
            Self::Text(text) => text.len(),
            Self::List(texts) => texts.iter().map(|text| EACH + text.len()).sum(),
            Self::Boolean(_) | Self::Integer(_) | Self::Float(_) => 0,
        }
    }

    fn borrowed(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(text),
            Self::Boolean(value) => Value::Boolean(*value),
            Self::Integer(value) => Value::Integer(*value),
            Self::Float(value) => Value::Float(*value),
            Self::List(texts) => Value::List(texts.iter().map(String::as_str).collect()),
        }
    }
}

impl RequestHead {
    /// Whom the request is made for.
    pub fn addresses(&self) -> Option<Addresses> {
        Some(Addresses {
            source: self.client?,
            destination: self.local?,
        })
    }
}

/// What the fields of a head take at most, where it was counted; and how much they may, with what had
/// come before a plugin added one. 0 where that is not known.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadBytes {
    pub taken: usize,
    pub most: usize,
}

impl State {
    pub fn headers(&mut self, side: Side) -> &mut HeaderMap {
        match side {
            Side::Request => &mut self.request.headers,
            Side::Response => &mut self.response.headers,
        }
    }

    pub fn body(&mut self, side: Side) -> &mut Held {
        match side {
            Side::Request => &mut self.request_body,
            Side::Response => &mut self.response_body,
        }
    }

    /// Keeps a note until there is a call; no more than a trace may have.
    pub fn keep_for_upstream(&mut self, note: UpstreamNote) {
        let bytes = self.kept_for_upstream + note.size();
        if bytes > recorder::MAX_BYTES {
            self.recorder.count_dropped();
            return;
        }
        self.kept_for_upstream = bytes;
        self.for_upstream.push(note);
    }

    /// The call has begun: what was kept for it is noted.
    pub fn note_for_upstream(&mut self, call: SpanIndex) {
        self.kept_for_upstream = 0;
        for note in std::mem::take(&mut self.for_upstream) {
            note.record(&mut self.recorder, call);
        }
    }

    /// Makes the call's span what hooks said that it is.
    pub fn describe_call(&mut self) {
        let Some(call) = self.call else { return };
        if let Some((kind, name)) = self.call_named.take() {
            self.recorder.set_kind(call, kind);
            self.recorder.rename(call, &name);
        }
        if let Some(message) = self.call_failed.take() {
            self.recorder.mark_error(call, &message);
        }
    }

    /// Ends what has not ended of the spans of the call and of its last try; `broke` is why the response's
    /// body did not come to its end.
    pub fn end_call(&mut self, broke: Option<&str>, now: Instant) {
        let recorder = &mut self.recorder;
        for span in [self.retry, self.call].into_iter().flatten() {
            if recorder.has_ended(span) {
                continue;
            }
            match broke {
                Some(reason) => {
                    recorder.attribute(span, "error.type", reason);
                    recorder.end(span, Status::Error, UNFINISHED, now);
                }
                None => recorder.end(span, Status::Ok, "", now),
            }
        }
    }

    /// Begins where another state of the same exchange stands, to be absorbed by it at the end.
    pub fn fork(&mut self, from: &Self) {
        self.clear();
        self.recorder.fork(&from.recorder);
        self.call = from.call;
        self.logged = from.logged;
    }

    /// Takes what some plugins, by their ids, left for their later hooks.
    pub fn take_held(&mut self, from: &Left, whose: impl Fn(u32) -> bool) {
        self.held.retain(|(id, ..)| !whose(*id));
        let theirs = from.iter().filter(|(id, ..)| whose(*id));
        self.held.extend(theirs.cloned());
    }

    /// Takes over what another noted that was forked of it.
    pub fn absorb(&mut self, side: &Self) {
        self.recorder.absorb(&side.recorder);
        if side.call_named.is_some() {
            self.call_named.clone_from(&side.call_named);
        }
        if side.call_failed.is_some() {
            self.call_failed.clone_from(&side.call_failed);
        }
        if let Some(call) = self.call {
            for note in &side.for_upstream {
                note.record(&mut self.recorder, call);
            }
        }
    }

    /// Whether the response may have a body: none to HEAD, nor with 204 or 304, where its length is that
    /// of another response.
    pub fn may_have_body(&self) -> bool {
        let status = self.response.status;
        self.request.method != Method::HEAD
            && status != StatusCode::NO_CONTENT
            && status != StatusCode::NOT_MODIFIED
    }

    /// Whether the client asks to switch by CONNECT, where every success is a tunnel.
    pub fn asks_by_connect(&self) -> bool {
        self.version == Version::HTTP_2 && self.request.upgrade.is_some()
    }

    /// Forgets the last exchange but keeps what was allocated.
    pub fn clear(&mut self) {
        self.request = RequestHead::default();
        self.response = ResponseHead::default();
        self.answer = None;
        self.upstream = None;
        self.held.clear();
        self.for_upstream.clear();
        self.kept_for_upstream = 0;
        self.call_named = None;
        self.call_failed = None;
        self.call = None;
        self.called = None;
        self.retry = None;
        self.head_bytes = Default::default();
        self.changed.clear();
        self.request_body = Held::Unread;
        self.response_body = Held::Unread;
        self.room = None;
        self.body_replaced = false;
        self.skips_body = false;
        self.streams_answer = false;
        self.piece = Piece::default();
        self.written.clear();
        self.logged = (0, 0);
    }
}
