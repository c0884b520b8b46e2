//! 5, 7 — A body on its way, through the plugins that want to see its pieces.
//!
//! [`Through`] is any body, also one that a plugin gives as its answer, behind what of it was read
//! already. Where no plugin streams it, it hands on what it is given. What the plugins do is
//! `plugin/stream.rs`.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Version};
use http_body::{Body, Frame, SizeHint};

use super::buffer::Room;
use super::content;
use crate::coding::{Decoder, Step, TURN};
use crate::plugin::Side;
use crate::plugin::answer::Pieces;
use crate::plugin::stream::{Piece, Pipe, Pipes, Progress, Stop};

/// See the module's documentation.
pub struct Through<B> {
    /// What of it was read already.
    begun: Bytes,
    rest: Rest<B>,
    /// Where its sender resets the stream by `NO_ERROR`, the HTTP code ends it like any other.
    over_http2: bool,
    /// Behind what was read, where that was all.
    trailers: Option<Box<HeaderMap>>,
    /// Where the first of the pipes wants it decoded.
    decoding: Option<Box<Decoding>>,
    pipes: Option<Box<Pipes>>,
    /// The pipes have seen the end, or nothing more may come.
    ended: bool,
    /// Bytes that came of the rest, and how many may.
    seen: u64,
    most: u64,
}

enum Rest<B> {
    /// All was read.
    None,
    Body(B),
    /// A plugin gives it.
    Answer(Box<Pieces>),
    /// Of a body whose pieces other plugins saw before.
    Through(Box<Through<B>>),
}

/// A body on its way out of its codings.
struct Decoding {
    decoder: Decoder,
    /// What the decoder takes.
    room: Room,
    /// Behind what is encoded.
    trailers: Option<Box<HeaderMap>>,
    ended: bool,
}

/// Why a body broke off.
#[derive(Clone, Copy, Debug)]
pub enum Broke {
    /// Where it comes from.
    Source,
    /// Its connection ended before it did.
    Gone,
    /// It has more bytes than it may.
    TooLarge,
    /// It is not encoded as it says.
    Encoding,
    /// There is no room for what decoding it takes.
    Full,
    /// On its way.
    Stopped(Stop),
}

type Polled = Poll<Option<Result<Frame<Bytes>, Broke>>>;

