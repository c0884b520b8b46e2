//! The one wasmtime engine of a process, and the clock that interrupts its guests.
//!
//! Guests are stopped by epochs: a thread raises the epoch while any hook runs, each millisecond where
//! some run for as long, and sleeps when none does. A hook that has run for a millisecond at an epoch
//! yields to its worker, so that others on the same worker go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy};

/// How often guests that run for long are interrupted.
pub const TICK: Duration = Duration::from_millis(1);

/// The same while none does. Nearly all hooks are over in less than a tick, and each tick takes a core from
/// what it serves.
pub const CALM_TICK: Duration = Duration::from_millis(4);

/// For how long the clock ticks before it looks whether there was any hook, and sleeps where there was none.
const SPAN: Duration = Duration::from_millis(100);

/// Most bytes of stack that one call of a guest may use. A call may stand on another, of a hook that
/// called an import that calls the guest's allocator; then each has as many.
const STACK: usize = 512 << 10;

/// Instances that may exist at once in a process, over all plugins and workers, where the address space has
/// room for them: each has 4 GiB of it, so that no access of a guest needs a check.
const INSTANCES: u32 = 4_000;

/// With fewer there is no serving.
const FEWEST: u32 = INSTANCES / 32;

/// As many as the process has room for.
static ROOM: AtomicU32 = AtomicU32::new(INSTANCES);

/// Most core instances that one of a component is of. One in Python has 38: the interpreter's libraries.
const CORES: u32 = 64;

/// Stacks that may exist beside one for each: an import that has waited calls the guest's allocator on
/// another.
const MORE_STACKS: u32 = 500;

/// Shared by all plugins of a process.
#[derive(Clone)]
pub struct Engine {
    pub(super) wasm: wasmtime::Engine,
    pub(super) clock: Arc<Clock>,
}

/// Raises epochs while hooks run.
pub struct Clock {
    /// A hook ran since the clock last looked.
    active: AtomicBool,
    /// A guest has run for a tick since the span began.
    hurried: AtomicBool,
    sleeping: AtomicBool,
    thread: std::sync::OnceLock<Thread>,
}

impl Engine {
    /// Makes the engine and starts its clock.
    pub fn new() -> Result<Self, wasmtime::Error> {
        let mut instances = INSTANCES;
        let wasm = loop {
            match wasmtime::Engine::new(&config(instances)) {
                Ok(engine) => break engine,
                // Limits (`ulimit -v`), and kernels whose addresses have 39 bits.
                Err(_) if instances > FEWEST => instances /= 2,
                Err(error) => return Err(error),
            }
        };
        ROOM.store(instances, Ordering::Relaxed);
        if instances < INSTANCES {
            let most = INSTANCES;
            tracing::warn!(
                instances,
                most,
                "little address space for instances of plugins"
            );
        }
        let clock = Arc::new(Clock {
            active: AtomicBool::new(false),
            hurried: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            thread: std::sync::OnceLock::new(),
        });
        let weak = wasm.weak();
        let beat = Arc::clone(&clock);
        let handle = std::thread::Builder::new()
            .name("plugin-clock".into())
            .spawn(move || {
                while let Some(engine) = weak.upgrade() {
                    beat.tick(&engine);
                }
            })
            .map_err(wasmtime::Error::new)?;
        // Cannot be set twice: it was made three lines above.
        let _ = clock.thread.set(handle.thread().clone());
        Ok(Self { wasm, clock })
    }
}

/// Instances that may exist at once in this process.
pub(super) fn room() -> u32 {
    ROOM.load(Ordering::Relaxed)
}

fn config(instances: u32) -> Config {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(instances)
        .total_core_instances(CORES * instances)
        .total_memories(instances)
        .total_tables(4 * instances)
        .total_stacks(instances + MORE_STACKS)
        .max_core_instances_per_component(CORES)
        .max_memories_per_component(4)
        .max_tables_per_component(32)
        .max_memory_size(4 << 30)
        .table_elements(20_000);
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .epoch_interruption(true)
        .concurrency_support(false)
        .wasm_threads(false)
        .wasm_exceptions(false)
        .wasm_memory64(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .gc_support(false)
        .max_wasm_stack(STACK)
        .async_stack_size(2 * STACK + (512 << 10))
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

impl Clock {
    /// Says that a hook runs. One load where one ran a moment ago.
    pub(super) fn touch(&self) {
        if !self.active.load(Ordering::Relaxed) {
            self.active.store(true, Ordering::SeqCst);
            if self.sleeping.load(Ordering::SeqCst)
                && let Some(thread) = self.thread.get()
            {
                thread.unpark();
            }
        }
    }

    /// Says that a guest has run for a tick: from now on it is interrupted after each.
    pub(super) fn hurry(&self) {
        if !self.hurried.swap(true, Ordering::Relaxed)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Raises the epoch through one span of activity, or sleeps until there is some.
    fn tick(&self, engine: &wasmtime::Engine) {
        if self.active.swap(false, Ordering::SeqCst) {
            // A guest that runs on says so again at the first tick.
            let mut hurried = self.hurried.swap(false, Ordering::Relaxed);
            let end = Instant::now() + SPAN;
            while Instant::now() < end {
                // Woken by a guest, it ticks once too soon: that guest yields once more.
                std::thread::park_timeout(if hurried { TICK } else { CALM_TICK });
                engine.increment_epoch();
                hurried = self.hurried.load(Ordering::Relaxed);
            }
            return;
        }
        self.sleeping.store(true, Ordering::SeqCst);
        // A hook that began before `sleeping` was seen has set `active`; one that begins after it
        // unparks. The bound lets the thread notice the engine's end.
        if !self.active.load(Ordering::SeqCst) {
            std::thread::park_timeout(Duration::from_secs(1));
        }
        self.sleeping.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::WasmFeatures;

    use super::*;

    #[test]
    fn the_engine_takes_no_more_of_webassembly_than_plugins_need() {
        let wasm = Engine::new().expect("an engine").wasm;
        let features = wasm.get_wasm_features();
        for (name, off) in [
            ("threads", WasmFeatures::THREADS),
            (
                "shared-everything threads",
                WasmFeatures::SHARED_EVERYTHING_THREADS,
            ),
            ("exceptions", WasmFeatures::EXCEPTIONS),
            ("legacy exceptions", WasmFeatures::LEGACY_EXCEPTIONS),
            ("memory64", WasmFeatures::MEMORY64),
            ("gc", WasmFeatures::GC),
            ("gc types", WasmFeatures::GC_TYPES),
            ("function references", WasmFeatures::FUNCTION_REFERENCES),
            ("stack switching", WasmFeatures::STACK_SWITCHING),
            ("async components", WasmFeatures::CM_ASYNC),
            ("threads of components", WasmFeatures::CM_THREADING),
            ("error contexts", WasmFeatures::CM_ERROR_CONTEXT),
        ] {
            assert!(!features.contains(off), "{name}");
        }
        assert!(!wasm.get_concurrency_support());
    }

    #[test]
    fn the_engine_compiles_by_cranelift_alone_and_interrupts_what_it_runs() {
        let wasm = Engine::new().expect("an engine").wasm;
        assert_eq!(wasm.get_strategy(), Some(Strategy::Cranelift));
        assert!(!wasm.is_pulley());
        assert!(wasm.get_epoch_interruption());
        assert_eq!(wasm.get_max_wasm_stack(), STACK);
        assert!(wasm.get_async_stack_size() >= 2 * STACK);
        assert!(wasm.get_pooling_config().is_some());
    }
}
