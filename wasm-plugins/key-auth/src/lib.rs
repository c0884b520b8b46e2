//! Lets requests in that show a key, and answers the others with 401.
//!
//! ```yaml
//! plugins:
//!   auth:
//!     module: builtin:key-auth
//!     config:
//!       keys: ["env.API_KEY"]      # at least one
//!       header: x-api-key          # the default
//!       hide: false                # true: the upstream does not see the header
//! ```
//!
//! `on-request` compares the header's first value with each key, in a time that does not tell how
//! much of it was right. A request without a key, or with a wrong one, or with several that the upstream
//! would see, of which it could take another, is answered by
//! `application/problem+json` (RFC 9457) with a `www-authenticate` challenge, and never reaches
//! the upstream. The span says which it was in `key_auth.result`: `accepted`, `missing` or
//! `unknown`; the key itself is nowhere.
//!
//! `on-response` adds `cache-control: private` where the upstream said nothing of caching. Shared
//! caches know by themselves not to keep what `authorization` opened (RFC 9111, section 3.5); of
//! a header like `x-api-key` they cannot know.

use std::hint::black_box;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_sdk::http::{HeaderName, HeaderValue, Response as Answer, StatusCode, header};
use weir_sdk::{Action, Error, Interests, Plugin, Request, Response, header_name, span};

/// The configuration of `key-auth`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The keys that open the door; at least one.
    #[schemars(length(min = 1), inner(length(min = 1)))]
    keys: Vec<String>,
    /// The header that holds the key. Default: `x-api-key`.
    #[serde(default = "default_header")]
    header: String,
    /// Whether the header is removed before the upstream is called. Default: `false`.
    #[serde(default)]
    hide: bool,
}

fn default_header() -> String {
    "x-api-key".into()
}

/// The plugin.
pub struct KeyAuth {
    keys: Vec<String>,
    header: HeaderName,
    challenge: HeaderValue,
    hide: bool,
}

impl Plugin for KeyAuth {
    type Config = Config;

    fn new(Config { keys, header, hide }: Config) -> Result<Self, Error> {
        if keys.is_empty() {
            return Err("keys: at least one key is needed, else nobody gets in".into());
        }
        if let Some(empty) = keys.iter().position(String::is_empty) {
            return Err(format!("keys[{empty}]: is empty").into());
        }
        let header =
            header_name(&header).map_err(|error| format!("header: {header:?}: {error}"))?;
        let challenge = HeaderValue::try_from(format!("Key header=\"{header}\""))?;
        Ok(Self {
            keys,
            header,
            challenge,
            hide,
        })
    }

    fn interests(&self) -> Interests {
        Interests::none().on_request().on_response()
    }

    fn on_request(&self, request: &mut Request) -> Action {
        let (result, detail) = match request.header(&self.header) {
            Some(key) if self.accepts(&key) && self.is_alone(request) => {
                span::set_attribute("key_auth.result", "accepted");
                if self.hide {
                    request
                        .remove_header(&self.header)
                        .expect("the key's header is not one of the proxy's own");
                }
                return Action::Continue;
            }
            Some(_) => ("unknown", "the key is not known"),
            None => ("missing", "a key is needed"),
        };
        span::set_attribute("key_auth.result", result);
        Action::Respond(self.unauthorized(detail))
    }

    fn on_response(&self, response: &mut Response) -> Action {
        if response.header(header::CACHE_CONTROL).is_none() {
            response
                .set_header(header::CACHE_CONTROL, "private")
                .expect("a response has room for one header");
        }
        Action::Continue
    }
}

weir_sdk::export!(KeyAuth);

impl KeyAuth {
    /// Whether the upstream can see no key but the one that was compared.
    fn is_alone(&self, request: &Request) -> bool {
        self.hide || request.header_values(&self.header).len() == 1
    }

    /// Looks at every key to its end, whatever the outcome: time must not tell how near it was.
    fn accepts(&self, shown: &str) -> bool {
        self.keys.iter().fold(false, |found, key| {
            found | same(key.as_bytes(), shown.as_bytes())
        })
    }

    fn unauthorized(&self, detail: &str) -> Answer<Vec<u8>> {
        let problem = format!(r#"{{"title":"Unauthorized","status":401,"detail":"{detail}"}}"#);
        let mut answer = Answer::new(problem.into_bytes());
        *answer.status_mut() = StatusCode::UNAUTHORIZED;
        let headers = answer.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::WWW_AUTHENTICATE, self.challenge.clone());
        answer
    }
}

fn same(key: &[u8], shown: &[u8]) -> bool {
    let differences = key
        .iter()
        .zip(shown)
        .fold(0, |differences, (a, b)| black_box(differences | (a ^ b)));
    key.len() == shown.len() && differences == 0
}

#[cfg(test)]
mod tests;
