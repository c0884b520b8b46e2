//! The unit of work that the benchmarks compare: each hook reads one header and sets one.
//!
//! ```yaml
//! plugins:
//!   bench:
//!     module: target/guests/bench-header.wasm
//!     config:                                              # each key may be left out
//!       request: { read: user-agent, set: x-bench }
//!       response: { read: content-type, set: x-bench }
//! ```
//!
//! The value set is the one read, or `-` where there was none, so that no hook can do without
//! either call.

use schemars::JsonSchema;
use serde::Deserialize;
use weir_sdk::{Action, Error, Interests, Plugin, Request, Response};

/// Which headers the hooks read and set.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BenchHeader {
    /// In `on-request`.
    request: Names,
    /// In `on-response`.
    response: Names,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Names {
    /// The header to read.
    read: String,
    /// The header to set to what was read.
    set: String,
}

impl Names {
    fn new(read: &str, set: &str) -> Self {
        Self {
            read: read.into(),
            set: set.into(),
        }
    }
}

impl Default for BenchHeader {
    fn default() -> Self {
        Self {
            request: Names::new("user-agent", "x-bench"),
            response: Names::new("content-type", "x-bench"),
        }
    }
}

impl Plugin for BenchHeader {
    type Config = Self;

    fn new(config: Self) -> Result<Self, Error> {
        Ok(config)
    }

    fn interests(&self) -> Interests {
        Interests::none().on_request().on_response()
    }

    fn on_request(&self, request: &mut Request) -> Action {
        let value = request.header(&self.request.read);
        let set = request.set_header(&self.request.set, value.as_deref().unwrap_or("-"));
        set.expect("a header a plugin may set");
        Action::Continue
    }

    fn on_response(&self, response: &mut Response) -> Action {
        let value = response.header(&self.response.read);
        let set = response.set_header(&self.response.set, value.as_deref().unwrap_or("-"));
        set.expect("a header a plugin may set");
        Action::Continue
    }
}

weir_sdk::export!(BenchHeader);

#[cfg(test)]
mod tests;
