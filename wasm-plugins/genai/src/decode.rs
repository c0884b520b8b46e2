//! Bodies as they were before their `content-encoding`, piece by piece.

use std::io::{self, Write};

use flate2::write::{GzDecoder, ZlibDecoder};

/// What clients are let accept: what can be read here.
pub(crate) const READABLE: [&str; 4] = ["gzip", "x-gzip", "deflate", "identity"];

/// Most bytes that one piece may become: a piece of zeros becomes a thousand times as many.
const MOST: usize = 4 << 20;

/// A body's pieces, decoded.
pub(crate) struct Decoder(Coding);

enum Coding {
    Identity,
    Gzip(Box<GzDecoder<Decoded>>),
    Deflate(Box<ZlibDecoder<Decoded>>),
    /// It is not what it said, or too much.
    Broken,
}

#[derive(Default)]
struct Decoded(Vec<u8>);

impl Write for Decoded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MOST {
            return Err(io::Error::other("too much"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Decoder {
    /// By `content-encoding`; none where that is nothing that can be read.
    pub(crate) fn of(encoding: Option<&str>) -> Option<Self> {
        let encoding = encoding.unwrap_or_default().trim().to_ascii_lowercase();
        Some(Self(match encoding.as_str() {
            "" | "identity" => Coding::Identity,
            "gzip" | "x-gzip" => Coding::Gzip(Box::new(GzDecoder::new(Decoded::default()))),
            "deflate" => Coding::Deflate(Box::new(ZlibDecoder::new(Decoded::default()))),
            _ => return None,
        }))
    }

    /// Calls `then` with what can be told of a piece so far.
    pub(crate) fn push(&mut self, piece: &[u8], then: impl FnOnce(&[u8])) {
        let done = match &mut self.0 {
            Coding::Identity => return then(piece),
            Coding::Broken => return,
            Coding::Gzip(decoder) => decoder.write_all(piece).and_then(|()| decoder.flush()),
            Coding::Deflate(decoder) => decoder.write_all(piece).and_then(|()| decoder.flush()),
        };
        let decoded = match &mut self.0 {
            Coding::Gzip(decoder) => std::mem::take(&mut decoder.get_mut().0),
            Coding::Deflate(decoder) => std::mem::take(&mut decoder.get_mut().0),
            Coding::Identity | Coding::Broken => return,
        };
        if done.is_err() {
            self.0 = Coding::Broken;
        }
        then(&decoded);
    }

    pub(crate) fn is_identity(&self) -> bool {
        matches!(self.0, Coding::Identity)
    }

    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.0, Coding::Broken)
    }
}

/// Of what a client accepts (`accept-encoding`) that which can be read here; none where that is all of
/// it.
pub(crate) fn acceptable(accepted: &str) -> Option<String> {
    let codings = || {
        accepted
            .split(',')
            .map(str::trim)
            .filter(|one| !one.is_empty())
    };
    let is_readable = |coding: &str| {
        let name = coding.split(';').next().unwrap_or_default().trim();
        READABLE
            .iter()
            .any(|readable| name.eq_ignore_ascii_case(readable))
    };
    if codings().all(is_readable) {
        return None;
    }
    let mut left: Vec<&str> = codings().filter(|coding| is_readable(coding)).collect();
    if left.is_empty() {
        left.push("identity");
    }
    Some(left.join(", "))
}
