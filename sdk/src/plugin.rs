//! The trait a plugin implements, and what it says to the host by it.
//!
//! Both hosts come through here: the glue of the exported component (`guest`) and the fake host
//! of native tests (`testing`). Nothing in this module knows which of them is calling.

mod interests;

use std::fmt::Write as _;

use http::Response as Answer;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{Chunk, Request, Response};

pub use interests::Interests;

/// Why a plugin refuses its configuration. Anything that is an error, and any text, becomes one
/// by `?` or `.into()`.
pub type Error = Box<dyn std::error::Error>;

/// A plugin: made once an instance from its configuration, then called for each exchange.
///
/// Hooks take `&self`: an instance serves many exchanges, one hook at a time, and Weir runs as
/// many instances as it needs and drops them as it likes. What a later hook of the same exchange
/// must know goes through [`exchange::set`](crate::exchange::set), not through `self`: that lasts
/// for one exchange only where the operator says `isolation: request`.
///
/// A hook that panics fails: its span carries message, file and line, and the plugin's `on_error`
/// decides what becomes of the request.
///
/// ```
/// use weir_sdk::{Action, Error, Interests, Plugin, Response};
///
/// /// Names the server that answered.
/// struct Powered {
///     by: String,
/// }
///
/// impl Plugin for Powered {
///     type Config = String;
///
///     fn new(by: String) -> Result<Self, Error> {
///         Ok(Self { by })
///     }
///
///     fn interests(&self) -> Interests {
///         Interests::none().on_response()
///     }
///
///     fn on_response(&self, response: &mut Response) -> Action {
///         match response.set_header("x-powered-by", &self.by) {
///             Ok(()) => Action::Continue,
///             Err(error) => panic!("{error}"),
///         }
///     }
/// }
///
/// weir_sdk::export!(Powered);
/// ```
pub trait Plugin: Sized + 'static {
    /// The plugin's `config`, as its author wants it. Its JSON Schema is exported with the
    /// plugin, so derive [`JsonSchema`] with `Deserialize`, and deny unknown fields so that a
    /// misspelt key is an error.
    ///
    /// Where the operator gave no `config`, or an empty one, the type may be read from `null` or
    /// from `{}`, as it likes: a struct whose fields all have defaults needs no more, and `()` is
    /// the type of a plugin without configuration.
    ///
    /// ```
    /// use schemars::JsonSchema;
    /// use serde::Deserialize;
    ///
    /// #[derive(Deserialize, JsonSchema)]
    /// #[serde(deny_unknown_fields, default)]
    /// struct Config {
    ///     /// The header to look at.
    ///     header: String,
    /// }
    ///
    /// impl Default for Config {
    ///     fn default() -> Self {
    ///         Self { header: "user-agent".into() }
    ///     }
    /// }
    /// ```
    type Config: DeserializeOwned + JsonSchema;

    /// Makes an instance. An error refuses the configuration and is shown to the operator, so
    /// check here what the types cannot say, and prepare what hooks would otherwise do each time.
    ///
    /// ```
    /// # use weir_sdk::{Error, Interests, Plugin};
    /// # struct Limit { percent: u8 }
    /// # impl Plugin for Limit {
    /// # type Config = u8;
    /// fn new(percent: u8) -> Result<Self, Error> {
    ///     if percent > 100 {
    ///         return Err(format!("{percent} is more than 100 percent").into());
    ///     }
    ///     Ok(Self { percent })
    /// }
    /// # fn interests(&self) -> Interests { Interests::none() }
    /// # }
    /// ```
    fn new(config: Self::Config) -> Result<Self, Error>;

    /// The hooks to call. It has no default, so that none is forgotten: **a hook that is not
    /// named here is never called**, and costs nothing. What is wanted may hang on the
    /// configuration.
    ///
    /// ```
    /// # use weir_sdk::{Error, Interests, Plugin};
    /// # struct Observe;
    /// # impl Plugin for Observe {
    /// # type Config = ();
    /// # fn new((): ()) -> Result<Self, Error> { Ok(Self) }
    /// fn interests(&self) -> Interests {
    ///     Interests::none().on_request().on_response()
    /// }
    /// # }
    /// ```
    fn interests(&self) -> Interests;

    /// Before routing. Only a plugin in a listener's chain has this hook, and only here can
    /// [`Request::reroute`] change what the router is going to see.
    ///
    /// ```
    /// # use weir_sdk::{Action, Error, Interests, Plugin, Request, Route};
    /// # struct Beta;
    /// # impl Plugin for Beta {
    /// # type Config = ();
    /// # fn new((): ()) -> Result<Self, Error> { Ok(Self) }
    /// # fn interests(&self) -> Interests { Interests::none().on_pre_request() }
    /// fn on_pre_request(&self, request: &mut Request) -> Action {
    ///     if request.header("x-beta").is_some() {
    ///         let beta = Route { upstream: Some("beta"), ..Route::default() };
    ///         request.reroute(beta).expect("the upstream `beta` is configured");
    ///     }
    ///     Action::Continue
    /// }
    /// # }
    /// ```
    fn on_pre_request(&self, request: &mut Request) -> Action {
        let _ = request;
        Action::Continue
    }

    /// Routed, before the upstream is called.
    ///
    /// ```
    /// # use weir_sdk::{Action, Error, Interests, Plugin, Request, http};
    /// # struct Closed;
    /// # impl Plugin for Closed {
    /// # type Config = ();
    /// # fn new((): ()) -> Result<Self, Error> { Ok(Self) }
    /// # fn interests(&self) -> Interests { Interests::none().on_request() }
    /// fn on_request(&self, request: &mut Request) -> Action {
    ///     if request.method() == http::Method::GET {
    ///         return Action::Continue;
    ///     }
    ///     let mut answer = http::Response::new(b"read only\n".to_vec());
    ///     *answer.status_mut() = http::StatusCode::METHOD_NOT_ALLOWED;
    ///     Action::Respond(answer)
    /// }
    /// # }
    /// ```
    fn on_request(&self, request: &mut Request) -> Action {
        let _ = request;
        Action::Continue
    }

    /// The response's head has arrived, or an answer was made instead of it: by another plugin,
    /// or by Weir itself (502, 504). Called in the reverse order of the request hooks.
    ///
    /// ```
    /// # use weir_sdk::{Action, Error, Interests, Plugin, Response, span};
    /// # struct Watch;
    /// # impl Plugin for Watch {
    /// # type Config = ();
    /// # fn new((): ()) -> Result<Self, Error> { Ok(Self) }
    /// # fn interests(&self) -> Interests { Interests::none().on_response() }
    /// fn on_response(&self, response: &mut Response) -> Action {
    ///     span::set_attribute("failed", response.status().is_server_error());
    ///     Action::Continue
    /// }
    /// # }
    /// ```
    fn on_response(&self, response: &mut Response) -> Action {
        let _ = response;
        Action::Continue
    }

    /// A piece of the request's body has come, on its way to the upstream; for
    /// [`Interests::stream_request_body`]. Called after the request hook, which may
    /// [let the body by](Request::skip_body).
    ///
    /// All pieces of a body come, in order, to the instance that had its head, which until the last
    /// one serves no other exchange: what is kept in `self` meanwhile is of this body alone, if it is
    /// cleared with the last piece. Where a body breaks off, the instance is dropped.
    ///
    /// ```
    /// # use weir_sdk::{Chunk, Error, Flow, Interests, Plugin, http};
    /// # use std::cell::Cell;
    /// /// Lets through no more than a number of bytes.
    /// struct Limit {
    ///     most: usize,
    ///     seen: Cell<usize>,
    /// }
    ///
    /// # impl Plugin for Limit {
    /// # type Config = usize;
    /// # fn new(most: usize) -> Result<Self, Error> { Ok(Self { most, seen: Cell::new(0) }) }
    /// # fn interests(&self) -> Interests { Interests::none().stream_request_body() }
    /// fn on_request_body(&self, chunk: &mut Chunk) -> Flow {
    ///     let seen = self.seen.get() + chunk.data().len();
    ///     self.seen.set(if chunk.is_last() { 0 } else { seen });
    ///     if seen <= self.most {
    ///         return Flow::Pass;
    ///     }
    ///     let mut answer = http::Response::new(b"too much\n".to_vec());
    ///     *answer.status_mut() = http::StatusCode::PAYLOAD_TOO_LARGE;
    ///     Flow::Respond(answer)
    /// }
    /// # }
    /// ```
    fn on_request_body(&self, chunk: &mut Chunk) -> Flow {
        let _ = chunk;
        Flow::Pass
    }

    /// A piece of the response's body, on its way to the client; for
    /// [`Interests::stream_response_body`]. As [`Plugin::on_request_body`]; the plugins see it in the
    /// reverse order.
    ///
    /// ```
    /// # use weir_sdk::{Chunk, Error, Flow, Interests, Plugin};
    /// # struct Shout;
    /// # impl Plugin for Shout {
    /// # type Config = ();
    /// # fn new((): ()) -> Result<Self, Error> { Ok(Self) }
    /// # fn interests(&self) -> Interests { Interests::none().stream_response_body() }
    /// fn on_response_body(&self, chunk: &mut Chunk) -> Flow {
    ///     Flow::Replace(chunk.data().to_ascii_uppercase())
    /// }
    /// # }
    /// ```
    fn on_response_body(&self, chunk: &mut Chunk) -> Flow {
        let _ = chunk;
        Flow::Pass
    }

    /// The end of an answer that [`Action::RespondStreamed`] began, as an empty last piece.
    /// [`Flow::Replace`] sends a piece before it, and the end comes again once the client has taken that
    /// (after 100 ms where the piece is empty, for a plugin that waits for something to send).
    /// [`Flow::Pass`] lets the end go: the body is whole, with the trailers that were set.
    ///
    /// All calls come to the instance that began the answer, which until the end serves no other
    /// exchange: what is kept in `self` meanwhile is of this answer alone. Each has the limits of a hook;
    /// one that panics breaks the body off, which the client can tell.
    ///
    /// ```
    /// # use weir_sdk::{Action, Chunk, Error, Flow, Interests, Plugin, Request, http};
    /// # use std::cell::Cell;
    /// /// Counts down, an event at a time.
    /// struct Countdown {
    ///     left: Cell<u32>,
    /// }
    ///
    /// # impl Plugin for Countdown {
    /// # type Config = ();
    /// # fn new((): ()) -> Result<Self, Error> { Ok(Self { left: Cell::new(0) }) }
    /// # fn interests(&self) -> Interests { Interests::none().on_request() }
    /// fn on_request(&self, _: &mut Request) -> Action {
    ///     self.left.set(3);
    ///     let head = http::Response::builder().header("content-type", "text/event-stream");
    ///     Action::RespondStreamed(head.body(()).expect("a head"))
    /// }
    ///
    /// fn on_answer_body(&self, _: &mut Chunk) -> Flow {
    ///     match self.left.get() {
    ///         0 => Flow::Pass,
    ///         left => {
    ///             self.left.set(left - 1);
    ///             Flow::Replace(format!("data: {left}\n\n").into_bytes())
    ///         }
    ///     }
    /// }
    /// # }
    /// # let host = weir_sdk::testing::Host::<Countdown>::new(serde_json::json!(null)).unwrap();
    /// # let mut exchange = host.request(http::Request::get("/").body(()).unwrap());
    /// # assert_eq!(exchange.response(http::Response::new("")).body(), b"data: 3\n\ndata: 2\n\ndata: 1\n\n");
    /// ```
    fn on_answer_body(&self, chunk: &mut Chunk) -> Flow {
        let _ = chunk;
        Flow::Pass
    }
}

