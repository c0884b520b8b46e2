//! Answers that a plugin gives piece by piece.

use std::cell::Cell;

use serde_json::json;

use super::Host;
use crate::{Action, Chunk, Error, Flow, Hook, Interests, Plugin, Request, Response};
use crate::{exchange, http_client, kv, span};

/// Counts down from the number in the path, in the hook that the query names.
struct Countdown {
    left: Cell<u32>,
}

impl Countdown {
    fn begin(&self, from: &str) -> Action {
        exchange::set("from", from);
        self.left.set(from.parse().unwrap_or_default());
        let head = http::Response::builder().status(203).body(());
        Action::RespondStreamed(head.expect("a head"))
    }
}

impl Plugin for Countdown {
    type Config = ();

    fn new((): ()) -> Result<Self, Error> {
        Ok(Self { left: Cell::new(0) })
    }

    fn interests(&self) -> Interests {
        Interests::none()
            .on_request()
            .on_response()
            .buffer_response_body(1000)
    }

    fn on_request(&self, request: &mut Request) -> Action {
        match request.path().strip_prefix("/count/") {
            Some(from) => self.begin(from),
            None => Action::Continue,
        }
    }

    fn on_response(&self, response: &mut Response) -> Action {
        let held = response.body().map_or(0, |body| body.len());
        span::set_attribute("held", i64::try_from(held).unwrap_or_default());
        match response.request_path().strip_prefix("/instead/") {
            Some(from) => self.begin(from),
            None => Action::Continue,
        }
    }

    fn on_answer_body(&self, chunk: &mut Chunk) -> Flow {
        assert!(chunk.is_last() && chunk.data().is_empty());
        span::set_attribute("from", exchange::get("from").expect("what the hook left"));
        let asked = kv::add("asked", 1, std::time::Duration::ZERO).expect("a number");
        let call = http::Request::get("/").body("").expect("a request");
        let refused = http_client::send("none", &call);
        assert_eq!(refused.err(), Some(http_client::Error::NotAllowed));
        match self.left.get() {
            0 => {
                let set = chunk.set_trailer("x-asked", asked.to_string());
                set.expect("a trailer of its own");
                Flow::Pass
            }
            13 => Flow::Abort,
            left => {
                self.left.set(left - 1);
                chunk.write(left.to_string()).expect("room");
                Flow::Replace(b";".to_vec())
            }
        }
    }
}

fn host() -> Host<Countdown> {
    Host::new(json!(null)).expect("no configuration")
}

fn get(path: &str) -> http::Request<()> {
    http::Request::get(path).body(()).expect("a request")
}

#[test]
fn an_answer_comes_as_far_as_it_is_asked_for() {
    let host = host();
    let mut exchange = host.request(get("/count/3"));
    let answer = exchange.answer().expect("an answer");
    assert_eq!(answer.status(), 203);
    assert!(answer.body().is_empty(), "nobody has asked for it");
    let sent = exchange.stream_answer(2);
    assert_eq!(sent.pieces, [&b"3"[..], b";", b"2", b";"]);
    assert!(!sent.ended && !sent.aborted);
    let sent = exchange.stream_answer(10);
    assert_eq!(sent.bytes(), b"1;");
    assert!(sent.ended);
    assert_eq!(sent.trailers["x-asked"], "4");
    let span = exchange.span(Hook::Request);
    assert_eq!(span.attribute("from"), Some(&"3".into()));
}

#[test]
fn the_whole_answer_goes_through_the_response_hook() {
    let host = host();
    let mut exchange = host.request(get("/count/3"));
    let response = exchange.response(http::Response::new("never asked for"));
    assert_eq!(response.body(), b"3;2;1;");
    let span = exchange.span(Hook::Response);
    assert_eq!(span.attribute("held"), Some(&6_i64.into()));
}

#[test]
fn it_may_stand_instead_of_a_response() {
    let host = host();
    let mut exchange = host.request(get("/instead/2"));
    let response = exchange.response(http::Response::new("hello"));
    assert_eq!(response.status(), 203);
    assert_eq!(response.body(), b"2;1;");
    let span = exchange.span(Hook::Response);
    assert_eq!(span.attribute("from"), Some(&"2".into()));
}

#[test]
fn it_may_be_broken_off() {
    let host = host();
    let mut exchange = host.request(get("/count/14"));
    let sent = exchange.stream_answer(10);
    assert_eq!(sent.bytes(), b"14;");
    assert!(sent.aborted && !sent.ended);
}

#[test]
fn to_head_it_has_no_body() {
    let host = host();
    let request = http::Request::head("/count/3").body(());
    let mut exchange = host.request(request.expect("a request"));
    let response = exchange.response(http::Response::new(""));
    assert_eq!(response.status(), 203);
    assert!(response.body().is_empty());
    let span = exchange.span(Hook::Request);
    assert_eq!(span.attribute("from"), None, "it is not asked for a piece");
}
