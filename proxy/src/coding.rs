//! Content codings undone (RFC 9110, section 8.4.1): gzip, deflate and zstd.
//!
//! A [`Decoder`] does a little at a time and gives what came of it: a few bytes may become gigabytes,
//! and it is for who drives it to say how many there may be, by [`Decoder::made`]. It holds back nothing
//! that can be told: what its sender flushed comes out before more is fed. Bytes in, bytes out: no bound
//! of a body is known here, no field but `content-encoding`.

use std::io::{self, Write as _};

use bytes::{Buf as _, Bytes};
use flate2::write::{MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use smallvec::SmallVec;
use zstd::zstd_safe::{self, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

/// Most codings, one on the other, that are undone.
const MOST: usize = 4;

/// About how many bytes one step takes, and gives.
const STEP: usize = 64 << 10;

/// Steps after which who drives a decoder lets others have their turn: many may come to nothing.
pub const TURN: usize = 16;

/// Largest window of zstd: 8 MiB (RFC 9659).
const WINDOW_LOG: u32 = 23;

/// About what inflating takes: a window, a buffer of as much, and tables.
const INFLATE: usize = 80 << 10;

/// About what undoing zstd takes before anything came out: tables, a block and buffers.
const ZSTD: usize = 512 << 10;

/// A coding that can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    /// In zlib's format, as RFC 9110 has it.
    Deflate,
    Zstd,
}

/// In the order in which they were applied.
pub type Codings = SmallVec<[Coding; 2]>;

impl Coding {
    /// By its name, in any case.
    pub fn named(name: &[u8]) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("gzip") || is("x-gzip") {
            Some(Self::Gzip)
        } else if is("deflate") {
            Some(Self::Deflate)
        } else if is("zstd") {
            Some(Self::Zstd)
        } else {
            None
        }
    }
}

/// What a body is encoded in; none where it cannot be undone to the end.
pub fn of(headers: &HeaderMap) -> Option<Codings> {
    let mut codings = Codings::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        for name in value.as_bytes().split(|byte| *byte == b',') {
            let name = name.trim_ascii();
            if name.is_empty() || name.eq_ignore_ascii_case(b"identity") {
                continue;
            }
            let coding = Coding::named(name)?;
            // A window of zstd's takes as much as a large body, and a few bytes fill it: one is enough.
            if codings.len() == MOST || (coding == Coding::Zstd && codings.contains(&coding)) {
                return None;
            }
            codings.push(coding);
        }
    }
    Some(codings)
}

/// What came of a step.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The next bytes.
    Piece(Bytes),
    /// Nothing yet, and there is more to do.
    Again,
    /// There is nothing to do before more is fed.
    Hungry,
    Ended,
}

/// A body on its way back to what it was. An error is for good.
pub struct Decoder {
    /// First to last.
    stages: SmallVec<[Stage; 1]>,
}

impl Decoder {
    pub fn new(codings: &[Coding]) -> io::Result<Self> {
        // What was applied last is undone first.
        let stages = codings.iter().rev().map(|coding| Stage::new(*coding));
        Ok(Self {
            stages: stages.collect::<io::Result<_>>()?,
        })
    }

    /// Takes the next bytes, when all before them are used up.
    pub fn feed(&mut self, data: Bytes) {
        if let Some(first) = self.stages.first_mut() {
            first.input = data;
        }
    }

    /// Nothing more is fed.
    pub fn end(&mut self) {
        if let Some(first) = self.stages.first_mut() {
            first.ended = true;
        }
    }

    /// How many bytes have come out of the coding that gave most: those that only the next one sees are
    /// work too, and it may make nothing of gigabytes.
    pub fn made(&self) -> u64 {
        let made = self.stages.iter().map(|stage| stage.made);
        made.max().unwrap_or_default()
    }

    /// Bytes of memory that it takes beside what it was fed: mostly windows, which are as large as the body
    /// says, up to a bound, but take no more than what was written there.
    pub fn memory(&self) -> usize {
        self.stages.iter().map(Stage::memory).sum()
    }

    /// Does some work, on what has come furthest.
    pub fn step(&mut self) -> io::Result<Step> {
        let Some(index) = self.stages.iter().rposition(Stage::has_work) else {
            let ended = self.stages.last().is_none_or(|stage| stage.finished);
            return Ok(if ended { Step::Ended } else { Step::Hungry });
        };
        let stage = &mut self.stages[index];
        let made = stage.work()?;
        stage.made += made.len() as u64;
        let finished = stage.finished;
        match self.stages.get_mut(index + 1) {
            Some(next) => {
                // It had no work, so it has used up what it was given.
                next.input = made;
                next.ended = finished;
                Ok(Step::Again)
            }
            None if made.is_empty() => Ok(Step::Again),
            None => Ok(Step::Piece(made)),
        }
    }
}

/// One coding.
struct Stage {
    undo: Undo,
    input: Bytes,
    /// Of what it took, there may be more to come out.
    pending: bool,
    begun: bool,
    /// Nothing comes behind its input.
    ended: bool,
    finished: bool,
    /// Bytes that came out.
    made: u64,
}

