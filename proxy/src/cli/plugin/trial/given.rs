//! Bodies of exchanges in process.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame};
use weir_sdk::testing::InPieces;

use super::{stopped, take};
use crate::coding::Decoder;
use crate::exchange::state::{Answer, Held, State};
use crate::exchange::stream::{Broke, Through};
use crate::plugin::Side;
use crate::plugin::answer::{Begun, Pieces};
use crate::plugin::callout::Calls;
use crate::plugin::chain::{Bodies, Fit, Outcome};
use crate::plugin::stream::{Flow, Pipe, Pipes};
use crate::server::respond::{self, Refusal};
use crate::upstream::body::Fault;

/// How long, in bytes and by the clock, an answer that comes piece by piece may be here, where nobody
/// leaves before its end.
const ANSWER_BYTES: u64 = 4 << 20;
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// A body that is there from the start.
pub(super) struct Given {
    side: Side,
    bytes: Bytes,
    /// As they come, where that is not in one piece.
    pieces: Option<Sent>,
    /// On its way through plugins that stream it.
    piped: Option<(Through<Sent>, Rc<Flow>)>,
    /// Where a hook answered with a body that comes piece by piece.
    begun: Option<Box<Begun>>,
    /// The same of a hook of a piece.
    answered: Option<Rc<Flow>>,
}

impl Given {
    pub(super) fn request(request: &Request<Vec<u8>>) -> Self {
        Self {
            side: Side::Request,
            bytes: Bytes::copy_from_slice(request.body()),
            pieces: request.extensions().get().map(Sent::new),
            piped: None,
            begun: None,
            answered: None,
        }
    }

    pub(super) fn response(body: &[u8], pieces: Option<&InPieces>) -> Self {
        Self {
            side: Side::Response,
            bytes: Bytes::copy_from_slice(body),
            pieces: pieces.map(Sent::new),
            piped: None,
            begun: None,
            answered: None,
        }
    }

    /// The answer that is there has a body that comes piece by piece.
    pub(super) fn begin(&mut self, begun: Box<Begun>, state: &mut State) {
        self.bytes = Bytes::new();
        state.response_body = Held::Unread;
        if !state.may_have_body() {
            return;
        }
        let flow = Flow::new(state, Box::default());
        flow.catch_up(state);
        let mut body = Through::answer(Pieces::new(begun, &flow));
        body.limit(ANSWER_BYTES);
        self.piped = Some((body, flow));
    }

    /// What went on, or would have, as plugins left it.
    pub(super) fn sent(&self, state: &mut State) -> Bytes {
        match state.body(self.side) {
            Held::Whole(bytes) => bytes.clone(),
            Held::Unread | Held::Part => self.bytes.clone(),
        }
    }

    /// What the body of an answer comes of, where it comes piece by piece.
    pub(super) fn begun(&mut self, calls: &dyn Calls) -> Option<Box<Begun>> {
        let begun = self.begun.take();
        begun.or_else(|| self.answered.take()?.begun(calls))
    }

    /// Lets the body through the plugins that stream it; an error is what is answered instead.
    pub(super) async fn flow(&mut self, state: &mut State) -> Result<(), Answer> {
        let Some((body, flow)) = self.piped.take() else {
            return Ok(());
        };
        let collected = tokio::time::timeout(ANSWER_TIME, body.collect()).await;
        let answer = flow.answer();
        flow.settle(state);
        flow.finish(state);
        self.answered = Some(flow);
        let failed = || respond::refusal(&Refusal::PluginFailed);
        match collected {
            Ok(Ok((bytes, _))) => {
                *state.body(self.side) = Held::Whole(bytes);
                Ok(())
            }
            Ok(Err(Broke::Encoding)) => Err(self.malformed()),
            _ => Err(answer.unwrap_or_else(failed)),
        }
    }
}

impl Bodies for Given {
    async fn hold(&mut self, most: usize, state: &mut State) -> Result<Fit, Answer> {
        self.flow(state).await?;
        let held = state.body(self.side);
        let len = match held {
            Held::Whole(bytes) => bytes.len(),
            _ => self.bytes.len(),
        };
        if len > most {
            return Ok(Fit::TooLarge);
        }
        if !matches!(held, Held::Whole(_)) {
            *held = Held::Whole(self.bytes.clone());
        }
        Ok(Fit::Whole)
    }

    fn comes(&self, state: &State) -> bool {
        let held = match self.side {
            Side::Request => &state.request_body,
            Side::Response => &state.response_body,
        };
        self.piped.is_some()
            || match held {
                Held::Whole(bytes) => !bytes.is_empty(),
                Held::Unread | Held::Part => !self.bytes.is_empty(),
            }
    }

    fn attach(&mut self, pipe: Pipe, decoder: Option<Decoder>, state: &mut State) -> bool {
        let (bytes, pieces) = match std::mem::take(state.body(self.side)) {
            Held::Whole(bytes) => (bytes, None),
            Held::Unread | Held::Part => (self.bytes.clone(), self.pieces.take()),
        };
        if bytes.is_empty() && self.piped.is_none() {
            return false;
        }
        let (body, flow) = self.piped.get_or_insert_with(|| {
            let flow = Flow::new(state, Box::default());
            let body = match pieces {
                Some(pieces) => Through::new(pieces),
                None => Through::whole(bytes, None),
            };
            (body, flow)
        });
        flow.catch_up(state);
        body.attach(pipe, self.side, decoder, || Pipes::new(flow));
        true
    }

    fn answers(&mut self, begun: Box<Begun>) {
        self.begun = Some(begun);
    }

    fn refusal(&self) -> Answer {
        respond::refusal(&match self.side {
            Side::Request => Refusal::RequestTooLarge,
            Side::Response => Refusal::ResponseTooLarge,
        })
    }

    fn malformed(&self) -> Answer {
        respond::refusal(&match self.side {
            Side::Request => Refusal::Upload(Fault::Encoding),
            Side::Response => Refusal::ResponseEncoding,
        })
    }

    fn replace(&mut self, answer: Answer, state: &mut State) {
        match self.side {
            Side::Request => state.answer = Some(answer),
            Side::Response => {
                let mut body = Bytes::new();
                state.response = take(answer, &mut body);
                state.response_body = Held::Whole(body);
            }
        }
    }

    fn stopped(&mut self, outcome: Outcome, state: &mut State) {
        let answer = stopped(outcome, state);
        self.replace(answer, state);
        if let Some(begun) = self.begun.take() {
            self.begin(begun, state);
        }
    }
}

/// A body that comes piece by piece.
struct Sent(VecDeque<Bytes>);

impl Sent {
    fn new(InPieces(pieces): &InPieces) -> Self {
        let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece));
        Self(pieces.collect())
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.get_mut().0.pop_front();
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}
