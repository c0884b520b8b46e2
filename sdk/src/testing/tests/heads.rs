//! What may be done to requests and responses.

use http::{Method, StatusCode};

use super::{Scripted, get};
use crate::testing::Host;
use crate::{
    Action, Certificate, Error, HeaderError, Interests, Plugin, Request, RerouteError,
    RespondError, Response, Route,
};

#[test]
fn a_request_reads_as_it_was_sent() {
    let host = Scripted::none().request(|request| {
        assert_eq!(request.method(), Method::GET);
        assert_eq!(request.scheme(), "https");
        assert_eq!(request.authority(), "example.com:8443");
        assert_eq!(request.path(), "/a%20b");
        assert_eq!(request.query().as_deref(), Some("c=d"));
        assert_eq!(request.client_address().to_string(), "192.0.2.1");
        Action::Continue
    });
    host.host()
        .request(get("https://example.com:8443/a%20b?c=d"));
}

#[test]
fn a_certificate_is_that_of_the_requests_extensions() {
    let host = Scripted::none().request(|request| {
        let shown = request.client_certificate();
        let shown = shown.map_or_else(|| "nobody".into(), |shown| shown.subject);
        request.set_header("x-shown", shown).unwrap();
        Action::Continue
    });
    let host = host.host();
    let alice = Certificate {
        subject: "CN=alice".into(),
        ..Certificate::default()
    };
    let request = http::Request::get("https://example.com/").extension(alice);
    let exchange = host.request(request.body(()).unwrap());
    assert_eq!(exchange.request_headers()["x-shown"], "CN=alice");
    let exchange = host.request(get("https://example.com/"));
    assert_eq!(exchange.request_headers()["x-shown"], "nobody");
}

#[test]
fn a_target_without_authority_takes_that_of_host() {
    let host = Scripted::none().request(|request| {
        assert_eq!(request.authority(), "example.com");
        Action::Continue
    });
    host.host().request(
        http::Request::get("/")
            .header("host", "example.com")
            .body(())
            .unwrap(),
    );
}

#[test]
fn a_header_that_is_not_utf8_reads_as_latin_1_and_is_kept_exact() {
    let host = Scripted::none().request(|request| {
        assert_eq!(request.header("X-Name").as_deref(), Some("caf\u{e9}"));
        assert_eq!(
            request.header_values("x-name"),
            [b"caf\xe9".to_vec(), b"b".to_vec()]
        );
        assert_eq!(request.headers().get_all("x-name").iter().count(), 2);
        Action::Continue
    });
    let request = http::Request::get("/")
        .header("x-name", &b"caf\xe9"[..])
        .header("x-name", "b");
    host.host().request(request.body(()).unwrap());
}

#[test]
fn set_replaces_add_appends_and_remove_removes_all() {
    let host = Scripted::none().request(|request| {
        request.set_header("x-set", "new").unwrap();
        request.add_header("x-add", "2").unwrap();
        request.remove_header("X-Remove").unwrap();
        request.remove_header("x-absent").unwrap();
        Action::Continue
    });
    let request = http::Request::get("/")
        .header("x-set", "a")
        .header("x-set", "b")
        .header("x-add", "1");
    let host = host.host();
    let exchange = host.request(
        request
            .header("x-remove", "a")
            .header("x-remove", "b")
            .body(())
            .unwrap(),
    );
    let headers = exchange.request_headers();
    assert_eq!(headers.get_all("x-set").iter().collect::<Vec<_>>(), ["new"]);
    assert_eq!(
        headers.get_all("x-add").iter().collect::<Vec<_>>(),
        ["1", "2"]
    );
    assert!(!headers.contains_key("x-remove"));
}

