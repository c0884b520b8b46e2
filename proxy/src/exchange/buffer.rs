//! 5, 7 — Bodies that hooks want whole: read before the hook is called, while the head waits.
//!
//! A body is read only as far as some hook asks for. What was read of one that turned out too large
//! goes out first, and the rest streams behind it.

mod read;
mod room;
mod whole;

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Version};
use http_body::Body;
use hyper::body::Incoming;

use super::patience::Patience;
use super::state::{Answer, HeadBytes, Held, ResponseHead, State};
use super::stream::Through;
use super::{Content, content, trailers};
use crate::coding::Decoder;
use crate::config;
use crate::plugin::Side;
use crate::plugin::answer::{Begun, Pieces};
use crate::plugin::chain::{Bodies, Fit, Outcome};
use crate::plugin::stream::{Flow, Pipe, Pipes};
use crate::server::respond::{self, Refusal};
use crate::upstream::body::{Fault, RequestBody, Upload};
use crate::worker::Worker;

pub(super) use read::{Read, Stopped};
pub use room::Room;
pub(super) use whole::Whole;
use whole::whole;

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
    patience: Patience,
    upload: Upload,
    /// Where any hook asked for it.
    read: Option<Box<Read>>,
    flow: Option<Rc<Flow>>,
    /// Where a hook answered with a body that comes piece by piece.
    pub(super) begun: Option<Box<Begun>>,
}

impl<'w> RequestSource<'w> {
    pub(super) fn new(
        worker: &'w Worker,
        body: Incoming,
        upload: Upload,
        listener: &config::Listener,
        state: &State,
    ) -> Self {
        let mut body = Through::new(body).over(state.version);
        body.limit(listener.max_body_bytes.unwrap_or(u64::MAX));
        let mut source = Self {
            worker,
            body,
            patience: Patience::new(listener.timeouts.body),
            upload,
            read: None,
            flow: None,
            begun: None,
        };
        // Messages of gRPC come when there are any. Over HTTP/1.1 there is none: who says so has another reason.
        if !(state.request.grpc && state.version == Version::HTTP_2) {
            source.pace(listener.min_body_rate);
        }
        source
    }

    /// It may have so many bytes, whatever was said before.
    pub(super) fn limit(&mut self, most: u64) {
        self.body.limit(most);
    }

    /// So many bytes of it are to come in a second, whatever was said before.
    pub(super) fn pace(&mut self, least: u64) {
        self.patience.pace(least);
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
    pub(super) fn send(mut self, state: &mut State) -> RequestBody {
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
        RequestBody::new(self.body, self.upload, self.patience)
    }
}

impl Bodies for RequestSource<'_> {
    async fn hold(&mut self, most: usize, state: &mut State) -> Result<Fit, Answer> {
        if let Held::Whole(bytes) = &state.request_body {
            return Ok(fit(bytes, most));
        }
        let read = self.read.get_or_insert_default();
        match read.fill(&mut self.body, most, &mut self.patience).await {
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
            Err(Stopped::Fault(fault)) => {
                self.upload.fail(fault);
                Err(respond::refusal(&Refusal::Upload(fault)))
            }
        }
    }

    fn comes(&self, state: &State) -> bool {
        match &state.request_body {
            Held::Unread => !self.body.is_end_stream(),
            Held::Part => true,
            Held::Whole(bytes) => !bytes.is_empty(),
        }
    }

    fn attach(&mut self, pipe: Pipe, decoder: Option<Decoder>, state: &mut State) -> bool {
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
            return false;
        }
        let flow = flow(&mut self.flow, self.worker, state);
        self.body
            .attach(pipe, Side::Request, decoder, || Pipes::new(flow));
        true
    }

    fn replaced(&mut self, state: &State) {
        strip_digests(self.read.as_deref_mut(), state);
    }

    fn answers(&mut self, begun: Box<Begun>) {
        self.begun = Some(begun);
    }

    fn refusal(&self) -> Answer {
        respond::refusal(&Refusal::RequestTooLarge)
    }

    fn malformed(&self) -> Answer {
        respond::refusal(&Refusal::Upload(Fault::Encoding))
    }
}

