//! What is answered: a body that is there whole, or events as they come.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::Full;
use serde_json::json;
use tokio::time::{Interval, MissedTickBehavior};

use super::seats::Busy;
use crate::store::Tail;

/// Between signs of life where nothing happens, so that whoever stands between keeps the connection.
const PULSE: Duration = Duration::from_secs(10);

/// Bytes of events with which a piece goes out.
const PIECE: usize = 32 * 1024;

/// A response's body.
pub(super) enum Body {
    Whole(Full<Bytes>),
    Events(Box<Events>),
}

/// Server-sent events: the summary of each trace that somebody follows.
pub(super) struct Events {
    tail: Tail,
    pulse: Interval,
    _busy: Busy,
}

impl Body {
    pub(super) fn follow(tail: Tail, busy: Busy) -> Self {
        let mut pulse = tokio::time::interval(PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self::Events(Box::new(Events {
            tail,
            pulse,
            _busy: busy,
        }))
    }
}

impl From<Full<Bytes>> for Body {
    fn from(body: Full<Bytes>) -> Self {
        Self::Whole(body)
    }
}

impl Events {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        // The store tells many at once, so that they go out in one piece.
        let mut text = String::new();
        while text.len() < PIECE
            && let Poll::Ready(summary) = self.tail.summaries.poll_recv(cx)
        {
            let Some(summary) = summary else {
                // After the piece, it is asked again.
                return Poll::Ready((!text.is_empty()).then(|| text.into()));
            };
            let mut add = |event: &str, data: String| {
                text += &format!("event: {event}\ndata: {data}\n\n");
            };
            let missed = self.tail.missed();
            if missed > 0 {
                add("missed", json!({ "count": missed }).to_string());
            }
            add("trace", json!(summary).to_string());
        }
        if !text.is_empty() {
            return Poll::Ready(Some(text.into()));
        }
        ready!(self.pulse.poll_tick(cx));
        Poll::Ready(Some(Bytes::from_static(b": here\n\n")))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx),
            Self::Events(events) => {
                let piece = ready!(events.poll_next(cx));
                Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
            }
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Events(_) => http_body::SizeHint::default(),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Events(_) => false,
        }
    }
}
