//! A message that was made before, made again as smaller ones: its topic turned out to take less
//! than Weir was told, and what it carries was acknowledged long ago.

use super::json::Dialect;
use super::keys::Key;
use super::messages::{Plan, Sink};
use super::split::Tree;
use super::{Signal, read};
use crate::config::otlp::Format;

/// A part of a message: a whole request of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub payload: Vec<u8>,
    /// It is one item, and larger than any message may be.
    pub is_too_large: bool,
}

/// How JSON begins that has the names of the `.proto` files.
const SNAKE_CASE: &[u8] = b"{\"resource_";

/// The pieces of a message, of at most `limit` bytes each, but for items that are larger: those may
/// have as many as `alone`. Nothing where it does not read.
pub fn pieces(
    signal: Signal,
    payload: &[u8],
    is_json: bool,
    (limit, alone): (usize, usize),
) -> Vec<Piece> {
    let message = signal.request();
    let (format, read) = if !is_json {
        (Format::Protobuf, Ok(payload.to_vec()))
    } else if payload.starts_with(SNAKE_CASE) {
        let read = read::read_as(Dialect::SnakeCase, message, payload);
        (Format::JsonSnakeCase, read)
    } else {
        (Format::Json, read::read(message, payload))
    };
    let plan = Plan {
        signal,
        format,
        // It has its key, which all pieces have too.
        keyed: false,
        limit,
        alone,
    };
    let mut pieces = Pieces(Vec::new());
    if let Ok(request) = read
        && !Tree::new(message, &request).is_empty()
    {
        let Ok(_) = plan.messages(&request, &mut pieces);
    }
    pieces.0
}

struct Pieces(Vec<Piece>);

impl Pieces {
    fn push(&mut self, payload: &[u8], is_too_large: bool) {
        self.0.push(Piece {
            payload: payload.to_vec(),
            is_too_large,
        });
    }
}

impl Sink for Pieces {
    type Error = std::convert::Infallible;

    fn put(&mut self, _: Option<&Key>, payload: &[u8]) -> Result<(), Self::Error> {
        self.push(payload, false);
        Ok(())
    }

    fn refuse(&mut self, payload: &[u8]) -> Result<(), Self::Error> {
        self.push(payload, true);
        Ok(())
    }
}
