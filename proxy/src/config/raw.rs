//! The configuration as it is written: the one source of keys, types, defaults and their
//! documentation.
//!
//! The JSON Schema is made from these types, and a file is judged by that schema before it is read
//! into them. So that one fault does not hide another, every field reads when it is missing; what
//! must be there is said by `required` in the schema. What the values mean together is not judged
//! here (see `resolve`).

use std::num::NonZeroU16;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{ByteRate, ByteSize, Duration};

pub(super) mod acme;
pub(super) mod breaker;
pub(super) mod chain;
pub(super) mod clients;
pub(super) mod dead_letter;
pub(super) mod kafka;
pub(super) mod kv;
pub(super) mod metrics;
pub(super) mod otlp;
pub(super) mod otlp_exporter;
pub(super) mod overload;
pub(super) mod producer;
pub(super) mod recycle;
pub(super) mod route;
pub(super) mod store;
pub(super) mod tls;
pub(super) mod upstream;
pub(super) mod upstream_tls;

/// The configuration of Weir.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(
    title = "Weir",
    extend("anyOf" = [
        { "required": ["listeners", "routes"] },
        { "required": ["receivers"], "properties": { "receivers": { "required": ["otlp"] } } },
    ]),
    extend("dependentRequired" = { "listeners": ["routes"], "routes": ["listeners"] })
)]
pub(super) struct Config {
    /// Where requests come in. At least one, or none with `receivers`.
    #[schemars(length(min = 1))]
    pub(super) listeners: Vec<Listener>,
    /// The address for health, metrics and reload.
    pub(super) admin: Admin,
    /// Folder for what must survive a restart, relative to this file. Without it, traces are kept
    /// in memory only.
    #[schemars(length(min = 1))]
    pub(super) data_dir: Option<String>,
    /// How finished traces are kept in `data_dir` until they are delivered.
    pub(super) spool: Spool,
    /// Recent traces, kept for the console. Without it, none are.
    pub(super) store: Option<store::Store>,
    /// Worker threads. Default: one for each available core.
    pub(super) workers: Option<NonZeroU16>,
    /// How long a drain may take before what is still open is cut. Default: 30s.
    pub(super) shutdown_grace: Duration,
    /// When workers that cannot keep up refuse new requests.
    pub(super) overload: overload::Overload,
    /// Who is asked for SRV records. Default: what `/etc/resolv.conf` says.
    pub(super) dns: upstream::Dns,
    /// Groups of endpoints to which routes send requests, by name.
    pub(super) upstreams: IndexMap<String, Upstream>,
    /// Plugins, by name. The name may not have a dot, because span names are made of it.
    pub(super) plugins: IndexMap<String, Plugin>,
    /// Where plugins' values are kept that workers share. Default: in memory.
    pub(super) kv: Option<kv::Kv>,
    /// Which request goes where, through which plugins. At least one, or none with `receivers`.
    #[schemars(length(min = 1))]
    pub(super) routes: Vec<route::Route>,
    /// Peers that are believed about clients behind them, as addresses or networks such as
    /// `10.0.0.0/8`: in `X-Forwarded-For`, `Forwarded` and the PROXY protocol. Default: none.
    pub(super) trusted_proxies: Vec<String>,
    /// Which fields tell upstreams of the client: `x_forwarded` is `X-Forwarded-For`, `-Proto` and
    /// `-Host`, `forwarded` the one of RFC 7239; or `both`, or `off`. Default: `x_forwarded`.
    pub(super) forwarded: clients::Forwarded,
    /// A line for each response. Default: none.
    pub(super) access_log: Option<clients::AccessLog>,
    /// B3 beside W3C Trace Context: `single` or `multi` reads it in either form where a request has no
    /// valid `traceparent`, and sends it on in this one; `off` leaves its fields as they are. Default:
    /// off.
    pub(super) b3: clients::B3,
    /// Where traces are delivered, by name.
    pub(super) exporters: IndexMap<String, Exporter>,
    /// Where Weir's own metrics go, beside `/metrics`.
    pub(super) metrics: metrics::Metrics,
    /// Where telemetry of others comes in.
    pub(super) receivers: otlp::Receivers,
}

