use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use serde_json::json;

use super::{Event, Host, Log};
use crate::log::Level;
use crate::{
    Action, Error, HeaderError, Hook, Interests, Plugin, Request, RerouteError, RespondError,
    Response, Route, clock, exchange, random, span,
};

/// A plugin whose hooks are given by the test.
struct Scripted {
    interests: Interests,
    on_pre_request: fn(&mut Request) -> Action,
    on_request: fn(&mut Request) -> Action,
    on_response: fn(&mut Response) -> Action,
}

impl Plugin for Scripted {
    type Config = ();

    fn new((): ()) -> Result<Self, Error> {
        Ok(Self {
            interests: Interests::none(),
            on_pre_request: |_| Action::Continue,
            on_request: |_| Action::Continue,
            on_response: |_| Action::Continue,
        })
    }

    fn interests(&self) -> Interests {
        self.interests
    }

    fn on_pre_request(&self, request: &mut Request) -> Action {
        (self.on_pre_request)(request)
    }

    fn on_request(&self, request: &mut Request) -> Action {
        (self.on_request)(request)
    }

    fn on_response(&self, response: &mut Response) -> Action {
        (self.on_response)(response)
    }
}

impl Scripted {
    fn none() -> Self {
        Self::new(()).unwrap()
    }

    fn pre_request(self, hook: fn(&mut Request) -> Action) -> Self {
        Self {
            interests: self.interests.on_pre_request(),
            on_pre_request: hook,
            ..self
        }
    }

    fn request(self, hook: fn(&mut Request) -> Action) -> Self {
        Self {
            interests: self.interests.on_request(),
            on_request: hook,
            ..self
        }
    }

    fn response(self, hook: fn(&mut Response) -> Action) -> Self {
        Self {
            interests: self.interests.on_response(),
            on_response: hook,
            ..self
        }
    }

    fn with_request_head(self) -> Self {
        Self {
            interests: self.interests.request_head(),
            ..self
        }
    }

    fn host(self) -> Host<Self> {
        Host::with_plugin(self)
    }
}

fn get(uri: &str) -> http::Request<()> {
    http::Request::get(uri).body(()).unwrap()
}

fn answer(status: u16, body: &str) -> Action {
    Action::Respond(
        http::Response::builder()
            .status(status)
            .body(body.into())
            .unwrap(),
    )
}

#[test]
fn only_hooks_that_are_asked_for_are_called() {
    let host = Scripted::none().request(|_| Action::Continue).host();
    let mut exchange = host.request(get("/"));
    exchange.response(http::Response::new(""));
    assert!(exchange.called(Hook::Request));
    assert!(!exchange.called(Hook::PreRequest));
    assert!(!exchange.called(Hook::Response));
}

#[test]
#[should_panic(expected = "the hook Response was not called")]
fn the_span_of_a_hook_that_was_not_called_is_a_fault_of_the_test() {
    let host = Scripted::none().host();
    host.request(get("/")).span(Hook::Response);
}

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
        Action::Continue
    });
    host.host().request(get("/"));
}

#[test]
fn a_hook_that_answers_ends_the_requests_hooks() {
    let host = Scripted::none()
        .pre_request(|_| answer(403, "no"))
        .request(|_| unreachable!())
        .host();
    let exchange = host.request(get("/"));
    assert_eq!(exchange.answer().unwrap().status(), StatusCode::FORBIDDEN);
    assert!(!exchange.called(Hook::Request));
}

#[test]
fn an_answer_goes_through_the_response_hook_and_the_upstream_is_not_called() {
    let host = Scripted::none()
        .request(|_| answer(403, "no"))
        .response(|response| {
            assert_eq!(response.status(), StatusCode::FORBIDDEN);
            response.set_header("x-a", "b").unwrap();
            Action::Continue
        });
    let host = host.host();
    let response = host
        .request(get("/"))
        .response(http::Response::new("of the upstream"));
    assert_eq!(response.body(), b"no");
    assert_eq!(response.headers()["x-a"], "b");
}

#[test]
fn an_answer_on_response_replaces_the_response() {
    let host = Scripted::none().response(|_| answer(502, "hidden")).host();
    let response = host
        .request(get("/"))
        .response(http::Response::new("secret"));
    assert_eq!(
        (response.status().as_u16(), &response.body()[..]),
        (502, &b"hidden"[..])
    );
}

#[test]
#[should_panic(expected = "the host refuses the answer: not a status from 200 to 599")]
fn an_answer_that_is_no_final_response_fails_the_hook() {
    Scripted::none()
        .request(|_| answer(101, ""))
        .host()
        .request(get("/"));
}

