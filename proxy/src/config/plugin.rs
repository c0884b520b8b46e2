//! A plugin: its module, what it is given, and what it may use.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, PartialEq)]
pub struct Plugin {
    pub module: Module,
    /// Lower-case hex; the module is refused where its digest differs.
    pub sha256: Option<String>,
    /// Handed to `configure`, with `env.NAME` strings already resolved. Secret when any was.
    pub config: serde_json::Value,
    /// Upstreams that it may call.
    pub upstreams: Vec<String>,
    pub on_error: OnError,
    pub on_large_body: OnLargeBody,
    pub limits: Limits,
    pub isolation: Isolation,
    pub breaker: Breaker,
    pub recycle: Recycle,
}

/// Whether requests share warm instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    Shared,
    /// A fresh one each, for all its hooks.
    Request,
}

/// When a plugin that keeps failing is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// In a row, on one worker; 0 where it never opens.
    pub failures: u32,
    /// Until one hook may try.
    pub pause: Duration,
}

/// When a fresh instance takes an old one's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recycle {
    /// Hooks that one serves.
    pub hooks: u32,
    pub age: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Module {
    /// `builtin:<name>`
    Builtin(String),
    /// A file, resolved against the configuration file's folder.
    File(PathBuf),
}

/// What a request meets when a plugin fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// 500; the plugin is named in the trace only.
    Reject,
    /// As if the plugin were not there.
    Continue,
}

/// What becomes of a body that is larger than a plugin may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLargeBody {
    /// 413 to a request, 502 instead of a response.
    Reject,
    /// It streams by, and the plugin is told so when it asks for it.
    Bypass,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Most bytes of linear memory an instance may have; where the file does not say, the registry puts
    /// in what the module's language needs.
    pub memory: Option<usize>,
    /// Most CPU time one hook may take.
    pub cpu_time: Duration,
    /// Longest time one hook may last, waiting included.
    pub wall_time: Duration,
    /// Most bytes of a body that are held for a hook, or set by one.
    pub body: usize,
    /// Most bytes of an answer that the plugin gives piece by piece.
    pub answer: u64,
    /// Longest time such an answer may last.
    pub answer_time: Duration,
    /// Most bytes of the plugin's key-value store, where it is in memory.
    pub kv: usize,
    /// Most calls to upstreams that one hook may make.
    pub calls: u32,
}

/// A plugin's name as span names have it: lower case, spaces as `-`.
pub fn normal_name(name: &str) -> String {
    name.to_lowercase().replace(' ', "-")
}

impl Limits {
    /// Most bytes of linear memory of an instance: what is given, or else what small modules need.
    pub fn memory(&self) -> usize {
        self.memory.unwrap_or(16 << 20)
    }
}

/// As a configuration names it.
impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin(name) => write!(f, "builtin:{name}"),
            Self::File(file) => write!(f, "{}", file.display()),
        }
    }
}

impl fmt::Debug for Plugin {
    /// Without `config`, which may have secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("module", &self.module)
            .field("sha256", &self.sha256)
            .field("upstreams", &self.upstreams)
            .field("on_error", &self.on_error)
            .field("on_large_body", &self.on_large_body)
            .field("limits", &self.limits)
            .field("isolation", &self.isolation)
            .field("breaker", &self.breaker)
            .field("recycle", &self.recycle)
            .finish_non_exhaustive()
    }
}
