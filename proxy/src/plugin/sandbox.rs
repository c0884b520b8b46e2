//! What confines a guest of any ABI: its store, and the limits that each call runs under.
//!
//! A call lends the exchange's state to the store for as long as the hook runs, and is stopped by
//! the engine's clock where it uses more time than it may.

mod meter;
pub(super) mod turns;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use wasmtime::{Store, Trap, UpdateDeadline, WasmBacktrace};

use super::callout::Desk;
use super::engine::Engine;
use super::host::Host;
use super::kv;
use super::measures::Families;
use super::{Action, BodyMode, Call, Called, Failure, Hook, Interests, Made};
use crate::config::Limits;
use crate::exchange::state::State;
use meter::{Meter, Stop};

pub(super) use meter::nanos;

/// Most bytes a guest may pass to the host in one call.
pub(super) const HOSTCALL_BYTES: usize = 16 << 20;

/// What may be passed in one call beside a body.
const BESIDE_BODY: usize = 64 << 10;

/// Most handles a guest may hold.
const HANDLES: usize = 1_000;

/// Most bytes of a refusal's text, and most functions of a stack, that are reported.
const REFUSAL_BYTES: usize = 1024;
const FRAMES: usize = 6;

/// How long `configure` and `config-schema` may take, of CPU and by the clock.
const CONFIGURE: Duration = Duration::from_secs(2);

/// How many times the CPU time of the instance that was tried a later one may take; and what it may take
/// in any case.
const TIMES: u32 = 4;
const LEAST: Duration = Duration::from_millis(50);

/// What holds for a guest that is asked about its configuration, while no request waits for it.
pub(super) fn while_configured(limits: Limits) -> Limits {
    Limits {
        cpu_time: CONFIGURE,
        wall_time: CONFIGURE,
        ..limits
    }
}

/// What holds for a guest that is configured while a request waits, where the one that was tried took so
/// much CPU time: about what a hook may take, so that none can hide its work there.
pub(super) fn while_made(limits: Limits, tried: Duration) -> Limits {
    Limits {
        cpu_time: limits.cpu_time.max(LEAST).max(tried * TIMES).min(CONFIGURE),
        wall_time: CONFIGURE,
        ..limits
    }
}

/// What every instance of one plugin begins with.
pub struct Seed {
    pub engine: Engine,
    /// The plugin's, as in [`super::Plugin`].
    pub id: u32,
    pub name: Arc<str>,
    /// As JSON.
    pub config: String,
    /// What all instances share.
    pub kv: kv::Store,
    pub families: Arc<Families>,
    /// Upstreams that it may call.
    pub upstreams: Arc<[String]>,
}

/// A store for one instance of a guest.
pub(super) struct Sandbox {
    pub(super) store: Store<Host>,
    meter: Arc<Meter>,
    /// Where the guest leaves its calls.
    desk: Arc<Desk>,
    engine: Engine,
}

impl Sandbox {
    /// A store in which nothing is yet.
    pub(super) fn new(seed: &Seed, limits: Limits) -> Self {
        let engine = &seed.engine;
        let meter = Arc::new(Meter::default());
        let mut store = Store::new(&engine.wasm, Host::new(seed, &limits));
        store.limiter(|host| host);
        store.set_hostcall_fuel(HOSTCALL_BYTES.max(limits.body.saturating_add(BESIDE_BODY)));
        store.set_max_component_handles(HANDLES);
        let clock = Arc::clone(&engine.clock);
        let in_callback = Arc::clone(&meter);
        let plugin = seed.id;
        store.epoch_deadline_callback(move |_| {
            clock.touch();
            Ok(if in_callback.check(Instant::now())? {
                clock.hurry();
                UpdateDeadline::YieldCustom(1, Box::pin(turns::pause(plugin)))
            } else {
                UpdateDeadline::Continue(1)
            })
        });
        let desk = store.data().desk();
        Self {
            store,
            meter,
            desk,
            engine: engine.clone(),
        }
    }