#[test]
fn the_proxys_own_headers_cannot_be_changed() {
    let host = Scripted::none().request(|request| {
        for name in [
            "Host",
            "connection",
            "content-length",
            "transfer-encoding",
            "te",
            "trailer",
            ":path",
        ] {
            assert_eq!(
                request.set_header(name, "a"),
                Err(HeaderError::Forbidden),
                "{name}"
            );
            assert_eq!(
                request.add_header(name, "a"),
                Err(HeaderError::Forbidden),
                "{name}"
            );
            assert_eq!(
                request.remove_header(name),
                Err(HeaderError::Forbidden),
                "{name}"
            );
        }
        Action::Continue
    });
    host.host().request(get("/"));
}

#[test]
fn what_is_no_name_or_no_value_is_refused() {
    let host = Scripted::none().request(|request| {
        assert_eq!(
            request.set_header("x a", "a"),
            Err(HeaderError::InvalidName)
        );
        assert_eq!(request.set_header("", "a"), Err(HeaderError::InvalidName));
        for value in ["a\r\nb: c", "a\nb", "a\0b", "a\x7fb"] {
            assert_eq!(
                request.set_header("x-a", value),
                Err(HeaderError::InvalidValue),
                "{value:?}"
            );
        }
        Action::Continue
    });
    assert!(host.host().request(get("/")).request_headers().is_empty());
}

#[test]
fn a_head_has_bounds() {
    let host = Scripted::none().request(|request| {
        let large = "a".repeat(60_000);
        request.set_header("x-large", &large).unwrap();
        assert_eq!(
            request.add_header("x-large", &large),
            Err(HeaderError::TooLarge)
        );
        request.set_header("x-large", &large).unwrap();
        let (long, longer) = ("a".repeat(256), "a".repeat(257));
        request.set_header(&long, "a").unwrap();
        assert_eq!(request.add_header(&longer, "a"), Err(HeaderError::TooLarge));
        Action::Continue
    });
    host.host().request(get("/"));
}

#[test]
fn a_client_that_fills_a_head_takes_no_room_from_plugins() {
    let host = Scripted::none().request(|request| {
        request.set_header("x-set", "a").unwrap();
        let large = "a".repeat(65_530);
        assert_eq!(request.add_header("x", &large), Err(HeaderError::TooLarge));
        Action::Continue
    });
    let full = http::Request::get("http://example.com/")
        .header("x-full", "a".repeat(100_000))
        .body(())
        .unwrap();
    let host = host.host();
    let exchange = host.request(full);
    assert_eq!(exchange.request_headers()["x-set"], "a");
}

#[test]
fn a_status_is_changed_within_bounds() {
    let host = Scripted::none().response(|response| {
        let informational = StatusCode::EARLY_HINTS;
        assert_eq!(
            response.set_status(informational),
            Err(RespondError::InvalidStatus)
        );
        response.set_status(StatusCode::GONE).unwrap();
        Action::Continue
    });
    let host = host.host();
    assert_eq!(
        host.request(get("/"))
            .response(http::Response::new(""))
            .status(),
        StatusCode::GONE
    );
}

#[test]
fn a_response_knows_its_request() {
    let host = Scripted::none().with_request_head().response(|response| {
        assert_eq!(response.request_method(), Method::GET);
        assert_eq!(response.request_path(), "/a");
        assert_eq!(
            response.request_header("accept").as_deref(),
            Some("text/plain")
        );
        Action::Continue
    });
    let request = http::Request::get("/a?b")
        .header("accept", "text/plain")
        .body(())
        .unwrap();
    host.host()
        .request(request)
        .response(http::Response::new(""));
}

#[test]
#[should_panic(expected = "did not ask for the request's head")]
fn the_requests_headers_must_be_asked_for() {
    let host = Scripted::none().response(|response| {
        response.request_header("accept");
        Action::Continue
    });
    host.host()
        .request(get("/"))
        .response(http::Response::new(""));
}

#[test]
fn a_request_is_routed_anew_before_routing() {
    let host = Scripted::none().pre_request(|request| {
        let route = Route {
            authority: Some("b.example"),
            path_and_query: Some("/b?c"),
            upstream: Some("beta"),
        };
        request.reroute(route).unwrap();
        Action::Continue
    });
    let host = host.host();
    let exchange = host.request(get("http://a.example/a"));
    assert_eq!(exchange.uri(), "http://b.example/b?c");
    assert_eq!(exchange.upstream(), Some("beta"));
    assert_eq!(exchange.request_headers()["host"], "b.example");
}

