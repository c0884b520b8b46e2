//! Answers for an upstream that is away for maintenance.
//!
//! ```yaml
//! plugins:
//!   away:
//!     module: builtin:maintenance
//!     config:                      # each key may be left out
//!       enabled: true              # the default; `false` lets all requests through
//!       status: 503                # the default
//!       retry_after: 600           # seconds; default: none is told
//!       content_type: text/html    # default: application/problem+json
//!       body: "<h1>Back soon</h1>" # default: a problem of RFC 9457
//!       pass: { header: x-preview, value: env.PREVIEW }   # who may go on; default: nobody
//! ```
//!
//! The span has `maintenance.result`, `answered` or `passed`.

use std::hint::black_box;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_sdk::http::{HeaderName, HeaderValue, Response as Answer, StatusCode, header};
use weir_sdk::{Action, Error, Interests, Plugin, Request, header_name, span};

/// The configuration of `maintenance`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether requests are answered; otherwise all go on. Default: `true`.
    enabled: bool,
    /// The status, from 400 to 599. Default: 503.
    #[schemars(range(min = 400, max = 599))]
    status: u16,
    /// Seconds after which clients may ask again, told in `retry-after`. Default: none.
    retry_after: Option<u32>,
    /// The body's type. Default: `application/problem+json`, or `text/plain` where there is a `body`.
    content_type: Option<String>,
    /// The body. Default: a problem of RFC 9457.
    body: Option<String>,
    /// Requests that have this header with this value go on. Default: none do.
    pass: Option<Pass>,
}

/// Who may go on.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pass {
    /// The header's name.
    header: String,
    /// Its value.
    #[schemars(length(min = 1))]
    value: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            status: 503,
            retry_after: None,
            content_type: None,
            body: None,
            pass: None,
        }
    }
}

/// The plugin.
pub struct Maintenance {
    enabled: bool,
    answer: Answer<Vec<u8>>,
    pass: Option<(HeaderName, String)>,
}

impl Plugin for Maintenance {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Error> {
        if !(400..600).contains(&config.status) {
            return Err(format!("status: {} is not from 400 to 599", config.status).into());
        }
        let status = StatusCode::from_u16(config.status)?;
        let title = status.canonical_reason().unwrap_or("Maintenance");
        let problem = || {
            let detail = "under maintenance";
            format!(
                r#"{{"title":"{title}","status":{},"detail":"{detail}"}}"#,
                config.status
            )
        };
        let kind = config.content_type.unwrap_or_else(|| {
            let problem = config.body.is_none();
            if problem {
                "application/problem+json"
            } else {
                "text/plain; charset=utf-8"
            }
            .into()
        });
        let kind = HeaderValue::from_str(&kind)
            .map_err(|_| format!("content_type: {kind:?} is no header's value"))?;
        let mut answer = Answer::new(config.body.unwrap_or_else(problem).into_bytes());
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, kind);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = config.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        let pass = match config.pass {
            None => None,
            Some(pass) if pass.value.is_empty() => {
                return Err("pass.value: is empty, so everybody could go on".into());
            }
            Some(pass) => {
                let name = header_name(&pass.header)
                    .map_err(|error| format!("pass.header: {:?}: {error}", pass.header))?;
                Some((name, pass.value))
            }
        };
        Ok(Self {
            enabled: config.enabled,
            answer,
            pass,
        })
    }

    fn interests(&self) -> Interests {
        if self.enabled {
            Interests::none().on_request()
        } else {
            Interests::none()
        }
    }

    fn on_request(&self, request: &mut Request) -> Action {
        let passes = self.pass.as_ref().is_some_and(|(name, value)| {
            let shown = request.header(name);
            shown.is_some_and(|shown| same(value.as_bytes(), shown.as_bytes()))
        });
        if passes {
            span::set_attribute("maintenance.result", "passed");
            return Action::Continue;
        }
        span::set_attribute("maintenance.result", "answered");
        Action::Respond(self.answer.clone())
    }
}

weir_sdk::export!(Maintenance);

/// In a time that does not tell how much was right.
fn same(right: &[u8], shown: &[u8]) -> bool {
    let differences = right
        .iter()
        .zip(shown)
        .fold(0, |differences, (a, b)| black_box(differences | (a ^ b)));
    right.len() == shown.len() && differences == 0
}

#[cfg(test)]
mod tests;
