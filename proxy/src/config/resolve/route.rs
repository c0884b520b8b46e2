//! Routes: what they match, what they name, and what becomes of their requests.

mod action;

use http::{HeaderName, Method};
use indexmap::IndexMap;

use super::{Resolver, did_you_mean};
use crate::config::fault::Code;
use crate::config::path::Path;
use crate::config::units::ByteSize;
use crate::config::{Mirror, Route, RouteMatch, RouteTimeouts, ValueMatch, raw};
use crate::exchange::target;

impl Resolver<'_> {
    pub(super) fn routes(&mut self, raw: Vec<raw::route::Route>) -> Vec<Route> {
        let mut routes: Vec<Route> = Vec::new();
        let mut places = Vec::new();
        for (index, raw) in raw.into_iter().enumerate() {
            let at = Path::root().key("routes").index(index);
            let Some(route) = self.route(&at, raw) else {
                continue;
            };
            if let Some(earlier) = routes.iter().position(|one| one.matches == route.matches) {
                let earlier: usize = places[earlier];
                let message = format!("matches the same requests as `routes[{earlier}]`");
                self.fault(Code::Conflict, &at.key("match"), message);
            }
            routes.push(route);
            places.push(index);
        }
        routes
    }

    /// `None` where nothing says what becomes of the requests.
    fn route(&mut self, at: &Path, raw: raw::route::Route) -> Option<Route> {
        let plugins = self.chain(&at.key("plugins"), &raw.plugins);
        let name = raw.name.clone();
        let pattern = raw.matches.path.clone();
        let timeouts = at.key("timeouts");
        let timeouts = RouteTimeouts {
            response: (raw.timeouts.response)
                .map(|time| self.positive(&timeouts.key("response"), time)),
            body: (raw.timeouts.body).map(|time| self.positive(&timeouts.key("body"), time)),
        };
        let min_body_rate = raw.min_body_rate.map(|rate| self.body_rate(at, rate));
        let rewrite = self.rewrite(at, &pattern, raw.rewrite.as_ref());
        let action = self.action(at, &pattern, &raw);
        let mirror = (raw.mirror.as_ref()).map(|mirror| self.mirror(&at.key("mirror"), mirror));
        let matches = self.route_match(&at.key("match"), raw.matches);
        Some(Route {
            name: name.unwrap_or(pattern),
            matches,
            action: action?,
            mirror,
            rewrite,
            timeouts,
            max_body_bytes: raw.max_body_bytes.map(|size| size.0),
            min_body_rate,
            plugins,
        })
    }

    fn mirror(&mut self, at: &Path, raw: &raw::route::Mirror) -> Mirror {
        self.upstream_name(&at.key("upstream"), &raw.upstream);
        if raw.max_body_bytes.0 > ByteSize::mib(16).0 {
            let message = "must be at most 16MiB";
            self.fault(Code::InvalidValue, &at.key("max_body_bytes"), message);
        }
        Mirror {
            upstream: raw.upstream.clone(),
            percent: raw.percent,
            max_body_bytes: raw.max_body_bytes.bytes(),
        }
    }

    /// A reference to an upstream.
    pub(super) fn upstream_name(&mut self, at: &Path, name: &str) {
        if self.names.upstreams.iter().any(|known| known == name) || !self.is_present(at) {
            return;
        }
        let names = self.names.upstreams.iter().map(String::as_str);
        let hint = did_you_mean(name, names, "upstreams");
        self.fault(Code::UnknownName, at, format!("unknown upstream `{name}`"));
        self.hint(hint);
    }

    fn route_match(&mut self, at: &Path, raw: raw::route::RouteMatch) -> RouteMatch {
        // No request has a path that is refused before it is routed.
        let checked = check_pattern(&raw.path).and_then(|()| target::check(&raw.path));
        if let Err(message) = checked {
            self.fault(Code::InvalidValue, &at.key("path"), message);
            self.hint("such as `/exact`, `/prefix/*` or `/with/{captures}/inside`");
        }
        let host = raw.host.map(|host| host.to_ascii_lowercase());
        let plain = |host: &str| is_host(host.strip_prefix("*.").unwrap_or(host));
        if host.as_deref().is_some_and(|host| !plain(host)) {
            self.fault(
                Code::InvalidValue,
                &at.key("host"),
                "must be a host name, without port",
            );
            self.hint("such as `api.example.com`, or `*.example.com` for every host below it");
        }
        let mut methods = Vec::new();
        for (index, name) in raw.methods.iter().enumerate() {
            let method = Method::from_bytes(name.as_bytes()).ok();
            let upper =
                |method: &Method| !method.as_str().contains(|c: char| c.is_ascii_lowercase());
            match method.filter(upper) {
                Some(method) => methods.push(method),
                None => {
                    let at = at.key("methods").index(index);
                    self.fault(Code::InvalidValue, &at, "must be a method in upper case");
                    self.hint("such as `GET` or `POST`");
                }
            }
        }
        let mut headers: Vec<(HeaderName, ValueMatch)> = Vec::new();
        for (name, value) in self.values(&at.key("headers"), &raw.headers) {
            let at = at.key("headers").key(&name);
            match HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) if headers.iter().any(|(other, _)| *other == name) => {
                    self.fault(Code::Conflict, &at, "names a field twice");
                }
                Ok(name) => headers.push((name, value)),
                Err(_) => self.fault(Code::InvalidValue, &at, "must be the name of a field"),
            }
        }
        RouteMatch {
            host,
            path: raw.path,
            methods,
            headers,
            query: self.values(&at.key("query"), &raw.query),
        }
    }

    /// Names with what their values must be.
    fn values(&mut self, at: &Path, raw: &IndexMap<String, String>) -> Vec<(String, ValueMatch)> {
        let mut values = Vec::new();
        for (name, text) in raw {
            let (text, value): (_, fn(String) -> ValueMatch) = match text.strip_suffix('*') {
                Some("") => ("", |_| ValueMatch::Any),
                Some(prefix) => (prefix, ValueMatch::Prefix),
                None => (text.as_str(), ValueMatch::Exact),
            };
            if text.contains('*') {
                let at = at.key(name);
                self.fault(Code::InvalidValue, &at, "may have `*` only at its end");
            }
            values.push((name.clone(), value(text.to_owned())));
        }
        values
    }
}

