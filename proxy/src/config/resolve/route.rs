//! Routes: what they match, and what they name.

use http::Method;

use super::{Resolver, did_you_mean};
use crate::config::fault::Code;
use crate::config::path::Path;
use crate::config::{Route, RouteMatch, raw};

impl Resolver<'_> {
    pub(super) fn routes(&mut self, raw: Vec<raw::Route>) -> Vec<Route> {
        let mut routes: Vec<Route> = Vec::new();
        for (index, raw) in raw.into_iter().enumerate() {
            let at = Path::root().key("routes").index(index);
            let route = self.route(&at, raw);
            if let Some(earlier) = routes.iter().position(|one| one.matches == route.matches) {
                let message = format!("matches the same requests as `routes[{earlier}]`");
                self.fault(Code::Conflict, &at.key("match"), message);
            }
            routes.push(route);
        }
        routes
    }

    fn route(&mut self, at: &Path, raw: raw::Route) -> Route {
        let known = self.names.upstreams.contains(&raw.upstream);
        if !known && self.is_present(&at.key("upstream")) {
            let names = self.names.upstreams.iter().map(String::as_str);
            let hint = did_you_mean(&raw.upstream, names, "upstreams");
            let message = format!("unknown upstream `{}`", raw.upstream);
            self.fault(Code::UnknownName, &at.key("upstream"), message);
            self.hint(hint);
        }
        self.chain(&at.key("plugins"), &raw.plugins);
        Route {
            name: raw.name.unwrap_or_else(|| raw.matches.path.clone()),
            matches: self.route_match(&at.key("match"), raw.matches),
            upstream: raw.upstream,
            plugins: raw.plugins,
        }
    }

    fn route_match(&mut self, at: &Path, raw: raw::RouteMatch) -> RouteMatch {
        if let Err(message) = check_pattern(&raw.path) {
            self.fault(Code::InvalidValue, &at.key("path"), message);
            self.hint("such as `/exact`, `/prefix/*` or `/with/{captures}/inside`");
        }
        let host = raw.host.map(|host| host.to_ascii_lowercase());
        if host.as_deref().is_some_and(|host| !is_host(host)) {
            self.fault(
                Code::InvalidValue,
                &at.key("host"),
                "must be a host name, without port",
            );
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
        RouteMatch {
            host,
            path: raw.path,
            methods,
        }
    }
}

/// The three forms of a path pattern; `*` and `{…}` stand for whole segments only.
fn check_pattern(pattern: &str) -> Result<(), &'static str> {
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

fn is_host(host: &str) -> bool {
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
