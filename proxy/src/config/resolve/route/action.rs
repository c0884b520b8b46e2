//! What becomes of a route's requests: upstreams, a redirect, an answer; and what is rewritten.

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::super::Resolver;
use super::{check_pattern, is_host};
use crate::config::fault::Code;
use crate::config::path::Path;
use crate::config::{Action, Redirect, Respond, Rewrite, Share, raw};
use crate::router::template::Template;

/// The keys of which a route has one.
const ACTIONS: [&str; 4] = ["upstream", "split", "redirect", "respond"];

/// Fields that frame a message or concern its connection only.
const FRAMING: [&str; 7] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

impl Resolver<'_> {
    pub(super) fn action(
        &mut self,
        at: &Path,
        pattern: &str,
        raw: &raw::route::Route,
    ) -> Option<Action> {
        let mut given: Vec<&str> = Vec::new();
        for key in ACTIONS {
            if self.is_present(&at.key(key)) {
                given.push(key);
            }
        }
        if let [first, second, ..] = given.as_slice() {
            let message = format!("`{first}` says already what becomes of the requests");
            self.fault(Code::Conflict, &at.key(second), message);
        }
        let upstreams = matches!(given.first(), Some(&"upstream" | &"split"));
        if !upstreams && !given.is_empty() {
            for key in ["mirror", "rewrite", "timeouts"] {
                if self.is_present(&at.key(key)) {
                    let message = format!("has no effect with `{}`", given[0]);
                    self.fault(Code::Conflict, &at.key(key), message);
                }
            }
        }
        if let Some(name) = &raw.upstream {
            self.upstream_name(&at.key("upstream"), name);
            return Some(Action::Upstream(vec![Share {
                upstream: name.clone(),
                weight: 1,
            }]));
        }
        if let Some(shares) = &raw.split {
            return Some(Action::Upstream(self.split(&at.key("split"), shares)));
        }
        if let Some(redirect) = &raw.redirect {
            return Some(Action::Redirect(self.redirect(
                &at.key("redirect"),
                pattern,
                redirect,
            )));
        }
        if let Some(respond) = &raw.respond {
            return Some(Action::Respond(self.respond(&at.key("respond"), respond)));
        }
        if !ACTIONS.iter().any(|key| self.is_judged(&at.key(key))) {
            let message = "says not what becomes of the requests";
            self.fault(Code::MissingKey, at, message);
            self.hint("give it `upstream`, `split`, `redirect` or `respond`");
        }
        None
    }

    fn split(&mut self, at: &Path, raw: &[raw::route::Share]) -> Vec<Share> {
        let mut shares: Vec<Share> = Vec::new();
        for (index, share) in raw.iter().enumerate() {
            let at = at.index(index).key("upstream");
            self.upstream_name(&at, &share.upstream);
            if shares.iter().any(|one| one.upstream == share.upstream) {
                let message = format!("`{}` has a share already", share.upstream);
                self.fault(Code::Conflict, &at, message);
            }
            shares.push(Share {
                upstream: share.upstream.clone(),
                weight: share.weight,
            });
        }
        let told = (0..raw.len()).any(|index| self.is_judged(&at.index(index).key("weight")));
        if shares.iter().all(|share| share.weight == 0) && !told {
            self.fault(Code::InvalidValue, at, "must have a weight that is not 0");
        }
        shares
    }

    fn redirect(&mut self, at: &Path, pattern: &str, raw: &raw::route::Redirect) -> Redirect {
        let status = StatusCode::from_u16(raw.status).ok();
        let status = status.filter(|status| matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308));
        if status.is_none() {
            let at = at.key("status");
            self.fault(Code::InvalidValue, &at, "must be 301, 302, 303, 307 or 308");
        }
        let host = raw.host.as_ref().map(|host| host.to_ascii_lowercase());
        if host.as_deref().is_some_and(|host| !is_host(host)) {
            let message = "must be a host name, without port";
            self.fault(Code::InvalidValue, &at.key("host"), message);
        }
        let path = raw
            .path
            .as_ref()
            .and_then(|path| self.template(&at.key("path"), pattern, path));
        Redirect {
            status: status.unwrap_or(StatusCode::TEMPORARY_REDIRECT),
            scheme: raw.scheme.map(|scheme| match scheme {
                raw::route::Scheme::Http => "http",
                raw::route::Scheme::Https => "https",
            }),
            host,
            port: raw.port,
            path,
            keep_query: matches!(raw.query, raw::route::RedirectQuery::Keep),
        }
    }

    fn respond(&mut self, at: &Path, raw: &raw::route::Respond) -> Respond {
        let status = StatusCode::from_u16(raw.status).unwrap_or(StatusCode::OK);
        let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
        if bodiless && !raw.body.is_empty() {
            let message = format!("a response with {status} has no body");
            self.fault(Code::Conflict, &at.key("body"), message);
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &raw.headers {
            let at = at.key("headers").key(name);
            match HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) if FRAMING.contains(&name.as_str()) => {
                    self.fault(Code::InvalidValue, &at, "is set by Weir itself");
                }
                Ok(name) => match HeaderValue::from_str(value) {
                    Ok(value) => {
                        headers.insert(name, value);
                    }
                    Err(_) => self.fault(
                        Code::InvalidValue,
                        &at,
                        "must be a value that a field may have",
                    ),
                },
                Err(_) => self.fault(Code::InvalidValue, &at, "must be the name of a field"),
            }
        }
        Respond {
            status,
            headers,
            body: Bytes::from(raw.body.clone()),
        }
    }

    pub(super) fn rewrite(
        &mut self,
        at: &Path,
        pattern: &str,
        raw: Option<&raw::route::Rewrite>,
    ) -> Rewrite {
        let at = at.key("rewrite");
        let Some(raw) = raw else {
            return Rewrite::default();
        };
        let host = raw.host.as_ref().and_then(|host| {
            let value = host
                .parse::<Authority>()
                .ok()
                .filter(|authority| !authority.as_str().contains('@') && is_host(authority.host()))
                .and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
            if value.is_none() {
                let message = "must be a host name, with a port where it has one";
                self.fault(Code::InvalidValue, &at.key("host"), message);
            }
            value
        });
        Rewrite {
            path: raw
                .path
                .as_ref()
                .and_then(|path| self.template(&at.key("path"), pattern, path)),
            host,
        }
    }

    fn template(&mut self, at: &Path, pattern: &str, text: &str) -> Option<Template> {
        if let Err(message) = check_template(text) {
            self.fault(Code::InvalidValue, at, message);
            self.hint("such as `/exact`, `/prefix/*` or `/with/{captures}/inside`");
            return None;
        }
        if check_pattern(pattern).is_err() {
            // Told already.
            return None;
        }
        match Template::new(pattern, text) {
            Ok(template) => Some(template),
            Err(message) => {
                self.fault(Code::InvalidValue, at, message);
                None
            }
        }
    }
}

/// As a pattern, but that captures may be named twice.
fn check_template(text: &str) -> Result<(), &'static str> {
    let mut named = Vec::new();
    let distinct: Vec<String> = text
        .split('/')
        .enumerate()
        .map(|(index, segment)| {
            let repeats = segment.starts_with('{') && named.contains(&segment);
            named.push(segment);
            if repeats && segment.ends_with('}') {
                format!("{{_{index}}}")
            } else {
                segment.to_owned()
            }
        })
        .collect();
    check_pattern(&distinct.join("/"))
}
