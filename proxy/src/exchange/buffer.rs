//! 5, 7 — Bodies that hooks want whole: read before the hook is called, while the head waits.
//!
//! A body is read only as far as some hook asks for. What was read of one that turned out too large
//! goes out first, and the rest streams behind it.

mod room;

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::Body;
use hyper::body::Incoming;

use super::state::{Answer, Held, ResponseHead, State};
use super::stream::{Broke, Through};
use super::{Content, trailers};
use crate::config;
use crate::plugin::answer::{Begun, Pieces};
use crate::plugin::chain::{Bodies, Fit, Outcome};
use crate::plugin::stream::{Flow, Pipe, Pipes};
use crate::server::respond::{self, Refusal};
use crate::trace::Status;
use crate::upstream::body::{Fault, RequestBody, Upload};
use crate::worker::Worker;

pub use room::Room;

/// How long nothing may come of a body that is at hand, but goes through plugins.
const LONG: Duration = Duration::from_hours(1);

/// Why a body was not read to its end or its bound.
pub(super) enum Stopped {
    Fault(Fault),
    /// By a plugin that streams it.
    Plugin,
    /// Too many bodies are held.
    Full,
}

/// What was read of a body.
#[derive(Default)]
pub(super) struct Read {
    bytes: BytesMut,
    trailers: Option<HeaderMap>,
    ended: bool,
    room: Room,
}

impl Read {
    /// A body that was read to its end.
    fn whole(&mut self) -> Bytes {
        std::mem::take(&mut self.bytes).freeze()
    }

    /// Whether it was read to its end.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// A body that was read to its end, with the room it takes.
    pub(super) fn into_whole(mut self) -> (Bytes, Room) {
        (self.whole(), self.room)
    }

    /// Reads until the end, or until there are more bytes than `most`.
    pub(super) async fn fill<B: Body<Data = Bytes> + Unpin>(
        &mut self,
        body: &mut Through<B>,
        most: usize,
        longest_wait: Duration,
    ) -> Result<(), Stopped> {
        let told = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if self.bytes.len().saturating_add(told) > most {
            return Ok(());
        }
        while !self.ended && self.bytes.len() <= most {
            if body.is_end_stream() {
                self.ended = true;
                break;
            }
            let next = std::future::poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx));
            let frame = tokio::time::timeout(longest_wait, next)
                .await
                .map_err(|_| Stopped::Fault(Fault::Timeout))?;
            match frame {
                None => self.ended = true,
                Some(Err(Broke::Source)) => return Err(Stopped::Fault(Fault::Broken)),
                Some(Err(Broke::TooLarge)) => return Err(Stopped::Fault(Fault::TooLarge)),
                Some(Err(Broke::Stopped(_))) => return Err(Stopped::Plugin),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        if !self.room.grow(self.bytes.len() + data.len()) {
                            return Err(Stopped::Full);
                        }
                        self.bytes.extend_from_slice(&data);
                    }
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok().map(|mut fields| {
                            trailers::strip(&mut fields);
                            fields
                        });
                    }
                },
            }
        }
        Ok(())
    }
}

fn fit(bytes: &Bytes, most: usize) -> Fit {
    if bytes.len() > most {
        Fit::TooLarge
    } else {
        Fit::Whole
    }
}

/// A request's body, until it goes to the upstream.
pub(super) struct RequestSource<'w> {
    worker: &'w Worker,
    body: Through<Incoming>,
    longest_wait: Duration,
    /// Where any hook asked for it.
    read: Option<Box<Read>>,
    flow: Option<Rc<Flow>>,
    /// Where a hook answered with a body that comes piece by piece.
    pub(super) begun: Option<Begun>,
}

impl<'w> RequestSource<'w> {
    pub(super) fn new(worker: &'w Worker, body: Incoming, listener: &config::Listener) -> Self {
        let mut body = Through::new(body);
        body.limit(listener.max_body_bytes.unwrap_or(u64::MAX));
        Self {
            worker,
            body,
            longest_wait: listener.timeouts.body,
            read: None,
            flow: None,
            begun: None,
        }
    }

