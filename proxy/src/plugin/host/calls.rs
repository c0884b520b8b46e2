//! Calls to upstreams: checked and noted here, made by [`crate::plugin::callout::Calls`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

use super::Host;
use super::heads::{HEAD_BYTES, HEAD_FIELDS, field_name};
use crate::exchange::method;
use crate::plugin::Failure;
use crate::plugin::callout::{Callout, Desk, Error, Made, Reply};
use crate::plugin::refusals::Refused;
use crate::trace::context::{self, TRACEPARENT};
use crate::trace::{Kind, SpanIndex, Status};

/// Most bytes of a path that a span keeps.
const PATH_BYTES: usize = 2048;

/// A request as a guest passed it.
pub(in crate::plugin) struct Asked<'a> {
    pub(in crate::plugin) upstream: &'a str,
    pub(in crate::plugin) method: &'a str,
    pub(in crate::plugin) path_and_query: &'a str,
    pub(in crate::plugin) headers: &'a [(&'a str, &'a [u8])],
    pub(in crate::plugin) body: &'a [u8],
    pub(in crate::plugin) timeout_ms: u32,
}

/// What a store keeps of its hook's calls.
#[derive(Default)]
pub(super) struct Outward {
    desk: Arc<Desk>,
    /// How many the hook has made.
    made: u32,
    /// The span of the one that is under way.
    under_way: Option<SpanIndex>,
    /// By number; until the hook ends.
    replies: Vec<(u32, Reply)>,
    /// The last number given, of all hooks of the instance.
    number: u32,
}

impl Outward {
    /// A hook begins.
    pub(super) fn begin(&mut self) {
        self.made = 0;
    }

    /// The hook has ended; gives the span of a call that was cut.
    pub(super) fn end(&mut self) -> Option<SpanIndex> {
        self.replies.clear();
        self.under_way.take()
    }
}

impl Host {
    pub(in crate::plugin) fn desk(&self) -> Arc<Desk> {
        Arc::clone(&self.outward.desk)
    }

    pub(in crate::plugin) fn may_call(&self, upstream: &str) -> bool {
        self.upstreams.iter().any(|allowed| allowed == upstream)
    }

    /// Begins a call, whose outcome is then awaited at [`Host::desk`]; or says why there is none.
    pub(in crate::plugin) fn send(
        &mut self,
        asked: &Asked<'_>,
    ) -> wasmtime::Result<Result<(), Error>> {
        self.state()?;
        let request = match self.counted(Refused::Call, self.check(asked)) {
            Ok(request) => request,
            Err(error) => {
                self.note_refused(asked, error)?;
                return Ok(Err(error));
            }
        };
        self.outward.made += 1;
        let timeout = asked.timeout_ms;
        let call = Callout {
            upstream: asked.upstream.to_owned(),
            most: self.body_limit,
            timeout: (timeout > 0).then(|| Duration::from_millis(timeout.into())),
            request: self.begin(asked, request)?,
        };
        self.outward.desk.ask(call);
        Ok(Ok(()))
    }

    fn check(&self, asked: &Asked<'_>) -> Result<Request<Bytes>, Error> {
        if !self.may_call(asked.upstream) {
            return Err(Error::NotAllowed);
        }
        if self.outward.made >= self.call_limit {
            return Err(Error::TooMany);
        }
        if asked.body.len() > self.body_limit {
            return Err(Error::TooLarge);
        }
        request(asked).ok_or(Error::Invalid)
    }

    /// Begins the call's span, and has the request name it.
    fn begin(
        &mut self,
        asked: &Asked<'_>,
        mut request: Request<Bytes>,
    ) -> wasmtime::Result<Request<Bytes>> {
        let parent = self.span;
        let recorder = &mut self.state()?.recorder;
        let now = Instant::now();
        let span = recorder.span(
            method::name(request.method()),
            Kind::HttpClient,
            parent,
            now,
        );
        let path = request.uri().path();
        recorder.attributes(span, |attributes| {
            attributes.add("http.request.method", method::attribute(request.method()));
            attributes.add("url.path", &path[..path.floor_char_boundary(PATH_BYTES)]);
            attributes.add("weir.upstream.name", asked.upstream);
        });
        let (trace, flags) = (recorder.trace_id(), recorder.flags());
        let traceparent = context::traceparent(trace, recorder.span_id(span), flags);
        request.headers_mut().insert(TRACEPARENT, traceparent);
        self.outward.under_way = Some(span);
        Ok(request)
    }

    /// A call that was not made is told of on the hook's span.
    fn note_refused(&mut self, asked: &Asked<'_>, error: Error) -> wasmtime::Result<()> {
        let hook = self.span;
        let end = asked.upstream.floor_char_boundary(256);
        let attributes = [
            ("error.type", reason(error).into()),
            ("weir.upstream.name", (&asked.upstream[..end]).into()),
        ];
        self.outward.made = self.outward.made.saturating_add(1);
        if self.outward.made <= self.call_limit.saturating_add(1) {
            let recorder = &mut self.state()?.recorder;
            recorder.event(hook, "call refused", &attributes, Instant::now());
        }
        Ok(())
    }