/// How finished traces are kept in `data_dir` until they are delivered.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Spool {
    /// Most bytes on the disk; past it the newest traces are dropped, and counted. At least two
    /// segments for each worker. Default: 16GiB.
    pub(super) max_bytes: ByteSize,
    /// Bytes of one file, laid out when it is made; from 2MiB to 1GiB. Default: 32MiB.
    pub(super) segment_bytes: ByteSize,
    /// When traces are made safe from a power cut: `never` leaves it to the kernel, `interval` does
    /// it each `fsync_interval`, `always` before a response ends. A process that is killed loses
    /// nothing by any of them. Default: interval.
    pub(super) fsync: Fsync,
    /// Default: 200ms.
    pub(super) fsync_interval: Duration,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum Fsync {
    Never,
    #[default]
    Interval,
    Always,
}

/// An address at which requests come in.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["address"]))]
pub(super) struct Listener {
    /// IP address and port, such as `0.0.0.0:8080`.
    pub(super) address: String,
    /// Plugins that run on every request of this listener; only these may have pre-request hooks. A
    /// name, or `name: {…}` with keys that here take the place of those of its `config`. Default: none.
    #[schemars(extend("uniqueItems" = true))]
    pub(super) plugins: Vec<chain::PluginUse>,
    /// TLS with these certificates. Default: none, so unencrypted.
    pub(super) tls: Option<tls::Tls>,
    /// HTTP/2 by the side of HTTP/1.1.
    pub(super) http2: tls::Http2,
    /// How long clients are waited for.
    pub(super) timeouts: ListenerTimeouts,
    /// Most bytes a request head may have (431 past it); at least 8KiB. Default: 64KiB.
    pub(super) max_head_bytes: ByteSize,
    /// Most bytes a request's body may have (413 past it), where its route does not say it. Default:
    /// no limit.
    pub(super) max_body_bytes: Option<ByteSize>,
    /// Fewest bytes a second of a request's body while Weir waits for it, once it has waited for
    /// `timeouts.body` (408 below it), where its route does not say it; up to 1GiB, and `0B` is any. gRPC
    /// may be slower. Default: 240B.
    pub(super) min_body_rate: ByteRate,
    /// What becomes of requests' fields with `_` in their names, which some upstreams read as `-`:
    /// `drop` takes them out, `refuse` answers 400, `pass` leaves them. Default: drop.
    pub(super) underscores: clients::Underscores,
    /// Most connections at once, over all workers, each of which takes its share; what is more is
    /// closed. Default: no limit.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(super) max_connections: Option<u64>,
    /// How connections are shared out over workers: `kernel` leaves it to the kernel, which goes by a
    /// hash of addresses and costs nothing; `exact` gives each to the worker with the fewest, which is
    /// for few connections that last. Default: kernel.
    pub(super) balance: clients::ListenerBalance,
    /// Most requests on one connection, which ends after the last. Default: no limit.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub(super) max_requests_per_connection: Option<u64>,
    /// Whether each connection begins with a header of the PROXY protocol, version 1 or 2, which is
    /// believed of `trusted_proxies` only; without one, connections are closed. Default: false.
    pub(super) proxy_protocol: bool,
}

/// How long clients are waited for.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListenerTimeouts {
    /// From the accept until the TLS handshake is complete. Default: 10s.
    pub(super) handshake: Duration,
    /// From a request's first byte until its head is complete; also how long an idle connection is
    /// kept. Default: 30s.
    pub(super) head: Duration,
    /// Longest wait for the next piece of a request's body. Default: 30s.
    pub(super) body: Duration,
    /// Longest wait for a client to take the next piece of a response. Default: 30s.
    pub(super) send: Duration,
}

/// The admin address: health, metrics and reload.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Admin {
    /// IP address and port. Default: 127.0.0.1:9901.
    pub(super) address: String,
    /// Demanded as `Authorization: Bearer` everywhere but on `/healthz` and `/readyz`.
    /// Default: none.
    pub(super) token: Option<SecretVar>,
    /// Names by which browsers reach the console, where it asks for no token: others are refused,
    /// as the page of a stranger could have made them point here. IP addresses and `localhost` need
    /// not be named. Default: none.
    pub(super) hosts: Vec<String>,
}

