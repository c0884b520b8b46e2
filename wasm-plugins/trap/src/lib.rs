//! A fixture: panics where its configuration says, so that a test can read the message, the file
//! and the line on the span.
//!
//! ```yaml
//! config: { in: on-request, header: x-trap }   # both may be left out
//! ```
//!
//! With `header`, only requests (and in `on-response`, responses) that carry it are harmed.

use schemars::JsonSchema;
use serde::Deserialize;
use weir_sdk::{Action, Error, Interests, Plugin, Request, Response};

/// Where to panic.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Trap {
    /// The hook.
    r#in: Hook,
    /// The header without which nothing happens.
    header: Option<String>,
}

#[derive(Default, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Hook {
    Configure,
    OnPreRequest,
    #[default]
    OnRequest,
    OnResponse,
}

impl Plugin for Trap {
    type Config = Self;

    fn new(config: Self) -> Result<Self, Error> {
        assert!(config.r#in != Hook::Configure, "sprung while configured");
        Ok(config)
    }

    fn interests(&self) -> Interests {
        match self.r#in {
            Hook::Configure => Interests::none(),
            Hook::OnPreRequest => Interests::none().on_pre_request(),
            Hook::OnRequest => Interests::none().on_request(),
            Hook::OnResponse => Interests::none().on_response(),
        }
    }

    fn on_pre_request(&self, request: &mut Request) -> Action {
        self.spring(|name| request.header(name))
    }

    fn on_request(&self, request: &mut Request) -> Action {
        self.spring(|name| request.header(name))
    }

    fn on_response(&self, response: &mut Response) -> Action {
        self.spring(|name| response.header(name))
    }
}

impl Trap {
    fn spring(&self, header: impl FnOnce(&str) -> Option<String>) -> Action {
        let value = match &self.header {
            None => "nothing".into(),
            Some(name) => match header(name) {
                None => return Action::Continue,
                Some(value) => value,
            },
        };
        panic!("sprung by {value}");
    }
}

weir_sdk::export!(Trap);
