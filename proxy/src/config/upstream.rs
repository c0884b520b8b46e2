//! How an endpoint of an upstream is chosen, checked, left out and tried again.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

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