/// What becomes of a piece of a body.
///
/// ```
/// use weir_sdk::{Chunk, Flow};
///
/// fn only_text(chunk: &Chunk) -> Flow {
///     if chunk.data().contains(&0) { Flow::Abort } else { Flow::Pass }
/// }
/// ```
#[derive(Debug)]
#[must_use]
pub enum Flow {
    /// It goes on as it came.
    Pass,
    /// These bytes go on instead of it, behind what was [written](Chunk::write); nothing where there
    /// are none, as when more must be seen first.
    Replace(Vec<u8>),
    /// Of a request: send this instead, and the body no further. As [`Action::Respond`].
    Respond(Answer<Vec<u8>>),
    /// The same, with a body that [`Plugin::on_answer_body`] gives piece by piece. As
    /// [`Action::RespondStreamed`].
    RespondStreamed(Answer<()>),
    /// Break the body off: who receives it sees that it did not reach its end.
    Abort,
}

/// What a hook decided.
///
/// ```
/// use weir_sdk::{Action, http};
///
/// fn teapot() -> Action {
///     let mut answer = http::Response::new(b"short and stout\n".to_vec());
///     *answer.status_mut() = http::StatusCode::IM_A_TEAPOT;
///     Action::Respond(answer)
/// }
/// ```
#[derive(Debug)]
#[must_use]
pub enum Action {
    /// Go on with the next plugin.
    Continue,
    /// Send this instead: no later request hook and no upstream is called. From `on_response` it
    /// replaces the response.
    ///
    /// The status must be 200 to 599, and the proxy's own fields (`content-length` and the others
    /// of [`HeaderError::Forbidden`](crate::HeaderError::Forbidden)) cannot be given. An answer
    /// the host refuses fails the hook as a panic would.
    Respond(Answer<Vec<u8>>),
    /// As [`Action::Respond`], with a body that [`Plugin::on_answer_body`] gives piece by piece. It is
    /// not called where an answer has no body: to HEAD, and with status 204 and 304.
    RespondStreamed(Answer<()>),
}