/// Of the trailers behind a body that was replaced.
fn strip_digests(read: Option<&mut Read>, state: &State) {
    if let Some(trailers) = read.and_then(|read| read.trailers.as_mut()) {
        content::strip_digests(trailers, &state.changed);
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
    /// Time in which they waited for a plugin's answer, and no guest ran for it.
    pub(super) idle: Duration,
    flow: Option<Rc<Flow>>,
    begun: Option<Box<Begun>>,
}

impl<'w> ResponseSource<'w> {
    pub(super) fn new(worker: &'w Worker, content: Content) -> Self {
        Self {
            worker,
            content,
            read: None,
            waited: Duration::ZERO,
            idle: Duration::ZERO,
            flow: None,
            begun: None,
        }
    }

    /// What plugins note while it streams.
    pub(super) fn flow(&self) -> Option<Rc<Flow>> {
        self.flow.clone()
    }

    /// The answer that is there has a body that comes piece by piece.
    pub(super) fn begin(&mut self, begun: Box<Begun>, state: &mut State) {
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
        state.may_have_body()
            && match &self.content {
                // What was read of it may be all there is.
                Content::Upstream(_) | Content::Streamed(_)
                    if matches!(state.response_body, Held::Part) =>
                {
                    true
                }
                Content::Upstream(reply) => {
                    reply.switched.is_none() && !reply.response.body().is_end_stream()
                }
                Content::Streamed(body) => !body.is_end_stream(),
                Content::Answer(_) | Content::Whole(_) => true,
            }
    }

    /// Answers instead of a response that cannot be had whole.
    fn give_up(&mut self, state: &mut State, refusal: &Refusal, reason: &'static str) {
        state.end_call(Some(reason), Instant::now());
        self.replace(respond::refusal(refusal), state);
    }
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
            Content::Streamed(body) => (body, Duration::MAX),
            Content::Answer(answer) => {
                let bytes = answer.body.clone();
                let fit = fit(&bytes, most);
                state.response_body = Held::Whole(bytes);
                return Ok(fit);
            }
            Content::Whole(_) => return Ok(Fit::Whole),
        };
        let worked = || {
            let flow = self.flow.as_ref();
            flow.map_or(Duration::ZERO, |flow| flow.worked())
        };
        let (start, before) = (Instant::now(), worked());
        let read = self.read.get_or_insert_default();
        let mut patience = Patience::new(longest_wait);
        let filled = read.fill(body, most, &mut patience).await;
        let now = Instant::now();
        let (took, worked) = (now.saturating_duration_since(start), worked());
        if let Content::Upstream(_) = self.content {
            self.waited += took;
        } else {
            self.idle += took.saturating_sub(worked.saturating_sub(before));
        }
        match filled {
            Ok(()) if read.ended => {
                let bytes = read.whole();
                let fit = fit(&bytes, most);
                state.response_body = Held::Whole(bytes);
                if let Some(fields) = &read.trailers {
                    trailers::note_status(state, fields);
                }
                let whole = Content::Whole(Whole {
                    bytes: Bytes::new(),
                    trailers: None,
                });
                if let Content::Upstream(reply) = std::mem::replace(&mut self.content, whole) {
                    state.end_call(None, now);
                    self.worker.pools.give(reply.lease, now);
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
            Err(Stopped::Fault(Fault::Encoding)) => {
                self.give_up(state, &Refusal::ResponseEncoding, "upstream_encoding");
            }
            Err(Stopped::Fault(_)) => self.give_up(state, &Refusal::BadGateway, "upstream_body"),
        }
        Ok(Fit::Whole)
    }

    fn comes(&self, state: &State) -> bool {
        self.has_body(state)
            && match (&state.response_body, &self.content) {
                (Held::Whole(bytes), _) => !bytes.is_empty(),
                (_, Content::Answer(answer)) => !answer.body.is_empty(),
                _ => true,
            }
    }

    fn attach(&mut self, pipe: Pipe, decoder: Option<Decoder>, state: &mut State) -> bool {
        if !self.has_body(state) {
            if !state.may_have_body() {
                // Where there is one, it has no length either.
                state.response.headers.remove(CONTENT_LENGTH);
            }
            return false;
        }
        let held = std::mem::take(&mut state.response_body);
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
                return false;
            }
            self.content = Content::Streamed(Through::whole(whole, trailers));
        }
        let body = match &mut self.content {
            Content::Upstream(reply) => reply.response.body_mut(),
            Content::Streamed(body) => body,
            Content::Answer(_) | Content::Whole(_) => return false,
        };
        if let Some(read) = read {
            body.unread(read.bytes.freeze());
        }
        let flow = flow(&mut self.flow, self.worker, state);
        body.attach(pipe, Side::Response, decoder, || Pipes::new(flow));
        true
    }

    fn replaced(&mut self, state: &State) {
        strip_digests(self.read.as_deref_mut(), state);
    }

    fn answers(&mut self, begun: Box<Begun>) {
        self.begun = Some(begun);
    }

    fn refusal(&self) -> Answer {
        respond::refusal(&Refusal::ResponseTooLarge)
    }

    fn malformed(&self) -> Answer {
        respond::refusal(&Refusal::ResponseEncoding)
    }

    fn stopped(&mut self, outcome: Outcome, state: &mut State) {
        let answer = super::stopped(outcome, state);
        self.replace(answer, state);
        if let Some(begun) = self.begun.take() {
            self.begin(begun, state);
        }
    }

    fn replace(&mut self, answer: Answer, state: &mut State) {
        if let Content::Upstream(_) = &self.content {
            // It is cut here, and the answer may go on for long.
            state.end_call(None, Instant::now());
        }
        state.response = ResponseHead {
            status: answer.status,
            headers: answer.headers.clone(),
        };
        state.head_bytes[Side::Response as usize] = HeadBytes::default();
        state.response_body = Held::Whole(answer.body.clone());
        self.content = Content::Answer(answer);
        self.read = None;
    }
}
