//! The router by table, and against a plain reading of its rules on arbitrary routes.

use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn any() -> RouteMatch {
    RouteMatch {
        host: None,
        path: "/*".to_owned(),
        methods: Vec::new(),
        headers: Vec::new(),
        query: Vec::new(),
    }
}

fn at(path: &str) -> RouteMatch {
    RouteMatch {
        path: path.to_owned(),
        ..any()
    }
}

fn on(host: &str) -> RouteMatch {
    RouteMatch {
        host: Some(host.to_owned()),
        ..any()
    }
}

/// `GET` of a target with these fields.
fn route(
    router: &Router,
    authority: &str,
    target: &str,
    fields: &[(&'static str, &str)],
) -> Result<usize, Miss> {
    send(router, &Method::GET, authority, target, fields)
}

fn send(
    router: &Router,
    method: &Method,
    authority: &str,
    target: &str,
    fields: &[(&'static str, &str)],
) -> Result<usize, Miss> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    router.route(&Head {
        authority,
        path,
        query,
        method,
        headers: &headers,
    })
}

#[test]
fn the_first_match_in_file_order_wins() {
    let router = Router::new(&[at("/v1/a"), at("/v1/*"), at("/*")]);
    assert_eq!(route(&router, "h", "/v1/a", &[]), Ok(0));
    assert_eq!(route(&router, "h", "/v1/b", &[]), Ok(1));
    assert_eq!(route(&router, "h", "/v2", &[]), Ok(2));
}

#[test]
fn escapes_are_compared_by_what_they_stand_for() {
    let mut routes = vec![
        at("/admin/*"),
        at("/@me"),
        at("/%7Eme/{id}/caf%c3%a9/*"),
        at("/*"),
    ];
    // By its order alone, and by the index.
    for _ in 0..2 {
        let router = Router::new(&routes);
        for (path, expected) in [
            ("/%61dmin/x", 0),
            ("/%61dmin/%2e", 0),
            ("/%40me", 1),
            ("/~me/%20/caf%C3%A9/x", 2),
            ("/%2561dmin/x", 3),
            ("/%2A", 3),
        ] {
            assert_eq!(route(&router, "h", path, &[]), Ok(expected), "{path}");
            let head = router.differences(&Head {
                authority: "h",
                path,
                query: None,
                method: &Method::GET,
                headers: &HeaderMap::new(),
            });
            assert_eq!(head.iter().position(Option::is_none), Some(expected));
        }
        routes.extend((0..MANY).map(|at| self::at(&format!("/none/{at}"))));
    }
}

/// `*` and `{…}` mean something in a pattern only where they are written as they are.
#[test]
fn escaped_a_star_and_braces_are_what_they_are_in_paths() {
    let routes = ["/a%2A", "/{id}/%2A", "/b/{id}/%2a/*", "/%7Bid%7D/x"].map(at);
    let router = Router::new(&routes);
    for (path, expected) in [
        ("/a*", Ok(0)),
        ("/a%2a", Ok(0)),
        ("/7/*", Ok(1)),
        ("/7/%2A", Ok(1)),
        ("/7/x", Err(Miss::NoRoute)),
        ("/7/*/x", Err(Miss::NoRoute)),
        ("/b/7/*/", Ok(2)),
        ("/b/7/*", Err(Miss::NoRoute)),
        ("/b/7/x/y", Err(Miss::NoRoute)),
        ("/{id}/x", Ok(3)),
        ("/%7Bid%7D/x", Ok(3)),
    ] {
        assert_eq!(route(&router, "h", path, &[]), expected, "{path}");
    }
}

#[test]
fn a_prefix_ends_at_a_slash() {
    let router = Router::new(&[at("/v1/*")]);
    assert_eq!(route(&router, "h", "/v1/", &[]), Ok(0));
    assert_eq!(route(&router, "h", "/v1", &[]), Err(Miss::NoRoute));
    assert_eq!(route(&router, "h", "/v10", &[]), Err(Miss::NoRoute));
}

#[test]
fn a_capture_stands_for_one_segment_that_is_not_empty() {
    let router = Router::new(&[at("/users/{id}/posts"), at("/files/{owner}/*")]);
    for (path, expected) in [
        ("/users/7/posts", Ok(0)),
        ("/users//posts", Err(Miss::NoRoute)),
        ("/users/7/8/posts", Err(Miss::NoRoute)),
        ("/files/me/a/b", Ok(1)),
        ("/files/me", Err(Miss::NoRoute)),
    ] {
        assert_eq!(route(&router, "h", path, &[]), expected, "{path}");
    }
}

#[test]
fn hosts_are_compared_without_port_case_and_closing_dot() {
    let router = Router::new(&[on("api.test"), on("[::1]")]);
    for authority in ["api.test", "API.test:8080", "api.test.", "api.test.:80"] {
        assert_eq!(route(&router, authority, "/", &[]), Ok(0), "{authority}");
    }
    assert_eq!(route(&router, "[::1]:80", "/", &[]), Ok(1));
    assert_eq!(route(&router, "[::1]", "/", &[]), Ok(1));
    assert_eq!(route(&router, "other.test", "/", &[]), Err(Miss::NoRoute));
}

#[test]
fn a_wildcard_stands_for_every_host_below() {
    let router = Router::new(&[on("a.example.test"), on("*.example.test")]);
    for (authority, expected) in [
        ("a.example.test", Ok(0)),
        ("b.example.test", Ok(1)),
        ("B.Example.Test.:443", Ok(1)),
        ("c.b.example.test", Ok(1)),
        ("example.test", Err(Miss::NoRoute)),
        (".example.test", Err(Miss::NoRoute)),
        ("badexample.test", Err(Miss::NoRoute)),
    ] {
        assert_eq!(route(&router, authority, "/", &[]), expected, "{authority}");
    }
}

#[test]
fn fields_match_by_value_prefix_or_presence_and_all_of_them() {
    let version = HeaderName::from_static("x-version");
    let debug = HeaderName::from_static("x-debug");
    let with = |headers: &[(&HeaderName, ValueMatch)]| RouteMatch {
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).clone(), value.clone()))
            .collect(),
        ..any()
    };
    let router = Router::new(&[
        with(&[
            (&version, ValueMatch::Exact("2".to_owned())),
            (&debug, ValueMatch::Any),
        ]),
        with(&[(&version, ValueMatch::Exact("2".to_owned()))]),
        with(&[(&version, ValueMatch::Prefix("3.".to_owned()))]),
        with(&[(&debug, ValueMatch::Any)]),
    ]);
    for (fields, expected) in [
        (&[("x-version", "2"), ("x-debug", "")][..], Ok(0)),
        (&[("x-version", "2")], Ok(1)),
        (&[("x-version", "1"), ("x-version", "2")], Ok(1)),
        (&[("x-version", "3.1")], Ok(2)),
        (&[("x-version", "3")], Err(Miss::NoRoute)),
        (&[("x-debug", "yes")], Ok(3)),
        (&[], Err(Miss::NoRoute)),
    ] {
        assert_eq!(route(&router, "h", "/", fields), expected, "{fields:?}");
    }
}

