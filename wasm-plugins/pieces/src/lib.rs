//! A fixture: streams bodies, and does with their pieces what its configuration tells it to, so that a
//! test can see what becomes of them.
//!
//! ```yaml
//! config:                          # each key may be left out
//!   request: upper                 # see `Work`
//!   response: { work: trap, at: 2 } # `pass` before the second piece, or what `before` says
//!   decoded: true                  # see bodies decoded
//! ```
//!
//! With the last piece it sets the trailer `x-pieces` to their number. The plugin's spans have the
//! attribute `pieces.seen`, `pieces.encoding` where the head says one, and the request's `pieces.left`
//! what it left for itself at its first piece.

use std::cell::{Cell, RefCell};

use schemars::JsonSchema;
use serde::Deserialize;
use weir_sdk::{
    Action, Chunk, Error, Flow, Interests, Plugin, Request, Response, exchange, http, span,
};

/// What to do with a side's pieces.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Work {
    /// Does not stream.
    #[default]
    None,
    /// Streams, and lets each by.
    Pass,
    /// Lets the whole body by from the head's hook.
    Skip,
    /// In upper case.
    Upper,
    /// Each byte twice, as two pieces.
    Double,
    /// Nothing until the last, then all.
    Collect,
    /// A megabyte for each piece.
    Grow,
    /// More than the host takes.
    Flood,
    Trap,
    Spin,
    Abort,
    /// Answers with 413.
    Respond,
}

/// What, and at which piece.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Side {
    Always(Work),
    At {
        work: Work,
        at: u32,
        before: Option<Work>,
    },
}

impl Default for Side {
    fn default() -> Self {
        Self::Always(Work::None)
    }
}

impl Side {
    fn streams(self) -> bool {
        !matches!(self, Self::Always(Work::None))
    }

    fn skips(self) -> bool {
        matches!(self, Self::Always(Work::Skip))
    }

    fn at(self, piece: u32) -> Work {
        match self {
            Self::Always(work) => work,
            Self::At { work, at, .. } if at == piece => work,
            Self::At { before, .. } => before.unwrap_or(Work::Pass),
        }
    }
}

/// What to do.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    request: Side,
    response: Side,
    decoded: bool,
}

pub struct Pieces {
    config: Config,
    seen: Cell<u32>,
    /// Hooks on requests that this instance has served.
    heads: Cell<u32>,
    held: RefCell<Vec<u8>>,
}

impl Pieces {
    fn take(&self, side: Side, chunk: &mut Chunk) -> Flow {
        let seen = self.seen.get() + 1;
        self.seen.set(if chunk.is_last() { 0 } else { seen });
        span::set_attribute("pieces.seen", i64::from(seen));
        if chunk.is_last() {
            let set = chunk.set_trailer("x-pieces", seen.to_string());
            set.expect("a trailer of the plugin's own");
            if let Err(refused) = chunk.set_trailer("content-length", "1") {
                span::set_attribute("pieces.refused", refused.to_string());
            }
        }
        match side.at(seen) {
            Work::None | Work::Pass | Work::Skip => Flow::Pass,
            Work::Upper => Flow::Replace(chunk.data().to_ascii_uppercase()),
            Work::Double => {
                chunk.write(chunk.data()).expect("room for it");
                Flow::Replace(chunk.data())
            }
            Work::Collect => {
                self.held.borrow_mut().extend(chunk.data());
                if chunk.is_last() {
                    return Flow::Replace(self.held.take());
                }
                Flow::Replace(Vec::new())
            }
            Work::Grow => Flow::Replace(vec![b'x'; 1 << 20]),
            Work::Flood => {
                while chunk.write(vec![b'x'; 60_000]).is_ok() {}
                Flow::Replace(Vec::new())
            }
            Work::Trap => panic!("piece {seen}"),
            Work::Spin => loop {
                std::hint::black_box(());
            },
            Work::Abort => Flow::Abort,
            Work::Respond => {
                let mut answer = http::Response::new(b"enough".to_vec());
                *answer.status_mut() = http::StatusCode::PAYLOAD_TOO_LARGE;
                Flow::Respond(answer)
            }
        }
    }
}

impl Plugin for Pieces {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Error> {
        Ok(Self {
            config,
            seen: Cell::new(0),
            heads: Cell::new(0),
            held: RefCell::default(),
        })
    }

    fn interests(&self) -> Interests {
        let mut interests = Interests::none();
        if self.config.decoded {
            interests = interests.decoded();
        }
        if self.config.request.streams() {
            interests = interests.stream_request_body();
        }
        if self.config.response.streams() {
            interests = interests.stream_response_body();
        }
        interests
    }

    fn on_request(&self, request: &mut Request) -> Action {
        self.heads.set(self.heads.get() + 1);
        span::set_attribute("pieces.heads", i64::from(self.heads.get()));
        note_encoding(request.header("content-encoding"));
        if self.config.request.skips() {
            request.skip_body();
        }
        Action::Continue
    }

    fn on_response(&self, response: &mut Response) -> Action {
        note_encoding(response.header("content-encoding"));
        if self.config.response.skips() {
            response.skip_body();
        }
        if let Some(left) = exchange::get("left") {
            span::set_attribute("pieces.left", left);
        }
        Action::Continue
    }

    fn on_request_body(&self, chunk: &mut Chunk) -> Flow {
        exchange::set("left", &format!("piece {}", self.seen.get() + 1));
        self.take(self.config.request, chunk)
    }

    fn on_response_body(&self, chunk: &mut Chunk) -> Flow {
        span::upstream::set_attribute("pieces.upstream", true);
        self.take(self.config.response, chunk)
    }
}

fn note_encoding(encoding: Option<String>) {
    if let Some(encoding) = encoding {
        span::set_attribute("pieces.encoding", encoding);
    }
}

weir_sdk::export!(Pieces);