/// A group of endpoints that serve the same.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["endpoints"]))]
pub(super) struct Upstream {
    /// URLs of the form `http://host:port` or `https://host:port`, or mappings with such an `address`
    /// and a `weight`; or one mapping with `srv`. At least one.
    #[schemars(length(min = 1))]
    pub(super) endpoints: Vec<upstream::Endpoint>,
    /// TLS to `https` endpoints. Default: the system's authorities, and no certificate of its own.
    pub(super) tls: upstream_tls::Tls,
    /// The version of HTTP: `auto` lets the upstream choose in the TLS handshake, and is HTTP/1.1
    /// without TLS; `h1` and `h2` are that version alone, without TLS by prior knowledge.
    /// Default: auto.
    pub(super) protocol: upstream_tls::Protocol,
    /// Version of the PROXY protocol by which endpoints are told, at the beginning of each connection and
    /// before TLS, which client it is for: `v1` or `v2`. Connections then are used for requests of that
    /// client's connection alone. Default: none.
    pub(super) proxy_protocol: Option<upstream::ProxyProtocol>,
    /// Protocols to which a client's connection may be switched by the upstream (`Upgrade`).
    /// Default: [websocket].
    #[schemars(extend("uniqueItems" = true))]
    pub(super) upgrades: Vec<String>,
    /// How long this upstream is waited for.
    pub(super) timeouts: UpstreamTimeouts,
    /// Most requests that wait for a response's head at once, over all workers; what is more is
    /// answered with 503. Default: 10000, of which each worker takes its share.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) max_requests: Option<u64>,
    /// Connections to each endpoint, and requests that wait for one.
    pub(super) limits: upstream::Limits,
    /// Which endpoint a request is sent to: `round_robin` takes them in turn, `least_requests` the
    /// one of two drawn by chance that has fewer requests under way, `random` one by chance,
    /// `consistent_hash` the same one for the same key. Default: `round_robin`.
    pub(super) balance: upstream::Balance,
    /// What `balance: consistent_hash` goes by. Default: the client's address.
    pub(super) hash_by: Option<upstream::HashBy>,
    /// How endpoints are asked whether they are well. Default: they are not asked.
    pub(super) health: Option<upstream::Health>,
    /// When an endpoint that keeps failing is left out for a time.
    pub(super) ejection: upstream::Ejection,
    /// How long the share of an endpoint grows to its full size, once it is used again. Default: it
    /// does not grow.
    pub(super) slow_start: Option<Duration>,
    /// Further tries of requests that failed, with other endpoints, where nothing can be done twice.
    pub(super) retries: upstream::Retries,
    /// How often host names are resolved anew; several addresses are as many endpoints. Default:
    /// 30s.
    pub(super) resolve_interval: Duration,
}

/// How long an upstream is waited for.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct UpstreamTimeouts {
    /// Until a connection is made, name resolution included. Default: 5s.
    pub(super) connect: Duration,
    /// From the request's last byte until the response's head. Default: 60s.
    pub(super) response: Duration,
    /// Longest wait for the next piece of a response's body. Default: 60s.
    pub(super) body: Duration,
    /// How long an unused connection is kept. Default: 60s.
    pub(super) idle: Duration,
    /// How long nothing may pass on a connection that was switched to another protocol.
    /// Default: 10m.
    pub(super) tunnel: Duration,
}

