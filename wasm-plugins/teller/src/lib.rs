//! A fixture: answers `/told` with a body that it gives piece by piece, as its configuration tells it to,
//! so that a test can see when it is asked for one.
//!
//! ```yaml
//! config:                          # each key may be left out
//!   hook: request                  # `pre-request`, `request-body` or `response`: where it answers
//!   behind: 1                      # of `request-body`: pieces that it lets by first
//!   holds: 1000                    # most bytes of a request's body to hold, whose number `x-held` says
//!   pieces: 3                      # without it, there is no end
//!   size: 65536                    # bytes of a piece, instead of `piece <n>`
//!   wait: value                    # for each piece; see `Wait`
//!   fault: { work: trap, at: 2 }   # at the second piece; see `Work`
//!   status: 200
//!   encoding: gzip               # say that the pieces are in this
//! ```
//!
//! `/go` lets one more piece go that waits for a value. The counter `asked` has how often it was asked for
//! a piece; the hook's span has `teller.left`, what the hook left for the pieces.

use std::cell::Cell;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_sdk::metrics::Counter;
use weir_sdk::{
    Action, Chunk, Error, Flow, Interests, Plugin, Request, Response, exchange, http, http_client,
    kv, span,
};

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Hook {
    PreRequest,
    #[default]
    Request,
    RequestBody,
    Response,
}

/// What a piece waits for.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Wait {
    #[default]
    Nothing,
    /// A value that `/go` adds to.
    Value,
    /// What the upstream `other` answers, which is the piece.
    Call,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Work {
    Trap,
    Spin,
    Abort,
    /// Answers once more.
    Respond,
    /// As much as the host takes.
    Flood,
}

/// What, and at which piece.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fault {
    work: Work,
    at: u32,
}

/// What to do.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    hook: Hook,
    behind: u32,
    holds: Option<u64>,
    pieces: Option<u32>,
    size: Option<usize>,
    wait: Wait,
    fault: Option<Fault>,
    status: Option<u16>,
    encoding: Option<String>,
}

/// The plugin.
pub struct Teller {
    config: Config,
    told: Cell<u32>,
    let_by: Cell<u32>,
    asked: Counter,
}

const GO: &str = "go";
const DAY: Duration = Duration::from_hours(24);

impl Teller {
    fn answer(&self, held: Option<usize>) -> http::Response<()> {
        exchange::set("left", "for the pieces");
        self.told.set(0);
        let mut head = http::Response::builder()
            .status(self.config.status.unwrap_or(200))
            .header("content-type", "text/event-stream");
        if let Some(encoding) = &self.config.encoding {
            head = head.header("content-encoding", encoding);
        }
        if let Some(held) = held {
            head = head.header("x-held", held);
        }
        head.body(()).expect("a head")
    }

    /// The piece, where what it waits for has come.
    fn tell(&self, piece: u32) -> Option<Vec<u8>> {
        if let Some(size) = self.config.size {
            return Some(vec![b'x'; size]);
        }
        match self.config.wait {
            Wait::Nothing => {}
            Wait::Value => {
                let value = kv::get(GO).expect("the value").unwrap_or_default();
                let value = String::from_utf8(value).expect("a number");
                if value.parse::<u32>().unwrap_or(0) < piece {
                    return None;
                }
            }
            Wait::Call => {
                let request = http::Request::get(format!("/piece/{piece}")).body("");
                let reply = http_client::send("other", &request.expect("a request"));
                return Some(reply.expect("a reply").into_body());
            }
        }
        Some(format!("piece {piece}").into_bytes())
    }
}

impl Plugin for Teller {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Error> {
        Ok(Self {
            config,
            told: Cell::new(0),
            let_by: Cell::new(0),
            asked: Counter::new("asked", "Pieces asked for.", &[])?,
        })
    }

    fn interests(&self) -> Interests {
        let interests = match self.config.hook {
            Hook::PreRequest => Interests::none().on_pre_request(),
            Hook::Request => Interests::none().on_request(),
            Hook::RequestBody => Interests::none().stream_request_body(),
            Hook::Response => Interests::none().on_response(),
        };
        match self.config.holds {
            Some(most) => interests.buffer_request_body(most),
            None => interests,
        }
    }

    fn on_pre_request(&self, request: &mut Request) -> Action {
        self.on_request(request)
    }

    fn on_request(&self, request: &mut Request) -> Action {
        match request.path().as_str() {
            "/told" if matches!(self.config.hook, Hook::RequestBody) => {
                exchange::set("tells", "a piece");
                Action::Continue
            }
            "/told" => {
                let body = self.config.holds.map(|_| request.body());
                let held = body.map(|body| body.expect("the body").len());
                Action::RespondStreamed(self.answer(held))
            }
            "/go" => {
                kv::add(GO, 1, DAY).expect("a number");
                Action::Respond(http::Response::new(Vec::new()))
            }
            _ => Action::Continue,
        }
    }

    fn on_response(&self, response: &mut Response) -> Action {
        if response.request_path() == "/told" {
            Action::RespondStreamed(self.answer(None))
        } else {
            Action::Continue
        }
    }

    fn on_request_body(&self, _: &mut Chunk) -> Flow {
        if exchange::get("tells").is_none() {
            return Flow::Pass;
        }
        let let_by = self.let_by.get();
        if let_by < self.config.behind {
            self.let_by.set(let_by + 1);
            return Flow::Pass;
        }
        self.let_by.set(0);
        Flow::RespondStreamed(self.answer(None))
    }

    fn on_answer_body(&self, chunk: &mut Chunk) -> Flow {
        self.asked.add(1, &[]);
        if let Some(left) = exchange::get("left") {
            span::set_attribute("teller.left", left);
        }
        let piece = self.told.get() + 1;
        if self.config.pieces.is_some_and(|pieces| piece > pieces) {
            let told = chunk.set_trailer("x-told", self.told.get().to_string());
            told.expect("a trailer of the plugin's own");
            return Flow::Pass;
        }
        if let Some(fault) = self.config.fault
            && fault.at == piece
        {
            match fault.work {
                Work::Trap => panic!("piece {piece}"),
                Work::Spin => loop {
                    std::hint::black_box(());
                },
                Work::Abort => return Flow::Abort,
                Work::Respond => return Flow::Respond(http::Response::new(b"again".to_vec())),
                Work::Flood => {
                    while chunk.write(vec![b'x'; 60_000]).is_ok() {}
                    self.told.set(piece);
                    return Flow::Replace(Vec::new());
                }
            }
        }
        let Some(told) = self.tell(piece) else {
            return Flow::Replace(Vec::new());
        };
        self.told.set(piece);
        Flow::Replace(told)
    }
}

weir_sdk::export!(Teller);
