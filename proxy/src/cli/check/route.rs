//! `weir check --route`: which route a request takes, and why others do not.

use std::fmt::Write;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::config::{Action, Config, Route, RouteMatch, ValueMatch};
use crate::exchange::target;
use crate::router::{Difference, Head, Router};

/// A line for each route, and whether one takes the request. `Err` says what is wrong with the
/// question.
pub(super) fn explain(
    config: &Config,
    asked: &str,
    fields: &[String],
) -> Result<(String, bool), String> {
    let (method, uri) = request(asked)?;
    let headers = headers(fields)?;
    let authority = match target::authority(&uri, &headers) {
        Ok(authority) => authority,
        Err(why) => {
            let refused =
                format!("{method} {uri} takes no route: it is answered with 400, because {why}\n");
            return Ok((refused, false));
        }
    };
    let head = Head {
        authority,
        path: uri.path(),
        query: uri.query(),
        method: &method,
        headers: &headers,
    };
    let router = Router::new(config.routes.iter().map(|route| &route.matches));
    let taken = router.route(&head).ok();
    let mut out = String::new();
    let verdict = match taken {
        Some(index) => {
            let route = &config.routes[index];
            format!("takes routes[{index}] `{}`: {}", route.name, does(route))
        }
        None if router
            .differences(&head)
            .contains(&Some(Difference::Method)) =>
        {
            "takes no route: it is answered with 405".to_owned()
        }
        None => "takes no route: it is answered with 404".to_owned(),
    };
    // Writing to a string does not fail.
    let _ = writeln!(out, "{method} {uri} {verdict}");
    for (index, difference) in router.differences(&head).into_iter().enumerate() {
        let route = &config.routes[index];
        let why = match difference {
            None if taken == Some(index) => "matches".to_owned(),
            None => "matches too, but stands later".to_owned(),
            Some(difference) => differs(difference, &route.matches),
        };
        let _ = writeln!(out, "  routes[{index}] `{}`: {why}", route.name);
    }
    Ok((out, taken.is_some()))
}

fn request(asked: &str) -> Result<(Method, Uri), String> {
    let form = "--route takes a method and a URL, such as 'GET http://api.example.com/v1'";
    let (method, target) = asked.trim().split_once(' ').ok_or(form)?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| form)?;
    let uri: Uri = target.trim().parse().map_err(|_| form)?;
    if !uri.path().starts_with('/') {
        return Err(form.to_owned());
    }
    Ok((method, uri))
}

fn headers(fields: &[String]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for field in fields {
        let parsed = field.split_once(':').and_then(|(name, value)| {
            let name: HeaderName = name.trim().parse().ok()?;
            Some((name, HeaderValue::from_str(value.trim()).ok()?))
        });
        let (name, value) =
            parsed.ok_or("--header takes a field, such as 'x-version: 2'".to_owned())?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn does(route: &Route) -> String {
    match &route.action {
        Action::Upstream(shares) => {
            let share = |upstream: &str, weight| format!("`{upstream}` (weight {weight})");
            match shares.as_slice() {
                [only] => format!("upstream `{}`", only.upstream),
                shares => {
                    let shares: Vec<String> = shares
                        .iter()
                        .map(|one| share(&one.upstream, one.weight))
                        .collect();
                    format!("one of the upstreams {}", shares.join(", "))
                }
            }
        }
        Action::Redirect(redirect) => format!("redirect with {}", redirect.status.as_u16()),
        Action::Respond(respond) => format!("answer with {}", respond.status.as_u16()),
    }
}

fn differs(difference: Difference<'_>, route: &RouteMatch) -> String {
    match difference {
        Difference::Host => {
            let host = route.host.as_deref().unwrap_or("*");
            format!("the host is not `{host}`")
        }
        Difference::Path => format!("the path is not `{}`", route.path),
        Difference::Header(name) => {
            let wanted = route.headers.iter().find(|(other, _)| other == name);
            format!("no field `{name}`{}", value(wanted.map(|(_, value)| value)))
        }
        Difference::Query(name) => {
            let wanted = route.query.iter().find(|(other, _)| other == name);
            format!(
                "no parameter `{name}`{}",
                value(wanted.map(|(_, value)| value))
            )
        }
        Difference::Method => {
            let methods: Vec<&str> = route.methods.iter().map(Method::as_str).collect();
            format!("the method is not {}", methods.join(" or "))
        }
    }
}

fn value(wanted: Option<&ValueMatch>) -> String {
    match wanted {
        None | Some(ValueMatch::Any) => String::new(),
        Some(ValueMatch::Exact(text)) => format!(" with the value `{text}`"),
        Some(ValueMatch::Prefix(text)) => format!(" with a value that begins with `{text}`"),
    }
}
