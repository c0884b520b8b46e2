//! Weir's own ABI: components of the world `plugin` of `sdk/wit/weir.wit`, and core modules that
//! embed its type.
//!
//! [`Guest`] is a compiled component, linked once; [`Instance`] is one with its store. A call lends
//! the exchange's state to the store for as long as the hook runs.

mod bindings;
mod host;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use wasmtime::component::{Component, HasSelf, Linker, Resource};
use wasmtime::{Store, Trap, UpdateDeadline, WasmBacktrace};

use super::engine::Engine;
use super::{Action, Call, Called, Failure, Hook, Interests};
use crate::config::Limits;
use crate::exchange::state::State;
use bindings::{Action as GuestAction, BodyMode, Hooks, PluginPre};
use host::Host;

pub use host::Changed;

/// Most bytes a guest may pass to the host in one call.
const HOSTCALL_BYTES: usize = 16 << 20;

/// Most handles a guest may hold.
const HANDLES: usize = 1_000;

/// Most bytes of a refusal's text, and most functions of a stack, that are reported.
const REFUSAL_BYTES: usize = 1024;
const FRAMES: usize = 6;

/// How long `configure` may take, of CPU and by the clock.
const CONFIGURE: Duration = Duration::from_secs(2);

/// A compiled and linked component with its configuration.
pub struct Guest {
    engine: Engine,
    pre: PluginPre<Host>,
    name: Arc<str>,
    id: u32,
    config: String,
}

/// Turns a module's bytes into a component: as they are, or wrapped where they are a core module
/// that embeds the world's type.
pub fn componentize<'b>(
    engine: &Engine,
    bytes: &'b [u8],
) -> Result<std::borrow::Cow<'b, [u8]>, String> {
    /// Magic, then version 1, layer 0.
    const CORE: &[u8] = b"\0asm\x01\0\0\0";
    if !bytes.starts_with(CORE) {
        return Ok(bytes.into());
    }
    // The encoder panics on a module that is cut off.
    wasmtime::Module::validate(&engine.wasm, bytes)
        .map_err(|error| format!("is no valid module: {error:#}"))?;
    wit_component::ComponentEncoder::default()
        .module(bytes)
        .and_then(|encoder| encoder.validate(true).encode())
        .map(Into::into)
        .map_err(|error| {
            format!("is a core module that holds no component of Weir's world: {error:#}")
        })
}

/// Compiles a component. Takes long: not on a worker.
pub fn compile(engine: &Engine, component: &[u8]) -> Result<Component, String> {
    Component::new(&engine.wasm, component)
        .map_err(|error| format!("cannot be compiled: {error:#}"))
}

impl Guest {
    /// Links a compiled component; fails where it imports or exports something else than the world.
    pub fn new(
        engine: &Engine,
        component: &Component,
        id: u32,
        name: &str,
        config: String,
    ) -> Result<Self, String> {
        let link = || {
            let mut linker = Linker::<Host>::new(&engine.wasm);
            bindings::Plugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |host| host)?;
            PluginPre::new(linker.instantiate_pre(component)?)
        };
        let pre =
            link().map_err(|error| format!("is no plugin of world weir:plugin: {error:#}"))?;
        Ok(Self {
            engine: engine.clone(),
            pre,
            name: name.into(),
            id,
            config,
        })
    }

    /// A fresh instance, configured, and what it asked for.
    pub async fn instantiate(&self, limits: Limits) -> Result<(Instance, Interests), Failure> {
        let meter = Arc::new(Meter::default());
        let host = Host::new(self.id, Arc::clone(&self.name), limits.memory);
        let mut store = Store::new(&self.engine.wasm, host);
        store.limiter(|host| host);
        store.set_hostcall_fuel(HOSTCALL_BYTES);
        store.set_max_component_handles(HANDLES);
        let clock = Arc::clone(&self.engine.clock);
        let in_callback = Arc::clone(&meter);
        store.epoch_deadline_callback(move |_| {
            clock.touch();
            in_callback.check().map(|()| UpdateDeadline::Yield(1))
        });
        let start = Instant::now();
        let configuring = Limits {
            cpu_time: CONFIGURE,
            wall_time: CONFIGURE,
            ..limits
        };
        let metered = Metered::new(&self.engine, &mut store, &meter, start, &configuring);
        let begun = metered
            .run(&mut store, async |store| {
                let guest = self.pre.instantiate_async(&mut *store).await?;
                let asked = guest.call_configure(&mut *store, &self.config).await?;
                Ok((guest, asked))
            })
            .await;
        let (guest, asked) = match begun.result {
            Ok(done) => done,
            Err(error) => return Err(store.data_mut().failure(&error, &configuring)),
        };
        let asked = asked.map_err(|mut reason| {
            reason.truncate(reason.floor_char_boundary(REFUSAL_BYTES));
            Failure::Configure(reason)
        })?;
        if !matches!(
            (asked.request_body, asked.response_body),
            (BodyMode::None, BodyMode::None)
        ) {
            return Err(Failure::Configure(
                "asks for bodies, which are not supported yet".to_owned(),
            ));
        }
        let interests = Interests {
            hooks: [
                asked.hooks.contains(Hooks::PRE_REQUEST),
                asked.hooks.contains(Hooks::REQUEST),
                asked.hooks.contains(Hooks::RESPONSE),
            ],
            request_head: asked.request_head,
        };
        store.data_mut().request_head = interests.request_head;
        Ok((
            Instance {
                store,
                guest,
                meter,
                engine: self.engine.clone(),
            },
            interests,
        ))
    }

    /// The JSON Schema of the plugin's configuration, where it has one.
    pub async fn config_schema(&self, limits: Limits) -> Result<Option<String>, Failure> {
        let (mut instance, _) = self.instantiate(limits).await?;
        let metered = Metered::new(
            &self.engine,
            &mut instance.store,
            &instance.meter,
            Instant::now(),
            &limits,
        );
        let guest = &instance.guest;
        let done = metered
            .run(&mut instance.store, async |store| {
                guest.call_config_schema(store).await
            })
            .await;
        match done.result {
            Ok(schema) => Ok(Some(schema).filter(|schema| !schema.is_empty())),
            Err(error) => Err(instance.store.data_mut().failure(&error, &limits)),
        }
    }
}

