//! Lets pages of other origins use the upstream, by the Fetch standard's CORS protocol
//! (<https://fetch.spec.whatwg.org/#http-cors-protocol>).
//!
//! ```yaml
//! plugins:
//!   cors:
//!     module: builtin:cors
//!     config:
//!       origins: ["https://app.example", "https://*.example.org"]   # or ["*"]
//!       methods: [GET, HEAD, POST]        # the default
//!       headers: [content-type]           # that requests may have; default: none
//!       expose: [etag]                    # that pages may read; default: none
//!       credentials: false                # cookies; not with the origin `*`
//!       max_age: 600                      # seconds that browsers remember a preflight
//! ```
//!
//! A preflight is answered with 204, or 403 where the origin or the method is not among those, and
//! never reaches the upstream. On other requests' responses the plugin sets what the browser looks
//! at, removes what the upstream set of it, and adds `origin` to `vary`. Requests without `origin`
//! are no affair of CORS. `*` in an origin stands for one or more labels of a host's name.
//! It keeps nobody out who is no browser: that is for the plugins that authenticate.

use schemars::JsonSchema;
use serde::Deserialize;
use weir_sdk::http::{HeaderMap, HeaderValue, Method, Response as Answer, StatusCode, header};
use weir_sdk::{Action, Error, Interests, Plugin, Request, Response, exchange, span};

/// What `on-request` leaves for `on-response`.
const ORIGIN: &str = "origin";

/// Longest origin that is looked at.
const LONGEST_ORIGIN: usize = 512;

/// The configuration of `cors`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Origins that are let in: `https://host:port`, with `*.` before a host for all below it, or
    /// `*` for all. At least one.
    #[schemars(length(min = 1))]
    origins: Vec<String>,
    /// Methods that pages may use. Default: `GET`, `HEAD` and `POST`.
    #[serde(default = "methods")]
    methods: Vec<String>,
    /// Headers that requests may have beside the ordinary. Default: none.
    #[serde(default)]
    headers: Vec<String>,
    /// Headers of responses that pages may read beside the ordinary. Default: none.
    #[serde(default)]
    expose: Vec<String>,
    /// Whether requests may carry cookies. Default: `false`.
    #[serde(default)]
    credentials: bool,
    /// Seconds for which browsers may remember a preflight. Default: 600.
    #[serde(default = "max_age")]
    max_age: u32,
}

fn methods() -> Vec<String> {
    ["GET", "HEAD", "POST"].map(Into::into).into()
}

fn max_age() -> u32 {
    600
}

/// The plugin.
pub struct Cors {
    any: bool,
    origins: Vec<Origin>,
    methods: Vec<Method>,
    allow_methods: HeaderValue,
    allow_headers: Option<HeaderValue>,
    expose: Option<String>,
    credentials: bool,
    max_age: u32,
}

enum Origin {
    Exact(String),
    /// What stands before and behind the labels that vary.
    Below(String, String),
}

impl Plugin for Cors {
    type Config = Config;

    fn new(config: Config) -> Result<Self, Error> {
        if config.origins.is_empty() {
            return Err("origins: at least one is needed; `*` for all".into());
        }
        let any = config.origins.iter().any(|origin| origin == "*");
        if any && config.credentials {
            return Err(
                "credentials: browsers do not allow them with the origin `*`; name the origins"
                    .into(),
            );
        }
        let mut origins = Vec::new();
        for (index, origin) in config.origins.iter().enumerate() {
            if origin != "*" {
                let parsed = Origin::new(origin);
                origins
                    .push(parsed.map_err(|error| format!("origins[{index}]: {origin:?} {error}"))?);
            }
        }
        let mut methods = Vec::new();
        for (index, method) in config.methods.iter().enumerate() {
            let parsed = method.parse::<Method>();
            methods.push(parsed.map_err(|_| format!("methods[{index}]: {method:?} is no method"))?);
        }
        let names = |key: &str, names: &[String]| -> Result<Option<String>, String> {
            for (index, name) in names.iter().enumerate() {
                if name != "*" && name.parse::<header::HeaderName>().is_err() {
                    return Err(format!("{key}[{index}]: {name:?} is no header's name"));
                }
            }
            Ok((!names.is_empty()).then(|| names.join(", ")))
        };
        let allow_headers = names("headers", &config.headers)?;
        Ok(Self {
            any,
            origins,
            methods,
            allow_methods: config.methods.join(", ").parse()?,
            allow_headers: allow_headers.map(|names| names.parse()).transpose()?,
            expose: names("expose", &config.expose)?,
            credentials: config.credentials,
            max_age: config.max_age,
        })
    }

