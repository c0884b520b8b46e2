//! The keys of `upstreams.<name>`: its endpoints, which one is chosen (balance, health, ejection,
//! retries), and what spares one.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::upstream_tls;
use crate::config::units::Duration;

/// A group of endpoints that serve the same.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["endpoints"]))]
pub(in crate::config) struct Upstream {
    /// URLs of the form `http://host:port` or `https://host:port`, or mappings with such an `address`
    /// and a `weight`; or one mapping with `srv`. At least one.
    #[schemars(length(min = 1))]
    pub(in crate::config) endpoints: Vec<Endpoint>,
    /// TLS to `https` endpoints. Default: the system's authorities, and no certificate of its own.
    pub(in crate::config) tls: upstream_tls::Tls,
    /// The version of HTTP: `auto` lets the upstream choose in the TLS handshake, and is HTTP/1.1
    /// without TLS; `h1` and `h2` are that version alone, without TLS by prior knowledge.
    /// Default: auto.
    pub(in crate::config) protocol: upstream_tls::Protocol,
    /// Version of the PROXY protocol by which endpoints are told, at the beginning of each connection and
    /// before TLS, which client it is for: `v1` or `v2`. Connections then are used for requests of that
    /// client's connection alone. Default: none.
    pub(in crate::config) proxy_protocol: Option<ProxyProtocol>,
    /// Protocols to which a client's connection may be switched by the upstream (`Upgrade`).
    /// Default: [websocket].
    #[schemars(extend("uniqueItems" = true))]
    pub(in crate::config) upgrades: Vec<String>,
    /// How long this upstream is waited for.
    pub(in crate::config) timeouts: UpstreamTimeouts,
    /// Most requests that wait for a response's head at once, over all workers; what is more is
    /// answered with 503. Default: 10000, of which each worker takes its share.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) max_requests: Option<u64>,
    /// Connections to each endpoint, and requests that wait for one.
    pub(in crate::config) limits: Limits,
    /// Which endpoint a request is sent to: `round_robin` takes them in turn, `least_requests` the
    /// one of two drawn by chance that has fewer requests under way, `random` one by chance,
    /// `consistent_hash` the same one for the same key. Default: `round_robin`.
    pub(in crate::config) balance: Balance,
    /// What `balance: consistent_hash` goes by. Default: the client's address.
    pub(in crate::config) hash_by: Option<HashBy>,
    /// How endpoints are asked whether they are well. Default: they are not asked.
    pub(in crate::config) health: Option<Health>,
    /// When an endpoint that keeps failing is left out for a time.
    pub(in crate::config) ejection: Ejection,
    /// How long the share of an endpoint grows to its full size, once it is used again. Default: it
    /// does not grow.
    pub(in crate::config) slow_start: Option<Duration>,
    /// Further tries of requests that failed, with other endpoints, where nothing can be done twice.
    pub(in crate::config) retries: Retries,
    /// How often host names are resolved anew; several addresses are as many endpoints. Default:
    /// 30s.
    pub(in crate::config) resolve_interval: Duration,
}

/// How long an upstream is waited for.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct UpstreamTimeouts {
    /// Until a connection is made, name resolution included. Default: 5s.
    pub(in crate::config) connect: Duration,
    /// From the request's last byte until the response's head. Default: 60s.
    pub(in crate::config) response: Duration,
    /// Longest wait for the next piece of a response's body. Default: 60s.
    pub(in crate::config) body: Duration,
    /// How long an unused connection is kept. Default: 60s.
    pub(in crate::config) idle: Duration,
    /// How long nothing may pass on a connection that was switched to another protocol.
    /// Default: 10m.
    pub(in crate::config) tunnel: Duration,
}

/// An endpoint as its URL alone, or with more of it.
#[derive(Deserialize)]
#[serde(untagged)]
pub(in crate::config) enum Endpoint {
    Url(String),
    Keys(EndpointKeys),
}

/// An endpoint with its weight, or a name that leads to endpoints.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("anyOf" = [{ "required": ["address"] }, { "required": ["srv"] }]))]
pub(in crate::config) struct EndpointKeys {
    /// URL of the form `http://host:port` or `https://host:port`.
    #[schemars(length(min = 1))]
    pub(in crate::config) address: Option<String>,
    /// Its part of the sum of all weights, whatever the balance; where the host has several addresses,
    /// that of each. 0 is none for now. Default: 1.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(in crate::config) weight: Option<u32>,
    /// Instead of an address, `http://name` or `https://name`, such as `http://_api._tcp.example.com`:
    /// the name's SRV records say which hosts, ports and weights there are. Of their priorities, the
    /// first with an endpoint that is well is used.
    #[schemars(length(min = 1))]
    pub(in crate::config) srv: Option<String>,
}

/// Who is asked for SRV records.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Dns {
    /// IP addresses of DNS servers, each with a port where that is not 53; asked for SRV records and for
    /// the addresses of the hosts in them. Default: those of `/etc/resolv.conf`.
    pub(in crate::config) servers: Vec<String>,
}

/// One schema for both forms, so that a fault names the key that it is about.
impl JsonSchema for Endpoint {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = EndpointKeys::json_schema(generator);
        schema.insert("type".to_owned(), serde_json::json!(["string", "object"]));
        schema
    }
}

