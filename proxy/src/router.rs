//! 4 — Which route a request takes. Pure: the request's head in, a route out.
//!
//! Routes are tried in the order of the configuration; the first whose host, path, headers, query and
//! method all match is taken. Escapes in paths are compared by what they stand for ([`escapes`]). Where
//! there are many routes, an index by the path's first segment leaves out those that cannot match, which
//! changes nothing of the order.

pub mod escapes;
pub mod template;

use std::collections::HashMap;

use http::{HeaderMap, HeaderName, Method};

use crate::config::{RouteMatch, ValueMatch};

/// Routes in the order of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Router {
    routes: Vec<Pattern>,
    /// `None` where routes are so few that looking at each is as quick.
    index: Option<Index>,
}

/// What of a request is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Head<'h> {
    /// May have a port.
    pub authority: &'h str,
    /// Without query, with its escapes.
    pub path: &'h str,
    pub query: Option<&'h str>,
    pub method: &'h Method,
    pub headers: &'h HeaderMap,
}

#[derive(Clone, Debug)]
struct Pattern {
    host: Host,
    path: Path,
    methods: Vec<Method>,
    headers: Vec<(HeaderName, ValueMatch)>,
    query: Vec<(String, ValueMatch)>,
}

#[derive(Clone, Debug)]
enum Host {
    Any,
    Exact(String),
    /// The dot and what follows it.
    Below(String),
}

#[derive(Clone, Debug)]
enum Path {
    Exact(String),
    /// Up to and with the slash before the `*`.
    Prefix(String),
    /// Segments, of which `None` stands for any one, and whether more follow.
    Segments(Vec<Option<String>>, bool),
}

/// Routes by the first segment of the paths that they match, each list in order.
#[derive(Clone, Debug, Default)]
struct Index {
    by_segment: HashMap<String, Vec<usize>>,
    /// Those that match whatever the first segment is.
    others: Vec<usize>,
}

/// No route was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    NoRoute,
    /// All but the method is served, but with these methods only.
    Method(Vec<Method>),
}

/// What of a request a route does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference<'r> {
    Host,
    Path,
    Header(&'r HeaderName),
    Query(&'r str),
    Method,
}

/// From so many routes on the index is used.
const MANY: usize = 12;

impl Router {
    pub fn new<'a>(routes: impl IntoIterator<Item = &'a RouteMatch>) -> Self {
        let routes: Vec<Pattern> = routes.into_iter().map(Pattern::new).collect();
        let index = (routes.len() >= MANY).then(|| Index::new(&routes));
        Self { routes, index }
    }

    /// Index of the route.
    pub fn route(&self, head: &Head<'_>) -> Result<usize, Miss> {
        let path = &*escapes::compared(head.path);
        let head = &Head { path, ..*head };
        match &self.index {
            None => self.first_of(0..self.routes.len(), head),
            Some(index) => self.first_of(index.candidates(path).iter().copied(), head),
        }
    }

    /// For each route, what of the request it does not take; `None` where it would take it.
    pub fn differences(&self, head: &Head<'_>) -> Vec<Option<Difference<'_>>> {
        let path = &*escapes::compared(head.path);
        let head = &Head { path, ..*head };
        let host = host_of(head.authority);
        let routes = self.routes.iter();
        routes.map(|route| route.difference(host, head)).collect()
    }

    fn first_of(
        &self,
        candidates: impl Iterator<Item = usize>,
        head: &Head<'_>,
    ) -> Result<usize, Miss> {
        let host = host_of(head.authority);
        let mut allowed: Vec<Method> = Vec::new();
        for index in candidates {
            let route = &self.routes[index];
            match route.difference(host, head) {
                None => return Ok(index),
                Some(Difference::Method) => allowed.extend(route.methods.iter().cloned()),
                Some(_) => {}
            }
        }
        if allowed.is_empty() {
            Err(Miss::NoRoute)
        } else {
            Err(Miss::Method(allowed))
        }
    }
}

impl Pattern {
    fn new(route: &RouteMatch) -> Self {
        let mut methods = route.methods.clone();
        // Upstreams answer HEAD as they do GET, so a guard on the one is one on the other.
        if methods.contains(&Method::GET) {
            methods.push(Method::HEAD);
        }
        Self {
            host: match &route.host {
                None => Host::Any,
                Some(host) => match host.strip_prefix('*') {
                    Some(below) => Host::Below(below.to_owned()),
                    None => Host::Exact(host.clone()),
                },
            },
            path: Path::new(&route.path),
            methods,
            headers: route.headers.clone(),
            query: route.query.clone(),
        }
    }

    /// The first thing that does not match; the method is looked at last, so that it alone makes 405.
    fn difference(&self, host: &str, head: &Head<'_>) -> Option<Difference<'_>> {
        if !self.path.matches(head.path) {
            return Some(Difference::Path);
        }
        if !self.host.matches(host) {
            return Some(Difference::Host);
        }
        for (name, value) in &self.headers {
            let mut given = head.headers.get_all(name).iter();
            if !given.any(|given| value.matches(given.as_bytes())) {
                return Some(Difference::Header(name));
            }
        }
        for (name, value) in &self.query {
            if !query_has(head.query.unwrap_or_default(), name, value) {
                return Some(Difference::Query(name));
            }
        }
        let methods = self.methods.is_empty() || self.methods.contains(head.method);
        (!methods).then_some(Difference::Method)
    }
}

impl Host {
    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact.eq_ignore_ascii_case(host),
            Self::Below(below) => {
                let (host, below) = (host.as_bytes(), below.as_bytes());
                host.len() > below.len()
                    && host[host.len() - below.len()..].eq_ignore_ascii_case(below)
            }
        }
    }
}

