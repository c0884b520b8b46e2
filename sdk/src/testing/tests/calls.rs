//! What hooks may call besides.

use std::time::{Duration, SystemTime};

use serde_json::json;

use super::{Scripted, get};
use crate::log::Level;
use crate::testing::{Event, Host, Log};
use crate::{Action, Error, Hook, Interests, Plugin, clock, exchange, random, span};

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

#[test]
fn a_count_past_the_largest_integer_is_told_as_that() {
    assert_eq!(span::Value::from(7_usize), span::Value::Integer(7));
    assert_eq!(span::Value::from(u64::MAX), span::Value::Integer(i64::MAX));
}
