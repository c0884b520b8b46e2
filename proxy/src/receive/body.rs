//! A request's body: read as it comes, decompressed piece by piece, bounded in size and time.

use std::io::{self, Read as _, Write};
use std::time::Duration;

use bytes::Bytes;
use flate2::read::ZlibDecoder;
use flate2::write::MultiGzDecoder;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT};
use http::request::Parts;
use http::{HeaderMap, Version};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::time::Instant;

use super::lane::Place;
use super::refusal::Refusal;

/// A body whose length is told gets so much room at once, at most.
const AT_ONCE: usize = 1 << 20;

/// What is read of a body that was refused: bytes, and time.
const MOST_DRAINED: usize = 64 << 20;
const LINGER: Duration = Duration::from_secs(5);

/// Largest window of zstd: 8 MiB, as RFC 8878 advises.
const WINDOW_LOG: u32 = 23;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Zstd,
    Deflate,
}

impl Encoding {
    /// Of a `content-encoding` or `grpc-encoding`.
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        let is = |known: &str| name.trim_ascii().eq_ignore_ascii_case(known.as_bytes());
        if name.is_empty() || is("identity") {
            Some(Self::Identity)
        } else if is("gzip") || is("x-gzip") {
            Some(Self::Gzip)
        } else if is("zstd") {
            Some(Self::Zstd)
        } else if is("deflate") {
            Some(Self::Deflate)
        } else {
            None
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

/// Reads a body to its end.
pub(super) async fn read(
    headers: &HeaderMap,
    mut body: impl Body<Data = Bytes> + Unpin,
    encoding: Encoding,
    limits: Limits<'_>,
) -> Result<Vec<u8>, Refusal> {
    let told = headers
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
    let mut decoder = Decoder::new(encoding, room, limits.body);
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
            Ok(None) => break,
            Ok(Some(Err(_))) | Err(_) => return Err(Refusal::Incomplete),
        };
        if let Ok(data) = frame.into_data() {
            decoder.write(&data, limits.body)?;
            let grown = limits.place.grow_to(decoder.len(), limits.queue);
            grown.map_err(|_| Refusal::QueueFull)?;
        }
    }
    let bytes = decoder.finish(limits.body)?;
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
pub(super) fn decode(bytes: &[u8], encoding: Encoding, limit: usize) -> Result<Vec<u8>, Refusal> {
    let mut decoder = Decoder::new(encoding, 0, limit);
    decoder.write(bytes, limit)?;
    decoder.finish(limit)
}

enum Decoder {
    Identity(Bounded),
    Gzip(Box<MultiGzDecoder<Bounded>>),
    /// What came: its end is seen only by reading.
    Deflate(Bounded),
    /// What came, too: its window would take as much as a body, while it comes.
    Zstd(Bounded),
}

impl Decoder {
    fn new(encoding: Encoding, room: usize, limit: usize) -> Self {
        let out = Bounded {
            bytes: Vec::with_capacity(room),
            limit,
            past: false,
        };
        match encoding {
            Encoding::Identity => Self::Identity(out),
            Encoding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(out))),
            Encoding::Deflate => Self::Deflate(out),
            Encoding::Zstd => Self::Zstd(out),
        }
    }

    fn out(&self) -> &Bounded {
        match self {
            Self::Identity(out) | Self::Deflate(out) | Self::Zstd(out) => out,
            Self::Gzip(decoder) => decoder.get_ref(),
        }
    }

    fn len(&self) -> usize {
        self.out().bytes.capacity()
    }

    fn write(&mut self, data: &[u8], limit: usize) -> Result<(), Refusal> {
        let written = match self {
            Self::Identity(out) | Self::Deflate(out) | Self::Zstd(out) => out.write_all(data),
            Self::Gzip(decoder) => decoder.write_all(data),
        };
        written.map_err(|error| self.refusal(&error, limit))
    }

    fn finish(mut self, limit: usize) -> Result<Vec<u8>, Refusal> {
        let ended = match &mut self {
            Self::Identity(_) => Ok(()),
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Deflate(compressed) => compressed.inflate(),
            Self::Zstd(compressed) => compressed.unzstd(),
        };
        ended.map_err(|error| self.refusal(&error, limit))?;
        Ok(match self {
            Self::Identity(out) | Self::Deflate(out) | Self::Zstd(out) => out.bytes,
            Self::Gzip(mut decoder) => std::mem::take(&mut decoder.get_mut().bytes),
        })
    }

    fn refusal(&self, error: &io::Error, limit: usize) -> Refusal {
        if self.out().past {
            Refusal::TooLarge(limit)
        } else {
            Refusal::Malformed(format!("does not decompress: {error}"))
        }
    }
}

