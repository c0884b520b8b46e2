//! 5, 7 — What a hook is to an exchange.
//!
//! A [`Plugin`] is one configured, compiled, tried guest, shared by all workers (where chains configure
//! it each in its own way, it is one of its [`variants`]); a
//! [`chain::Chain`] runs the hooks of several in order and records a span for each. Bodies go through
//! plugins piece by piece in [`stream`], and come of one in [`answer`]. How a guest is
//! spoken to is the affair of an ABI ([`component`] and [`module`]; proxy-wasm is to stand beside
//! them): each is a [`Guest`] that makes [`Instance`]s. What guests may ask of Weir is the same for
//! all ([`host`]), and so is what confines them ([`sandbox`]). Only this module and those below it
//! name wasmtime.

pub mod answer;
pub mod bounds;
pub mod cache;
pub mod callout;
pub mod chain;
pub mod component;
mod contract;
pub mod engine;
pub mod failure;
mod host;
pub mod instances;
pub mod kv;
mod language;
pub mod measures;
pub mod module;
mod own;
pub mod refusals;
pub mod registry;
mod sandbox;
pub mod stream;
pub mod variants;
pub mod vitals;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use crate::config;
use crate::exchange::state::State;
use crate::metrics::{HookCells, Metrics};
use crate::trace::recorder::Template;
use crate::trace::{SpanIndex, Value};
use crate::worker;
use cache::{Cache, Kind};
use callout::Calls;
use engine::Engine;

pub use failure::Failure;
pub use sandbox::Seed;
pub use sandbox::turns::longest_wait;

/// Where in an exchange a plugin is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Hook {
    PreRequest = 0,
    Request = 1,
    Response = 2,
    /// For each piece of a body that streams.
    RequestBody = 3,
    ResponseBody = 4,
    /// For each piece of a body that the plugin answers with.
    AnswerBody = 5,
}

/// Of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Side {
    Request = 0,
    Response = 1,
}

/// How much of a body a plugin wants to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyMode {
    #[default]
    None,
    /// The whole, up to so many bytes.
    Buffer(usize),
    Stream,
}

impl Side {
    /// The hook of its body's pieces.
    fn pieces(self) -> Hook {
        match self {
            Self::Request => Hook::RequestBody,
            Self::Response => Hook::ResponseBody,
        }
    }
}

impl Hook {
    /// Those of heads, which have a span each.
    pub const ALL: [Self; 3] = [Self::PreRequest, Self::Request, Self::Response];

    /// Those of pieces.
    const PIECES: [Self; 3] = [Self::RequestBody, Self::ResponseBody, Self::AnswerBody];

    pub fn side(self) -> Side {
        match self {
            Self::PreRequest | Self::Request | Self::RequestBody => Side::Request,
            Self::Response | Self::ResponseBody | Self::AnswerBody => Side::Response,
        }
    }

    /// As in span names and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::PreRequest => "prerequesthook",
            Self::Request => "prehook",
            Self::Response => "posthook",
            Self::RequestBody => "requestbody",
            Self::ResponseBody => "responsebody",
            Self::AnswerBody => "answerbody",
        }
    }
}

/// What a plugin asked for when it was configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interests {
    /// By [`Hook`].
    pub hooks: [bool; 3],
    /// By [`Side`].
    pub bodies: [BodyMode; 2],
    /// The request's fields are kept for the response hook.
    pub request_head: bool,
    /// Bodies are seen decoded.
    pub decoded: bool,
}

/// One entry of `plugins` with one of its configurations, ready to be called.
pub struct Plugin {
    /// Unique in this process; a changed plugin is a new one.
    pub id: u32,
    /// Lower case, spaces as `-`.
    pub name: String,
    pub config: config::Plugin,
    /// SHA-256 of the module's bytes, lower-case hex.
    pub digest: String,
    pub interests: Interests,
    /// CPU time that the instance took to be made which was tried when the plugin was loaded.
    tried: Duration,
    pub vitals: Arc<vitals::Vitals>,
    /// Where its values are, if not in memory.
    redis: Option<Arc<kv::redis::Redis>>,
    guest: Guest,
    /// Its own metrics, which its other variants share.
    families: Arc<measures::Families>,
    hooks: [HookFace; 3],
    /// Of calls for pieces, as [`Hook::PIECES`].
    pieces: [Arc<[HookCells]>; 3],
    /// Second of the process's life in which a failure was last logged.
    warned: AtomicU64,
}

/// Which plugin this is, since when, and with which values.
struct Identity {
    id: u32,
    name: String,
    digest: String,
    generation: u64,
    redis: Option<Arc<kv::redis::Redis>>,
}