/// A component's instance with its store.
pub struct Instance {
    store: Store<Host>,
    guest: bindings::Plugin,
    meter: Arc<Meter>,
    engine: Engine,
}

impl Instance {
    /// See [`super::Instance::call`].
    pub async fn call(&mut self, call: Call, slot: &mut Option<Box<State>>) -> Called {
        self.store.data_mut().lend(slot.take(), &call);
        let lent = Lent {
            store: &mut self.store,
            slot,
        };
        let metered = Metered::new(
            &self.engine,
            lent.store,
            &self.meter,
            call.start,
            &call.limits,
        );
        let guest = &self.guest;
        let done = metered
            .run(&mut *lent.store, async |store| match call.hook {
                Hook::PreRequest => {
                    guest
                        .call_on_pre_request(store, Resource::new_borrow(0))
                        .await
                }
                Hook::Request => guest.call_on_request(store, Resource::new_borrow(0)).await,
                Hook::Response => guest.call_on_response(store, Resource::new_borrow(0)).await,
            })
            .await;
        let host = lent.store.data_mut();
        let result = match done.result {
            Ok(GuestAction::Proceed) => {
                host.forget_answer();
                Ok(Action::Proceed)
            }
            Ok(GuestAction::Respond) if host.has_answered() => Ok(Action::Respond),
            Ok(GuestAction::Respond) => {
                host.undo();
                Err(Failure::NoAnswer)
            }
            Err(error) => {
                let failure = host.failure(&error, &call.limits);
                host.undo();
                Err(failure)
            }
        };
        Called {
            result,
            end: done.end,
            cpu: done.cpu,
            memory: host.memory(),
            changed: host.take_changed(),
        }
    }
}

/// Gives the state back when a call ends or is dropped.
struct Lent<'a> {
    store: &'a mut Store<Host>,
    slot: &'a mut Option<Box<State>>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        *self.slot = self.store.data_mut().take_back();
    }
}

/// How long the running call has run, in nanoseconds after an origin; read by the epoch's callback
/// on the same thread.
#[derive(Default)]
struct Meter {
    /// When the guest was last resumed.
    resumed: AtomicU64,
    /// CPU time before that.
    used: AtomicU64,
    cpu_limit: AtomicU64,
    deadline: AtomicU64,
}

/// Why the epoch's callback stopped a guest.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Stop {
    #[error("CPU time is used up")]
    Cpu,
    #[error("wall time is used up")]
    Wall,
}

impl Meter {
    fn check(&self) -> wasmtime::Result<()> {
        let now = nanos(Instant::now());
        let resumed = self.resumed.load(Ordering::Relaxed);
        let used = self.used.load(Ordering::Relaxed) + now.saturating_sub(resumed);
        if used > self.cpu_limit.load(Ordering::Relaxed) {
            Err(wasmtime::Error::new(Stop::Cpu))
        } else if now > self.deadline.load(Ordering::Relaxed) {
            Err(wasmtime::Error::new(Stop::Wall))
        } else {
            Ok(())
        }
    }
}