/// Memory of a bounded size.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    /// There was more.
    past: bool,
}

impl Bounded {
    /// Puts what zlib has compressed in the place of what it became.
    fn inflate(&mut self) -> io::Result<()> {
        let compressed = std::mem::take(&mut self.bytes);
        let most = self.limit as u64 + 1;
        let mut decoder = ZlibDecoder::new(&compressed[..]).take(most);
        io::copy(&mut decoder, self).map(drop)
    }

    /// The same of zstd.
    fn unzstd(&mut self) -> io::Result<()> {
        let compressed = std::mem::take(&mut self.bytes);
        let mut decoder = zstd::stream::read::Decoder::with_buffer(&compressed[..])?;
        decoder.window_log_max(WINDOW_LOG)?;
        io::copy(&mut decoder, self).map(drop)
    }
}

impl Write for Bounded {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + data.len() > self.limit {
            self.past = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use hyper::body::Frame;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use super::*;

    const TEXT: &[u8] = b"the same again and again and again and again and again";

    fn compressed(encoding: Encoding) -> Vec<u8> {
        match encoding {
            Encoding::Identity => TEXT.to_vec(),
            Encoding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(TEXT).unwrap();
                encoder.finish().unwrap()
            }
            Encoding::Deflate => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(TEXT).unwrap();
                encoder.finish().unwrap()
            }
            Encoding::Zstd => zstd::encode_all(TEXT, 0).unwrap(),
        }
    }

    const ALL: [Encoding; 4] = [
        Encoding::Identity,
        Encoding::Gzip,
        Encoding::Deflate,
        Encoding::Zstd,
    ];

    #[test]
    fn what_was_compressed_is_there_again() {
        for encoding in ALL {
            let body = compressed(encoding);
            assert_eq!(decode(&body, encoding, 1000), Ok(TEXT.to_vec()));
            assert_eq!(decode(&body, encoding, TEXT.len()), Ok(TEXT.to_vec()));
        }
    }

    #[test]
    fn what_becomes_too_large_is_refused() {
        for encoding in ALL {
            let body = compressed(encoding);
            let limit = TEXT.len() - 1;
            assert_eq!(
                decode(&body, encoding, limit),
                Err(Refusal::TooLarge(limit)),
                "{encoding:?}"
            );
        }
    }

    #[test]
    fn what_does_not_decompress_is_malformed() {
        for encoding in [Encoding::Gzip, Encoding::Deflate, Encoding::Zstd] {
            let refusal = decode(b"not compressed at all", encoding, 1000).unwrap_err();
            assert!(matches!(refusal, Refusal::Malformed(_)), "{encoding:?}");
        }
    }

    #[test]
    fn what_ends_too_early_is_malformed() {
        for encoding in [Encoding::Gzip, Encoding::Deflate, Encoding::Zstd] {
            let mut body = compressed(encoding);
            body.truncate(body.len() - 6);
            let refusal = decode(&body, encoding, 1000).unwrap_err();
            assert!(matches!(refusal, Refusal::Malformed(_)), "{encoding:?}");
        }
    }

    /// A body that has no end: pieces without bytes, or nothing at all.
    struct Endless {
        has_pieces: bool,
    }

    impl Body for Endless {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            if self.has_pieces {
                Poll::Ready(Some(Ok(Frame::data(Bytes::new()))))
            } else {
                Poll::Pending
            }
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_end_is_given_up() {
        let (soon, late) = (Duration::from_millis(1), Duration::from_mins(10));
        for (has_pieces, piece, whole) in
            [(true, late, soon), (false, late, soon), (false, soon, late)]
        {
            let mut place = Place::alone();
            let limits = Limits {
                body: 1000,
                place: &mut place,
                queue: 1000,
                patience: Patience { piece, whole },
            };
            let body = Endless { has_pieces };
            let read = read(&HeaderMap::new(), body, Encoding::Identity, limits).await;
            assert_eq!(read, Err(Refusal::Incomplete));
        }
    }
}
