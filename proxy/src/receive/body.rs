//! A request's body: read as it comes, decompressed piece by piece, bounded in size and time.

use std::io::{self, Read as _, Write};
use std::time::Duration;

use flate2::read::ZlibDecoder;
use flate2::write::MultiGzDecoder;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::lane::Place;
use super::refusal::Refusal;

/// Longest wait for the next piece.
const PATIENCE: Duration = Duration::from_secs(30);

/// A body whose length is told gets so much room at once, at most.
const AT_ONCE: usize = 1 << 20;

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
}

/// Reads a body to its end.
pub(super) async fn read(
    headers: &HeaderMap,
    mut body: Incoming,
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
    let mut decoder = Decoder::new(encoding, room, limits.body)?;
    loop {
        let frame = match tokio::time::timeout(PATIENCE, body.frame()).await {
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
    decoder.finish(limits.body)
}

/// Decompresses what is all there.
pub(super) fn decode(bytes: &[u8], encoding: Encoding, limit: usize) -> Result<Vec<u8>, Refusal> {
    let mut decoder = Decoder::new(encoding, 0, limit)?;
    decoder.write(bytes, limit)?;
    decoder.finish(limit)
}

enum Decoder {
    Identity(Bounded),
    Gzip(Box<MultiGzDecoder<Bounded>>),
    /// What came: its end is seen only by reading.
    Deflate(Bounded),
    Zstd(Box<zstd::stream::write::Decoder<'static, Bounded>>),
}

impl Decoder {
    fn new(encoding: Encoding, room: usize, limit: usize) -> Result<Self, Refusal> {
        let out = Bounded {
            bytes: Vec::with_capacity(room),
            limit,
            past: false,
        };
        Ok(match encoding {
            Encoding::Identity => Self::Identity(out),
            Encoding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(out))),
            Encoding::Deflate => Self::Deflate(out),
            Encoding::Zstd => {
                let decoder = zstd::stream::write::Decoder::new(out).and_then(|mut decoder| {
                    decoder.window_log_max(WINDOW_LOG)?;
                    Ok(decoder)
                });
                // It fails only where there is no memory.
                Self::Zstd(Box::new(decoder.map_err(|_| Refusal::QueueFull)?))
            }
        })
    }

    fn out(&self) -> &Bounded {
        match self {
            Self::Identity(out) | Self::Deflate(out) => out,
            Self::Gzip(decoder) => decoder.get_ref(),
            Self::Zstd(decoder) => decoder.get_ref(),
        }
    }

    fn len(&self) -> usize {
        self.out().bytes.capacity()
    }

    fn write(&mut self, data: &[u8], limit: usize) -> Result<(), Refusal> {
        let written = match self {
            Self::Identity(out) | Self::Deflate(out) => out.write_all(data),
            Self::Gzip(decoder) => decoder.write_all(data),
            Self::Zstd(decoder) => decoder.write_all(data),
        };
        written.map_err(|error| self.refusal(&error, limit))
    }

    fn finish(mut self, limit: usize) -> Result<Vec<u8>, Refusal> {
        let ended = match &mut self {
            Self::Identity(_) => Ok(()),
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Deflate(compressed) => compressed.inflate(),
            Self::Zstd(decoder) => decoder.do_finish(),
        };
        ended.map_err(|error| self.refusal(&error, limit))?;
        Ok(match self {
            Self::Identity(out) | Self::Deflate(out) => out.bytes,
            Self::Gzip(mut decoder) => std::mem::take(&mut decoder.get_mut().bytes),
            Self::Zstd(mut decoder) => std::mem::take(&mut decoder.get_mut().bytes),
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
}