    /// Instantiates and configures the guest by `begin`, whose refusal is a failure, as is asking
    /// for what there is not.
    pub(super) async fn configure<G>(
        &mut self,
        limits: Limits,
        begin: impl AsyncFnOnce(&mut Store<Host>) -> wasmtime::Result<(G, Result<Interests, String>)>,
    ) -> Result<Made<G>, Failure> {
        let ((guest, asked), cpu) = self.setup(&limits, begin).await?;
        let mut interests = asked.map_err(|mut reason| {
            reason.truncate(reason.floor_char_boundary(REFUSAL_BYTES));
            Failure::Configure(reason)
        })?;
        // Who streams a body is called for its head, which decides.
        let [request_body, response_body] = interests.bodies.map(|mode| mode == BodyMode::Stream);
        interests.hooks[Hook::Request as usize] |=
            request_body && !interests.hooks[Hook::PreRequest as usize];
        interests.hooks[Hook::Response as usize] |= response_body;
        let [pre_request, request, response] = interests.hooks;
        for (mode, has_hook) in
            (interests.bodies.iter_mut()).zip([pre_request || request, response])
        {
            *mode = match *mode {
                BodyMode::Buffer(most) if has_hook => BodyMode::Buffer(most.min(limits.body)),
                BodyMode::Stream => BodyMode::Stream,
                _ => BodyMode::None,
            };
        }
        let host = self.store.data_mut();
        host.request_head = interests.request_head;
        host.bodies = interests.bodies;
        Ok(Made {
            instance: guest,
            interests,
            cpu,
        })
    }

    /// Runs what belongs to no exchange, and tells the CPU time it took.
    pub(super) async fn setup<T>(
        &mut self,
        limits: &Limits,
        call: impl AsyncFnOnce(&mut Store<Host>) -> wasmtime::Result<T>,
    ) -> Result<(T, Duration), Failure> {
        let (start, store) = (Instant::now(), &mut self.store);
        let metered = Metered::new(&self.engine, store, &self.meter, start, limits);
        let done = metered.run(&mut self.store, |_| false, call).await;
        match done.result {
            Ok(result) => Ok((result, done.cpu)),
            Err(error) => Err(failure(self.store.data_mut(), &error, limits)),
        }
    }

    /// Runs a hook by `run`. The state is in `slot` before and after, also where the future is
    /// dropped; a sandbox whose call failed or was dropped must not be used again.
    pub(super) async fn hook(
        &mut self,
        call: Call<'_>,
        slot: &mut Option<Box<State>>,
        run: impl AsyncFnOnce(&mut Store<Host>) -> wasmtime::Result<Action>,
    ) -> Called {
        self.store.data_mut().lend(slot.take(), &call);
        let lent = Lent {
            store: &mut self.store,
            slot,
        };
        let (start, limits) = (call.start, &call.limits);
        let metered = Metered::new(&self.engine, lent.store, &self.meter, start, limits);
        let (desk, calls) = (&*self.desk, call.calls);
        let mut under_way = None;
        let beside = |cx: &mut Context<'_>| {
            if under_way.is_none() {
                under_way = desk.take().map(|asked| calls.call(asked));
            }
            let Some(making) = &mut under_way else {
                return false;
            };
            let Poll::Ready(made) = making.as_mut().poll(cx) else {
                return false;
            };
            under_way = None;
            desk.put(made);
            true
        };
        let done = metered.run(&mut *lent.store, beside, run).await;
        let host = lent.store.data_mut();
        let result = match done.result {
            Ok(action @ (Action::Proceed | Action::Replace | Action::Abort)) => {
                host.forget_answer();
                Ok(action)
            }
            Ok(Action::Respond) if host.has_answered() => Ok(Action::Respond),
            Ok(Action::Respond) => {
                host.undo();
                Err(Failure::NoAnswer)
            }
            Err(error) => {
                let failure = failure(host, &error, limits);
                host.undo();
                Err(failure)
            }
        };
        Called {
            result,
            end: done.end,
            cpu: done.cpu,
            memory: host.memory(),
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

/// A call under its limits.
struct Metered<'m> {
    meter: &'m Meter,
    start: Instant,
    wall_time: Duration,
}

struct Done<T> {
    result: wasmtime::Result<T>,
    cpu: Duration,
    end: Instant,
}

impl<'m> Metered<'m> {
    fn new(
        engine: &Engine,
        store: &mut Store<Host>,
        meter: &'m Meter,
        start: Instant,
        limits: &Limits,
    ) -> Self {
        engine.clock.touch();
        store.set_epoch_deadline(1);
        meter.begin(start, limits);
        Self {
            meter,
            start,
            wall_time: limits.wall_time,
        }
    }