/// A sandboxed WebAssembly module, with its configuration and limits.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["module"]))]
pub(super) struct Plugin {
    /// `builtin:` and the name of a bundled plugin, such as `builtin:key-auth`, or the path of a `.wasm`
    /// file, relative to this file.
    #[schemars(length(min = 1))]
    pub(super) module: String,
    /// SHA-256 of the module, 64 hexadecimal digits; another module is refused. Default: any.
    #[schemars(
        title = "SHA-256 digest of 64 hexadecimal digits",
        regex(pattern = "^[0-9a-fA-F]{64}$")
    )]
    pub(super) sha256: Option<String>,
    /// Handed to the plugin. A string that is wholly `env.NAME` is read from the environment and
    /// treated as secret. Default: {}.
    pub(super) config: serde_json::Value,
    /// Names of the upstreams that the plugin may call itself. Default: none.
    #[schemars(extend("uniqueItems" = true))]
    pub(super) upstreams: Vec<String>,
    /// What a request meets when the plugin fails: `reject` answers 500, `continue` goes on as if
    /// the plugin were not there. Default: reject.
    pub(super) on_error: OnError,
    /// What a request meets whose body, or whose response's body, is larger than a plugin that wants
    /// it whole may hold: `reject` answers 413, or 502 instead of the response; `bypass` lets the
    /// body pass by, unseen by the plugin. Default: reject.
    pub(super) on_large_body: OnLargeBody,
    /// What one instance and one hook may use.
    pub(super) limits: Limits,
    /// Whether requests share warm instances, or each has a fresh one, which costs some tens of
    /// microseconds: `shared` or `request`. Default: shared.
    pub(super) isolation: Isolation,
    /// When a plugin that keeps failing is not called any more.
    pub(super) breaker: breaker::Breaker,
    /// When a fresh instance takes an old one's place.
    pub(super) recycle: recycle::Recycle,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum OnError {
    #[default]
    Reject,
    Continue,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum OnLargeBody {
    #[default]
    Reject,
    Bypass,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum Isolation {
    #[default]
    Shared,
    Request,
}

/// What one instance and one hook of a plugin may use.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    /// Most linear memory of an instance, from 64KiB to 4GiB. Default: by the language that the module
    /// says it was made of, 128MiB for JavaScript, 64MiB for Python, 16MiB for all others.
    pub(super) memory: Option<ByteSize>,
    /// Most CPU time of one hook. Default: 50ms.
    pub(super) cpu_time: Duration,
    /// Longest time one hook may last, waiting included. Default: 5s.
    pub(super) wall_time: Duration,
    /// Most bytes of a body that are held for a hook, or set by one, from 1KiB to 1GiB; what a plugin
    /// asks for may be less. Default: 4MiB.
    pub(super) body: ByteSize,
    /// Most bytes of an answer that the plugin gives piece by piece, from 1KiB to 1024GiB. Default:
    /// 1GiB.
    pub(super) answer: ByteSize,
    /// Longest time such an answer may last, its client's waits included. Default: 1h.
    pub(super) answer_time: Duration,
    /// Most bytes of the plugin's key-value store, which all workers share, from 64KiB to 16GiB; not
    /// with `kv.redis`. Default: 8MiB.
    pub(super) kv: ByteSize,
    /// Most calls to upstreams that one hook may make. Default: 8.
    #[schemars(range(min = 0, max = 1000))]
    pub(super) calls: u32,
}

/// A destination of traces: one of these.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Exporter {
    /// One message for each trace, to a Kafka topic.
    pub(super) kafka: Option<kafka::Kafka>,
    /// Many traces in a request, to a collector.
    pub(super) otlp: Option<otlp_exporter::Otlp>,
}

/// The text itself, or `env.NAME` to read it from the environment. Never shown.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("minLength" = 1, "writeOnly" = true))]
pub(super) struct SecretVar(pub(super) String);

impl Default for Config {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            admin: Admin::default(),
            data_dir: None,
            spool: Spool::default(),
            store: None,
            workers: None,
            shutdown_grace: Duration::seconds(30),
            overload: overload::Overload::default(),
            dns: upstream::Dns::default(),
            upstreams: IndexMap::new(),
            plugins: IndexMap::new(),
            kv: None,
            routes: Vec::new(),
            trusted_proxies: Vec::new(),
            forwarded: clients::Forwarded::default(),
            access_log: None,
            b3: clients::B3::default(),
            exporters: IndexMap::new(),
            metrics: metrics::Metrics::default(),
            receivers: otlp::Receivers::default(),
        }
    }
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            max_bytes: ByteSize::mib(16 << 10),
            segment_bytes: ByteSize::mib(32),
            fsync: Fsync::default(),
            fsync_interval: Duration::millis(200),
        }
    }
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

impl Default for Admin {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:9901".to_owned(),
            token: None,
            hosts: Vec::new(),
        }
    }
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
            limits: upstream::Limits::default(),
            balance: upstream::Balance::default(),
            hash_by: None,
            health: None,
            ejection: upstream::Ejection::default(),
            slow_start: None,
            retries: upstream::Retries::default(),
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

impl Default for Plugin {
    fn default() -> Self {
        Self {
            module: String::new(),
            sha256: None,
            config: serde_json::Value::Object(serde_json::Map::new()),
            upstreams: Vec::new(),
            on_error: OnError::default(),
            on_large_body: OnLargeBody::default(),
            limits: Limits::default(),
            isolation: Isolation::default(),
            breaker: breaker::Breaker::default(),
            recycle: recycle::Recycle::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: None,
            cpu_time: Duration::millis(50),
            wall_time: Duration::seconds(5),
            body: ByteSize::mib(4),
            answer: ByteSize::mib(1 << 10),
            answer_time: Duration::seconds(3600),
            kv: ByteSize::mib(8),
            calls: 8,
        }
    }
}