/// How endpoints are told of clients.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum ProxyProtocol {
    V1,
    V2,
}

/// Which endpoint a request is sent to.
#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum Balance {
    #[default]
    RoundRobin,
    LeastRequests,
    Random,
    ConsistentHash,
}

/// What `balance: consistent_hash` goes by. One at most; without it, and where a request has none,
/// the client's address.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-optional" = true))]
pub(in crate::config) struct HashBy {
    /// Name of a field.
    #[schemars(length(min = 1))]
    pub(in crate::config) header: Option<String>,
    /// Name of a cookie.
    #[schemars(length(min = 1))]
    pub(in crate::config) cookie: Option<String>,
}

/// Connections to each endpoint, and requests that wait for one.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Limits {
    /// Most connections to one endpoint at once, over all workers, beside those of active checks.
    /// Default: no limit.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) connections: Option<u64>,
    /// Most requests to one endpoint that wait for a connection, where there are as many as there may
    /// be, over all workers. What is more is answered with 503, and so is what waits longer than
    /// `timeouts.connect`. Default: 1000.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(in crate::config) pending: u64,
}

/// When an endpoint that keeps failing is left out for a time.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Ejection {
    /// Whether any is. Default: true.
    pub(in crate::config) enabled: bool,
    /// Failures in a row: no connection, no response, or one of `statuses`. Default: 5.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) failures: u32,
    /// Statuses that are failures, from 400 to 599. Default: [500, 502, 503, 504].
    pub(in crate::config) statuses: Vec<u16>,
    /// How long it is left out at first; each time it fails again at once, twice as long. Default:
    /// 10s.
    pub(in crate::config) time: Duration,
    /// Longest time. Default: 5m.
    pub(in crate::config) max_time: Duration,
    /// Most endpoints left out, in percent, rounded up; one always stays. Default: 50.
    #[schemars(range(min = 0, max = 100))]
    pub(in crate::config) max_percent: u32,
}

/// How endpoints are asked whether they are well: with a `path` by HTTP, in the version that requests
/// have; with `grpc` by gRPC's health protocol; else by a connection.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-optional" = true))]
pub(in crate::config) struct Health {
    /// Path of a `GET`. Default: none, a connection is enough.
    #[schemars(regex(pattern = "^/[!-~]*$"), title = "path that begins with a slash")]
    pub(in crate::config) path: Option<String>,
    /// Instead of a path, a service that gRPC's health protocol is asked for over HTTP/2; the empty
    /// name is the whole server. Default: none.
    #[schemars(length(max = 120))]
    pub(in crate::config) grpc: Option<String>,
    /// `Host` of the request. Default: the endpoint's.
    #[schemars(length(min = 1))]
    pub(in crate::config) host: Option<String>,
    /// Statuses of an endpoint that is well, from 100 to 599. Default: all of 200 to 299.
    pub(in crate::config) expected: Vec<u16>,
    /// From one check of an endpoint to the next. Default: 5s.
    pub(in crate::config) interval: Duration,
    /// How long a check may take. Default: 2s.
    pub(in crate::config) timeout: Duration,
    /// Good checks in a row until an endpoint is used again. Default: 2.
    #[schemars(range(min = 1, max = 1000))]
    pub(in crate::config) healthy: u32,
    /// Bad checks in a row until an endpoint is used no more. Default: 3.
    #[schemars(range(min = 1, max = 1000))]
    pub(in crate::config) unhealthy: u32,
}

/// Further tries of requests that failed, with other endpoints, where nothing can be done twice.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Retries {
    /// Most further tries of one request. Default: 1.
    #[schemars(range(min = 0, max = 10))]
    pub(in crate::config) attempts: u32,
    /// Most further tries of all, in percent of the requests. Default: 20.
    #[schemars(range(min = 0, max = 100))]
    pub(in crate::config) budget_percent: u32,
    /// Statuses after which another endpoint is tried, from 400 to 599. Default: [502, 503, 504].
    pub(in crate::config) statuses: Vec<u16>,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            tls: upstream_tls::Tls::default(),
            protocol: upstream_tls::Protocol::default(),
            proxy_protocol: None,
            upgrades: vec!["websocket".to_owned()],
            timeouts: UpstreamTimeouts::default(),
            max_requests: None,
            limits: Limits::default(),
            balance: Balance::default(),
            hash_by: None,
            health: None,
            ejection: Ejection::default(),
            slow_start: None,
            retries: Retries::default(),
            resolve_interval: Duration::seconds(30),
        }
    }
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::seconds(5),
            response: Duration::seconds(60),
            body: Duration::seconds(60),
            idle: Duration::seconds(60),
            tunnel: Duration::seconds(600),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: None,
            pending: 1000,
        }
    }
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            enabled: true,
            failures: 5,
            statuses: vec![500, 502, 503, 504],
            time: Duration::seconds(10),
            max_time: Duration::seconds(300),
            max_percent: 50,
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            path: None,
            grpc: None,
            host: None,
            expected: Vec::new(),
            interval: Duration::seconds(5),
            timeout: Duration::seconds(2),
            healthy: 2,
            unhealthy: 3,
        }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 1,
            budget_percent: 20,
            statuses: vec![502, 503, 504],
        }
    }
}
