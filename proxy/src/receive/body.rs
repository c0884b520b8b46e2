//! A request's body: read as it comes, decompressed as it comes or, of zstd, at its end, bounded in size and
//! time.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT};
use http::request::Parts;
use http::{HeaderMap, Version};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::time::Instant;

use super::lane::Place;
use super::refusal::Refusal;
use crate::coding::{Coding, Decoder, Step, TURN};

/// A body whose length is told gets so much room at once, at most.
const AT_ONCE: usize = 1 << 20;

/// What is read of a body that was refused: bytes, and time.
const MOST_DRAINED: usize = 64 << 20;
const LINGER: Duration = Duration::from_secs(5);

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Coded(Coding),
}

impl Encoding {
    /// Of a `content-encoding` or `grpc-encoding`.
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        let name = name.trim_ascii();
        if name.is_empty() || name.eq_ignore_ascii_case(b"identity") {
            Some(Self::Identity)
        } else {
            Coding::named(name).map(Self::Coded)
        }
    }

    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let first = values.next().map_or(&b""[..], |value| value.as_bytes());
        match (Self::named(first), values.next()) {
            (Some(encoding), None) => Ok(encoding),
            _ => Err(Refusal::Encoding),
        }
    }
}

/// Where a body gathers.
pub(super) struct Limits<'p> {
    /// Most bytes after decompression.
    pub(super) body: usize,
    /// The request's place in the queue, and the bytes that all may take there.
    pub(super) place: &'p mut Place,
    pub(super) queue: usize,
    pub(super) patience: Patience,
}

/// How long a client is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the next piece.
    piece: Duration,
    /// For all of them: exporters give up after 10 s by default.
    whole: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            piece: Duration::from_secs(30),
            whole: Duration::from_mins(1),
        }
    }
}

/// Reads a request's body to its end.
pub(super) async fn read(
    head: &Parts,
    mut body: impl Body<Data = Bytes> + Unpin,
    encoding: Encoding,
    limits: Limits<'_>,
) -> Result<Vec<u8>, Refusal> {
    let told = head
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok())
        .unwrap_or_default();
    if told > limits.body {
        return Err(Refusal::TooLarge(limits.body));
    }
    let room = if encoding == Encoding::Identity {
        told.min(AT_ONCE)
    } else {
        0
    };
    let mut gathered = Gathered::new(encoding, room, limits.body)?;
    let end = Instant::now() + limits.patience.whole;
    loop {
        let now = Instant::now();
        if now > end {
            // Pieces come, and it has no end.
            return Err(Refusal::Incomplete);
        }
        let until = end.min(now + limits.patience.piece);
        let frame = match tokio::time::timeout_at(until, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            // A stream of HTTP/2 that its client resets by NO_ERROR ends like any other.
            Ok(None) if head.version == Version::HTTP_2 && !body.is_end_stream() => {
                return Err(Refusal::Incomplete);
            }
            Ok(None) => break,
            Ok(Some(Err(_))) | Err(_) => return Err(Refusal::Incomplete),
        };
        if let Ok(data) = frame.into_data() {
            gathered.write(data).await?;
            let grown = limits
                .place
                .grow_to(gathered.bytes.capacity(), limits.queue);
            grown.map_err(|_| Refusal::QueueFull)?;
        }
    }
    let bytes = gathered.finish().await?;
    let grown = limits.place.grow_to(bytes.capacity(), limits.queue);
    grown.map_err(|_| Refusal::QueueFull)?;
    Ok(bytes)
}