/// The hooks there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// [`Plugin::on_pre_request`].
    PreRequest,
    /// [`Plugin::on_request`].
    Request,
    /// [`Plugin::on_response`].
    Response,
}

/// Makes a plugin of its `config` as JSON, or says to the operator why not.
pub(crate) fn configure<P: Plugin>(config: &str) -> Result<P, String> {
    let config = parse::<P::Config>(config).or_else(|error| match config {
        "null" => parse("{}"),
        "{}" => parse("null").or(Err(error)),
        _ => Err(error),
    })?;
    P::new(config).map_err(|error| {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        text
    })
}

/// The JSON Schema of a plugin's `config`.
pub(crate) fn config_schema<P: Plugin>() -> String {
    schemars::schema_for!(P::Config).as_value().to_string()
}

fn parse<C: DeserializeOwned>(json: &str) -> Result<C, String> {
    let json = &mut serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(json).map_err(|error| {
        let path = error.path().to_string();
        // Line and column would be those of the JSON the host made, not of the operator's file.
        let reason = error.into_inner().to_string();
        let reason = reason
            .rsplit_once(" at line ")
            .map_or(&*reason, |(reason, _)| reason);
        if path == "." {
            reason.into()
        } else {
            format!("{path}: {reason}")
        }
    })
}

#[cfg(test)]
mod tests;
