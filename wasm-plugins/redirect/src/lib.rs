//! Sends clients elsewhere. Which requests is the route's affair, or the listener's.
//!
//! ```yaml
//! plugins:
//!   to-https:
//!     module: builtin:redirect
//!     config:
//!       to: "https://{host}{path}{query}"
//!       status: 308            # 301, 302, 303, 307 or 308; the default is 308
//!       scheme: http           # only requests that came so; default: any
//! ```
//!
//! In `to`, `{host}` is the host asked for without its port, `{authority}` with it, `{path}` the path
//! and `{query}` the query with its `?`, or nothing. The route still needs an upstream, which is not
//! called for what is redirected.

use schemars::JsonSchema;
use serde::Deserialize;
use weir_sdk::http::{HeaderValue, Response as Answer, StatusCode, header};
use weir_sdk::{Action, Error, Interests, Plugin, Request, span};

/// The configuration of `redirect`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to: a URL or a path, with `{host}`, `{authority}`, `{path}` and `{query}` in it.
    #[schemars(length(min = 1))]
    to: String,
    /// 301, 302, 303, 307 or 308. Default: 308.
    #[serde(default = "permanent")]
    status: u16,
    /// Only requests that came by `http`, or by `https`. Default: any.
    scheme: Option<Scheme>,
}

/// How a request came.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With it.
    Https,
}

fn permanent() -> u16 {
    308
}

/// The plugin.
pub struct Redirect {
    to: Vec<Piece>,
    status: StatusCode,
    scheme: Option<Scheme>,
}

enum Piece {
    Text(String),
    Host,
    Authority,
    Path,
    Query,
}

impl Plugin for Redirect {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Error> {
        if ![301, 302, 303, 307, 308].contains(&config.status) {
            return Err(format!(
                "status: {} is none of 301, 302, 303, 307 and 308",
                config.status
            )
            .into());
        }
        Ok(Self {
            to: pieces(&config.to).map_err(|error| format!("to: {error}"))?,
            status: StatusCode::from_u16(config.status)?,
            scheme: config.scheme,
        })
    }

    fn interests(&self) -> Interests {
        Interests::none().on_request()
    }

    fn on_request(&self, request: &mut Request) -> Action {
        let came = |scheme: Scheme| match scheme {
            Scheme::Http => request.scheme() == "http",
            Scheme::Https => request.scheme() == "https",
        };
        if !self.scheme.is_none_or(came) {
            return Action::Continue;
        }
        let to = self.fill(request);
        // What a client sends is no header's value only where the host lets it through.
        let Ok(location) = HeaderValue::from_str(&to) else {
            span::set_error("the target is no header's value");
            return Action::Continue;
        };
        span::set_attribute("redirect.to", to);
        let mut answer = Answer::new(Vec::new());
        *answer.status_mut() = self.status;
        answer.headers_mut().insert(header::LOCATION, location);
        Action::Respond(answer)
    }
}

weir_sdk::export!(Redirect);

impl Redirect {
    fn fill(&self, request: &Request) -> String {
        let mut to = String::new();
        for piece in &self.to {
            match piece {
                Piece::Text(text) => to += text,
                Piece::Authority => to += &request.authority(),
                Piece::Host => to += host(&request.authority()),
                Piece::Path => {
                    let path = request.path();
                    if to.is_empty() {
                        // `//evil.example` would be another host.
                        to.push('/');
                        to += path.trim_start_matches(['/', '\\']);
                    } else {
                        to += &path;
                    }
                }
                Piece::Query => {
                    if let Some(query) = request.query() {
                        to.push('?');
                        to += &query;
                    }
                }
            }
        }
        to
    }
}

/// Without port; an IPv6 address keeps its brackets.
fn host(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

fn pieces(template: &str) -> Result<Vec<Piece>, String> {
    if HeaderValue::from_str(template).is_err() || template.is_empty() {
        return Err(format!("{template:?} is no URL"));
    }
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((text, after)) = rest.split_once('{') {
        let (name, behind) = after
            .split_once('}')
            .ok_or("has a `{` that is not closed")?;
        if !text.is_empty() {
            pieces.push(Piece::Text(text.into()));
        }
        pieces.push(match name {
            "host" => Piece::Host,
            "authority" => Piece::Authority,
            "path" => Piece::Path,
            "query" => Piece::Query,
            other => {
                return Err(format!("`{{{other}}}` is not known; there are {{host}}, {{authority}}, {{path}} and {{query}}"));
            }
        });
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.into()));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests;
