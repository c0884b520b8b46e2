//! A fixture: holds bodies whole, says on its span how long they are, and wraps them in `<` and `>`.
//!
//! ```yaml
//! config:             # each key may be left out
//!   request: 1000     # most bytes of the request's body; without it, that is not asked for
//!   response: 1000    # the same of the response's
//!   grow: 0           # bytes to add behind
//!   trap: false       # fail after the change
//!   decoded: false    # see bodies decoded
//!   encoding: gzip    # say that the new body is in this; without it, say nothing
//!   route: false      # before routing, go to the upstream that the body names
//!   to: { authority: inner.test, path: /inner }   # before routing, go there; each may be left out
//! ```

use schemars::JsonSchema;
use serde::Deserialize;
use weir_sdk::{Action, BodyError, Error, Interests, Plugin, Request, Response, Route, span};

/// What to do.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Wrap {
    request: Option<u64>,
    response: Option<u64>,
    grow: usize,
    trap: bool,
    decoded: bool,
    encoding: Option<String>,
    route: bool,
    to: Option<To>,
}

/// What the router is to see instead.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct To {
    authority: Option<String>,
    path: Option<String>,
}

impl Plugin for Wrap {
    type Config = Self;

    fn new(config: Self) -> Result<Self, Error> {
        Ok(config)
    }

    fn interests(&self) -> Interests {
        let mut interests = if self.route || self.to.is_some() {
            Interests::none().on_pre_request()
        } else {
            Interests::none().on_request().on_response()
        };
        if self.decoded {
            interests = interests.decoded();
        }
        if let Some(most) = self.request {
            interests = interests.buffer_request_body(most);
        }
        if let Some(most) = self.response {
            interests = interests.buffer_response_body(most);
        }
        interests
    }

    fn on_pre_request(&self, request: &mut Request) -> Action {
        if let Some(to) = &self.to {
            let route = Route {
                authority: to.authority.as_deref(),
                path_and_query: to.path.as_deref(),
                upstream: None,
            };
            request.reroute(route).expect("where a request may go");
            return Action::Continue;
        }
        let body = request.body().expect("it fits");
        let upstream = String::from_utf8(body).expect("a name");
        let route = Route {
            upstream: Some(&upstream),
            ..Route::default()
        };
        request.reroute(route).expect("any upstream");
        Action::Continue
    }

    fn on_request(&self, request: &mut Request) -> Action {
        let changed = self.wrapped(request.body());
        note_encoding(request.header("content-encoding"));
        if let Some(body) = changed {
            if let Some(encoding) = &self.encoding {
                let _ = request.set_header("content-encoding", encoding);
            }
            self.note(request.set_body(body));
            let _ = request.set_header("x-wrapped", "request");
        }
        assert!(!self.trap, "told to");
        Action::Continue
    }

    fn on_response(&self, response: &mut Response) -> Action {
        let changed = self.wrapped(response.body());
        note_encoding(response.header("content-encoding"));
        if let Some(body) = changed {
            if let Some(encoding) = &self.encoding {
                let _ = response.set_header("content-encoding", encoding);
            }
            self.note(response.set_body(body));
            let _ = response.set_header("x-wrapped", "response");
        }
        assert!(!self.trap, "told to");
        Action::Continue
    }
}

fn note_encoding(encoding: Option<String>) {
    if let Some(encoding) = encoding {
        span::set_attribute("wrap.encoding", encoding);
    }
}

impl Wrap {
    fn wrapped(&self, body: Result<Vec<u8>, BodyError>) -> Option<Vec<u8>> {
        match body {
            Ok(body) => {
                span::set_attribute("wrap.length", i64::try_from(body.len()).expect("a length"));
                let more = vec![b'+'; self.grow];
                Some([b"<", body.as_slice(), b">", &more].concat())
            }
            Err(error) => {
                span::set_attribute("wrap.error", format!("{error:?}"));
                None
            }
        }
    }

    #[allow(clippy::unused_self, reason = "reads as a step of the hook's")]
    fn note(&self, set: Result<(), BodyError>) {
        span::set_attribute("wrap.set", format!("{set:?}"));
    }
}

weir_sdk::export!(Wrap);
