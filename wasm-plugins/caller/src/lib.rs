//! A fixture: makes calls of its own on each request, and says on the hook's span what came of each, as
//! `caller.<n>`: the status and the body's length, or the error. It counts them too.
//!
//! ```yaml
//! config:
//!   calls:
//!     - { upstream: other, method: POST, path: /called, body: text, timeout_ms: 100 }
//! ```

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_sdk::metrics::{Counter, Gauge, Histogram};
use weir_sdk::{Action, Error, Interests, Plugin, Request, http, http_client, span};

/// The configuration of `caller`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    calls: Vec<Call>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Call {
    upstream: String,
    #[serde(default = "get")]
    method: String,
    #[serde(default = "root")]
    path: String,
    #[serde(default)]
    body: String,
    timeout_ms: Option<u64>,
}

fn get() -> String {
    "GET".into()
}

fn root() -> String {
    "/".into()
}

/// The plugin.
pub struct Caller {
    calls: Vec<Call>,
    made: Counter,
    last: Gauge,
    sizes: Histogram,
}

impl Plugin for Caller {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Error> {
        Ok(Self {
            calls: config.calls,
            made: Counter::new("calls", "Calls made, by outcome.", &["outcome"])?,
            last: Gauge::new("last_status", "Of the last reply.", &[])?,
            sizes: Histogram::new("reply_bytes", "Sizes of replies.", &[], &[1.0, 10.0])?,
        })
    }

    fn interests(&self) -> Interests {
        Interests::none().on_request()
    }

    fn on_request(&self, request: &mut Request) -> Action {
        for (index, call) in self.calls.iter().enumerate() {
            let said = match made(call) {
                Ok(reply) => {
                    self.made.add(1, &["reply"]);
                    self.last.set(reply.status().as_u16(), &[]);
                    let len = reply.body().len();
                    self.sizes
                        .observe(u32::try_from(len).unwrap_or(u32::MAX), &[]);
                    let kind = reply.headers().get("content-type");
                    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or("-");
                    format!("{} {kind} {len}", reply.status().as_u16())
                }
                Err(error) => {
                    self.made.add(1, &["error"]);
                    format!("{error:?}")
                }
            };
            span::set_attribute(&format!("caller.{index}"), &said);
            request
                .set_header("x-called", &said)
                .expect("a header of its own");
        }
        Action::Continue
    }
}

weir_sdk::export!(Caller);

fn made(call: &Call) -> Result<http::Response<Vec<u8>>, http_client::Error> {
    let request = http::Request::builder()
        .method(call.method.as_str())
        .uri(&call.path)
        .header("x-caller", "caller")
        .body(&call.body)
        .map_err(|_| http_client::Error::Invalid)?;
    match call.timeout_ms {
        None => http_client::send(&call.upstream, &request),
        Some(limit) => {
            let limit = Duration::from_millis(limit);
            http_client::send_within(&call.upstream, &request, limit)
        }
    }
}