    /// It may have so many bytes, whatever was said before.
    pub(super) fn limit(&mut self, most: u64) {
        self.body.limit(most);
    }

    /// Whether it is known to be larger than it may be.
    pub(super) fn is_too_large(&self) -> bool {
        self.body.is_too_large()
    }

    /// What plugins note while it streams.
    pub(super) fn flow(&self) -> Option<Rc<Flow>> {
        self.flow.clone()
    }

    /// The body as it goes to the upstream, its length put right in the head.
    pub(super) fn send(mut self, state: &mut State, upload: Upload) -> RequestBody {
        let headers = &mut state.request.headers;
        if let Some(read) = self.read {
            if let Held::Whole(bytes) = std::mem::take(&mut state.request_body) {
                if read.trailers.is_some() {
                    headers.remove(CONTENT_LENGTH);
                } else if !bytes.is_empty()
                    || headers.contains_key(CONTENT_LENGTH)
                    || !read.room.is_empty()
                {
                    headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
                }
                state.room = Some(read.room);
                self.body.replace(bytes, read.trailers);
            } else {
                self.body.unread(read.bytes.freeze());
            }
        }
        if self.body.is_piped() {
            headers.remove(CONTENT_LENGTH);
        }
        RequestBody::new(self.body, upload, self.longest_wait)
    }
}

impl Bodies for RequestSource<'_> {
    async fn hold(&mut self, most: usize, state: &mut State) -> Result<Fit, Answer> {
        if let Held::Whole(bytes) = &state.request_body {
            return Ok(fit(bytes, most));
        }
        let read = self.read.get_or_insert_default();
        match read.fill(&mut self.body, most, self.longest_wait).await {
            Ok(()) if read.ended => {
                let bytes = read.whole();
                let fit = fit(&bytes, most);
                state.request_body = Held::Whole(bytes);
                Ok(fit)
            }
            Ok(()) => {
                state.request_body = Held::Part;
                Ok(Fit::TooLarge)
            }
            Err(Stopped::Full) => Err(respond::refusal(&Refusal::Overload)),
            Err(Stopped::Plugin) => {
                let answer = self.flow.as_ref().and_then(|flow| flow.answer());
                Err(answer.unwrap_or_else(|| respond::refusal(&Refusal::PluginFailed)))
            }
            Err(Stopped::Fault(fault)) => Err(respond::refusal(&Refusal::Upload(fault))),
        }
    }

    fn attach(&mut self, pipe: Pipe, state: &mut State) {
        if let Some(mut read) = self.read.take() {
            // What comes behind sees what this plugin makes of it.
            match std::mem::take(&mut state.request_body) {
                Held::Whole(bytes) => {
                    self.body.replace(bytes, read.trailers.take());
                    state.room = Some(read.room);
                }
                Held::Unread | Held::Part => self.body.unread(read.bytes.freeze()),
            }
        }
        if self.body.is_end_stream() {
            return;
        }
        let flow = flow(&mut self.flow, self.worker, state);
        self.body.attach(pipe, || Pipes::new(flow));
    }

    fn answers(&mut self, begun: Begun) {
        self.begun = Some(begun);
    }

    fn refusal(&self) -> Answer {
        respond::refusal(&Refusal::RequestTooLarge)
    }
}

/// What one side's plugins note, from the first that streams it on.
fn flow<'f>(flow: &'f mut Option<Rc<Flow>>, worker: &Worker, state: &State) -> &'f Rc<Flow> {
    let flow = flow.get_or_insert_with(|| Flow::new(state, worker.take_state()));
    flow.catch_up(state);
    flow
}

/// The response, while response hooks run.
pub(super) struct ResponseSource<'w> {
    worker: &'w Worker,
    pub(super) content: Content,
    read: Option<Box<Read>>,
    /// Time in which hooks waited for the upstream.
    pub(super) waited: Duration,
    flow: Option<Rc<Flow>>,
    begun: Option<Begun>,
}