    fn interests(&self) -> Interests {
        Interests::none().on_request().on_response()
    }

    fn on_request(&self, request: &mut Request) -> Action {
        let Some(origin) = request.header(header::ORIGIN) else {
            return Action::Continue;
        };
        let allowed = self.allows(&origin);
        let asked = request.header(header::ACCESS_CONTROL_REQUEST_METHOD);
        let preflight = asked.filter(|_| request.method() == Method::OPTIONS);
        let result = match (&preflight, allowed) {
            (_, false) => "refused",
            (None, true) => "allowed",
            (Some(_), true) => "preflight",
        };
        span::set_attribute("cors.result", result);
        match preflight {
            Some(method) => Action::Respond(self.preflight(&origin, allowed, &method)),
            None => {
                if allowed {
                    exchange::set(ORIGIN, &origin);
                }
                Action::Continue
            }
        }
    }

    fn on_response(&self, response: &mut Response) -> Action {
        // An answer to a preflight is as it is to be.
        if response.request_method() == Method::OPTIONS
            && response.header("access-control-allow-methods").is_some()
            && exchange::get(ORIGIN).is_none()
        {
            return Action::Continue;
        }
        for name in [
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
        ] {
            response
                .remove_header(name)
                .expect("no header of the proxy's");
        }
        let mut set = |name: header::HeaderName, value: &str| {
            if let Err(error) = response.set_header(&name, value) {
                span::set_error(&format!("{name}: {error}"));
            }
        };
        if let Some(origin) = exchange::get(ORIGIN) {
            set(
                header::ACCESS_CONTROL_ALLOW_ORIGIN,
                if self.any { "*" } else { &origin },
            );
            if self.credentials {
                set(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
            }
            if let Some(expose) = &self.expose {
                set(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose);
            }
        }
        if !self.any && response.add_header(header::VARY, "origin").is_err() {
            span::set_error("vary: no room for it");
        }
        Action::Continue
    }
}

weir_sdk::export!(Cors);

impl Cors {
    fn allows(&self, origin: &str) -> bool {
        origin.len() <= LONGEST_ORIGIN
            && (self.any || self.origins.iter().any(|allowed| allowed.is(origin)))
    }

    fn preflight(&self, origin: &str, allowed: bool, method: &str) -> Answer<Vec<u8>> {
        let mut answer = Answer::new(Vec::new());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        let headers = answer.headers_mut();
        let vary = "origin, access-control-request-method, access-control-request-headers";
        headers.insert(header::VARY, HeaderValue::from_static(vary));
        let method_is_let_in = self
            .methods
            .iter()
            .any(|allowed| allowed.as_str() == method);
        let origin = if self.any { "*" } else { origin };
        match HeaderValue::from_str(origin) {
            Ok(origin) if allowed && method_is_let_in => self.allow(headers, origin),
            _ => *answer.status_mut() = StatusCode::FORBIDDEN,
        }
        answer
    }

    fn allow(&self, headers: &mut HeaderMap, origin: HeaderValue) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let methods = self.allow_methods.clone();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        if let Some(names) = &self.allow_headers {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        if self.credentials {
            let yes = HeaderValue::from_static("true");
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, self.max_age.into());
    }
}

impl Origin {
    fn new(text: &str) -> Result<Self, &'static str> {
        let Some((scheme, host)) = text.split_once("://") else {
            return Err("is no origin, such as `https://app.example`");
        };
        if host.is_empty() || host.contains(['/', '?', '#', '@', ' ']) {
            return Err("is no origin: it has a scheme, a host and perhaps a port, and no more");
        }
        let text = text.to_ascii_lowercase();
        match host.strip_prefix("*.") {
            Some(rest) if rest.contains('*') => Err("has more than one `*`"),
            Some(_) => {
                let (before, behind) = text.split_once('*').unwrap_or((scheme, ""));
                Ok(Self::Below(before.to_owned(), behind.to_owned()))
            }
            None if host.contains('*') => Err("may have a `*` only as the first label of its host"),
            None => Ok(Self::Exact(text)),
        }
    }

    /// Browsers send origins in lower case.
    fn is(&self, origin: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == origin,
            Self::Below(before, behind) => origin
                .strip_prefix(before.as_str())
                .and_then(|rest| rest.strip_suffix(behind.as_str()))
                .is_some_and(|labels| {
                    let plain =
                        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
                    !labels.is_empty() && labels.bytes().all(plain)
                }),
        }
    }
}

#[cfg(test)]
mod tests;
