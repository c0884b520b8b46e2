//! Bodies that go through a plugin piece by piece.

use std::cell::RefCell;

use serde_json::json;

use super::Host;
use crate::{Action, Chunk, Error, Flow, HeaderError, Hook, Interests, Plugin, Request, Response};
use crate::{exchange, span};

/// Holds the first half of a line back until the other half has come.
struct Lines(RefCell<Vec<u8>>);

impl Plugin for Lines {
    type Config = ();

    fn new((): ()) -> Result<Self, Error> {
        Ok(Self(RefCell::default()))
    }

    fn interests(&self) -> Interests {
        Interests::none()
            .stream_request_body()
            .stream_response_body()
    }

    fn on_request(&self, request: &mut Request) -> Action {
        if request.header("x-skip").is_some() {
            request.skip_body();
        }
        Action::Continue
    }

    fn on_response(&self, response: &mut Response) -> Action {
        if response.header("x-skip").is_some() {
            response.skip_body();
        }
        Action::Continue
    }

    fn on_request_body(&self, chunk: &mut Chunk) -> Flow {
        exchange::set("last", &chunk.len().to_string());
        match &chunk.data()[..] {
            b"answer" => Flow::Respond(http::Response::new(b"answered".to_vec())),
            b"abort" => Flow::Abort,
            b"stream" => {
                *self.0.borrow_mut() = b"told".to_vec();
                Flow::RespondStreamed(http::Response::new(()))
            }
            _ => Flow::Pass,
        }
    }

    fn on_answer_body(&self, _: &mut Chunk) -> Flow {
        let told = self.0.take();
        if told.is_empty() {
            return Flow::Pass;
        }
        Flow::Replace(told)
    }

    fn on_response_body(&self, chunk: &mut Chunk) -> Flow {
        if !chunk.is_last() {
            let refused = chunk.set_trailer("x-lines", "0");
            assert_eq!(refused, Err(HeaderError::Immutable));
        }
        let mut held = self.0.borrow_mut();
        held.extend(chunk.data());
        if chunk.is_last() {
            span::set_attribute("held", i64::try_from(held.len()).unwrap_or_default());
            chunk.set_trailer("x-lines", "1").expect("its own trailer");
            return Flow::Replace(std::mem::take(&mut *held));
        }
        let Some(end) = held.iter().rposition(|byte| *byte == b'\n') else {
            return Flow::Replace(Vec::new());
        };
        let rest = held.split_off(end + 1);
        chunk
            .write(std::mem::replace(&mut *held, rest))
            .expect("room");
        Flow::Replace(Vec::new())
    }
}

fn host() -> Host<Lines> {
    Host::new(json!(null)).expect("no configuration")
}

fn request() -> http::Request<()> {
    http::Request::get("http://example.com/")
        .body(())
        .expect("a request")
}

#[test]
fn pieces_go_through_in_order() {
    let host = host();
    let mut exchange = host.request(request());
    assert!(
        exchange.called(Hook::Request),
        "the head's hook is called too"
    );
    exchange.response(http::Response::new(""));
    let sent = exchange.stream_response(["one\ntw", "o\n", "three"]);
    assert_eq!(sent.pieces, [&b"one\n"[..], b"two\n", b"three"]);
    assert_eq!(sent.trailers["x-lines"], "1");
    assert_eq!(
        exchange.span(Hook::Response).attribute("held"),
        Some(&5_i64.into())
    );
}

#[test]
fn a_body_of_the_request_goes_through_in_one_piece() {
    let host = host();
    let send = |body: &str| host.request(request().map(|()| body.to_owned()));
    assert_eq!(send("question").request_body(), b"question");
    let exchange = send("answer");
    assert_eq!(exchange.answer().expect("an answer").body(), b"answered");
    let mut exchange = host.request(request());
    assert!(exchange.stream_request(["a", "abort", "b"]).aborted);
}

#[test]
fn a_piece_may_be_answered_piece_by_piece() {
    let host = host();
    let mut exchange = host.request(request().map(|()| "stream".to_owned()));
    assert!(exchange.answer().expect("an answer").body().is_empty());
    let response = exchange.response(http::Response::new("of the upstream"));
    assert_eq!(response.body(), b"told");
    let mut exchange = host.request(request());
    let sent = exchange.stream_request(["a", "stream", "b"]);
    assert_eq!(sent.pieces, [b"a"]);
    assert!(sent.answer.is_some());
    let told = exchange.stream_answer(2);
    assert_eq!(told.pieces, [b"told"]);
    assert!(told.ended);
}

#[test]
fn a_body_may_be_let_by() {
    let host = host();
    let mut exchange = host.request(request());
    let response = http::Response::builder()
        .header("x-skip", "yes")
        .body("a\nb");
    let response = exchange.response(response.expect("a response"));
    assert_eq!(response.body(), b"a\nb");
    let request = http::Request::post("/")
        .header("x-skip", "yes")
        .body("answer");
    let exchange = host.request(request.expect("a request"));
    assert!(exchange.answer().is_none());
    assert_eq!(exchange.request_body(), b"answer");
}