/// The three forms of a path pattern; `*` and `{…}` stand for whole segments only.
pub(super) fn check_pattern(pattern: &str) -> Result<(), &'static str> {
    let Some(path) = pattern.strip_prefix('/') else {
        return Err("must begin with `/`");
    };
    if pattern.contains(|c: char| !c.is_ascii_graphic() || c == '?' || c == '#') {
        return Err("must be a path, without query, spaces or characters that are not ASCII");
    }
    let segments: Vec<&str> = path.split('/').collect();
    let mut names = Vec::new();
    for (position, segment) in segments.iter().enumerate() {
        let last = position + 1 == segments.len();
        let capture = segment
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        match (*segment, capture) {
            ("", _) if !last => return Err("must not have an empty segment"),
            ("." | "..", _) => return Err("must not have a `.` or `..` segment"),
            ("*", _) if !last => return Err("may have `*` only at its end"),
            ("*", _) => {}
            (_, Some(name)) => {
                let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
                if name.is_empty() || !name.chars().all(letter) {
                    return Err("must name a capture by letters, digits and `_`");
                }
                if names.contains(&name) {
                    return Err("must not name two captures the same");
                }
                names.push(name);
            }
            (text, None) if text.contains(['*', '{', '}']) => {
                return Err("may have `*` and `{…}` only as whole segments");
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn is_host(host: &str) -> bool {
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let address = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.chars().all(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_exact_a_prefix_or_has_captures() {
        for right in [
            "/",
            "/*",
            "/v1/*",
            "/exact",
            "/users/{id}/posts",
            "/{a}/{b}/*",
            "/end/",
            "/%61dmin/%C3%A9",
            // As what an upstream is asked.
            "/projects/acme%2Fweb/{x}",
        ] {
            assert_eq!(check_pattern(right), Ok(()), "{right}");
        }
    }

    #[test]
    fn a_pattern_that_could_not_match_as_meant_is_refused() {
        for wrong in [
            "", "v1", "/a//b", "/*/a", "/a*", "/{}", "/{a}/{a}", "/{a", "/a/../b", "/a?b", "/a b",
            "/ü", "/{a-b}",
        ] {
            assert!(check_pattern(wrong).is_err(), "{wrong}");
        }
    }
}
