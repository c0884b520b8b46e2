//! Routes and which of them a request takes; upstreams.

use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Answer, Parameters, Problem};
use crate::admin::{body, endpoints};
use crate::app::App;
use crate::config::{Action, MAX_REQUESTS, PluginUse, RouteMatch};
use crate::exchange::target;
use crate::metrics::snapshot;
use crate::router::{Difference, Head, Miss};

/// What `/api/routes` answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct Routes {
    routes: Vec<Route>,
    listeners: Vec<Listener>,
}

#[derive(Serialize, JsonSchema)]
struct Route {
    name: String,
    #[serde(rename = "match")]
    matches: Match,
    /// Where its requests go, in words.
    upstream: String,
    plugins: Vec<String>,
    metrics: Option<snapshot::Route>,
}

#[derive(Serialize, JsonSchema)]
struct Match {
    host: Option<String>,
    path: String,
    methods: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Listener {
    address: String,
    plugins: Vec<String>,
}

/// What `/api/routes/test` answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct Tested {
    answer: Answered,
    /// In their order; none where the request is refused before any is tried.
    routes: Vec<Tried>,
}

/// The route that is taken, or what Weir answers by itself.
#[derive(Default, Serialize, JsonSchema)]
struct Answered {
    route: Option<String>,
    status: Option<u16>,
    /// Methods that a route would take.
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<Vec<String>>,
    /// What no route is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// A route, and which of its conditions the request meets.
#[derive(Serialize, JsonSchema)]
struct Tried {
    name: String,
    #[serde(rename = "match")]
    matches: Match,
    host: bool,
    path: bool,
    method: bool,
    header: bool,
    query: bool,
    /// `taken`, `no match` or `not tried`.
    result: &'static str,
}

/// What `/api/upstreams` answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct Upstreams<'u> {
    upstreams: Vec<Upstream<'u>>,
}

#[derive(Serialize, JsonSchema)]
struct Upstream<'u> {
    name: &'u str,
    endpoints: Vec<endpoints::Known<'u>>,
    /// Most requests under way.
    max_requests: u64,
    routes: Vec<&'u str>,
    metrics: Option<snapshot::Upstream>,
}

pub(super) fn routes(app: &App) -> Answer {
    let generation = app.generation();
    let metrics = app.metrics().snapshot();
    let routes = generation.config.routes.iter().map(|route| {
        let counted = metrics.routes.iter().find(|of| of.name == route.name);
        Route {
            name: route.name.clone(),
            matches: match_of(&route.matches),
            upstream: leads_to(&route.action),
            plugins: names(&route.plugins),
            metrics: counted.cloned(),
        }
    });
    let listeners = generation.config.listeners.iter().map(|of| Listener {
        address: of.address.to_string(),
        plugins: names(&of.plugins),
    });
    let answer = Routes {
        routes: routes.collect(),
        listeners: listeners.collect(),
    };
    body(StatusCode::OK, &answer)
}

fn names(chain: &[PluginUse]) -> Vec<String> {
    chain.iter().map(|there| there.plugin.clone()).collect()
}

/// Where a route's requests go, in words.
fn leads_to(action: &Action) -> String {
    match action {
        Action::Upstream(shares) => {
            let names: Vec<&str> = shares.iter().map(|share| &*share.upstream).collect();
            names.join(", ")
        }
        Action::Redirect(redirect) => format!("redirect {}", redirect.status.as_u16()),
        Action::Respond(respond) => format!("answer {}", respond.status.as_u16()),
    }
}

fn match_of(matches: &RouteMatch) -> Match {
    let methods = matches.methods.iter().map(ToString::to_string);
    Match {
        host: matches.host.clone(),
        path: matches.path.clone(),
        methods: methods.collect(),
    }
}

