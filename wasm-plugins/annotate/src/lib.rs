//! A fixture: says on its spans and in the log what its configuration tells it to, so that a test
//! can see what becomes of it.
//!
//! ```yaml
//! config:                                # each key may be left out
//!   attributes: { gen_ai.input.messages: "hi" }  # on the hook's span, an event of it and the call
//!   log: a line
//!   client: true                         # what the client's certificate says, as attribute `client`
//! ```

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_sdk::span::Value;
use weir_sdk::{Action, Error, Interests, Plugin, Request, span};

/// What to say.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Annotate {
    /// Attributes of the hook's span, of the upstream call's, and of an event `annotated`.
    attributes: BTreeMap<String, String>,
    /// A line for the log.
    log: Option<String>,
    /// Say what the client's certificate says, as attribute `client` of the hook's span.
    client: bool,
}

impl Plugin for Annotate {
    type Config = Self;

    fn new(config: Self) -> Result<Self, Error> {
        Ok(config)
    }

    fn interests(&self) -> Interests {
        Interests::none().on_request()
    }

    fn on_request(&self, request: &mut Request) -> Action {
        let mut event: Vec<(&str, Value<'_>)> = Vec::new();
        for (name, value) in &self.attributes {
            span::set_attribute(name, value);
            span::upstream::set_attribute(name, value);
            event.push((name, value.into()));
        }
        span::add_event("annotated", &event);
        if let Some(line) = &self.log {
            weir_sdk::info!("{line}");
        }
        if self.client {
            span::set_attribute("client", format!("{:?}", request.client_certificate()));
        }
        Action::Continue
    }
}

weir_sdk::export!(Annotate);
