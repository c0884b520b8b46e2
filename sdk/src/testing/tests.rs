mod answers;
mod calls;
mod heads;
mod streams;

use http::StatusCode;

use super::Host;
use crate::{Action, Error, Hook, Interests, Plugin, Request, Response};

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