/// An authority's host: without port and without a closing dot.
fn host_of(authority: &str) -> &str {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    };
    host.strip_suffix('.').unwrap_or(host)
}

/// Whether a parameter is there with a value that matches.
fn query_has(query: &str, name: &str, wanted: &ValueMatch) -> bool {
    query.split('&').any(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        // An empty piece is no parameter.
        if pair.is_empty() || !decoded(key).eq(name.bytes()) {
            return false;
        }
        match wanted {
            ValueMatch::Any => true,
            ValueMatch::Exact(exact) => decoded(value).eq(exact.bytes()),
            ValueMatch::Prefix(prefix) => {
                let mut value = decoded(value);
                prefix.bytes().all(|byte| value.next() == Some(byte))
            }
        }
    })
}

/// The bytes of a name or value in a query; a broken escape stands for itself.
fn decoded(text: &str) -> impl Iterator<Item = u8> + '_ {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (first, after) = rest.split_first()?;
        rest = after;
        if *first == b'+' {
            return Some(b' ');
        }
        if *first == b'%'
            && let [high, low, after @ ..] = after
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            rest = after;
            return Some(16 * high + low);
        }
        Some(*first)
    })
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

impl Path {
    fn new(pattern: &str) -> Self {
        if let Some(prefix) = pattern.strip_suffix('*')
            && !prefix.contains('{')
        {
            Self::Prefix(escapes::compared(prefix).into_owned())
        } else if pattern.contains('{') {
            let (segments, more) = match pattern.strip_suffix("/*") {
                Some(segments) => (segments, true),
                None => (pattern, false),
            };
            let segment = |segment: &str| {
                (!segment.starts_with('{')).then(|| escapes::compared(segment).into_owned())
            };
            Self::Segments(segments.split('/').skip(1).map(segment).collect(), more)
        } else {
            Self::Exact(escapes::compared(pattern).into_owned())
        }
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Self::Segments(segments, more) => {
                let mut parts = path.split('/').skip(1);
                for segment in segments {
                    match (parts.next(), segment) {
                        (Some(part), None) if !part.is_empty() => {}
                        (Some(part), Some(segment)) if part == segment => {}
                        _ => return false,
                    }
                }
                parts.next().is_some() == *more
            }
        }
    }

    /// The first segment of every path that matches; `None` where there are several.
    fn first_segment(&self) -> Option<&str> {
        match self {
            Self::Exact(path) => Some(first_segment(path)),
            // A prefix ends with a slash, so its first segment is whole.
            Self::Prefix(prefix) if prefix.len() > 1 => Some(first_segment(prefix)),
            Self::Prefix(_) => None,
            Self::Segments(segments, _) => segments.first()?.as_deref(),
        }
    }
}

fn first_segment(path: &str) -> &str {
    path.split('/').nth(1).unwrap_or(path)
}

impl Index {
    fn new(routes: &[Pattern]) -> Self {
        let mut this = Self::default();
        for (index, route) in routes.iter().enumerate() {
            match route.path.first_segment() {
                Some(segment) => {
                    let others = &this.others;
                    this.by_segment
                        .entry(segment.to_owned())
                        .or_insert_with(|| others.clone())
                        .push(index);
                }
                None => {
                    this.others.push(index);
                    this.by_segment
                        .values_mut()
                        .for_each(|list| list.push(index));
                }
            }
        }
        this
    }

    fn candidates(&self, path: &str) -> &[usize] {
        self.by_segment
            .get(first_segment(path))
            .unwrap_or(&self.others)
    }
}

#[cfg(test)]
mod tests;
