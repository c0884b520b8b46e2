//! The trait a plugin implements, and what it says to the host by it.
//!
//! Both hosts come through here: the glue of the exported component (`guest`) and the fake host
//! of native tests (`testing`). Nothing in this module knows which of them is calling.

use std::fmt::Write as _;

use http::Response as Answer;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{Request, Response};

/// Why a plugin refuses its configuration. Anything that is an error, and any text, becomes one
/// by `?` or `.into()`.
pub type Error = Box<dyn std::error::Error>;

/// A plugin: made once an instance from its configuration, then called for each exchange.
///
/// Hooks take `&self`: an instance serves many exchanges, one hook at a time, and Weir runs as
/// many instances as it needs and drops them as it likes. What a later hook of the same exchange
/// must know goes through [`exchange::set`](crate::exchange::set), not through `self`.
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
}

/// What a hook decided.
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

/// What a plugin wants of the host; see [`Plugin::interests`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Interests {
    hooks: [bool; 3],
    request_head: bool,
    /// Of request and response: most bytes that the plugin wants to hold.
    bodies: [Option<u64>; 2],
}

impl Interests {
    /// No hook at all.
    pub const fn none() -> Self {
        Self {
            hooks: [false; 3],
            request_head: false,
            bodies: [None; 2],
        }
    }

    /// Call [`Plugin::on_pre_request`].
    pub const fn on_pre_request(self) -> Self {
        self.with(Hook::PreRequest)
    }

    /// Call [`Plugin::on_request`].
    pub const fn on_request(self) -> Self {
        self.with(Hook::Request)
    }

    /// Call [`Plugin::on_response`].
    pub const fn on_response(self) -> Self {
        self.with(Hook::Response)
    }

    /// Keep the request's fields until `on_response`, for
    /// [`Response::request_header`](crate::Response::request_header).
    pub const fn request_head(mut self) -> Self {
        self.request_head = true;
        self
    }

    /// Hold the request back until its whole body is there, if that has at most so many bytes, for
    /// [`Request::body`](crate::Request::body) and
    /// [`Request::set_body`](crate::Request::set_body) in the request hooks.
    ///
    /// A larger body is refused with 413, or passes by unseen, as the operator chose by
    /// `on_large_body`; so it is one larger than `limits.body`.
    ///
    /// ```
    /// # use weir_sdk::{Action, Error, Interests, Plugin, Request};
    /// # struct Shout;
    /// # impl Plugin for Shout {
    /// # type Config = ();
    /// # fn new((): ()) -> Result<Self, Error> { Ok(Self) }
    /// fn interests(&self) -> Interests {
    ///     Interests::none().on_request().buffer_request_body(1 << 20)
    /// }
    ///
    /// fn on_request(&self, request: &mut Request) -> Action {
    ///     if let Ok(mut body) = request.body() {
    ///         body.make_ascii_uppercase();
    ///         request.set_body(body).expect("as long as before");
    ///     }
    ///     Action::Continue
    /// }
    /// # }
    /// ```
    pub const fn buffer_request_body(mut self, most: u64) -> Self {
        self.bodies[0] = Some(most);
        self
    }

    /// As [`Interests::buffer_request_body`], of the response; one that is too large is replaced by a
    /// 502, or passes by.
    pub const fn buffer_response_body(mut self, most: u64) -> Self {
        self.bodies[1] = Some(most);
        self
    }

    /// Most bytes of the request's body that the plugin wants to hold.
    pub const fn buffers_request_body(self) -> Option<u64> {
        self.bodies[0]
    }

    /// Most bytes of the response's body that the plugin wants to hold.
    pub const fn buffers_response_body(self) -> Option<u64> {
        self.bodies[1]
    }

    /// Whether the hook is to be called.
    pub const fn contains(self, hook: Hook) -> bool {
        self.hooks[hook as usize]
    }

    /// Whether the request's fields are to be kept.
    pub const fn wants_request_head(self) -> bool {
        self.request_head
    }

    const fn with(mut self, hook: Hook) -> Self {
        self.hooks[hook as usize] = true;
        self
    }
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
