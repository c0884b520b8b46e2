//! What upstreams reply to a plugin's own calls in a test.

use std::fmt;
use std::rc::Rc;

use crate::http_client::Error;

pub(crate) type Reply =
    Rc<dyn Fn(&http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, Error>>;

/// Upstreams that the plugin may call; see [`http_client`](crate::http_client).
///
/// ```
/// use weir_sdk::http::{Response, StatusCode};
/// use weir_sdk::http_client::Error;
/// use weir_sdk::testing::Upstreams;
///
/// // To be given to `Host::calling`.
/// let upstreams = Upstreams::new()
///     .with("policy", |request| {
///         let mut reply = Response::new(Vec::new());
///         if request.uri().path() != "/may" {
///             *reply.status_mut() = StatusCode::NOT_FOUND;
///         }
///         Ok(reply)
///     })
///     .with("away", |_| Err(Error::Connect));
/// # let _ = upstreams;
/// ```
#[derive(Clone, Default)]
pub struct Upstreams(Rc<Vec<(String, Reply)>>);

impl Upstreams {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one that replies as `reply` says. Time does not pass meanwhile: what takes too long says
    /// [`Error::Timeout`].
    #[must_use]
    pub fn with(
        self,
        name: &str,
        reply: impl Fn(&http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, Error> + 'static,
    ) -> Self {
        let mut all = Rc::unwrap_or_clone(self.0);
        all.push((name.into(), Rc::new(reply)));
        Self(Rc::new(all))
    }

    pub(crate) fn find(&self, name: &str) -> Option<Reply> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, reply)| Rc::clone(reply))
    }
}

impl fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

/// A call that a plugin made.
#[derive(Clone, Debug)]
pub struct Called {
    /// The upstream's name.
    pub upstream: String,
    /// The request; its URI is path and query.
    pub request: http::Request<Vec<u8>>,
}