#[test]
fn parameters_of_the_query_are_compared_decoded() {
    let with = |name: &str, value: ValueMatch| RouteMatch {
        query: vec![(name.to_owned(), value)],
        ..any()
    };
    let router = Router::new(&[
        with("a", ValueMatch::Exact("b c".to_owned())),
        with("a", ValueMatch::Prefix("x".to_owned())),
        with("d e", ValueMatch::Any),
    ]);
    for (target, expected) in [
        ("/?a=b%20c", Ok(0)),
        ("/?z&a=b+c", Ok(0)),
        ("/?%61=b%20c", Ok(0)),
        ("/?a=1&a=xyz", Ok(1)),
        ("/?d+e", Ok(2)),
        ("/?d%20e=", Ok(2)),
        ("/?a=%zz", Err(Miss::NoRoute)),
        ("/?a", Err(Miss::NoRoute)),
        ("/?", Err(Miss::NoRoute)),
        ("/", Err(Miss::NoRoute)),
    ] {
        assert_eq!(route(&router, "h", target, &[]), expected, "{target}");
    }
}

#[test]
fn a_method_that_is_not_served_says_which_are() {
    let for_method = |method: Method| RouteMatch {
        methods: vec![method],
        ..at("/a")
    };
    let router = Router::new(&[for_method(Method::GET), for_method(Method::PUT)]);
    assert_eq!(send(&router, &Method::PUT, "h", "/a", &[]), Ok(1));
    assert_eq!(
        send(&router, &Method::POST, "h", "/a", &[]),
        Err(Miss::Method(vec![Method::GET, Method::HEAD, Method::PUT]))
    );
    assert_eq!(send(&router, &Method::HEAD, "h", "/a", &[]), Ok(0));
    let lower = Method::from_bytes(b"get").expect("a valid token");
    assert!(send(&router, &lower, "h", "/a", &[]).is_err());
}