/// What a hook's span and metrics always say.
struct HookFace {
    span_name: String,
    template: Template,
    cells: Arc<[HookCells]>,
}

/// A guest's code, compiled for this machine.
#[derive(Clone)]
pub enum Code {
    Component(wasmtime::component::Component),
    Module(wasmtime::Module),
}

/// A compiled guest of some ABI, with its configuration.
pub enum Guest {
    Component(component::Guest),
    Module(module::Guest),
}

/// A guest with its memory; serves one hook at a time.
pub enum Instance {
    Component(Box<component::Instance>),
    Module(Box<module::Instance>),
}

/// An instance that was made and configured.
pub struct Made<I> {
    pub instance: I,
    /// What it asked for.
    pub interests: Interests,
    /// What that took.
    pub cpu: Duration,
}

/// What a hook decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Proceed,
    /// Send [`State::answer`], with a body of the plugin's where [`State::streams_answer`] says so.
    Respond,
    /// Of a piece of a body: [`State::written`] goes on instead.
    Replace,
    /// Of a piece of a body: break the body off.
    Abort,
}

/// One call of a hook, for an [`Instance`].
#[derive(Clone, Copy)]
pub struct Call<'c> {
    pub hook: Hook,
    pub span: SpanIndex,
    pub start: Instant,
    pub limits: config::Limits,
    /// A failure undoes what the hook changed: it is going to be passed over.
    pub restores: bool,
    /// Makes the hook's own calls.
    pub calls: &'c dyn Calls,
}

/// How a call went and what it cost.
pub struct Called {
    pub result: Result<Action, Failure>,
    pub end: Instant,
    /// Time in which the guest or a host call of its ran on the worker.
    pub cpu: Duration,
    /// Linear memory of the instance, in bytes.
    pub memory: usize,
}

impl Code {
    /// Compiles a component or a core module, unless that would take too long. Never on a worker: it
    /// takes long anyway.
    pub fn compile(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Self> {
        debug_assert!(!worker::is_here(), "a worker compiles");
        bounds::check(bytes).map_err(wasmtime::Error::msg)?;
        match Kind::of(bytes) {
            Kind::Module => wasmtime::Module::new(&engine.wasm, bytes).map(Self::Module),
            Kind::Component => {
                wasmtime::component::Component::new(&engine.wasm, bytes).map(Self::Component)
            }
        }
    }

    /// As [`Code::compile`], or what was kept of it before.
    fn cached(
        cache: Option<&Cache>,
        engine: &Engine,
        digest: &str,
        bytes: &[u8],
    ) -> wasmtime::Result<Self> {
        let Some(cache) = cache else {
            return Self::compile(engine, bytes);
        };
        let kind = Kind::of(bytes);
        if let Some(code) = cache.get(&engine.wasm, kind, digest) {
            return Ok(code);
        }
        let code = Self::compile(engine, bytes)?;
        cache.put(kind, digest, &code);
        Ok(code)
    }
}

impl Guest {
    /// Links compiled code; fails where it imports or exports something else than the world.
    pub fn new(seed: Seed, code: &Code) -> wasmtime::Result<Self> {
        match code {
            Code::Component(component) => {
                component::Guest::new(seed, component).map(Self::Component)
            }
            Code::Module(module) => module::Guest::new(seed, module).map(Self::Module),
        }
    }

    /// The code, for another configuration of the same.
    fn code(&self) -> Code {
        match self {
            Self::Component(guest) => Code::Component(guest.code().clone()),
            Self::Module(guest) => Code::Module(guest.code().clone()),
        }
    }

    /// A fresh, configured instance, for which no request waits.
    pub async fn instantiate(&self, limits: config::Limits) -> Result<Made<Instance>, Failure> {
        self.make(sandbox::while_configured(limits)).await
    }

    async fn make(&self, limits: config::Limits) -> Result<Made<Instance>, Failure> {
        Ok(match self {
            Self::Component(guest) => {
                let made = guest.instantiate(limits).await?;
                made.map(|instance| Instance::Component(Box::new(instance)))
            }
            Self::Module(guest) => {
                let made = guest.instantiate(limits).await?;
                made.map(|instance| Instance::Module(Box::new(instance)))
            }
        })
    }
}

impl<I> Made<I> {
    fn map<J>(self, to: impl FnOnce(I) -> J) -> Made<J> {
        Made {
            instance: to(self.instance),
            interests: self.interests,
            cpu: self.cpu,
        }
    }
}

impl Guest {
    /// The JSON Schema of the configuration, of an instance that is not configured; empty where the
    /// guest has none.
    pub async fn config_schema(&self, limits: config::Limits) -> Result<String, Failure> {
        let limits = sandbox::while_configured(limits);
        match self {
            Self::Component(guest) => guest.config_schema(limits).await,
            Self::Module(guest) => guest.config_schema(limits).await,
        }
    }
}

impl Instance {
    /// Calls a hook. The state is in `slot` before and after, also where the future is dropped; an
    /// instance whose call failed or was dropped must not be used again.
    pub async fn call(&mut self, call: Call<'_>, slot: &mut Option<Box<State>>) -> Called {
        match self {
            Self::Component(instance) => instance.call(call, slot).await,
            Self::Module(instance) => instance.call(call, slot).await,
        }
    }