/// Which route a request takes, and why none of those before it.
pub(super) fn test(app: &App, parameters: &Parameters) -> Result<Answer, Problem> {
    let method = parameters.get("method").unwrap_or("GET");
    let method: Method = method
        .parse()
        .map_err(|_| Problem::invalid("`method` must be a method, such as GET"))?;
    let url = parameters
        .get("url")
        .ok_or_else(|| Problem::invalid("`url` is needed, such as http://host/path"))?;
    let url: Uri = url
        .parse()
        .map_err(|_| Problem::invalid("`url` must be a path, or a URL such as http://host/path"))?;
    let headers = headers(parameters)?;
    let authority = match target::authority(&url, &headers) {
        Ok(authority) => authority,
        Err(why) => {
            let refused = Tested {
                answer: Answered {
                    status: Some(400),
                    why: Some(why.to_owned()),
                    ..Answered::default()
                },
                routes: Vec::new(),
            };
            return Ok(body(StatusCode::OK, &refused));
        }
    };
    let generation = app.generation();
    let head = Head {
        authority,
        path: url.path(),
        query: url.query(),
        method: &method,
        headers: &headers,
    };
    let taken = generation.router.route(&head);
    let differences = generation.router.differences(&head);
    let tried = generation
        .config
        .routes
        .iter()
        .zip(differences)
        .enumerate()
        .map(|(index, (route, difference))| {
            let result = match &taken {
                Ok(taken) if index == *taken => "taken",
                Ok(taken) if index > *taken => "not tried",
                _ => "no match",
            };
            Tried {
                name: route.name.clone(),
                matches: match_of(&route.matches),
                host: !matches!(difference, Some(Difference::Host)),
                path: !matches!(difference, Some(Difference::Path)),
                method: !matches!(difference, Some(Difference::Method)),
                header: !matches!(difference, Some(Difference::Header(_))),
                query: !matches!(difference, Some(Difference::Query(_))),
                result,
            }
        })
        .collect();
    let (route, status, allowed) = match &taken {
        Ok(index) => (
            Some(generation.config.routes[*index].name.clone()),
            None,
            None,
        ),
        Err(Miss::NoRoute) => (None, Some(404), None),
        Err(Miss::Method(allowed)) => {
            let allowed = allowed.iter().map(ToString::to_string).collect();
            (None, Some(405), Some(allowed))
        }
    };
    let answer = Tested {
        answer: Answered {
            route,
            status,
            allowed,
            why: None,
        },
        routes: tried,
    };
    Ok(body(StatusCode::OK, &answer))
}

/// Those that the request is to have: `name: value` each.
fn headers(parameters: &Parameters) -> Result<HeaderMap, Problem> {
    let mut headers = HeaderMap::new();
    for (_, line) in parameters.0.iter().filter(|(name, _)| name == "header") {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| Problem::invalid("`header` must be such as `x-tenant: acme`"))?;
        let name = HeaderName::try_from(name.trim()).map_err(Problem::invalid)?;
        let value = HeaderValue::try_from(value.trim()).map_err(Problem::invalid)?;
        headers.try_append(name, value).map_err(Problem::invalid)?;
    }
    Ok(headers)
}

pub(super) fn upstreams(app: &App) -> Answer {
    let generation = app.generation();
    let metrics = app.metrics().snapshot();
    let now = Instant::now();
    let upstreams = generation.upstreams.values().map(|upstream| {
        let routes = generation.routes.iter();
        let routes = routes.filter(|route| route.leads_to(&upstream.name));
        let mut counted = metrics.upstreams.iter();
        Upstream {
            name: &upstream.name,
            endpoints: endpoints::known(upstream, now).collect(),
            max_requests: upstream.config.max_requests.unwrap_or(MAX_REQUESTS),
            routes: routes.map(|route| &*route.name).collect(),
            metrics: counted.find(|of| of.name == upstream.name).cloned(),
        }
    });
    let answer = Upstreams {
        upstreams: upstreams.collect(),
    };
    body(StatusCode::OK, &answer)
}