#[test]
fn each_route_says_what_it_does_not_take() {
    let header = HeaderName::from_static("x-version");
    let router = Router::new(&[
        at("/other"),
        on("other.test"),
        RouteMatch {
            headers: vec![(header.clone(), ValueMatch::Any)],
            ..any()
        },
        RouteMatch {
            query: vec![("q".to_owned(), ValueMatch::Any)],
            ..any()
        },
        RouteMatch {
            methods: vec![Method::POST],
            ..any()
        },
        any(),
    ]);
    let differences = router.differences(&Head {
        authority: "h",
        path: "/",
        query: None,
        method: &Method::GET,
        headers: &HeaderMap::new(),
    });
    assert_eq!(
        differences,
        [
            Some(Difference::Path),
            Some(Difference::Host),
            Some(Difference::Header(&header)),
            Some(Difference::Query("q")),
            Some(Difference::Method),
            None,
        ]
    );
}

fn segment() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b"), Just("c"), Just("")]
}

fn pattern() -> impl Strategy<Value = RouteMatch> {
    let part = prop_oneof![Just("a"), Just("b"), Just("c"), Just("{}")];
    let parts = proptest::collection::vec(part, 0..4);
    let host = proptest::option::of(prop_oneof![Just("h.test"), Just("*.test")]);
    (parts, any_bool(), host, any_bool()).prop_map(|(parts, rest, host, get)| {
        let mut path = String::new();
        for (index, part) in parts.iter().enumerate() {
            path.push('/');
            path.push_str(&part.replace("{}", &format!("{{c{index}}}")));
        }
        if rest || path.is_empty() {
            path.push_str("/*");
        }
        RouteMatch {
            host: host.map(str::to_owned),
            path,
            methods: if get { vec![Method::GET] } else { vec![] },
            ..any()
        }
    })
}

fn any_bool() -> impl Strategy<Value = bool> {
    proptest::bool::ANY
}

/// The rules as the documentation has them, segment by segment.
fn plainly(route: &RouteMatch, host: &str, path: &str, method: &Method) -> Option<bool> {
    let hosts = match route.host.as_deref() {
        None => true,
        Some(wild) if wild.starts_with('*') => {
            host.ends_with(&wild[1..]) && host.len() >= wild.len()
        }
        Some(exact) => exact == host,
    };
    let wanted: Vec<&str> = route.path.split('/').collect();
    let given: Vec<&str> = path.split('/').collect();
    let rest = wanted.last() == Some(&"*");
    let fixed = if rest { wanted.len() - 1 } else { wanted.len() };
    let long_enough = if rest {
        given.len() > fixed
    } else {
        given.len() == fixed
    };
    let paths = long_enough
        && wanted[..fixed].iter().zip(&given).all(|(wanted, given)| {
            if wanted.starts_with('{') {
                !given.is_empty()
            } else {
                wanted == given
            }
        });
    (hosts && paths).then(|| route.methods.is_empty() || route.methods.contains(method))
}

proptest! {
    #[test]
    fn the_index_changes_nothing_of_the_rules(
        routes in proptest::collection::vec(pattern(), 1..40),
        parts in proptest::collection::vec(segment(), 1..5),
        host in prop_oneof![Just("h.test"), Just("i.test"), Just("test")],
        post in proptest::bool::ANY,
    ) {
        let path = format!("/{}", parts.join("/"));
        let method = if post { Method::POST } else { Method::GET };
        let taken = send(&Router::new(&routes), &method, host, &path, &[]);
        let expected = routes
            .iter()
            .position(|route| plainly(route, host, &path, &method) == Some(true));
        let others = routes
            .iter()
            .any(|route| plainly(route, host, &path, &method) == Some(false));
        match (expected, others) {
            (Some(index), _) => prop_assert_eq!(taken, Ok(index)),
            (None, true) => prop_assert!(matches!(taken, Err(Miss::Method(_)))),
            (None, false) => prop_assert_eq!(taken, Err(Miss::NoRoute)),
        }
    }

    #[test]
    fn no_request_makes_it_panic(authority in ".{0,20}", target in ".{0,30}") {
        let routes = [on("*.test"), at("/{a}/{b}/*"), RouteMatch {
            query: vec![("a".to_owned(), ValueMatch::Prefix("x".to_owned()))],
            ..any()
        }];
        let _ = route(&Router::new(&routes), &authority, &target, &[]);
    }
}