#[test]
#[should_panic(expected = "the host refuses the answer: a header that belongs to the proxy")]
fn an_answer_with_a_header_of_the_proxys_fails_the_hook() {
    let hook = |_: &mut Request| {
        let answer = http::Response::builder()
            .header("content-length", "0")
            .body(Vec::new());
        Action::Respond(answer.unwrap())
    };
    Scripted::none().request(hook).host().request(get("/"));
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

#[test]
fn each_hook_has_its_own_span_and_the_upstreams_call_one() {
    let host = Scripted::none()
        .request(|_| {
            span::set_attribute("n", 1);
            span::set_attribute("weir.n", 1);
            span::set_error("half done");
            span::upstream::set_attribute("text", "a");
            Action::Continue
        })
        .response(|_| {
            span::set_attribute("n", 2);
            span::add_event("e", &[("ratio", 0.5.into()), ("kept", true.into())]);
            Action::Continue
        })
        .host();
    let mut exchange = host.request(get("/"));
    exchange.response(http::Response::new(""));

    let request = exchange.span(Hook::Request);
    assert_eq!(request.attribute("n"), Some(&1.into()));
    assert_eq!((request.attributes.len(), request.dropped), (1, 1));
    assert_eq!(request.error.as_deref(), Some("half done"));
    assert_eq!(
        exchange.upstream_span().attribute("text"),
        Some(&"a".into())
    );
    let response = exchange.span(Hook::Response);
    assert_eq!(response.attribute("n"), Some(&2.into()));
    let attributes = vec![("ratio".into(), 0.5.into()), ("kept".into(), true.into())];
    assert_eq!(
        response.events,
        [Event {
            name: "e".into(),
            attributes
        }]
    );
    assert_eq!(response.error, None);
}

#[test]
fn hooks_of_one_exchange_leave_values_for_each_other_and_for_no_other_exchange() {
    let host = Scripted::none()
        .request(|request| {
            assert_eq!(exchange::get("path"), None);
            exchange::set("path", &request.path());
            Action::Continue
        })
        .response(|response| {
            response
                .set_header("x-path", exchange::get("path").unwrap())
                .unwrap();
            Action::Continue
        })
        .host();
    let (mut one, mut two) = (host.request(get("/1")), host.request(get("/2")));
    assert_eq!(
        one.response(http::Response::new("")).headers()["x-path"],
        "/1"
    );
    assert_eq!(
        two.response(http::Response::new("")).headers()["x-path"],
        "/2"
    );
}

#[test]
fn the_requests_id_is_its_own_until_a_plugin_gives_another() {
    let host = Scripted::none().request(|_| {
        assert_eq!(exchange::request_id(), "mine");
        exchange::set_request_id("a\r\nb");
        assert_eq!(exchange::request_id(), "mine");
        exchange::set_request_id(&"\u{e9}".repeat(150));
        Action::Continue
    });
    let host = host.host();
    let exchange = host.request(
        http::Request::get("/")
            .header("x-request-id", "mine")
            .body(())
            .unwrap(),
    );
    assert_eq!(exchange.request_id(), "\u{e9}".repeat(100));
}

#[test]
fn lines_are_kept_with_their_level() {
    let host = Scripted::none().request(|request| {
        crate::warn!("no {}", request.path());
        crate::debug!("plain");
        Action::Continue
    });
    let host = host.host();
    let exchange = host.request(get("/here"));
    let line = |level, message: &str| Log {
        level,
        message: message.into(),
    };
    assert_eq!(
        exchange.logs(),
        [line(Level::Warn, "no /here"), line(Level::Debug, "plain")]
    );
}

#[test]
fn the_clock_stands_still_until_it_is_moved() {
    let mut host = Scripted::none()
        .request(|request| {
            let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045);
            let after = clock::now().duration_since(start).unwrap();
            request
                .set_header("x-after", after.as_secs().to_string())
                .unwrap();
            Action::Continue
        })
        .host();
    assert_eq!(host.request(get("/")).request_headers()["x-after"], "0");
    host.advance(Duration::from_secs(90));
    assert_eq!(host.request(get("/")).request_headers()["x-after"], "90");
}

#[test]
fn random_numbers_differ_within_and_between_exchanges() {
    let host = Scripted::none().request(|request| {
        assert_ne!(random::next(), random::next());
        assert_eq!(random::bytes(13).len(), 13);
        request
            .set_header("x-random", random::next().to_string())
            .unwrap();
        Action::Continue
    });
    let host = host.host();
    let random = || host.request(get("/")).request_headers()["x-random"].clone();
    assert_ne!(random(), random());
}

#[test]
#[should_panic(expected = "only hooks have an exchange")]
fn there_is_no_span_while_a_plugin_is_made() {
    struct Early;

    impl Plugin for Early {
        type Config = ();

        fn new((): ()) -> Result<Self, Error> {
            span::set_attribute("early", true);
            Ok(Self)
        }

        fn interests(&self) -> Interests {
            Interests::none()
        }
    }

    let _ = Host::<Early>::new(json!(null));
}