impl<'w> ResponseSource<'w> {
    pub(super) fn new(worker: &'w Worker, content: Content) -> Self {
        Self {
            worker,
            content,
            read: None,
            waited: Duration::ZERO,
            flow: None,
            begun: None,
        }
    }

    /// What plugins note while it streams.
    pub(super) fn flow(&self) -> Option<Rc<Flow>> {
        self.flow.clone()
    }

    /// The answer that is there has a body that comes piece by piece.
    pub(super) fn begin(&mut self, begun: Begun, state: &mut State) {
        let body = if self.has_body(state) {
            let flow = flow(&mut self.flow, self.worker, state);
            Through::answer(Pieces::new(begun, flow))
        } else {
            Through::whole(Bytes::new(), None)
        };
        state.response_body = Held::Unread;
        self.content = Content::Streamed(body);
    }

    /// The content as it goes out.
    pub(super) fn send(self, state: &mut State) -> Content {
        let held = std::mem::take(&mut state.response_body);
        match (self.content, held, self.read) {
            (Content::Answer(mut answer), Held::Whole(bytes), _) => {
                answer.body = bytes;
                Content::Answer(answer)
            }
            (Content::Whole(_), Held::Whole(bytes), read) => {
                let trailers = read.and_then(|mut read| {
                    state.room = Some(std::mem::take(&mut read.room));
                    read.trailers.take()
                });
                Content::Whole(whole(state, bytes, trailers))
            }
            (Content::Upstream(mut reply), _, read) => {
                let body = reply.response.body_mut();
                if let Some(read) = read {
                    body.unread(read.bytes.freeze());
                }
                if body.is_piped() {
                    state.response.headers.remove(CONTENT_LENGTH);
                }
                Content::Upstream(reply)
            }
            (Content::Streamed(mut body), _, read) => {
                if let Some(read) = read {
                    body.unread(read.bytes.freeze());
                }
                state.response.headers.remove(CONTENT_LENGTH);
                Content::Streamed(body)
            }
            (content, ..) => content,
        }
    }

    /// Whether there is a body that a plugin may see: none where the connection is switched, or where
    /// its length is that of another response.
    fn has_body(&self, state: &State) -> bool {
        let status = state.response.status;
        state.request.method != Method::HEAD
            && status != StatusCode::NO_CONTENT
            && status != StatusCode::NOT_MODIFIED
            && match &self.content {
                Content::Upstream(reply) => {
                    reply.switched.is_none() && !reply.response.body().is_end_stream()
                }
                Content::Streamed(body) => !body.is_end_stream(),
                Content::Answer(_) | Content::Whole(_) => true,
            }
    }

    /// Answers instead of a response that cannot be had whole.
    fn give_up(&mut self, state: &mut State, refusal: &Refusal, reason: &'static str) {
        if let Some(call) = state.call
            && !state.recorder.has_ended(call)
        {
            state.recorder.attribute(call, "error.type", reason);
            let message = "response body did not reach its end";
            let now = Instant::now();
            state.recorder.end(call, Status::Error, message, now);
        }
        self.replace(respond::refusal(refusal), state);
    }
}

/// A body that was read whole, its length put right in the head.
pub(super) struct Whole {
    pub(super) bytes: Bytes,
    pub(super) trailers: Option<HeaderMap>,
}

