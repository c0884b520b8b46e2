//! The keys of `routes[]`: which requests, and what becomes of them.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::chain::PluginUse;
use crate::config::units::{ByteRate, ByteSize, Duration};

/// Which requests are sent where, or answered how, and through which plugins. One of `upstream`,
/// `split`, `redirect` and `respond` must be there.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Route {
    /// As in traces and metrics. Default: the path pattern.
    #[schemars(length(min = 1))]
    pub(in crate::config) name: Option<String>,
    /// Which requests. Default: all.
    #[serde(rename = "match")]
    pub(in crate::config) matches: RouteMatch,
    /// Name of the upstream that requests are sent to.
    #[schemars(length(min = 1))]
    pub(in crate::config) upstream: Option<String>,
    /// Upstreams that share the requests by weight, each request by chance.
    #[schemars(length(min = 1))]
    pub(in crate::config) split: Option<Vec<Share>>,
    /// Answers with another place to look at.
    pub(in crate::config) redirect: Option<Redirect>,
    /// Answers at once.
    pub(in crate::config) respond: Option<Respond>,
    /// Another upstream that gets a copy of the requests, whose responses nobody sees.
    pub(in crate::config) mirror: Option<Mirror>,
    /// What the upstream sees instead of what the client asked for.
    pub(in crate::config) rewrite: Option<Rewrite>,
    /// How long the upstream is waited for on this route.
    pub(in crate::config) timeouts: RouteTimeouts,
    /// Most bytes a request's body may have (413 past it). Default: the listener's.
    pub(in crate::config) max_body_bytes: Option<ByteSize>,
    /// Fewest bytes a second of a request's body (408 below it); up to 1GiB, and `0B` is any. Default: the
    /// listener's.
    pub(in crate::config) min_body_rate: Option<ByteRate>,
    /// Plugins: request hooks in this order, response hooks in reverse. A name, or `name: {…}` with
    /// keys that on this route take the place of those of its `config`. Default: none.
    #[schemars(extend("uniqueItems" = true))]
    pub(in crate::config) plugins: Vec<PluginUse>,
}

/// What a request must be for a route; all that is given must hold.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct RouteMatch {
    /// Host name, without port, or `*.example.com` for every host below it; upper and lower case
    /// are the same. Default: any.
    #[schemars(length(min = 1))]
    pub(in crate::config) host: Option<String>,
    /// `/exact`, `/prefix/*` or `/with/{captures}/inside`. Default: /*.
    pub(in crate::config) path: String,
    /// Methods, such as `GET`. Default: any.
    pub(in crate::config) methods: Vec<String>,
    /// Fields by name, all of which must be there: with this value, or one that begins so where it
    /// ends in `*`; `*` alone is any value. Default: none.
    pub(in crate::config) headers: IndexMap<String, String>,
    /// Parameters of the query by name, all of which must be there, decoded; values are written as
    /// those of `headers`. Default: none.
    pub(in crate::config) query: IndexMap<String, String>,
}

/// One of the upstreams that share a route's requests.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["upstream", "weight"]))]
pub(in crate::config) struct Share {
    /// Name of an upstream.
    #[schemars(length(min = 1))]
    pub(in crate::config) upstream: String,
    /// Its part of the sum of all weights; 0 is none for now.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(in crate::config) weight: u32,
}

/// Another upstream that gets a copy of the requests, whose responses nobody sees. No request waits
/// for its copy.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-optional" = true, "required" = ["upstream"]))]
pub(in crate::config) struct Mirror {
    /// Name of an upstream.
    #[schemars(length(min = 1))]
    pub(in crate::config) upstream: String,
    /// How many of the requests, in percent, each by chance. Default: 100.
    #[schemars(range(min = 0, max = 100))]
    pub(in crate::config) percent: u32,
    /// Most bytes of a body that is copied, up to 16MiB; requests with more have no copy. Default:
    /// 64KiB.
    pub(in crate::config) max_body_bytes: ByteSize,
}

/// An answer with another place to look at. What is not given is as it was asked for.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-optional" = true))]
pub(in crate::config) struct Redirect {
    /// 301, 302, 303, 307 or 308. The last two keep the method, 301 and 308 are remembered by
    /// clients. Default: 307.
    #[schemars(range(min = 301, max = 308))]
    pub(in crate::config) status: u16,
    /// Default: the request's.
    pub(in crate::config) scheme: Option<Scheme>,
    /// Host name, without port. Default: the request's.
    #[schemars(length(min = 1))]
    pub(in crate::config) host: Option<String>,
    /// Default: the request's; none with another `scheme` or `host`.
    #[schemars(range(min = 1, max = 65_535))]
    pub(in crate::config) port: Option<u16>,
    /// Path, in which `{name}` stands for a capture of `match.path`, and `*` at the end for what its
    /// `*` stands for. Default: the request's.
    pub(in crate::config) path: Option<String>,
    /// Whether the query goes along. Default: keep.
    pub(in crate::config) query: RedirectQuery,
}

#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum Scheme {
    Http,
    Https,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum RedirectQuery {
    #[default]
    Keep,
    Drop,
}

/// An answer of Weir's own.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-optional" = true))]
pub(in crate::config) struct Respond {
    /// From 200 to 599. Default: 200.
    #[schemars(range(min = 200, max = 599))]
    pub(in crate::config) status: u16,
    /// Fields by name. Default: none.
    pub(in crate::config) headers: IndexMap<String, String>,
    /// Text of the body; none with 204 and 304. Default: empty.
    pub(in crate::config) body: String,
}

/// What the upstream sees instead of what the client asked for.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-optional" = true))]
pub(in crate::config) struct Rewrite {
    /// Path, in which `{name}` stands for a capture of `match.path`, and `*` at the end for what its
    /// `*` stands for; the query stays. Default: as asked for.
    pub(in crate::config) path: Option<String>,
    /// `Host`, with its port if it has one. Default: as asked for.
    #[schemars(length(min = 1))]
    pub(in crate::config) host: Option<String>,
}

/// How long the upstream is waited for on a route.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct RouteTimeouts {
    /// From the request's last byte until the response's head. Default: the upstream's.
    pub(in crate::config) response: Option<Duration>,
    /// Longest wait for the next piece of a response's body. Default: the upstream's.
    pub(in crate::config) body: Option<Duration>,
}

impl Default for RouteMatch {
    fn default() -> Self {
        Self {
            host: None,
            path: "/*".to_owned(),
            methods: Vec::new(),
            headers: IndexMap::new(),
            query: IndexMap::new(),
        }
    }
}

impl Default for Mirror {
    fn default() -> Self {
        Self {
            upstream: String::new(),
            percent: 100,
            max_body_bytes: ByteSize::kib(64),
        }
    }
}

impl Default for Redirect {
    fn default() -> Self {
        Self {
            status: 307,
            scheme: None,
            host: None,
            port: None,
            path: None,
            query: RedirectQuery::default(),
        }
    }
}

impl Default for Respond {
    fn default() -> Self {
        Self {
            status: 200,
            headers: IndexMap::new(),
            body: String::new(),
        }
    }
}
