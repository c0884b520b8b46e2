//! `plugins.*`: a module, what it is given, and what it may use.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::{ByteSize, Duration};

/// A sandboxed WebAssembly module, with its configuration and limits.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["module"]))]
pub(in crate::config) struct Plugin {
    /// `builtin:` and the name of a bundled plugin, such as `builtin:key-auth`, or the path of a `.wasm`
    /// file, relative to this file.
    #[schemars(length(min = 1))]
    pub(in crate::config) module: String,
    /// SHA-256 of the module, 64 hexadecimal digits; another module is refused. Default: any.
    #[schemars(
        title = "SHA-256 digest of 64 hexadecimal digits",
        regex(pattern = "^[0-9a-fA-F]{64}$")
    )]
    pub(in crate::config) sha256: Option<String>,
    /// Handed to the plugin. A string that is wholly `env.NAME` is read from the environment and
    /// treated as secret. Default: {}.
    pub(in crate::config) config: serde_json::Value,
    /// Names of the upstreams that the plugin may call itself. Default: none.
    #[schemars(extend("uniqueItems" = true))]
    pub(in crate::config) upstreams: Vec<String>,
    /// What a request meets when the plugin fails: `reject` answers 500, `continue` goes on as if
    /// the plugin were not there. Default: reject.
    pub(in crate::config) on_error: OnError,
    /// What a request meets whose body, or whose response's body, is larger than a plugin that wants
    /// it whole may hold: `reject` answers 413, or 502 instead of the response; `bypass` lets the
    /// body pass by, unseen by the plugin. Default: reject.
    pub(in crate::config) on_large_body: OnLargeBody,
    /// What one instance and one hook may use.
    pub(in crate::config) limits: Limits,
    /// Whether requests share warm instances, or each has a fresh one, which costs some tens of
    /// microseconds: `shared` or `request`. Default: shared.
    pub(in crate::config) isolation: Isolation,
    /// When a plugin that keeps failing is not called any more.
    pub(in crate::config) breaker: Breaker,
    /// When a fresh instance takes an old one's place.
    pub(in crate::config) recycle: Recycle,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum OnError {
    #[default]
    Reject,
    Continue,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum OnLargeBody {
    #[default]
    Reject,
    Bypass,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(in crate::config) enum Isolation {
    #[default]
    Shared,
    Request,
}

/// What one instance and one hook of a plugin may use.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Limits {
    /// Most linear memory of an instance, from 64KiB to 4GiB. Default: by the language that the module
    /// says it was made of, 128MiB for JavaScript, 64MiB for Python, 16MiB for all others.
    pub(in crate::config) memory: Option<ByteSize>,
    /// Most CPU time of one hook. Default: 50ms.
    pub(in crate::config) cpu_time: Duration,
    /// Longest time one hook may last, waiting included. Default: 5s.
    pub(in crate::config) wall_time: Duration,
    /// Most bytes of a body that are held for a hook, or set by one, from 1KiB to 1GiB; what a plugin
    /// asks for may be less. Default: 4MiB.
    pub(in crate::config) body: ByteSize,
    /// Most bytes of an answer that the plugin gives piece by piece, from 1KiB to 1024GiB. Default:
    /// 1GiB.
    pub(in crate::config) answer: ByteSize,
    /// Longest time such an answer may last, its client's waits included. Default: 1h.
    pub(in crate::config) answer_time: Duration,
    /// Most bytes of the plugin's key-value store, which all workers share, from 64KiB to 16GiB; not
    /// with `kv.redis`. Default: 8MiB.
    pub(in crate::config) kv: ByteSize,
    /// Most calls to upstreams that one hook may make. Default: 8.
    #[schemars(range(min = 0, max = 1000))]
    pub(in crate::config) calls: u32,
}

/// When a plugin that keeps failing is not called any more, on the worker it failed on.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Breaker {
    /// Failures in a row of one hook after which none is called; `on_error` decides what requests
    /// meet meanwhile. 0 calls for ever. Default: 50.
    #[schemars(range(max = 4_294_967_295_u32))]
    pub(in crate::config) failures: u32,
    /// How long until one hook is called again, to try: where it goes well all are. Default: 5s.
    pub(in crate::config) pause: Duration,
}

/// When a fresh instance takes an old one's place, so that a slow leak in a guest cannot grow for
/// ever. One that has grown into the last quarter of `limits.memory` is replaced too.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Recycle {
    /// Hooks that an instance serves at most; at least 1. Default: 100000.
    #[schemars(range(min = 1, max = 4_294_967_295_u32))]
    pub(in crate::config) hooks: u32,
    /// How old an instance gets; an idle one that is older is dropped. Default: 1h.
    pub(in crate::config) age: Duration,
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
            breaker: Breaker::default(),
            recycle: Recycle::default(),
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

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failures: 50,
            pause: Duration::seconds(5),
        }
    }
}

impl Default for Recycle {
    fn default() -> Self {
        Self {
            hooks: 100_000,
            age: Duration::seconds(3600),
        }
    }
}
