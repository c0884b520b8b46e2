//! Gives each request an id: one name for it in the client's log, the upstream's and the trace.
//!
//! ```yaml
//! plugins:
//!   id:
//!     module: builtin:request-id
//!     config:                    # each key may be left out
//!       header: x-request-id
//!       echo: true               # false: the response does not carry the id
//! ```
//!
//! `on-request` keeps the id the client sent, if it is 1 to 200 visible ASCII characters, and
//! otherwise makes one (a random UUID). It becomes the request's id for Weir too: the trace's
//! `RequestID`. `request_id.source` on the span says whose it is: `client` or `made`.
//!
//! `on-response` sets the id on the response, in place of one the upstream may have sent.

use schemars::JsonSchema;
use serde::Deserialize;
use weir_sdk::http::HeaderName;
use weir_sdk::{
    Action, Error, HeaderError, Interests, Plugin, Request, Response, exchange, header_name,
    random, span,
};

/// The configuration of `request-id`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The header that holds the id. Default: `x-request-id`.
    header: String,
    /// Whether the response carries the id too. Default: `true`.
    echo: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            header: "x-request-id".into(),
            echo: true,
        }
    }
}

/// The plugin.
pub struct RequestId {
    header: HeaderName,
    echo: bool,
}

impl Plugin for RequestId {
    type Config = Config;

    fn new(Config { header, echo }: Config) -> Result<Self, Error> {
        let header =
            header_name(&header).map_err(|error| format!("header: {header:?}: {error}"))?;
        Ok(Self { header, echo })
    }

    fn interests(&self) -> Interests {
        let interests = Interests::none().on_request();
        if self.echo {
            interests.on_response()
        } else {
            interests
        }
    }

    fn on_request(&self, request: &mut Request) -> Action {
        if let Some(id) = request.header(&self.header).filter(|id| is_sane(id)) {
            span::set_attribute("request_id.source", "client");
            exchange::set_request_id(&id);
        } else {
            span::set_attribute("request_id.source", "made");
            let id = make();
            exchange::set_request_id(&id);
            note(request.set_header(&self.header, id));
        }
        Action::Continue
    }

    fn on_response(&self, response: &mut Response) -> Action {
        note(response.set_header(&self.header, exchange::request_id()));
        Action::Continue
    }
}

weir_sdk::export!(RequestId);

/// A head that has no room for one more header is the sender's doing, and no reason to fail: the
/// trace has the id in any case.
fn note(set: Result<(), HeaderError>) {
    if let Err(error) = set {
        span::set_error(&error.to_string());
    }
}

fn is_sane(id: &str) -> bool {
    (1..=200).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A UUID of version 4 (RFC 9562, section 5.4).
fn make() -> String {
    let (high, low) = (random::next(), random::next());
    let (version, variant) = (4, 0b10 << 14);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        version << 12 | high & 0x0fff,
        variant | low >> 48 & 0x3fff,
        low & 0xffff_ffff_ffff,
    )
}

#[cfg(test)]
mod tests;
