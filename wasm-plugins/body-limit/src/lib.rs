//! Bounds the bodies of requests: a larger one is answered with 413.
//!
//! ```yaml
//! plugins:
//!   bound:
//!     module: builtin:body-limit
//!     config:
//!       max: 10MiB      # bytes, KiB, MiB or GiB; required
//! ```
//!
//! A request that says by `content-length` that it is too large is refused before anything of it is
//! read. One that does not say its length is counted while it streams to the upstream, and broken off
//! there as soon as it is too large. The span has `body_limit.result`: `allowed`, `refused` or
//! `counted`, and of one that was refused while it was counted, `exceeded`.

use std::cell::Cell;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_sdk::http::{HeaderValue, Response as Answer, StatusCode, header};
use weir_sdk::{Action, Chunk, Error, Flow, Interests, Plugin, Request, span};

/// The configuration of `body-limit`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Most bytes that a request's body may have: a number, or one with `KiB`, `MiB` or `GiB`.
    max: Size,
}

/// A number of bytes.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Size {
    Bytes(u64),
    #[schemars(extend("pattern" = "^[0-9]+(B|KiB|MiB|GiB)$"))]
    Text(String),
}

/// The plugin.
pub struct BodyLimit {
    max: u64,
    /// Of the body that streams through this instance.
    seen: Cell<u64>,
}

impl Plugin for BodyLimit {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Error> {
        let max = match config.max {
            Size::Bytes(bytes) => bytes,
            Size::Text(text) => {
                parse(&text).ok_or_else(|| format!("max: {text:?} is no size, such as `10MiB`"))?
            }
        };
        Ok(Self {
            max,
            seen: Cell::new(0),
        })
    }

    fn interests(&self) -> Interests {
        Interests::none().on_request().stream_request_body()
    }

    fn on_request(&self, request: &mut Request) -> Action {
        self.seen.set(0);
        let length = request.header("content-length");
        let Some(length) = length.and_then(|length| length.parse::<u64>().ok()) else {
            span::set_attribute("body_limit.result", "counted");
            return Action::Continue;
        };
        // Weir holds a request to the length that it says.
        request.skip_body();
        if length <= self.max {
            span::set_attribute("body_limit.result", "allowed");
            return Action::Continue;
        }
        span::set_attribute("body_limit.result", "refused");
        Action::Respond(self.refusal())
    }

    fn on_request_body(&self, chunk: &mut Chunk) -> Flow {
        let seen = self.seen.get() + chunk.len() as u64;
        self.seen.set(seen);
        if seen <= self.max {
            return Flow::Pass;
        }
        span::set_attribute("body_limit.result", "exceeded");
        Flow::Respond(self.refusal())
    }
}

weir_sdk::export!(BodyLimit);

impl BodyLimit {
    fn refusal(&self) -> Answer<Vec<u8>> {
        let max = self.max;
        let problem = format!(
            r#"{{"title":"Content Too Large","status":413,"detail":"a body may have at most {max} bytes"}}"#
        );
        let mut answer = Answer::new(problem.into_bytes());
        *answer.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
        let json = HeaderValue::from_static("application/problem+json");
        answer.headers_mut().insert(header::CONTENT_TYPE, json);
        answer
    }
}

fn parse(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests;