fn nanos(time: Instant) -> u64 {
    static ORIGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    u64::try_from(time.saturating_duration_since(*ORIGIN).as_nanos()).unwrap_or(u64::MAX)
}

/// A call under its limits.
struct Metered<'a> {
    meter: &'a Meter,
    start: Instant,
    deadline: Instant,
}

struct Done<T> {
    result: wasmtime::Result<T>,
    cpu: Duration,
    end: Instant,
}

impl<'a> Metered<'a> {
    fn new(
        engine: &Engine,
        store: &mut Store<Host>,
        meter: &'a Meter,
        start: Instant,
        limits: &Limits,
    ) -> Self {
        engine.clock.touch();
        store.set_epoch_deadline(1);
        let deadline = start + limits.wall_time;
        let whole = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        meter.resumed.store(nanos(start), Ordering::Relaxed);
        meter.used.store(0, Ordering::Relaxed);
        meter
            .cpu_limit
            .store(whole(limits.cpu_time), Ordering::Relaxed);
        meter.deadline.store(nanos(deadline), Ordering::Relaxed);
        Self {
            meter,
            start,
            deadline,
        }
    }

    /// Runs the call to its end, a limit or a trap. The clock is read once where the guest never
    /// waits.
    async fn run<'s, T>(
        self,
        store: &'s mut Store<Host>,
        call: impl AsyncFnOnce(&'s mut Store<Host>) -> wasmtime::Result<T>,
    ) -> Done<T> {
        let mut call = pin!(call(store));
        let mut resumed = self.start;
        let mut cpu = Duration::ZERO;
        let mut timer: Option<Pin<Box<tokio::time::Sleep>>> = None;
        std::future::poll_fn(|cx: &mut Context<'_>| {
            if timer.is_some() {
                resumed = Instant::now();
                self.meter.resumed.store(nanos(resumed), Ordering::Relaxed);
            }
            let polled = std::panic::catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx)));
            let end = Instant::now();
            cpu += end.saturating_duration_since(resumed);
            let result = match polled {
                Ok(Poll::Ready(result)) => result,
                Err(_panic) => Err(wasmtime::Error::new(HostPanic)),
                Ok(Poll::Pending) => {
                    let used = u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX);
                    self.meter.used.store(used, Ordering::Relaxed);
                    let timer = timer.get_or_insert_with(|| {
                        Box::pin(tokio::time::sleep_until(self.deadline.into()))
                    });
                    match timer.as_mut().poll(cx) {
                        Poll::Ready(()) => Err(wasmtime::Error::new(Stop::Wall)),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            };
            Poll::Ready(Done { result, cpu, end })
        })
        .await
    }
}

/// The innermost functions of the guest, as ` in a < b < c`.
fn stack(error: &wasmtime::Error) -> String {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return String::new();
    };
    let names: Vec<String> = backtrace
        .frames()
        .iter()
        .filter_map(|frame| frame.func_name())
        .take(FRAMES)
        .map(|name| format!("{:#}", rustc_demangle::demangle(name)))
        .collect();
    if names.is_empty() {
        String::new()
    } else {
        format!(" in {}", names.join(" < "))
    }
}

/// A host call panicked.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a host call panicked")]
struct HostPanic;

impl Host {
    /// What an error of a call means, from its cause and what the host has seen.
    fn failure(&mut self, error: &wasmtime::Error, limits: &Limits) -> Failure {
        if let Some(stop) = error.downcast_ref::<Stop>() {
            return match stop {
                Stop::Cpu => Failure::CpuTime(limits.cpu_time),
                Stop::Wall => Failure::WallTime(limits.wall_time),
            };
        }
        if error.is::<HostPanic>() {
            return Failure::Host;
        }
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return failure.clone();
        }
        let said = self.take_panic();
        if self.was_denied_memory() {
            return Failure::Memory(limits.memory);
        }
        if let Some(message) = said {
            return Failure::Panic(message);
        }
        if let Some(Trap::StackOverflow) = error.downcast_ref::<Trap>() {
            return Failure::Stack;
        }
        if error.is::<wasmtime::PoolConcurrencyLimitError>() {
            return Failure::Instantiate(error.root_cause().to_string());
        }
        let cause = error.root_cause().to_string();
        // Wasmtime has no types for these two.
        if cause.contains("fuel allocated for hostcalls") || cause.contains("store handle limit") {
            return Failure::Bounds(cause);
        }
        let message = format!("{cause}{}", stack(error));
        if error.is::<Trap>() {
            Failure::Trap(message)
        } else {
            Failure::Abi(message)
        }
    }
}