/// Reads on what a refused client sends, so that it comes to hear why: a connection that is closed while
/// the client writes is reset, and with it the answer.
pub(super) async fn drain(head: &Parts, mut body: impl Body<Data = Bytes> + Unpin) {
    // Over HTTP/2 a stream ends by itself; and who asks first has not sent anything.
    if head.version > Version::HTTP_11 || head.headers.contains_key(EXPECT) {
        return;
    }
    let mut left = MOST_DRAINED;
    let drained = async {
        while let Some(Ok(frame)) = body.frame().await {
            let len = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(len) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // What comes later than that is not waited for.
    let _ = tokio::time::timeout(LINGER, drained).await;
}

/// Decompresses what is all there.
pub(super) async fn decode(
    bytes: Bytes,
    encoding: Encoding,
    limit: usize,
) -> Result<Vec<u8>, Refusal> {
    let mut gathered = Gathered::new(encoding, 0, limit)?;
    gathered.write(bytes).await?;
    gathered.finish().await
}

/// What came of a body so far.
struct Gathered {
    /// What it became; while it is [`Gathered::late`], what came.
    bytes: Vec<u8>,
    /// Most bytes of either.
    limit: usize,
    decoder: Option<Decoder>,
    /// Of what is decompressed at its end alone: zstd's window would take as much as a body, while it
    /// comes.
    late: Option<Coding>,
}

impl Gathered {
    fn new(encoding: Encoding, room: usize, limit: usize) -> Result<Self, Refusal> {
        let (decoder, late) = match encoding {
            Encoding::Identity => (None, None),
            Encoding::Coded(Coding::Zstd) => (None, Some(Coding::Zstd)),
            Encoding::Coded(coding) => (Some(decoder(coding)?), None),
        };
        Ok(Self {
            bytes: Vec::with_capacity(room),
            limit,
            decoder,
            late,
        })
    }

    async fn write(&mut self, data: Bytes) -> Result<(), Refusal> {
        match &mut self.decoder {
            Some(decoder) => decoder.feed(data),
            None => return self.add(&data),
        }
        self.decompress().await
    }

    async fn finish(mut self) -> Result<Vec<u8>, Refusal> {
        if let Some(coding) = self.late {
            let late = self.decoder.insert(decoder(coding)?);
            late.feed(std::mem::take(&mut self.bytes).into());
        }
        if let Some(decoder) = &mut self.decoder {
            decoder.end();
        }
        self.decompress().await?;
        Ok(self.bytes)
    }

    /// Adds what can be told so far. Others have their turn meanwhile: a body may be long work, also where
    /// nothing comes of it.
    async fn decompress(&mut self) -> Result<(), Refusal> {
        let mut steps = 0;
        while let Some(decoder) = &mut self.decoder {
            steps += 1;
            if steps % TURN == 0 {
                tokio::task::yield_now().await;
            }
            match decoder.step().map_err(|error| malformed(&error))? {
                Step::Piece(piece) => self.add(&piece)?,
                Step::Again => {}
                Step::Hungry | Step::Ended => break,
            }
        }
        Ok(())
    }

    fn add(&mut self, data: &[u8]) -> Result<(), Refusal> {
        if self.bytes.len() + data.len() > self.limit {
            return Err(Refusal::TooLarge(self.limit));
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }
}

fn decoder(coding: Coding) -> Result<Decoder, Refusal> {
    Decoder::new(&[coding]).map_err(|error| malformed(&error))
}

fn malformed(error: &io::Error) -> Refusal {
    Refusal::Malformed(format!("does not decompress: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use http::Request;
    use hyper::body::Frame;

    use super::*;

    const TEXT: &[u8] = b"the same again and again and again and again and again";

    fn compressed(encoding: Encoding) -> Vec<u8> {
        match encoding {
            Encoding::Identity => TEXT.to_vec(),
            Encoding::Coded(Coding::Gzip) => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(TEXT).unwrap();
                encoder.finish().unwrap()
            }
            Encoding::Coded(Coding::Deflate) => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(TEXT).unwrap();
                encoder.finish().unwrap()
            }
            Encoding::Coded(Coding::Zstd) => zstd::encode_all(TEXT, 0).unwrap(),
        }
    }

    const ALL: [Encoding; 4] = [
        Encoding::Identity,
        Encoding::Coded(Coding::Gzip),
        Encoding::Coded(Coding::Deflate),
        Encoding::Coded(Coding::Zstd),
    ];

    #[tokio::test]
    async fn what_was_compressed_is_there_again() {
        for encoding in ALL {
            let body = Bytes::from(compressed(encoding));
            assert_eq!(
                decode(body.clone(), encoding, 1000).await,
                Ok(TEXT.to_vec())
            );
            assert_eq!(decode(body, encoding, TEXT.len()).await, Ok(TEXT.to_vec()));
        }
    }

    #[tokio::test]
    async fn what_becomes_too_large_is_refused() {
        for encoding in ALL {
            let body = compressed(encoding).into();
            let limit = TEXT.len() - 1;
            assert_eq!(
                decode(body, encoding, limit).await,
                Err(Refusal::TooLarge(limit)),
                "{encoding:?}"
            );
        }
    }

    #[tokio::test]
    async fn what_does_not_decompress_is_malformed() {
        for encoding in [
            Encoding::Coded(Coding::Gzip),
            Encoding::Coded(Coding::Deflate),
            Encoding::Coded(Coding::Zstd),
        ] {
            let body = Bytes::from_static(b"not compressed at all");
            let refusal = decode(body, encoding, 1000).await.unwrap_err();
            assert!(matches!(refusal, Refusal::Malformed(_)), "{encoding:?}");
        }
    }

    #[tokio::test]
    async fn what_ends_too_early_is_malformed() {
        for encoding in [
            Encoding::Coded(Coding::Gzip),
            Encoding::Coded(Coding::Deflate),
            Encoding::Coded(Coding::Zstd),
        ] {
            let mut body = compressed(encoding);
            body.truncate(body.len() - 6);
            let refusal = decode(body.into(), encoding, 1000).await.unwrap_err();
            assert!(matches!(refusal, Refusal::Malformed(_)), "{encoding:?}");
        }
    }

    #[tokio::test]
    async fn others_have_their_turn_while_a_body_comes_to_nothing() {
        let mut empty = GzEncoder::new(Vec::new(), Compression::default());
        empty.flush().unwrap();
        let empty = empty.finish().unwrap().repeat(10_000);
        let turns = std::cell::Cell::new(0);
        let decoded = decode(empty.into(), Encoding::Coded(Coding::Gzip), 1000);
        let others = async {
            loop {
                turns.set(turns.get() + 1);
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            decoded = decoded => assert_eq!(decoded, Ok(Vec::new())),
            () = others => {}
        }
        assert!(turns.get() >= 100, "{} turns", turns.get());
    }

    /// A body that gives the same whenever it is asked.
    struct Same(Poll<Option<Bytes>>);

    impl Body for Same {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            let given = self.0.clone();
            given.map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
        }
    }

    /// What comes of it as the body of a request of this version.
    async fn read_of(
        given: Poll<Option<Bytes>>,
        version: Version,
        patience: Patience,
    ) -> Result<Vec<u8>, Refusal> {
        let mut place = Place::alone();
        let limits = Limits {
            body: 1000,
            place: &mut place,
            queue: 1000,
            patience,
        };
        let request = Request::builder().version(version).body(());
        let (head, ()) = request.unwrap().into_parts();
        read(&head, Same(given), Encoding::Identity, limits).await
    }

    #[tokio::test]
    async fn a_body_that_does_not_end_is_given_up() {
        let (soon, late) = (Duration::from_millis(1), Duration::from_mins(10));
        // Pieces without bytes, or nothing at all.
        let pieces = Poll::Ready(Some(Bytes::new()));
        for (given, piece, whole) in [
            (pieces, late, soon),
            (Poll::Pending, late, soon),
            (Poll::Pending, soon, late),
        ] {
            let patience = Patience { piece, whole };
            let read = read_of(given, Version::HTTP_11, patience).await;
            assert_eq!(read, Err(Refusal::Incomplete));
        }
    }

    #[tokio::test]
    async fn a_stream_that_ends_before_its_end_is_incomplete() {
        for (version, expected) in [
            // So a stream seems to be that was reset by `NO_ERROR`.
            (Version::HTTP_2, Err(Refusal::Incomplete)),
            // Its framing says where it ends.
            (Version::HTTP_11, Ok(Vec::new())),
        ] {
            let read = read_of(Poll::Ready(None), version, Patience::default()).await;
            assert_eq!(read, expected);
        }
    }
}
