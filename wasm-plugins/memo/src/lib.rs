//! A fixture: keeps its calls in its memory, and nowhere else, and says on the hook's span what it has
//! there (`memo.kept`), so that a test can see which hooks find it. With a piece of a request it leaves how
//! many calls that are, which the response's hook says (`memo.left`).
//!
//! ```yaml
//! config:                          # each key may be left out
//!   hooks: [request, response]     # `pre-request`, `request-body` and `response-body` (streamed) too
//!   trap: request                  # at this call, once it is kept
//! ```
//!
//! It answers `/told` piece by piece with what it has in its memory, and `/idle` with nothing. A piece of a
//! request that is `wait` waits until somebody asks for `/go`; the counter `waits` has how many do, or did. One
//! that is `tell` is answered as `/told`.

use std::cell::RefCell;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_sdk::metrics::Counter;
use weir_sdk::{
    Action, Chunk, Error, Flow, Interests, Plugin, Request, Response, exchange, http, kv, span,
};

/// What to do.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    hooks: Vec<String>,
    trap: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hooks: vec!["request".into(), "response".into()],
            trap: None,
        }
    }
}

/// The plugin.
pub struct Memo {
    config: Config,
    kept: RefCell<Vec<String>>,
    waits: Counter,
}

const GO: &str = "go";
const DAY: Duration = Duration::from_hours(24);

impl Memo {
    /// Keeps a call, and gives all that it has kept.
    fn keep(&self, call: &str, of: &str) -> String {
        self.kept.borrow_mut().push(format!("{call}{of}"));
        assert_ne!(self.config.trap.as_deref(), Some(call), "to fail here");
        let kept = self.kept.borrow().join(" ");
        span::set_attribute("memo.kept", kept.as_str());
        kept
    }
}

impl Plugin for Memo {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Error> {
        Ok(Self {
            config,
            kept: RefCell::default(),
            waits: Counter::new("waits", "Pieces that waited.", &[])?,
        })
    }

    fn interests(&self) -> Interests {
        let hooks = self.config.hooks.iter();
        hooks.fold(Interests::none(), |interests, hook| match hook.as_str() {
            "pre-request" => interests.on_pre_request(),
            "request" => interests.on_request(),
            "response" => interests.on_response(),
            "request-body" => interests.stream_request_body(),
            "response-body" => interests.stream_response_body(),
            other => panic!("{other} is no hook"),
        })
    }

    fn on_pre_request(&self, request: &mut Request) -> Action {
        self.keep("pre-request", &request.path());
        Action::Continue
    }

    fn on_request(&self, request: &mut Request) -> Action {
        let path = request.path();
        self.keep("request", &path);
        match path.as_str() {
            "/told" => Action::RespondStreamed(http::Response::new(())),
            "/idle" => Action::Respond(http::Response::new(Vec::new())),
            "/go" => {
                kv::set(GO, b"1", DAY).expect("a value");
                Action::Respond(http::Response::new(Vec::new()))
            }
            _ => Action::Continue,
        }
    }

    fn on_response(&self, _: &mut Response) -> Action {
        self.keep("response", "");
        if let Some(left) = exchange::get("kept") {
            span::set_attribute("memo.left", left);
        }
        Action::Continue
    }

    fn on_request_body(&self, chunk: &mut Chunk) -> Flow {
        if chunk.data() == b"wait" {
            self.waits.add(1, &[]);
            while kv::get(GO).expect("the value").is_none() {}
        }
        self.keep("request-body", "");
        exchange::set("kept", &self.kept.borrow().len().to_string());
        if chunk.data() == b"tell" {
            return Flow::RespondStreamed(http::Response::new(()));
        }
        Flow::Pass
    }

    fn on_response_body(&self, _: &mut Chunk) -> Flow {
        self.keep("response-body", "");
        Flow::Pass
    }

    fn on_answer_body(&self, _: &mut Chunk) -> Flow {
        let kept = self.keep("answer-body", "");
        if kept.matches("answer-body").count() > 1 {
            return Flow::Pass;
        }
        Flow::Replace(kept.into_bytes())
    }
}

weir_sdk::export!(Memo);