impl<B: Body<Data = Bytes, Error: Error + 'static> + Unpin> Through<B> {
    pub fn new(body: B) -> Self {
        Self::of(Rest::Body(body))
    }

    /// It comes over this version.
    #[must_use]
    pub fn over(mut self, version: Version) -> Self {
        self.over_http2 = version == Version::HTTP_2;
        self
    }

    /// A body that a plugin answers with.
    pub fn answer(pieces: Pieces) -> Self {
        Self::of(Rest::Answer(Box::new(pieces)))
    }

    fn of(rest: Rest<B>) -> Self {
        Self {
            begun: Bytes::new(),
            rest,
            over_http2: false,
            trailers: None,
            decoding: None,
            pipes: None,
            ended: false,
            seen: 0,
            most: u64::MAX,
        }
    }

    /// A body that was read to its end.
    pub fn whole(bytes: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self {
            begun: bytes,
            trailers: trailers.map(Box::new),
            ..Self::of(Rest::None)
        }
    }

    /// What was read of it to its end, or what stands for that.
    pub fn replace(&mut self, bytes: Bytes, trailers: Option<HeaderMap>) {
        *self = Self {
            seen: self.seen(),
            most: self.most(),
            ..Self::whole(bytes, trailers)
        };
    }

    /// So many bytes may come of it, with those that came.
    pub fn limit(&mut self, most: u64) {
        match &mut self.rest {
            Rest::Through(inner) => inner.limit(most),
            Rest::None | Rest::Body(_) | Rest::Answer(_) => self.most = most,
        }
    }

    /// Whether it is known to be larger than it may be.
    pub fn is_too_large(&self) -> bool {
        match &self.rest {
            Rest::None | Rest::Answer(_) => self.seen > self.most,
            Rest::Body(body) => self.seen.saturating_add(body.size_hint().lower()) > self.most,
            Rest::Through(inner) => inner.is_too_large(),
        }
    }

    /// Bytes that came of it so far, however many of them have come out.
    pub fn seen(&self) -> u64 {
        match &self.rest {
            Rest::Through(inner) => inner.seen(),
            Rest::None | Rest::Body(_) | Rest::Answer(_) => self.seen,
        }
    }

    fn most(&self) -> u64 {
        match &self.rest {
            Rest::Through(inner) => inner.most(),
            Rest::None | Rest::Body(_) | Rest::Answer(_) => self.most,
        }
    }

    /// Puts back what was read of it.
    pub fn unread(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        if self.pipes.is_some() {
            // These bytes went through the pipes already.
            self.nest();
        }
        self.begun = bytes;
    }

    /// Lets a plugin see its pieces, behind those that do; decoded from there on, where it is to be.
    pub fn attach(
        &mut self,
        pipe: Pipe,
        side: Side,
        decoder: Option<Decoder>,
        pipes: impl FnOnce() -> Pipes,
    ) {
        let apart = |pipes: &Pipes| decoder.is_some() || pipes.has_started();
        if self.pipes.as_deref().is_some_and(apart) {
            self.nest();
        }
        if let Some(decoder) = decoder {
            self.decoding = Some(Box::new(Decoding {
                decoder,
                room: Room::windows(side),
                trailers: None,
                ended: false,
            }));
        }
        self.pipes
            .get_or_insert_with(|| Box::new(pipes()))
            .push(pipe);
    }

    fn nest(&mut self) {
        let inner = std::mem::replace(self, Self::whole(Bytes::new(), None));
        self.rest = Rest::Through(Box::new(inner));
    }

    /// Whether plugins may change it on its way.
    pub fn is_piped(&self) -> bool {
        self.pipes.is_some() || matches!(&self.rest, Rest::Through(inner) if inner.is_piped())
    }

    /// Whether it is a guest that it waits for.
    pub fn waits_for_guest(&self) -> bool {
        self.pipes.as_ref().is_some_and(|pipes| pipes.is_busy())
            || match &self.rest {
                Rest::None | Rest::Body(_) => false,
                Rest::Answer(_) => true,
                Rest::Through(inner) => inner.waits_for_guest(),
            }
    }

    /// All of it, and its trailers.
    pub async fn collect(mut self) -> Result<(Bytes, Option<HeaderMap>), Broke> {
        let (mut all, mut trailers) = (BytesMut::new(), None);
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await {
            match frame?.into_data() {
                Ok(data) => all.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        Ok((all.freeze(), trailers))
    }

    /// As it comes, decoded where it is to be.
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Polled {
        if self.decoding.is_none() {
            return self.poll_encoded(cx);
        }
        let most = self.most();
        for _ in 0..TURN {
            let Some(decoding) = &mut self.decoding else {
                return self.poll_encoded(cx);
            };
            let step = decoding.decoder.step();
            if !decoding.room.grow(decoding.decoder.memory()) {
                return Poll::Ready(Some(Err(Broke::Full)));
            }
            if decoding.decoder.made() > most {
                return Poll::Ready(Some(Err(Broke::TooLarge)));
            }
            match step {
                Ok(Step::Piece(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Step::Again) => {}
                Ok(Step::Hungry) => {
                    let frame = ready!(self.poll_encoded(cx)).transpose()?;
                    let Some(decoding) = &mut self.decoding else {
                        break;
                    };
                    match frame.map(Frame::into_data) {
                        Some(Ok(data)) => decoding.decoder.feed(data),
                        Some(Err(frame)) => {
                            decoding.trailers = frame.into_trailers().ok().map(Box::new);
                            decoding.decoder.end();
                        }
                        None => decoding.decoder.end(),
                    }
                }
                Ok(Step::Ended) => {
                    decoding.ended = true;
                    let trailers = decoding.trailers.take().map(|mut trailers| {
                        content::strip_digests(&mut trailers, &[]);
                        *trailers
                    });
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Err(error) => {
                    if let Some(pipes) = &self.pipes {
                        pipes.undecodable(&error);
                    }
                    return Poll::Ready(Some(Err(Broke::Encoding)));
                }
            }
        }
        // It has worked for long and nothing has come of it.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// As it comes.
    fn poll_encoded(&mut self, cx: &mut Context<'_>) -> Polled {
        if !self.begun.is_empty() {
            let begun = std::mem::take(&mut self.begun);
            return Poll::Ready(Some(Ok(Frame::data(begun))));
        }
        match &mut self.rest {
            Rest::None => {
                let trailers = self.trailers.take();
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(*trailers))))
            }
            Rest::Body(body) => {
                let polled = ready!(Pin::new(&mut *body).poll_frame(cx));
                if polled.is_none() && self.over_http2 && !body.is_end_stream() {
                    return Poll::Ready(Some(Err(Broke::Source)));
                }
                let polled = polled.map(|frame| frame.map_err(|error| broke(&error)));
                Poll::Ready(polled.map(|frame| self.count(frame?)))
            }
            Rest::Answer(pieces) => {
                let polled = ready!(pieces.poll(cx));
                let polled = polled.map(|frame| frame.map_err(Broke::Stopped));
                Poll::Ready(polled.map(|frame| self.count(frame?)))
            }
            Rest::Through(inner) => Pin::new(&mut **inner).poll_frame(cx),
        }
    }

    fn count(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Broke> {
        self.seen += frame.data_ref().map_or(0, Bytes::len) as u64;
        if self.seen > self.most {
            return Err(Broke::TooLarge);
        }
        Ok(frame)
    }

    fn source_has_ended(&self) -> bool {
        if let Some(decoding) = &self.decoding {
            return decoding.ended && decoding.trailers.is_none();
        }
        self.begun.is_empty()
            && self.trailers.is_none()
            && match &self.rest {
                Rest::None => true,
                Rest::Body(body) => body.is_end_stream(),
                Rest::Answer(pieces) => pieces.has_ended(),
                Rest::Through(inner) => inner.is_end_stream(),
            }
    }

    /// What comes out of the pipes.
    fn poll_pipes(&mut self, cx: &mut Context<'_>) -> Polled {
        while !self.ended {
            let Some(pipes) = &mut self.pipes else { break };
            match ready!(pipes.poll(cx)) {
                Progress::Piece(piece) => {
                    if piece.last {
                        self.ended = true;
                        let trailers = piece.trailers;
                        self.trailers = (!trailers.is_empty()).then(|| Box::new(trailers));
                    }
                    if !piece.data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(piece.data))));
                    }
                }
                Progress::Stopped(stop) => {
                    self.ended = true;
                    self.trailers = None;
                    return Poll::Ready(Some(Err(Broke::Stopped(stop))));
                }
                Progress::Hungry => {
                    let piece = match ready!(self.poll_source(cx)) {
                        None => Piece {
                            last: true,
                            ..Piece::default()
                        },
                        Some(Err(broke)) => {
                            self.ended = true;
                            return Poll::Ready(Some(Err(broke)));
                        }
                        Some(Ok(frame)) => match frame.into_data() {
                            Ok(data) => Piece {
                                data,
                                last: self.source_has_ended(),
                                trailers: HeaderMap::new(),
                            },
                            Err(frame) => Piece {
                                data: Bytes::new(),
                                last: true,
                                trailers: frame.into_trailers().unwrap_or_default(),
                            },
                        },
                    };
                    if let Some(pipes) = &mut self.pipes {
                        pipes.feed(piece);
                    }
                }
            }
        }
        let trailers = self.trailers.take();
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(*trailers))))
    }
}

