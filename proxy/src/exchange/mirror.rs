//! 6 — A copy of a request for another upstream, whose response nobody sees.
//!
//! It goes out once the request's own body has passed, in a task of its own: no request waits for its
//! copy, or fails with it. What is copied is bounded, and so is what is under way, by the other
//! upstream's own limits.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Method, Request, Uri};
use http_body_util::BodyExt as _;

use super::buffer::Room;
use super::call;
use super::patience::Patience;
use super::state::RequestHead;
use super::stream::Through;
use crate::app::generation::Mirror;
use crate::listener::proxy_protocol::Addresses;
use crate::upstream::balance::{Busy, Local, Tried};
use crate::upstream::body::{RequestBody, Upload};
use crate::upstream::{Caller, Reply, Upstream};
use crate::worker::{Current, Worker};

/// A request as it was so far.
pub struct Copy {
    worker: Rc<Worker>,
    upstream: Arc<Upstream>,
    local: Rc<Local>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: BytesMut,
    most: usize,
    room: Room,
    /// By which the other upstream's endpoint is chosen.
    key: u64,
    client: Option<Addresses>,
}

/// Copies a request that is about to go out, if it is drawn; `head` is what the client asked for, its
/// fields perhaps taken out.
pub(super) fn begin(
    worker: &Rc<Worker>,
    generation: &Current,
    mirror: &Mirror,
    head: &RequestHead,
    request: &mut Request<RequestBody>,
) {
    let config = &mirror.config;
    // What becomes a tunnel has no copy, nor has a body that is known to be too large.
    if fastrand::u32(..100) >= config.percent
        || request.headers().contains_key(UPGRADE)
        || request.body().least_bytes() > config.max_body_bytes as u64
    {
        return;
    }
    let copy = Copy {
        worker: Rc::clone(worker),
        upstream: Arc::clone(&mirror.upstream),
        local: generation.local(&mirror.upstream),
        method: request.method().clone(),
        uri: request.uri().clone(),
        headers: request.headers().clone(),
        body: BytesMut::new(),
        most: config.max_body_bytes,
        room: Room::default(),
        key: mirror.upstream.key(request.headers(), head.client),
        client: head.addresses(),
    };
    request.body_mut().mirror(copy);
}

impl Copy {
    /// Adds a piece of the body; false where there is too much of it, or of all that is held.
    pub fn add(&mut self, piece: &Bytes) -> bool {
        let len = self.body.len() + piece.len();
        let fits = len <= self.most && self.room.grow(len);
        if fits {
            self.body.extend_from_slice(piece);
        }
        fits
    }

    /// Sends it, now that it is whole.
    pub fn send(self) {
        tokio::task::spawn_local(self.deliver());
    }

    async fn deliver(self) {
        let (worker, upstream, local) = (&self.worker, &self.upstream, &self.local);
        let now = Instant::now();
        let upload = Upload::new(now);
        let body = Through::whole(self.body.freeze(), None);
        let body = RequestBody::new(body, upload.clone(), Patience::new(Duration::MAX));
        let mut request = Box::new(Request::new(body));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        // Its length is known now.
        request.headers_mut().remove(TRANSFER_ENCODING);
        let Some(index) = upstream.choose(local, self.key, &Tried::new(), now) else {
            return;
        };
        let _busy = (upstream.endpoints.len() > 1).then(|| Busy::new(local, index));
        let endpoint = &upstream.endpoints[index];
        if !request.headers().contains_key(HOST) {
            endpoint.name_in(request.headers_mut());
        }
        let (timeouts, pools) = (&upstream.config.timeouts, &worker.pools);
        let caller = Caller {
            pools,
            worker: worker.index,
            client: self.client,
        };
        let (called, now) = upstream
            .call(endpoint, request, &upload, timeouts, &caller, now)
            .await;
        call::learn(upstream, index, &called, now);
        let Ok(reply) = called else {
            return;
        };
        let Reply {
            response, lease, ..
        } = *reply;
        let mut body = response.into_body();
        let discarded = async {
            while let Some(piece) = body.frame().await {
                if piece.is_err() {
                    return false;
                }
            }
            true
        };
        // One that goes on for ever is cut.
        if let Ok(true) = tokio::time::timeout(timeouts.body, discarded).await {
            pools.give(lease, Instant::now());
        }
    }
}
