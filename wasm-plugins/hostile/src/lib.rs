//! A fixture: tries to harm its host, in as many ways as it has modes. It speaks the contract
//! without the SDK, which would not let it do most of this.
//!
//! ```yaml
//! config: { mode: loop, in: on-request, header: x-harm }   # `in` and `header` may be left out
//! ```
//!
//! With `header`, only requests (and in `on-response`, responses) that carry it are harmed: others
//! of the same plugin must not notice. A mode the host is to refuse leaves on the span what the
//! host said, as `hostile.<try>`, and traps if it was let through.
#![cfg(target_arch = "wasm32")]
#![allow(unsafe_code, reason = "a fixture that misuses the ABI")]

mod harm;

#[allow(clippy::all, clippy::pedantic, unreachable_pub)]
mod bindings {
    wit_bindgen::generate!({
        path: "../../sdk/wit",
        world: "plugin",
        // Lets one piece of memory be passed many times over.
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

use std::cell::OnceCell;

use bindings::{Action, BodyMode, Chunk, Flow, Guest, Hooks, Interests, Request, Response};
use harm::{Head, Mode};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    mode: Mode,
    #[serde(default)]
    r#in: Hook,
    header: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Hook {
    Configure,
    OnPreRequest,
    #[default]
    OnRequest,
    OnResponse,
}

thread_local! {
    static CONFIG: OnceCell<Config> = const { OnceCell::new() };
}

struct Hostile;

impl Guest for Hostile {
    fn configure(config: String) -> Result<Interests, String> {
        let config: Config = serde_json::from_str(&config).map_err(|error| error.to_string())?;
        if config.r#in == Hook::Configure || config.mode == Mode::LoopLater {
            config.mode.harm(None)?;
        }
        let interests = Interests {
            hooks: match config.r#in {
                Hook::Configure => Hooks::empty(),
                Hook::OnPreRequest => Hooks::PRE_REQUEST,
                Hook::OnRequest => Hooks::REQUEST,
                Hook::OnResponse => Hooks::RESPONSE,
            },
            request_body: BodyMode::None,
            response_body: BodyMode::None,
            request_head: false,
            decoded: false,
        };
        CONFIG.with(|cell| cell.set(config).map_err(|_| "configured twice".to_owned()))?;
        Ok(interests)
    }

    fn config_schema() -> String {
        String::new()
    }

    fn on_pre_request(request: &Request) -> Action {
        run(&Head::Request(request), |name| request.header(name))
    }

    fn on_request(request: &Request) -> Action {
        run(&Head::Request(request), |name| request.header(name))
    }

    fn on_response(response: &Response) -> Action {
        run(&Head::Response(response), |name| response.header(name))
    }

    fn on_request_body(_: &Chunk) -> Flow {
        Flow::Pass
    }

    fn on_response_body(_: &Chunk) -> Flow {
        Flow::Pass
    }

    fn on_answer_body(_: &Chunk) -> Flow {
        Flow::Pass
    }
}

bindings::export!(Hostile with_types_in bindings);

fn run(head: &Head<'_>, header: impl FnOnce(&str) -> Option<String>) -> Action {
    CONFIG.with(|cell| {
        let config = cell
            .get()
            .expect("the host configures before it calls a hook");
        if config
            .header
            .as_deref()
            .is_some_and(|name| header(name).is_none())
        {
            return Action::Proceed;
        }
        config
            .mode
            .harm(Some(head))
            .expect("only `configure` can refuse")
    })
}