    /// The JSON Schema of the plugin's configuration; empty where it has none.
    pub async fn config_schema(&mut self, limits: &config::Limits) -> Result<String, Failure> {
        match self {
            Self::Component(instance) => instance.config_schema(limits).await,
            Self::Module(instance) => instance.config_schema(limits).await,
        }
    }
}

impl Plugin {
    fn new(
        identity: Identity,
        config: config::Plugin,
        tried: &Made<Instance>,
        guest: Guest,
        families: Arc<measures::Families>,
        cells: impl Fn(&str, Hook) -> Arc<[HookCells]>,
    ) -> Self {
        let Identity {
            id,
            name,
            digest,
            generation,
            redis,
        } = identity;
        let hooks = Hook::ALL.map(|hook| HookFace {
            span_name: format!("plugin.{name}.{}", hook.label()),
            template: Template::new([
                ("weir.hook.module_digest", Value::Text(&digest)),
                (
                    "weir.hook.generation",
                    Value::Integer(i64::try_from(generation).unwrap_or(i64::MAX)),
                ),
            ]),
            cells: cells(&name, hook),
        });
        let pieces = Hook::PIECES.map(|hook| cells(&name, hook));
        Self {
            id,
            name,
            config,
            digest,
            interests: tried.interests,
            tried: tried.cpu,
            vitals: Arc::default(),
            redis,
            guest,
            families,
            hooks,
            pieces,
            warned: AtomicU64::new(u64::MAX),
        }
    }

    /// A fresh instance, while a request waits for it.
    async fn instance(&self) -> Result<Instance, Failure> {
        let limits = sandbox::while_made(self.config.limits, self.tried);
        Ok(self.guest.make(limits).await?.instance)
    }

    /// See [`Guest::config_schema`].
    pub async fn config_schema(&self) -> Result<String, Failure> {
        self.guest.config_schema(self.config.limits).await
    }

    /// It is going to be called: `/metrics` shows what it counts itself from now on.
    pub fn count_into(&self, metrics: &Metrics) {
        metrics.count_into(&self.name, Arc::clone(&self.families));
    }

    /// By which ABI it is called.
    pub fn kind(&self) -> &'static str {
        match self.guest {
            Guest::Component(_) => "component",
            Guest::Module(_) => "module",
        }
    }

    pub fn wants(&self, hook: Hook) -> bool {
        self.interests.hooks[hook as usize]
    }

    /// Most bytes of a side's body that its hooks want to have whole.
    fn holds(&self, side: Side) -> Option<usize> {
        match self.interests.bodies[side as usize] {
            BodyMode::Buffer(most) => Some(most),
            BodyMode::None | BodyMode::Stream => None,
        }
    }

    fn streams(&self, side: Side) -> bool {
        self.interests.bodies[side as usize] == BodyMode::Stream
    }

    /// Whether a hook is the last of the plugin's on the head of a side whose body it streams.
    fn streams_after(&self, hook: Hook) -> bool {
        self.streams(hook.side()) && (hook != Hook::PreRequest || !self.wants(Hook::Request))
    }

    /// At most one log line a second.
    fn may_warn(&self) -> bool {
        static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        let second = ORIGIN.elapsed().as_secs();
        self.warned.swap(second, Ordering::Relaxed) != second
    }

    fn face(&self, hook: Hook) -> &HookFace {
        &self.hooks[hook as usize]
    }

    /// What counts the calls for a piece.
    fn cells(&self, hook: Hook) -> &[HookCells] {
        &self.pieces[hook as usize - Hook::RequestBody as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the empty module is compiled on a thread of this name; not where that panics.
    fn compiles_on(thread: &str) -> bool {
        let engine = Engine::new().expect("an engine");
        let thread = std::thread::Builder::new().name(thread.to_owned());
        let compiling = thread.spawn(move || Code::compile(&engine, b"\0asm\x01\0\0\0").is_ok());
        compiling.expect("a thread").join().unwrap_or(false)
    }

    /// In builds with debug assertions, which those of all tests are.
    #[test]
    fn no_worker_compiles() {
        assert!(compiles_on("loading"));
        assert_ne!(compiles_on("worker-0"), cfg!(debug_assertions));
    }
}