#[test]
fn a_path_that_could_be_read_in_two_ways_is_no_route() {
    let host = Scripted::none().pre_request(|request| {
        let mut to = |path| {
            request.reroute(Route {
                path_and_query: Some(path),
                ..Route::default()
            })
        };
        for path in [
            "/a/../b", "/.%2E/b", "/a%2fb", "/a%5cb", "/%00", "/%zz", "/%2",
        ] {
            assert!(matches!(to(path), Err(RerouteError::Invalid(_))), "{path}");
        }
        for path in ["/.a/b..", "/%25%c3%BC/?x=/../%2f", "/a//b"] {
            assert_eq!(to(path), Ok(()), "{path}");
        }
        Action::Continue
    });
    host.host().request(get("http://a.example/a"));
}

#[test]
fn a_request_is_not_routed_anew_once_it_is_routed() {
    let host = Scripted::none().request(|request| {
        assert_eq!(
            request.reroute(Route::default()),
            Err(RerouteError::TooLate)
        );
        Action::Continue
    });
    host.host().request(get("/"));
}

#[test]
fn a_route_that_is_none_changes_nothing() {
    let host = Scripted::none().pre_request(|request| {
        let route = Route {
            authority: Some("b.example"),
            path_and_query: Some("b"),
            upstream: None,
        };
        assert!(matches!(
            request.reroute(route),
            Err(RerouteError::Invalid(_))
        ));
        Action::Continue
    });
    assert_eq!(
        host.host().request(get("http://a.example/a")).uri(),
        "http://a.example/a"
    );
}

/// Puts another body in the place of each; of a response's, `true`: in gzip, and says so.
struct Replace(bool);

impl Plugin for Replace {
    type Config = bool;

    fn new(encodes: bool) -> Result<Self, Error> {
        Ok(Self(encodes))
    }

    fn interests(&self) -> Interests {
        let both = Interests::none().on_request().on_response();
        both.buffer_request_body(100).buffer_response_body(100)
    }

    fn on_request(&self, request: &mut Request) -> Action {
        request.set_body("another").unwrap();
        Action::Continue
    }

    fn on_response(&self, response: &mut Response) -> Action {
        if self.0 {
            response.set_header("content-encoding", "gzip").unwrap();
        }
        response.set_body("another").unwrap();
        Action::Continue
    }
}

#[test]
fn what_told_of_a_replaced_body_is_put_right_unless_the_hook_has_set_it() {
    for encodes in [false, true] {
        let host = Host::<Replace>::new(encodes.into()).unwrap();
        let request = http::Request::post("http://example.com/")
            .header("content-encoding", "gzip")
            .header("digest", "md5=AA==")
            .header("etag", "\"one\"")
            .header("accept-ranges", "bytes");
        let mut exchange = host.request(request.body("one").unwrap());
        let headers = exchange.request_headers();
        assert!(!headers.contains_key("content-encoding"));
        assert!(!headers.contains_key("digest"));
        // These are of responses.
        assert_eq!(headers["etag"], "\"one\"");
        assert_eq!(headers["accept-ranges"], "bytes");
        let response = http::Response::builder()
            .header("content-encoding", "gzip")
            .header("content-digest", "sha-256=:AA==:")
            .header("accept-ranges", "bytes")
            .header("etag", "\"one\"")
            .header("x-kept", "1");
        let response = exchange.response(response.body("one").unwrap());
        let headers = response.headers();
        assert_eq!(headers.contains_key("content-encoding"), encodes);
        assert!(!headers.contains_key("content-digest"));
        assert!(!headers.contains_key("accept-ranges"));
        assert_eq!(headers["etag"], "W/\"one\"");
        assert_eq!(headers["x-kept"], "1");
    }
}