impl<B: Body<Data = Bytes, Error: Error + 'static> + Unpin> Body for Through<B> {
    type Data = Bytes;
    type Error = Broke;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        if this.pipes.is_some() {
            this.poll_pipes(cx)
        } else {
            this.poll_source(cx)
        }
    }

    fn is_end_stream(&self) -> bool {
        if self.pipes.is_some() {
            self.ended && self.trailers.is_none()
        } else {
            self.source_has_ended()
        }
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_piped() {
            return SizeHint::default();
        }
        let begun = self.begun.len() as u64;
        match &self.rest {
            Rest::None if self.trailers.is_none() => SizeHint::with_exact(begun),
            Rest::Body(body) => behind(begun, &body.size_hint()),
            Rest::None | Rest::Answer(_) | Rest::Through(_) => SizeHint::default(),
        }
    }
}

/// Why a body broke off, by the error of the HTTP code, which calls what is malformed invalid too.
fn broke(error: &(dyn Error + 'static)) -> Broke {
    use io::ErrorKind::{InvalidData, InvalidInput};
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return match error.kind() {
                InvalidData | InvalidInput => Broke::Source,
                _ => Broke::Gone,
            };
        }
        cause = error.source();
    }
    Broke::Source
}

/// The size of what is behind so many bytes, with them.
fn behind(begun: u64, rest: &SizeHint) -> SizeHint {
    let mut hint = SizeHint::new();
    hint.set_lower(rest.lower() + begun);
    if let Some(upper) = rest.upper() {
        hint.set_upper(upper + begun);
    }
    hint
}
