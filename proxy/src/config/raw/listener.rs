//! `listeners`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{chain, clients, tls};
use crate::config::units::{ByteRate, ByteSize, Duration};

/// An address at which requests come in.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["address"]))]
pub(in crate::config) struct Listener {
    /// IP address and port, such as `0.0.0.0:8080`.
    pub(in crate::config) address: String,
    /// Plugins that run on every request of this listener that a route takes; only these may have
    /// pre-request hooks. A name, or `name: {…}` with keys that here take the place of those of its
    /// `config`. Default: none.
    #[schemars(extend("uniqueItems" = true))]
    pub(in crate::config) plugins: Vec<chain::PluginUse>,
    /// TLS with these certificates. Default: none, so unencrypted.
    pub(in crate::config) tls: Option<tls::Tls>,
    /// HTTP/2 by the side of HTTP/1.1.
    pub(in crate::config) http2: tls::Http2,
    /// How long clients are waited for.
    pub(in crate::config) timeouts: ListenerTimeouts,
    /// Most bytes a request head may have (431 past it); at least 8KiB. Default: 64KiB.
    pub(in crate::config) max_head_bytes: ByteSize,
    /// Most bytes a request's body may have (413 past it), where its route does not say it. Default:
    /// no limit.
    pub(in crate::config) max_body_bytes: Option<ByteSize>,
    /// Fewest bytes a second of a request's body while Weir waits for it, once it has waited for
    /// `timeouts.body` (408 below it), where its route does not say it; up to 1GiB, and `0B` is any. gRPC
    /// may be slower. Default: 240B.
    pub(in crate::config) min_body_rate: ByteRate,
    /// What becomes of requests' fields with `_` in their names, which some upstreams read as `-`:
    /// `drop` takes them out, `refuse` answers 400, `pass` leaves them. Default: drop.
    pub(in crate::config) underscores: clients::Underscores,
    /// Most connections at once, over all workers, each of which takes its share; what is more is
    /// closed. Default: no limit.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(in crate::config) max_connections: Option<u64>,
    /// How connections are shared out over workers: `kernel` leaves it to the kernel, which goes by a
    /// hash of addresses and costs nothing; `exact` gives each to the worker with the fewest, which is
    /// for few connections that last. Default: kernel.
    pub(in crate::config) balance: clients::ListenerBalance,
    /// Most requests on one connection, which ends after the last. Default: no limit.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub(in crate::config) max_requests_per_connection: Option<u64>,
    /// Whether each connection begins with a header of the PROXY protocol, version 1 or 2, which is
    /// believed of `trusted_proxies` only; without one, connections are closed. Default: false.
    pub(in crate::config) proxy_protocol: bool,
}

/// How long clients are waited for.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct ListenerTimeouts {
    /// From the accept until the TLS handshake is complete. Default: 10s.
    pub(in crate::config) handshake: Duration,
    /// From a request's first byte until its head is complete; also how long an idle connection is
    /// kept. Default: 30s.
    pub(in crate::config) head: Duration,
    /// Longest wait for the next piece of a request's body. Default: 30s.
    pub(in crate::config) body: Duration,
    /// Longest wait for a client to take the next piece of a response. Default: 30s.
    pub(in crate::config) send: Duration,
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            address: String::new(),
            plugins: Vec::new(),
            tls: None,
            http2: tls::Http2::default(),
            timeouts: ListenerTimeouts::default(),
            max_head_bytes: ByteSize::kib(64),
            max_body_bytes: None,
            min_body_rate: ByteRate(ByteSize(240)),
            underscores: clients::Underscores::default(),
            max_connections: None,
            balance: clients::ListenerBalance::default(),
            max_requests_per_connection: None,
            proxy_protocol: false,
        }
    }
}

impl Default for ListenerTimeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::seconds(10),
            head: Duration::seconds(30),
            body: Duration::seconds(30),
            send: Duration::seconds(30),
        }
    }
}
