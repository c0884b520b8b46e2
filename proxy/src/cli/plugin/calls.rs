//! What upstreams reply to a plugin's own calls where there is no upstream: as its case says.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use http::Request;
use weir_sdk::http_client;
use weir_sdk::testing::cases::Case;

use crate::exchange::buffer::Room;
use crate::exchange::state::Answer;
use crate::plugin::callout::{Callout, Calls, Error, Made, Refused, Reply};

/// Replies of a case, or of none.
#[derive(Clone)]
pub(super) struct Canned {
    case: Option<Rc<Case>>,
    /// The calls so far, as cases have them; where they are wanted.
    made: Option<Rc<RefCell<Vec<String>>>>,
}

impl Canned {
    pub(super) fn new(case: Option<&Case>) -> Self {
        Self {
            case: case.cloned().map(Rc::new),
            made: Some(Rc::default()),
        }
    }

    /// For many exchanges, whose calls nobody asks for.
    pub(super) fn silent(case: &Case) -> Self {
        Self {
            case: Some(Rc::new(case.clone())),
            made: None,
        }
    }

    pub(super) fn made(self) -> Vec<String> {
        self.made.map(|made| made.take()).unwrap_or_default()
    }

    fn reply(
        &self,
        upstream: &str,
        request: &Request<Bytes>,
        most: usize,
    ) -> Result<Reply, Refused> {
        let refused = |error, reason, message: &str| Refused {
            error,
            reason,
            message: message.to_owned(),
        };
        let (method, target) = (request.method().as_str(), request.uri().to_string());
        let reply = self
            .case
            .as_ref()
            .and_then(|case| case.reply(upstream, method, &target));
        match reply {
            None => {
                let message = "what the upstream replied is not known here";
                Err(refused(Error::Connect, "connect", message))
            }
            Some(Err(error)) => {
                let (error, reason) = of_sdk(error);
                Err(refused(error, reason, "as the case says"))
            }
            Some(Ok(response)) if response.body().len() > most => {
                let message = format!("the reply's body has more than {most} bytes");
                Err(refused(Error::TooLarge, "body_too_large", &message))
            }
            Some(Ok(response)) => {
                let (head, body) = response.into_parts();
                Ok(Reply {
                    answer: Answer {
                        status: head.status,
                        headers: head.headers,
                        body: body.into(),
                    },
                    room: Room::default(),
                })
            }
        }
    }
}

impl Calls for Canned {
    fn call(&self, call: Callout) -> Pin<Box<dyn Future<Output = Made> + '_>> {
        if let Some(made) = &self.made {
            let (method, target) = (call.request.method(), call.request.uri());
            let line = format!("{method} {} {target}", call.upstream);
            made.borrow_mut().push(line);
        }
        let made = Made {
            result: self.reply(&call.upstream, &call.request, call.most),
            endpoint: None,
            resent: 0,
            end: Instant::now(),
        };
        Box::pin(std::future::ready(made))
    }

    fn lasting(&self) -> Rc<dyn Calls> {
        Rc::new(self.clone())
    }
}

fn of_sdk(error: http_client::Error) -> (Error, &'static str) {
    match error {
        http_client::Error::NotAllowed => (Error::NotAllowed, "not_allowed"),
        http_client::Error::TooMany => (Error::TooMany, "too_many"),
        http_client::Error::Invalid => (Error::Invalid, "invalid"),
        http_client::Error::Connect => (Error::Connect, "connect"),
        http_client::Error::Timeout => (Error::Timeout, "timeout"),
        http_client::Error::Broken => (Error::Broken, "broken"),
        http_client::Error::TooLarge => (Error::TooLarge, "too_large"),
        http_client::Error::Overload => (Error::Overload, "overload"),
    }
}