fn whole(state: &mut State, bytes: Bytes, trailers: Option<HeaderMap>) -> Whole {
    let status = state.response.status;
    let never = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    if never || state.request.method == Method::HEAD {
        // Its length is that of another response.
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

impl Bodies for ResponseSource<'_> {
    async fn hold(&mut self, most: usize, state: &mut State) -> Result<Fit, Answer> {
        if let Held::Whole(bytes) = &state.response_body {
            return Ok(fit(bytes, most));
        }
        let (body, longest_wait) = match &mut self.content {
            // The connection is switched: there is no body.
            Content::Upstream(reply) if reply.switched.is_some() => return Ok(Fit::Whole),
            Content::Upstream(reply) => (reply.response.body_mut(), reply.body_timeout),
            Content::Streamed(body) => (body, LONG),
            Content::Answer(answer) => {
                let bytes = answer.body.clone();
                let fit = fit(&bytes, most);
                state.response_body = Held::Whole(bytes);
                return Ok(fit);
            }
            Content::Whole(_) => return Ok(Fit::Whole),
        };
        let start = Instant::now();
        let read = self.read.get_or_insert_default();
        let filled = read.fill(body, most, longest_wait).await;
        let now = Instant::now();
        if let Content::Upstream(_) = self.content {
            self.waited += now.saturating_duration_since(start);
        }
        match filled {
            Ok(()) if read.ended => {
                let bytes = read.whole();
                let fit = fit(&bytes, most);
                state.response_body = Held::Whole(bytes);
                if let Some(fields) = &read.trailers {
                    trailers::note_status(state, fields);
                }
                if let Some(call) = state.call {
                    state.recorder.end(call, Status::Ok, "", now);
                }
                let whole = Content::Whole(Whole {
                    bytes: Bytes::new(),
                    trailers: None,
                });
                if let Content::Upstream(reply) = std::mem::replace(&mut self.content, whole) {
                    self.worker.pools.give(reply.lease);
                }
                return Ok(fit);
            }
            Ok(()) => {
                state.response_body = Held::Part;
                return Ok(Fit::TooLarge);
            }
            Err(Stopped::Full) => self.give_up(state, &Refusal::Overload, "overload"),
            Err(Stopped::Plugin) => self.replace(respond::refusal(&Refusal::PluginFailed), state),
            Err(Stopped::Fault(Fault::Timeout)) => {
                self.give_up(state, &Refusal::GatewayTimeout, "upstream_body_timeout");
            }
            Err(Stopped::Fault(_)) => self.give_up(state, &Refusal::BadGateway, "upstream_body"),
        }
        Ok(Fit::Whole)
    }

    fn attach(&mut self, pipe: Pipe, state: &mut State) {
        let held = std::mem::take(&mut state.response_body);
        if !self.has_body(state) {
            state.response_body = held;
            return;
        }
        let mut read = self.read.take();
        let whole = match (&mut self.content, held) {
            (Content::Answer(_) | Content::Whole(_), Held::Whole(bytes)) => bytes,
            (Content::Answer(answer), _) => std::mem::take(&mut answer.body),
            (Content::Whole(whole), _) => std::mem::take(&mut whole.bytes),
            _ => Bytes::new(),
        };
        if let Content::Answer(_) | Content::Whole(_) = &self.content {
            let trailers = read.as_mut().and_then(|read| read.trailers.take());
            if let Some(read) = &mut read {
                state.room = Some(std::mem::take(&mut read.room));
            }
            if whole.is_empty() && trailers.is_none() {
                state.response_body = Held::Whole(whole);
                return;
            }
            self.content = Content::Streamed(Through::whole(whole, trailers));
        }
        let body = match &mut self.content {
            Content::Upstream(reply) => reply.response.body_mut(),
            Content::Streamed(body) => body,
            Content::Answer(_) | Content::Whole(_) => return,
        };
        if let Some(read) = read {
            body.unread(read.bytes.freeze());
        }
        let flow = flow(&mut self.flow, self.worker, state);
        body.attach(pipe, || Pipes::new(flow));
    }

    fn answers(&mut self, begun: Begun) {
        self.begun = Some(begun);
    }

    fn refusal(&self) -> Answer {
        respond::refusal(&Refusal::ResponseTooLarge)
    }

    fn stopped(&mut self, outcome: Outcome, state: &mut State) {
        let answer = super::stopped(outcome, state);
        self.replace(answer, state);
        if let Some(begun) = self.begun.take() {
            self.begin(begun, state);
        }
    }

    fn replace(&mut self, answer: Answer, state: &mut State) {
        state.response = ResponseHead {
            status: answer.status,
            headers: answer.headers.clone(),
        };
        state.response_body = Held::Whole(answer.body.clone());
        self.content = Content::Answer(answer);
        self.read = None;
    }
}
