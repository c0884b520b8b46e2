//! 4 — Which route a request takes. Pure: the request's head in, a route out.
//!
//! Routes are tried in the order of the configuration; the first whose host, path and method all
//! match is taken.

use http::Method;

use crate::config::RouteMatch;

/// Routes in the order of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Router {
    routes: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    host: Option<String>,
    path: Path,
    methods: Vec<Method>,
}

#[derive(Clone, Debug)]
enum Path {
    Exact(String),
    /// Up to and with the slash before the `*`.
    Prefix(String),
    /// Segments; `None` stands for any one.
    Segments(Vec<Option<String>>),
}

/// No route was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    NoRoute,
    /// Host and path are served, but with these methods only.
    Method(Vec<Method>),
}

impl Router {
    pub fn new<'a>(routes: impl IntoIterator<Item = &'a RouteMatch>) -> Self {
        let routes = routes
            .into_iter()
            .map(|route| Pattern {
                host: route.host.clone(),
                path: Path::new(&route.path),
                methods: route.methods.clone(),
            })
            .collect();
        Self { routes }
    }

    /// Index of the route. `authority` may have a port; `path` has no query.
    pub fn route(&self, authority: &str, path: &str, method: &Method) -> Result<usize, Miss> {
        let host = host_of(authority);
        let mut allowed: Vec<Method> = Vec::new();
        for (index, route) in self.routes.iter().enumerate() {
            let hosts = route
                .host
                .as_ref()
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(host));
            if !hosts || !route.path.matches(path) {
                continue;
            }
            if route.methods.is_empty() || route.methods.contains(method) {
                return Ok(index);
            }
            allowed.extend(route.methods.iter().cloned());
        }
        if allowed.is_empty() {
            Err(Miss::NoRoute)
        } else {
            Err(Miss::Method(allowed))
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

impl Path {
    fn new(pattern: &str) -> Self {
        if let Some(prefix) = pattern.strip_suffix('*')
            && !prefix.contains('{')
        {
            Self::Prefix(prefix.to_owned())
        } else if pattern.contains('{') {
            let segment = |segment: &str| (!segment.starts_with('{')).then(|| segment.to_owned());
            Self::Segments(pattern.split('/').skip(1).map(segment).collect())
        } else {
            Self::Exact(pattern.to_owned())
        }
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Self::Segments(segments) => {
                let mut parts = path.split('/').skip(1);
                for (index, segment) in segments.iter().enumerate() {
                    if segment.as_deref() == Some("*") && index + 1 == segments.len() {
                        return parts.next().is_some();
                    }
                    match (parts.next(), segment) {
                        (Some(part), None) if !part.is_empty() => {}
                        (Some(part), Some(segment)) if part == segment => {}
                        _ => return false,
                    }
                }
                parts.next().is_none()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(routes: &[(Option<&str>, &str, &[Method])]) -> Router {
        let routes: Vec<_> = routes
            .iter()
            .map(|(host, path, methods)| RouteMatch {
                host: host.map(str::to_owned),
                path: (*path).to_owned(),
                methods: methods.to_vec(),
            })
            .collect();
        Router::new(&routes)
    }

    #[test]
    fn the_first_match_in_file_order_wins() {
        let router = router(&[
            (None, "/v1/a", &[]),
            (None, "/v1/*", &[]),
            (None, "/*", &[]),
        ]);
        assert_eq!(router.route("h", "/v1/a", &Method::GET), Ok(0));
        assert_eq!(router.route("h", "/v1/b", &Method::GET), Ok(1));
        assert_eq!(router.route("h", "/v2", &Method::GET), Ok(2));
    }

    #[test]
    fn a_prefix_ends_at_a_slash() {
        let router = router(&[(None, "/v1/*", &[])]);
        assert_eq!(router.route("h", "/v1/", &Method::GET), Ok(0));
        assert_eq!(router.route("h", "/v1", &Method::GET), Err(Miss::NoRoute));
        assert_eq!(router.route("h", "/v10", &Method::GET), Err(Miss::NoRoute));
    }

    #[test]
    fn a_capture_stands_for_one_segment_that_is_not_empty() {
        let router = router(&[
            (None, "/users/{id}/posts", &[]),
            (None, "/files/{owner}/*", &[]),
        ]);
        assert_eq!(router.route("h", "/users/7/posts", &Method::GET), Ok(0));
        assert_eq!(
            router.route("h", "/users//posts", &Method::GET),
            Err(Miss::NoRoute)
        );
        assert_eq!(
            router.route("h", "/users/7/8/posts", &Method::GET),
            Err(Miss::NoRoute)
        );
        assert_eq!(router.route("h", "/files/me/a/b", &Method::GET), Ok(1));
        assert_eq!(
            router.route("h", "/files/me", &Method::GET),
            Err(Miss::NoRoute)
        );
    }

    #[test]
    fn hosts_are_compared_without_port_case_and_closing_dot() {
        let router = router(&[(Some("api.test"), "/*", &[]), (Some("[::1]"), "/*", &[])]);
        for authority in ["api.test", "API.test:8080", "api.test.", "api.test.:80"] {
            assert_eq!(
                router.route(authority, "/", &Method::GET),
                Ok(0),
                "{authority}"
            );
        }
        assert_eq!(router.route("[::1]:80", "/", &Method::GET), Ok(1));
        assert_eq!(router.route("[::1]", "/", &Method::GET), Ok(1));
        assert_eq!(
            router.route("other.test", "/", &Method::GET),
            Err(Miss::NoRoute)
        );
    }

    #[test]
    fn a_method_that_is_not_served_says_which_are() {
        let router = router(&[(None, "/a", &[Method::GET]), (None, "/a", &[Method::PUT])]);
        assert_eq!(router.route("h", "/a", &Method::PUT), Ok(1));
        assert_eq!(
            router.route("h", "/a", &Method::POST),
            Err(Miss::Method(vec![Method::GET, Method::PUT]))
        );
        let lower = Method::from_bytes(b"get").expect("a valid token");
        assert!(router.route("h", "/a", &lower).is_err());
    }
}