    /// Ends a call: the number of its reply, or why there is none.
    pub(in crate::plugin) fn sent(&mut self, made: Made) -> wasmtime::Result<Result<u32, Error>> {
        let span = self.outward.under_way.take();
        let recorder = &mut self.state()?.recorder;
        if let Some(span) = span {
            note(recorder, span, &made);
        }
        Ok(match made.result {
            Ok(reply) => {
                let outward = &mut self.outward;
                // One means the head that is lent, to a core module.
                outward.number = outward.number.wrapping_add(1).max(2);
                outward.replies.push((outward.number, reply));
                Ok(outward.number)
            }
            Err(refused) => {
                // Where no calls are made, as behind a piece of a body, every upstream is unknown.
                if refused.error == Error::NotAllowed {
                    self.measures.refuse(Refused::Call, 1);
                }
                Err(refused.error)
            }
        })
    }

    /// A reply of this hook.
    pub(in crate::plugin) fn reply(
        &self,
        number: u32,
    ) -> wasmtime::Result<&crate::exchange::state::Answer> {
        let mut replies = self.outward.replies.iter();
        let found = replies.find(|(other, _)| *other == number);
        found.map(|(_, reply)| &reply.answer).ok_or_else(|| {
            let what = format!("handle {number} stands for no reply of this hook");
            wasmtime::Error::new(Failure::Abi(what))
        })
    }

    /// One that is not there any more was dropped by the hook's end.
    pub(in crate::plugin) fn drop_reply(&mut self, number: u32) {
        self.outward.replies.retain(|(other, _)| *other != number);
    }

    /// The hook has ended, and with it its calls.
    pub(super) fn end_calls(&mut self) {
        if let (Some(span), Some(state)) = (self.outward.end(), &mut self.state) {
            let recorder = &mut state.recorder;
            recorder.attribute(span, "error.type", "cancelled");
            let message = "the hook ended before the call";
            recorder.end(span, Status::Error, message, Instant::now());
        }
    }
}

fn note(recorder: &mut crate::trace::recorder::Recorder, span: SpanIndex, made: &Made) {
    recorder.attributes(span, |attributes| {
        if let Some((host, port)) = &made.endpoint {
            attributes.add("server.address", host.as_str());
            attributes.add("server.port", *port);
        }
        if made.resent > 0 {
            attributes.add("http.request.resend_count", made.resent);
        }
    });
    match &made.result {
        Ok(Reply { answer, .. }) => {
            let status = answer.status;
            let len = i64::try_from(answer.body.len()).unwrap_or(i64::MAX);
            recorder.attributes(span, |attributes| {
                attributes.add("http.response.status_code", status.as_u16());
                attributes.add("http.response.body.size", len);
            });
            if status.is_client_error() || status.is_server_error() {
                recorder.attribute(span, "error.type", status.as_str());
                recorder.end(span, Status::Error, "", made.end);
            } else {
                recorder.end(span, Status::Ok, "", made.end);
            }
        }
        Err(refused) => {
            recorder.attribute(span, "error.type", refused.reason);
            recorder.end(span, Status::Error, &refused.message, made.end);
        }
    }
}

fn reason(error: Error) -> &'static str {
    match error {
        Error::NotAllowed => "not_allowed",
        Error::TooMany => "too_many",
        Error::Invalid => "invalid",
        Error::Connect => "connect",
        Error::Timeout => "timeout",
        Error::Broken => "broken",
        Error::TooLarge => "too_large",
        Error::Overload => "overload",
    }
}

/// The request that a guest means, if it is one that may be sent.
fn request(asked: &Asked<'_>) -> Option<Request<Bytes>> {
    let method = Method::from_bytes(asked.method.as_bytes()).ok()?;
    if method == Method::CONNECT || !asked.path_and_query.starts_with('/') {
        return None;
    }
    let target: PathAndQuery = asked.path_and_query.parse().ok()?;
    let bytes: usize = asked
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if asked.headers.len() > HEAD_FIELDS || bytes > HEAD_BYTES {
        return None;
    }
    let mut headers = HeaderMap::with_capacity(asked.headers.len() + 3);
    for (name, value) in asked.headers {
        let value = HeaderValue::from_bytes(value).ok()?;
        if name.eq_ignore_ascii_case("host") {
            let authority: Authority = value.to_str().ok()?.parse().ok()?;
            if authority.as_str().contains('@') || headers.insert(HOST, value).is_some() {
                return None;
            }
        } else {
            headers.append(field(name)?, value);
        }
    }
    let mut request = Request::new(Bytes::copy_from_slice(asked.body));
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from(target);
    *request.headers_mut() = headers;
    Some(request)
}

fn field(name: &str) -> Option<HeaderName> {
    let name = field_name(name.as_bytes()).ok()?;
    (name != http::header::EXPECT).then_some(name)
}
