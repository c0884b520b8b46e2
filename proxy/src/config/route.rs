//! What a route matches, and what becomes of its requests.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::PluginUse;
use crate::router::template::Template;

#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// As in traces and metrics: `name` where it is given, else the path pattern.
    pub name: String,
    pub matches: RouteMatch,
    pub action: Action,
    pub mirror: Option<Mirror>,
    pub rewrite: Rewrite,
    pub timeouts: RouteTimeouts,
    /// Most bytes a request's body may have (413 past it); `None` is what the listener has.
    pub max_body_bytes: Option<u64>,
    /// Fewest bytes of it in a second (408 below it), where 0 is any; `None` is what the listener has.
    pub min_body_rate: Option<u64>,
    /// Request hooks run in this order, response hooks in reverse.
    pub plugins: Vec<PluginUse>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RouteMatch {
    /// Lower case, without port; `*.` before it stands for any labels. `None` is any.
    pub host: Option<String>,
    /// `/exact`, `/prefix/*` or `/with/{captures}/inside`.
    pub path: String,
    /// Empty is any.
    pub methods: Vec<Method>,
    pub headers: Vec<(HeaderName, ValueMatch)>,
    /// By parameter; names and values are compared decoded.
    pub query: Vec<(String, ValueMatch)>,
}

/// What a value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    Any,
    Exact(String),
    Prefix(String),
}

/// What becomes of a route's requests.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// At least one, with a sum of weights that is not zero.
    Upstream(Vec<Share>),
    Redirect(Redirect),
    Respond(Respond),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Name of an upstream.
    pub upstream: String,
    pub weight: u32,
}

/// A copy of requests that another upstream gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Name of an upstream.
    pub upstream: String,
    /// Of the requests.
    pub percent: u32,
    /// Most bytes of a body that is copied.
    pub max_body_bytes: usize,
}

/// `None` is what was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    pub status: StatusCode,
    pub scheme: Option<&'static str>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub path: Option<Template>,
    pub keep_query: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Respond {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// `None` is what was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rewrite {
    pub path: Option<Template>,
    pub host: Option<HeaderValue>,
}

/// `None` is what the upstream has.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RouteTimeouts {
    pub response: Option<Duration>,
    pub body: Option<Duration>,
}

impl Route {
    /// Names of the upstreams that it may lead to.
    pub fn upstreams(&self) -> impl Iterator<Item = &str> {
        let shares = match &self.action {
            Action::Upstream(shares) => shares.as_slice(),
            Action::Redirect(_) | Action::Respond(_) => &[],
        };
        shares.iter().map(|share| share.upstream.as_str())
    }
}

impl ValueMatch {
    pub fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => value == exact.as_bytes(),
            Self::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
        }
    }
}
