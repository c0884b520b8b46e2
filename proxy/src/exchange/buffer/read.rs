//! What is read of a body, as far as a hook asks for it.

use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body;

use super::Room;
use crate::exchange::patience::Patience;
use crate::exchange::stream::{Broke, Through};
use crate::exchange::trailers;
use crate::upstream::body::Fault;

/// Why a body was not read to its end or its bound.
pub(in crate::exchange) enum Stopped {
    Fault(Fault),
    /// By a plugin that streams it.
    Plugin,
    /// Too many bodies are held.
    Full,
}

/// What was read of a body.
#[derive(Default)]
pub(in crate::exchange) struct Read {
    pub(super) bytes: BytesMut,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) ended: bool,
    pub(super) room: Room,
}

impl Read {
    /// A body that was read to its end.
    pub(super) fn whole(&mut self) -> Bytes {
        std::mem::take(&mut self.bytes).freeze()
    }

    /// Whether it was read to its end.
    pub(in crate::exchange) fn has_ended(&self) -> bool {
        self.ended
    }

    /// A body that was read to its end, with the room it takes.
    pub(in crate::exchange) fn into_whole(mut self) -> (Bytes, Room) {
        (self.whole(), self.room)
    }

    /// Reads until the end, or until there are more bytes than `most`. Plugins that it comes through have
    /// limits of their own.
    pub(in crate::exchange) async fn fill<B>(
        &mut self,
        body: &mut Through<B>,
        most: usize,
        patience: &mut Patience,
    ) -> Result<(), Stopped>
    where
        B: Body<Data = Bytes, Error: Error + 'static> + Unpin,
    {
        let told = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if self.bytes.len().saturating_add(told) > most {
            return Ok(());
        }
        while !self.ended && self.bytes.len() <= most {
            if body.is_end_stream() {
                self.ended = true;
                break;
            }
            let next = poll_fn(|cx| {
                let frame = Pin::new(&mut *body).poll_frame(cx);
                if frame.is_pending() && !body.waits_for_guest() {
                    let over = patience.poll(body.seen(), cx);
                    return over.map(|()| Err(Stopped::Fault(Fault::Timeout)));
                }
                patience.renew(Instant::now);
                frame.map(Ok)
            });
            match next.await? {
                None => self.ended = true,
                Some(Err(Broke::Stopped(_))) => return Err(Stopped::Plugin),
                Some(Err(Broke::Full)) => return Err(Stopped::Full),
                Some(Err(broke)) => return Err(Stopped::Fault(broke.into())),
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