enum Undo {
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Deflate(Box<ZlibDecoder<Vec<u8>>>),
    Zstd(Box<Zstd>),
}

impl Stage {
    fn new(coding: Coding) -> io::Result<Self> {
        let undo = match coding {
            Coding::Gzip => Undo::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            Coding::Deflate => Undo::Deflate(Box::new(ZlibDecoder::new(Vec::new()))),
            Coding::Zstd => Undo::Zstd(Box::new(Zstd::new()?)),
        };
        Ok(Self {
            undo,
            input: Bytes::new(),
            pending: false,
            begun: false,
            ended: false,
            finished: false,
            made: 0,
        })
    }

    fn memory(&self) -> usize {
        match &self.undo {
            Undo::Gzip(_) | Undo::Deflate(_) => INFLATE,
            Undo::Zstd(decoder) => {
                let made = usize::try_from(self.made).unwrap_or(usize::MAX);
                let touched = ZSTD.saturating_add(made);
                touched.min(decoder.context.sizeof() + decoder.out.len())
            }
        }
    }

    fn has_work(&self) -> bool {
        !self.input.is_empty() || self.pending || (self.ended && !self.finished)
    }

    fn work(&mut self) -> io::Result<Bytes> {
        if !self.input.is_empty() {
            (self.begun, self.pending) = (true, true);
            return self.undo.write(&mut self.input);
        }
        if self.pending {
            let made = self.undo.flush()?;
            self.pending = !made.is_empty();
            return Ok(made);
        }
        self.finished = true;
        // Of nothing at all, any coding is nothing.
        if self.begun {
            self.undo.finish()
        } else {
            Ok(Bytes::new())
        }
    }
}

impl Undo {
    /// Takes some of the input.
    fn write(&mut self, input: &mut Bytes) -> io::Result<Bytes> {
        let some = &input[..input.len().min(STEP)];
        let (taken, made) = match self {
            // Each writes no more at once than it has a buffer for, of 32 KiB.
            Self::Gzip(decoder) => (decoder.write(some)?, std::mem::take(decoder.get_mut())),
            Self::Deflate(decoder) => (decoder.write(some)?, std::mem::take(decoder.get_mut())),
            Self::Zstd(decoder) => decoder.run(some)?,
        };
        if taken == 0 && made.is_empty() {
            let message = "there are bytes behind its end";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        input.advance(taken);
        Ok(made.into())
    }

    /// What of the input so far has not come out.
    fn flush(&mut self) -> io::Result<Bytes> {
        let made = match self {
            Self::Gzip(decoder) => {
                decoder.flush()?;
                std::mem::take(decoder.get_mut())
            }
            Self::Deflate(decoder) => {
                decoder.flush()?;
                std::mem::take(decoder.get_mut())
            }
            Self::Zstd(decoder) if decoder.open => decoder.run(&[])?.1,
            Self::Zstd(_) => Vec::new(),
        };
        Ok(made.into())
    }

    /// The last of it; an error where that has not come.
    fn finish(&mut self) -> io::Result<Bytes> {
        let made = match self {
            Self::Gzip(decoder) => {
                decoder.try_finish()?;
                std::mem::take(decoder.get_mut())
            }
            Self::Deflate(decoder) => {
                decoder.try_finish()?;
                std::mem::take(decoder.get_mut())
            }
            Self::Zstd(decoder) if decoder.open => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "incomplete frame",
                ));
            }
            Self::Zstd(_) => Vec::new(),
        };
        Ok(made.into())
    }
}

struct Zstd {
    context: DCtx<'static>,
    out: Box<[u8]>,
    /// It is within a frame.
    open: bool,
}

impl Zstd {
    fn new() -> io::Result<Self> {
        let mut context = DCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
        let window = DParameter::WindowLogMax(WINDOW_LOG);
        context.set_parameter(window).map_err(malformed)?;
        Ok(Self {
            context,
            out: vec![0; STEP].into(),
            open: false,
        })
    }

    /// How many bytes were taken, and what they became.
    fn run(&mut self, input: &[u8]) -> io::Result<(usize, Vec<u8>)> {
        if !self.open {
            let session = ResetDirective::SessionOnly;
            self.context.reset(session).map_err(malformed)?;
        }
        let mut input = InBuffer::around(input);
        let mut output = OutBuffer::around(&mut *self.out);
        let done = self.context.decompress_stream(&mut output, &mut input);
        let remaining = done.map_err(malformed)?;
        let (taken, made) = (input.pos(), output.pos());
        if remaining == 0 {
            self.open = false;
        } else if taken > 0 {
            self.open = true;
        }
        Ok((taken, self.out[..made].to_vec()))
    }
}

/// An error by its number in the library.
fn malformed(code: zstd_safe::ErrorCode) -> io::Error {
    io::Error::other(zstd_safe::get_error_name(code))
}

#[cfg(test)]
mod tests;
