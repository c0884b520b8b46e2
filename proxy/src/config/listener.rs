//! An address at which requests come in, and its bounds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{ListenerBalance, PluginUse, Underscores};
use crate::tls;

#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    pub address: SocketAddr,
    /// Plugins that run on every request of this listener; only these may have pre-request hooks.
    pub plugins: Vec<PluginUse>,
    /// `None`: unencrypted.
    pub tls: Option<Arc<tls::Server>>,
    pub http2: Http2,
    pub timeouts: ListenerTimeouts,
    /// Most bytes a request head may have (431 past it).
    pub max_head_bytes: usize,
    /// Most bytes a request's body may have, where its route does not say it (413 past it).
    pub max_body_bytes: Option<u64>,
    /// Fewest bytes of it in a second of waiting, where its route does not say it (408 below it); 0 is any.
    pub min_body_rate: u64,
    pub underscores: Underscores,
    pub max_connections: Option<u64>,
    pub balance: ListenerBalance,
    /// Most requests on one connection.
    pub max_requests_per_connection: Option<u64>,
    /// Whether connections begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
}

/// HTTP/2 of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// Whether it is served to clients that begin with it.
    pub enabled: bool,
    /// Most requests under way on one connection.
    pub max_streams: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ListenerTimeouts {
    /// From the accept until the TLS handshake is complete.
    pub handshake: Duration,
    /// From the first byte of a request (or the accept) until its head is complete; also how long
    /// an idle connection is kept.
    pub head: Duration,
    /// Longest wait for the next piece of a request's body.
    pub body: Duration,
    /// Longest wait for a client to take the next piece of a response.
    pub send: Duration,
}
