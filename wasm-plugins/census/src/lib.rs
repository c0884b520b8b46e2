//! A fixture: calls every function of the contract, in each hook that may, with common and with odd
//! values, and says as attributes `census.*` of the hook's span what it got, so that a test can see
//! it of every ABI. It speaks the contract without the SDK, which hides some of it.
//!
//! ```yaml
//! config:            # may be left out
//!   refuse: a text   # refuses the configuration with it
//!   stream: true     # has bodies piece by piece, not whole
//! ```
//!
//! A request's header `x-census` asks for more: `pre-request`, `request` or `response`, to be answered
//! in that hook; `streamed` or `streamed-back`, to be answered piece by piece in the request or response
//! hook; `error`, for the request hook's span to be marked as failed; `call`, to say what the
//! call to the upstream is; `trap`, to trap in the response hook.
#![cfg(target_arch = "wasm32")]
#![allow(unsafe_code, reason = "what the bindings export")]

mod chunks;
mod heads;
mod notes;
mod outward;

#[allow(clippy::all, clippy::pedantic, unreachable_pub)]
mod bindings {
    wit_bindgen::generate!({
        path: "../../sdk/wit",
        world: "plugin",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

use std::cell::OnceCell;
use std::fmt::Debug;

use bindings::weir::plugin::log::{self, Level};
use bindings::weir::plugin::span::{self, Target, Value};
use bindings::{Action, BodyMode, Chunk, Flow, Guest, Hooks, Interests, Request, Response};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    refuse: Option<String>,
    #[serde(default)]
    stream: bool,
}

thread_local! {
    /// The text that `configure` was given.
    static CONFIG: OnceCell<String> = const { OnceCell::new() };
}

struct Census;

impl Guest for Census {
    fn configure(config: String) -> Result<Interests, String> {
        let parsed = serde_json::from_str::<Config>(&config);
        let parsed = parsed.map_err(|error| error.to_string())?;
        if let Some(refuse) = parsed.refuse {
            return Err(refuse);
        }
        let body = if parsed.stream {
            BodyMode::Stream
        } else {
            BodyMode::Buffer(1 << 20)
        };
        log::write(Level::Info, "census is configured");
        CONFIG.with(|cell| cell.set(config).map_err(|_| "configured twice"))?;
        Ok(Interests {
            hooks: Hooks::PRE_REQUEST | Hooks::REQUEST | Hooks::RESPONSE,
            request_body: body,
            response_body: body,
            request_head: true,
            decoded: false,
        })
    }

    fn config_schema() -> String {
        r#"{ "type": "object", "title": "Zensus – 人口調査" }"#.to_owned()
    }

    fn on_pre_request(request: &Request) -> Action {
        CONFIG.with(|config| say("config", config.get()));
        notes::exchange_at_first();
        notes::values();
        notes::ambient();
        heads::read_request(request);
        heads::reroute(request);
        answer(request, "pre-request")
    }

    fn on_request(request: &Request) -> Action {
        if asked_for(request, "streamed") {
            return heads::answer_streamed(request);
        }
        notes::exchange_later();
        heads::read_request(request);
        heads::change(request);
        say(
            "reroute.late",
            request.reroute(None, Some("/elsewhere"), None),
        );
        notes::attributes();
        notes::events();
        notes::lines();
        if asked_for(request, "skip") {
            request.skip_body();
        }
        if asked_for(request, "error") {
            span::set_error("the census was asked for an error");
        }
        answer(request, "request")
    }

    fn on_response(response: &Response) -> Action {
        if response.request_header("x-census").as_deref() == Some("streamed-back") {
            return heads::answer_streamed(response);
        }
        notes::exchange_later();
        notes::attributes();
        heads::read_response(response);
        heads::change(response);
        heads::change_status(response);
        let asked = response.request_header("x-census");
        if asked.as_deref() == Some("trap") {
            // What was said of a panic before is not what this traps for.
            std::arch::wasm32::unreachable();
        }
        if asked.as_deref() == Some("skip") {
            response.skip_body();
        }
        if asked.as_deref() == Some("call") {
            notes::call("count 人口");
        }
        outward::all();
        heads::refused_answers(response);
        if asked.as_deref() == Some("response") {
            return heads::answer(response);
        }
        Action::Proceed
    }

    fn on_request_body(chunk: &Chunk) -> Flow {
        chunks::read(chunk)
    }

    fn on_response_body(chunk: &Chunk) -> Flow {
        chunks::read(chunk)
    }

    fn on_answer_body(chunk: &Chunk) -> Flow {
        chunks::give(chunk)
    }
}

bindings::export!(Census with_types_in bindings);

fn asked_for(request: &Request, what: &str) -> bool {
    request.header("x-census").as_deref() == Some(what)
}

fn answer(request: &Request, hook: &str) -> Action {
    heads::refused_answers(request);
    if asked_for(request, hook) {
        return heads::answer(request);
    }
    // An answer that the hook then does not send.
    say("forgotten", request.respond(200, &[], b"forgotten"));
    say("immutable", request.set_header("x-late", "late"));
    Action::Proceed
}

/// Of an error its name, without what the contract says of it.
macro_rules! named {
    ($result:expr) => {
        $result.map_err(|error| error.name())
    };
}
pub(crate) use named;

/// Leaves on the hook's span what the host gave.
fn say(name: &str, got: impl Debug) {
    say_text(name, &format!("{got:?}"));
}

fn say_text(name: &str, text: &str) {
    let name = format!("census.{name}");
    span::set_attribute(Target::Hook, &name, Value::Text(text));
}
