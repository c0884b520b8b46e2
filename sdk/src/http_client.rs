//! Calls of the plugin's own to upstreams, as for a key set, a session, or a decision.
//!
//! Only those upstreams are called that the operator lists under `upstreams` of the plugin; Weir's
//! connections, timeouts and TLS to them are used. A call looks blocking, and holds nobody else up. It
//! lasts within the hook's `wall_time`, has a span of its own under the hook's, and carries that span's
//! `traceparent`. A hook may make `limits.calls` of them. Redirects are not followed, and no encoding is
//! undone.
//!
//! ```
//! use serde_json::json;
//! use weir_sdk::testing::{Host, Upstreams};
//! use weir_sdk::{Action, Error, Interests, Plugin, Request, http, http_client};
//!
//! /// Asks an upstream whether a request may pass.
//! struct Ask;
//!
//! impl Plugin for Ask {
//!     type Config = ();
//!
//!     fn new((): ()) -> Result<Self, Error> {
//!         if !http_client::may_call("policy") {
//!             return Err("list `policy` in `upstreams` of this plugin".into());
//!         }
//!         Ok(Self)
//!     }
//!
//!     fn interests(&self) -> Interests {
//!         Interests::none().on_request()
//!     }
//!
//!     fn on_request(&self, request: &mut Request) -> Action {
//!         let ask = http::Request::post("/may").body(request.path()).expect("a request");
//!         match http_client::send("policy", &ask) {
//!             Ok(reply) if reply.status() == 204 => Action::Continue,
//!             Ok(_) => answer(403),
//!             Err(error) => {
//!                 weir_sdk::warn!("no decision: {error}");
//!                 answer(503)
//!             }
//!         }
//!     }
//! }
//!
//! fn answer(status: u16) -> Action {
//!     Action::Respond(http::Response::builder().status(status).body(Vec::new()).expect("an answer"))
//! }
//!
//! // Native tests say what upstreams reply.
//! let policy = Upstreams::new().with("policy", |request| {
//!     let status = if request.body() == b"/open" { 204 } else { 401 };
//!     Ok(http::Response::builder().status(status).body(Vec::new()).unwrap())
//! });
//! let host = Host::<Ask>::calling(policy, json!(null)).unwrap();
//! let get = |path: &str| http::Request::get(path).body(()).unwrap();
//! assert!(host.request(get("/open")).answer().is_none());
//! assert_eq!(host.request(get("/shut")).answer().unwrap().status(), 403);
//! ```

use std::time::Duration;

use crate::backend;

/// Why there is no reply. A status of 400 and above is a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The operator does not let the plugin call this upstream, or there is none of this name.
    #[error("the plugin may not call this upstream: is it listed in its `upstreams`?")]
    NotAllowed,
    /// The hook has made `limits.calls` calls.
    #[error("the hook has made as many calls as it may")]
    TooMany,
    /// Not a method, a path with query, or a field that a request may have.
    #[error("not a request that can be sent")]
    Invalid,
    /// No connection could be made, or no TLS with it.
    #[error("no connection to the upstream")]
    Connect,
    /// No reply in time.
    #[error("no reply in time")]
    Timeout,
    /// The connection broke, or what came is not HTTP.
    #[error("the upstream's reply broke off or was malformed")]
    Broken,
    /// Request or reply has more bytes than `limits.body`.
    #[error("a body larger than the plugin may hold")]
    TooLarge,
    /// Too many requests are under way to the upstream.
    #[error("too many requests to the upstream are under way")]
    Overload,
}

/// Sends a request and waits for the whole reply, within the upstream's timeouts.
///
/// Of the URI, path and query are sent; an authority in it, or a `host` among the fields, names another
/// host than the endpoint's.
///
/// # Panics
///
/// In [`Plugin::new`](crate::Plugin::new), which belongs to no exchange.
pub fn send<B: AsRef<[u8]>>(
    upstream: &str,
    request: &http::Request<B>,
) -> Result<http::Response<Vec<u8>>, Error> {
    deliver(upstream, request, 0)
}

/// As [`send`], and the whole must not take longer.
///
/// # Panics
///
/// As [`send`].
pub fn send_within<B: AsRef<[u8]>>(
    upstream: &str,
    request: &http::Request<B>,
    timeout: Duration,
) -> Result<http::Response<Vec<u8>>, Error> {
    let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    deliver(upstream, request, millis.max(1))
}

/// Whether the operator lets the plugin call this upstream. Of use in
/// [`Plugin::new`](crate::Plugin::new), to refuse a configuration with which it could not work.
pub fn may_call(upstream: &str) -> bool {
    backend::may_call(upstream)
}

fn deliver<B: AsRef<[u8]>>(
    upstream: &str,
    request: &http::Request<B>,
    timeout_ms: u32,
) -> Result<http::Response<Vec<u8>>, Error> {
    let uri = request.uri();
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let mut headers: Vec<(&str, &[u8])> = Vec::with_capacity(request.headers().len() + 1);
    if let Some(authority) = uri.authority()
        && !request.headers().contains_key(http::header::HOST)
    {
        headers.push(("host", authority.as_str().as_bytes()));
    }
    let fields = request.headers().iter();
    headers.extend(fields.map(|(name, value)| (name.as_str(), value.as_bytes())));
    let call = Call {
        upstream,
        method: request.method().as_str(),
        target,
        headers: &headers,
        body: request.body().as_ref(),
        timeout_ms,
    };
    backend::send(&call)
}

/// A call as the host takes it.
pub(crate) struct Call<'a> {
    pub(crate) upstream: &'a str,
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a [u8])],
    pub(crate) body: &'a [u8],
    #[cfg_attr(
        not(target_arch = "wasm32"),
        expect(dead_code, reason = "no clock runs there")
    )]
    pub(crate) timeout_ms: u32,
}
