//! Upstreams: their endpoints, and how one is chosen, checked, left out and tried again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

use crate::tls;

/// Requests that wait for a response's head, where nothing else is said.
pub const MAX_REQUESTS: u64 = 10_000;

#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// At least one, with a sum of weights that is not zero.
    pub endpoints: Vec<Entry>,
    pub timeouts: UpstreamTimeouts,
    /// Protocols that a connection may be switched to, in lower case.
    pub upgrades: Vec<String>,
    /// Most requests that wait for a response's head at once (503 past it); where it is not set, each
    /// worker has its share of [`MAX_REQUESTS`].
    pub max_requests: Option<u64>,
    pub limits: UpstreamLimits,
    pub balance: Balance,
    pub health: Option<Health>,
    pub ejection: Ejection,
    /// How long the share of an endpoint grows that is used again.
    pub slow_start: Option<Duration>,
    pub retries: Retries,
    /// How often host names are resolved anew.
    pub resolve_interval: Duration,
}

/// What is asked for SRV records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Empty: those of the system.
    pub servers: Vec<SocketAddr>,
}

/// An entry of `endpoints`.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub endpoint: Endpoint,
    /// Its part of the sum of all weights; where a host has several addresses, that of each.
    pub weight: u32,
    /// The host is a name whose SRV records say which hosts, ports and weights there are.
    pub srv: bool,
}

/// `http://host:port` or `https://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
    /// `None`: unencrypted.
    pub tls: Option<Arc<tls::client::Client>>,
    pub protocol: Protocol,
    /// The header that a connection begins with, if any.
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// The version of HTTP that an upstream is spoken to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// What the upstream chooses in the TLS handshake; HTTP/1.1 without TLS.
    #[default]
    Auto,
    Http1,
    /// Without TLS by prior knowledge.
    Http2,
}

/// The version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    V1,
    V2,
}

/// By its address alone: equal ones have the same.
impl std::hash::Hash for Endpoint {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.host.hash(state);
        self.port.hash(state);
    }
}

impl Endpoint {
    /// Unencrypted, and of HTTP/1.1.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            tls: None,
            protocol: Protocol::default(),
            proxy_protocol: None,
        }
    }

    /// Host and port, as a URL has them.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether a connection to it may come out as one of HTTP/2.
    pub fn may_speak_http2(&self) -> bool {
        match self.protocol {
            Protocol::Auto => self.tls.is_some(),
            Protocol::Http1 => false,
            Protocol::Http2 => true,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpstreamTimeouts {
    /// Until a connection is made, name resolution included.
    pub connect: Duration,
    /// From the request's last byte until the response's head.
    pub response: Duration,
    /// Longest wait for the next piece of a response's body.
    pub body: Duration,
    /// How long an unused connection is kept.
    pub idle: Duration,
    /// How long nothing may pass on a connection that was switched to another protocol.
    pub tunnel: Duration,
}

/// Which endpoint a request is sent to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    #[default]
    RoundRobin,
    /// The one of two drawn by chance that has fewer requests of the same worker under way.
    LeastRequests,
    Random,
    /// Always the same for the same key, as long as it is there.
    ConsistentHash(HashBy),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashBy {
    ClientAddress,
    Header(HeaderName),
    Cookie(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Ejection {
    pub enabled: bool,
    /// In a row.
    pub failures: u32,
    pub statuses: Vec<StatusCode>,
    pub time: Duration,
    pub max_time: Duration,
    pub max_percent: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    pub probe: Probe,
    pub interval: Duration,
    pub timeout: Duration,
    /// Good checks in a row until an endpoint is used again.
    pub healthy: u32,
    /// Bad checks in a row until it is used no more.
    pub unhealthy: u32,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// A connection is enough.
    Connect,
    Http(HttpCheck),
    /// `grpc.health.v1.Health/Check` of this service; the empty name is the whole server.
    Grpc(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct HttpCheck {
    pub path: http::uri::PathAndQuery,
    /// `None` is the endpoint's.
    pub host: Option<HeaderValue>,
    /// Empty is all of 200 to 299.
    pub expected: Vec<StatusCode>,
}

/// What spares each endpoint, over all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// Most connections at once.
    pub connections: Option<u64>,
    /// Most requests that wait for one.
    pub pending: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Retries {
    /// Most further tries of one request.
    pub attempts: u32,
    /// Most further tries, in percent of the requests.
    pub budget_percent: u32,
    pub statuses: Vec<StatusCode>,
}

impl HttpCheck {
    pub fn expects(&self, status: StatusCode) -> bool {
        if self.expected.is_empty() {
            status.is_success()
        } else {
            self.expected.contains(&status)
        }
    }
}
