//! Lets requests in that show a user's password (RFC 7617), and answers the others with 401.
//!
//! ```yaml
//! plugins:
//!   auth:
//!     module: builtin:basic-auth
//!     config:
//!       users: { ada: env.ADA_PASSWORD }   # at least one
//!       realm: restricted                  # the default
//!       hide: true                         # the default: the upstream does not see the password
//!       user_header: x-user                # tells the upstream who it is; default: none
//! ```
//!
//! Passwords travel as they are: have TLS in front. They are compared in a time that does not tell how
//! much was right, nor whether there is such a user. Where a request has no room for `user_header`, it is
//! answered with 431. Several `authorization` that the upstream would see, of which it could take another,
//! are `malformed`. The span has `basic_auth.result`: `accepted`,
//! `missing`, `malformed` or `refused`, and `enduser.id` where it was accepted.

use std::collections::BTreeMap;
use std::hint::black_box;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_sdk::http::{HeaderName, HeaderValue, Response as Answer, StatusCode, header};
use weir_sdk::{Action, Error, Interests, Plugin, Request, header_name, header_value, span};

/// The configuration of `basic-auth`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Passwords by user; at least one.
    #[schemars(length(min = 1))]
    users: BTreeMap<String, String>,
    /// What browsers show. Default: `restricted`.
    #[serde(default = "realm")]
    realm: String,
    /// Whether `authorization` is removed before the upstream is called. Default: `true`.
    #[serde(default = "yes")]
    hide: bool,
    /// A header that names the user to the upstream; what a client says in it is removed. Default:
    /// none.
    user_header: Option<String>,
}

fn realm() -> String {
    "restricted".into()
}

fn yes() -> bool {
    true
}

/// The plugin.
pub struct BasicAuth {
    users: BTreeMap<String, String>,
    challenge: HeaderValue,
    hide: bool,
    user_header: Option<HeaderName>,
}

impl Plugin for BasicAuth {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Error> {
        if config.users.is_empty() {
            return Err("users: at least one is needed, else nobody gets in".into());
        }
        let user_header = match &config.user_header {
            None => None,
            Some(name) => {
                Some(header_name(name).map_err(|error| format!("user_header: {name:?}: {error}"))?)
            }
        };
        for (user, password) in &config.users {
            if user.is_empty() || user.contains(':') || user.chars().any(char::is_control) {
                return Err(format!("users: {user:?} is no user's name: it is empty, or has a `:` or a control character").into());
            }
            if password.is_empty() {
                return Err(format!("users.{user}: has an empty password").into());
            }
        }
        if config.realm.contains(['"', '\\']) || header_value(config.realm.as_bytes()).is_err() {
            return Err(format!(
                "realm: {:?} has a quote, backslash or control character",
                config.realm
            )
            .into());
        }
        let challenge = format!("Basic realm=\"{}\", charset=\"UTF-8\"", config.realm);
        Ok(Self {
            users: config.users,
            challenge: HeaderValue::try_from(challenge)?,
            hide: config.hide,
            user_header,
        })
    }

    fn interests(&self) -> Interests {
        Interests::none().on_request()
    }

    fn on_request(&self, request: &mut Request) -> Action {
        let shown = request.header(header::AUTHORIZATION);
        if let Some(name) = &self.user_header {
            request
                .remove_header(name)
                .expect("no header of the proxy's");
        }
        let alone = self.hide || request.header_values(header::AUTHORIZATION).len() <= 1;
        let checked = self.check(shown.as_deref());
        match checked.and_then(|user| alone.then_some(user).ok_or("malformed")) {
            Ok(user) => {
                span::set_attribute("basic_auth.result", "accepted");
                span::set_attribute("enduser.id", user);
                if self.hide {
                    request
                        .remove_header(header::AUTHORIZATION)
                        .expect("no header of the proxy's");
                }
                if let Some(name) = &self.user_header
                    && let Err(error) = request.set_header(name, user)
                {
                    // A client may fill the head.
                    span::set_error(&error.to_string());
                    let mut answer = Answer::new(Vec::new());
                    *answer.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                    return Action::Respond(answer);
                }
                Action::Continue
            }
            Err(result) => {
                span::set_attribute("basic_auth.result", result);
                Action::Respond(self.unauthorized())
            }
        }
    }
}

weir_sdk::export!(BasicAuth);

impl BasicAuth {
    /// The user who shows the right password.
    fn check(&self, shown: Option<&str>) -> Result<&str, &'static str> {
        let shown = shown.ok_or("missing")?;
        let (scheme, credentials) = shown.split_once(' ').ok_or("malformed")?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err("missing");
        }
        let decoded = decode(credentials.trim()).ok_or("malformed")?;
        let decoded = String::from_utf8(decoded).map_err(|_| "malformed")?;
        let (user, password) = decoded.split_once(':').ok_or("malformed")?;
        // Every user is looked at to the end: time must not tell whether there is this one.
        let mut found = None;
        for (name, right) in &self.users {
            if same(name.as_bytes(), user.as_bytes()) & same(right.as_bytes(), password.as_bytes())
            {
                found = Some(name.as_str());
            }
        }
        found.ok_or("refused")
    }

    fn unauthorized(&self) -> Answer<Vec<u8>> {
        let problem =
            r#"{"title":"Unauthorized","status":401,"detail":"a user and password are needed"}"#;
        let mut answer = Answer::new(problem.as_bytes().to_vec());
        *answer.status_mut() = StatusCode::UNAUTHORIZED;
        let headers = answer.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        headers.insert(header::WWW_AUTHENTICATE, self.challenge.clone());
        answer
    }
}

/// Base64 of RFC 4648, section 4, whose padding may be left out.
fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    if text.len() - digits.len() > 2 || digits.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        let mut bits = 0_u32;
        for digit in group {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

fn same(right: &[u8], shown: &[u8]) -> bool {
    let differences = right
        .iter()
        .zip(shown)
        .fold(0, |differences, (a, b)| black_box(differences | (a ^ b)));
    right.len() == shown.len() && differences == 0
}

#[cfg(test)]
mod tests;
