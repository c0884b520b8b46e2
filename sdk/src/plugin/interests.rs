//! What a plugin asks of the host, when it is made.

use super::Hook;

/// What a plugin wants of the host; see [`Plugin::interests`](crate::Plugin::interests).
///
/// ```
/// use weir_sdk::Interests;
///
/// // The request's head with its body, if that has no more than 1 MiB, and pieces of the response's.
/// let interests = Interests::none()
///     .on_request()
///     .buffer_request_body(1 << 20)
///     .stream_response_body();
/// # let _ = interests;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Interests {
    hooks: [bool; 3],
    request_head: bool,
    /// Of request and response: most bytes that the plugin wants to hold.
    bodies: [Option<u64>; 2],
    /// Which of them it wants to see piece by piece.
    streams: [bool; 2],
    decoded: bool,
}

impl Interests {
    /// No hook at all.
    pub const fn none() -> Self {
        Self {
            hooks: [false; 3],
            request_head: false,
            bodies: [None; 2],
            streams: [false; 2],
            decoded: false,
        }
    }

    /// Call [`Plugin::on_pre_request`](crate::Plugin::on_pre_request).
    pub const fn on_pre_request(self) -> Self {
        self.with(Hook::PreRequest)
    }

    /// Call [`Plugin::on_request`](crate::Plugin::on_request).
    pub const fn on_request(self) -> Self {
        self.with(Hook::Request)
    }

    /// Call [`Plugin::on_response`](crate::Plugin::on_response).
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

    /// Call [`Plugin::on_request_body`](crate::Plugin::on_request_body) for each piece of the request's
    /// body, which nothing holds back, and the request hook for its head.
    pub const fn stream_request_body(mut self) -> Self {
        self.streams[0] = true;
        self
    }

    /// Call [`Plugin::on_response_body`](crate::Plugin::on_response_body) for each piece of the response's
    /// body, and the response hook for its head.
    pub const fn stream_response_body(mut self) -> Self {
        self.streams[1] = true;
        self
    }

    /// Show bodies decoded, whole or piece by piece: those in `gzip`, `deflate` and `zstd`, with fields as
    /// if they had come in no coding. Bounds are of the decoded bytes.
    ///
    /// A body that is held goes on as it came, unless the hook replaces it; one that streams goes on
    /// decoded. What cannot be decoded comes as it is, and has a `content-encoding`: look for it.
    ///
    /// ```
    /// # use weir_sdk::{Action, Error, Interests, Plugin, Response, http::header, span};
    /// # struct Count;
    /// # impl Plugin for Count {
    /// # type Config = ();
    /// # fn new((): ()) -> Result<Self, Error> { Ok(Self) }
    /// fn interests(&self) -> Interests {
    ///     Interests::none().on_response().buffer_response_body(1 << 20).decoded()
    /// }
    ///
    /// fn on_response(&self, response: &mut Response) -> Action {
    ///     let is_encoded = response.header(header::CONTENT_ENCODING).is_some();
    ///     if let (false, Ok(body)) = (is_encoded, response.body()) {
    ///         let lines = body.split(|byte| *byte == b'\n').count();
    ///         span::set_attribute("lines", i64::try_from(lines).unwrap_or(i64::MAX));
    ///     }
    ///     Action::Continue
    /// }
    /// # }
    /// ```
    pub const fn decoded(mut self) -> Self {
        self.decoded = true;
        self
    }

    /// Whether the plugin sees the request's body piece by piece.
    pub const fn streams_request_body(self) -> bool {
        self.streams[0]
    }

    /// Whether the plugin sees the response's body piece by piece.
    pub const fn streams_response_body(self) -> bool {
        self.streams[1]
    }

    /// Most bytes of the request's body that the plugin wants to hold.
    pub const fn buffers_request_body(self) -> Option<u64> {
        self.bodies[0]
    }

    /// Most bytes of the response's body that the plugin wants to hold.
    pub const fn buffers_response_body(self) -> Option<u64> {
        self.bodies[1]
    }

    /// Whether the hook is to be called: also for the head of a body that streams.
    pub const fn contains(self, hook: Hook) -> bool {
        self.hooks[hook as usize]
            || match hook {
                Hook::PreRequest => false,
                Hook::Request => self.streams[0] && !self.hooks[Hook::PreRequest as usize],
                Hook::Response => self.streams[1],
            }
    }

    /// Whether the plugin sees bodies decoded.
    pub const fn sees_decoded(self) -> bool {
        self.decoded
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