    /// Runs the call to its end, a limit or a trap. The clock is read once where the guest never
    /// waits. `beside` makes the guest's own calls while it waits, and says whether it may go on.
    async fn run<'s, T>(
        self,
        store: &'s mut Store<Host>,
        mut beside: impl FnMut(&mut Context<'_>) -> bool,
        call: impl AsyncFnOnce(&'s mut Store<Host>) -> wasmtime::Result<T>,
    ) -> Done<T> {
        let mut call = pin!(call(store));
        let mut resumed = self.start;
        let mut cpu = Duration::ZERO;
        let mut timer: Option<Pin<Box<tokio::time::Sleep>>> = None;
        std::future::poll_fn(|cx: &mut Context<'_>| {
            loop {
                if timer.is_some() {
                    resumed = Instant::now();
                    self.meter.resume();
                }
                let polled = std::panic::catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx)));
                let end = Instant::now();
                cpu += end.saturating_duration_since(resumed);
                let result = match polled {
                    Ok(Poll::Ready(result)) => result,
                    Err(_panic) => Err(wasmtime::Error::new(HostPanic)),
                    Ok(Poll::Pending) => {
                        cpu = self.meter.suspend(cpu, end);
                        let timer = timer.get_or_insert_with(|| {
                            let deadline = self.start + self.wall_time;
                            Box::pin(tokio::time::sleep_until(deadline.into()))
                        });
                        if beside(cx) {
                            continue;
                        }
                        match timer.as_mut().poll(cx) {
                            Poll::Ready(()) => Err(wasmtime::Error::new(Stop::Wall)),
                            Poll::Pending => return Poll::Pending,
                        }
                    }
                };
                return Poll::Ready(Done { result, cpu, end });
            }
        })
        .await
    }
}

/// A host call panicked.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a host call panicked")]
struct HostPanic;

/// What an error of a call means, from its cause and what the host has seen.
fn failure(host: &mut Host, error: &wasmtime::Error, limits: &Limits) -> Failure {
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
    let said = host.take_panic();
    if host.was_denied_memory() {
        return Failure::Memory(limits.memory());
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
    match error.downcast_ref::<Trap>() {
        Some(Trap::CannotLeaveComponent) | None => Failure::Abi(message),
        Some(_) => Failure::Trap(message),
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

#[cfg(test)]
mod tests {
    use wasmtime::Func;

    use super::*;
    use crate::plugin::kv::Kv;

    const LIMITS: Limits = Limits {
        memory: None,
        cpu_time: Duration::from_secs(1),
        wall_time: Duration::from_secs(10),
        body: 0,
        answer: 0,
        answer_time: Duration::ZERO,
        kv: 0,
        calls: 0,
    };

    /// A call in whose way the host panics, or not.
    async fn call(engine: &Engine, panics: bool) -> Result<(), Failure> {
        let seed = Seed {
            engine: engine.clone(),
            id: 0,
            name: "tried".into(),
            config: String::new(),
            kv: kv::Store::Memory(Arc::new(Kv::new(0))),
            families: Arc::default(),
            upstreams: Arc::from([]),
        };
        let mut sandbox = Sandbox::new(&seed, LIMITS);
        let run = async |store: &mut Store<Host>| {
            let host = Func::wrap(&mut *store, move || assert!(!panics, "of the host"));
            let host = host.typed::<(), ()>(&*store)?;
            host.call_async(store, ()).await
        };
        sandbox.setup(&LIMITS, run).await.map(|((), _)| ())
    }

    #[test]
    fn a_panic_of_the_host_fails_the_call_and_nothing_else() {
        let engine = Engine::new().unwrap();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().unwrap();
        runtime.block_on(async {
            assert_eq!(call(&engine, true).await, Err(Failure::Host));
            assert_eq!(call(&engine, false).await, Ok(()));
        });
    }
}
