//! A worker's warm instances, and its breakers.
//!
//! Belongs to one worker: no lock. An instance is taken for one hook and given back when the hook
//! went well; one that failed is dropped by not giving it back. A plugin that keeps failing is not
//! called any more for a while: its [`Breaker`] is open.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Instant;

use super::vitals::{Counted, Open};
use super::{Failure, Instance, Plugin};
use crate::config::{self, Isolation, Recycle};

/// Most warm instances a worker keeps of one plugin: as many as hooks of it were ever suspended at
/// once, within this bound.
const WARM: usize = 64;

/// See the module's documentation. By the plugin's id.
#[derive(Default)]
pub struct Instances(RefCell<HashMap<u32, Warm, BuildHasherDefault<ById>>>);

/// Ids are given one after the other, and by nobody outside: they need no mixing.
#[derive(Default)]
struct ById(u64);

impl Hasher for ById {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32((*byte).into());
        }
    }

    fn write_u32(&mut self, id: u32) {
        // The table looks at the highest bits too.
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[derive(Default)]
struct Warm {
    free: Vec<Kept>,
    breaker: Breaker,
    /// Says that the breaker is open, while it is.
    open: Option<Open>,
}

/// An instance, and what is known of its life.
pub struct Kept {
    pub instance: Instance,
    life: Life,
    counted: Counted,
}

impl Kept {
    /// Whether it has served no hook yet.
    pub fn is_fresh(&self) -> bool {
        self.life.served == 0
    }
}

/// How long an instance has served, so that a slow leak in a guest cannot grow for ever.
struct Life {
    /// Hooks that went well.
    served: u32,
    /// When it is too old; `None` where never.
    old: Option<Instant>,
    /// Linear memory after its first hook, in bytes.
    memory: usize,
    recycle: Recycle,
}

impl Life {
    fn new(recycle: Recycle, born: Instant) -> Self {
        Self {
            served: 0,
            old: born.checked_add(recycle.age),
            memory: 0,
            recycle,
        }
    }

    /// Counts a hook after which it has so much memory.
    fn serve(&mut self, memory: usize) {
        if self.served == 0 {
            self.memory = memory;
        }
        self.served = self.served.saturating_add(1);
    }

    fn is_old(&self, now: Instant) -> bool {
        self.old.is_some_and(|old| now >= old)
    }

    /// Whether a fresh one is to take its place: where it is used up, or has grown into the last
    /// quarter of what it may have.
    fn is_worn(&self, memory: usize, limit: usize, now: Instant) -> bool {
        self.served >= self.recycle.hooks
            || self.is_old(now)
            || (memory > self.memory && memory > limit / 4 * 3)
    }
}

/// Stops the calls of a plugin that keeps failing.
#[derive(Clone, Copy, Debug, Default)]
struct Breaker {
    /// Failures in a row.
    failed: u32,
    /// When it opened, or last let a call through to try.
    open: Option<Instant>,
}

impl Breaker {
    /// Whether a call may be made. Where it is open, one may after each pause, to try.
    fn lets(&mut self, config: &config::Breaker, now: Instant) -> bool {
        match self.open {
            Some(since) if now.saturating_duration_since(since) < config.pause => false,
            Some(_) => {
                self.open = Some(now);
                true
            }
            None => true,
        }
    }

    /// Whether it opened by this failure.
    fn fail(&mut self, config: &config::Breaker, now: Instant) -> bool {
        self.failed = self.failed.saturating_add(1);
        let opens = config.failures > 0 && self.failed >= config.failures;
        let was_open = self.open.is_some();
        if opens {
            self.open = Some(now);
        }
        opens && !was_open
    }
}

impl Instances {
    /// A warm instance, or a fresh one.
    pub async fn take(&self, plugin: &Plugin, now: Instant) -> Result<Kept, Failure> {
        let breaker = &plugin.config.breaker;
        let warm = self.with(plugin.id, |warm| {
            if !warm.breaker.lets(breaker, now) {
                return Err(Failure::BreakerOpen(breaker.failures));
            }
            Ok(warm.free.pop())
        })?;
        if let Some(kept) = warm {
            return Ok(kept);
        }
        // Boxed because it is rare, and large.
        Box::pin(self.make(plugin, now)).await
    }

    async fn make(&self, plugin: &Plugin, now: Instant) -> Result<Kept, Failure> {
        let limits = plugin.config.limits;
        let mut made = plugin.guest.instantiate(limits).await;
        if matches!(made, Err(Failure::Instantiate(_))) {
            // The process has no more: those that are idle make room.
            self.drop_idle();
            made = plugin.guest.instantiate(limits).await;
        }
        let (instance, _) = made?;
        Ok(Kept {
            instance,
            life: Life::new(plugin.config.recycle, now),
            counted: Counted::new(&plugin.vitals),
        })
    }

    /// Gives an instance back after a hook that went well, with so much memory.
    pub fn give(&self, plugin: &Plugin, mut kept: Kept, memory: usize, now: Instant) {
        kept.life.serve(memory);
        kept.counted.has(memory);
        let keeps = plugin.config.isolation == Isolation::Shared
            && !kept
                .life
                .is_worn(memory, plugin.config.limits.memory(), now);
        self.with(plugin.id, |warm| {
            warm.breaker = Breaker::default();
            warm.open = None;
            if keeps && warm.free.len() < WARM {
                warm.free.push(kept);
            }
        });
    }

    /// A hook of the plugin failed; one that was not called for it teaches nothing.
    pub fn failed(&self, plugin: &Plugin, failure: &Failure, now: Instant) {
        if matches!(failure, Failure::BreakerOpen(_)) {
            return;
        }
        let breaker = &plugin.config.breaker;
        let opened = self.with(plugin.id, |warm| {
            let opened = warm.breaker.fail(breaker, now);
            if opened {
                warm.open = Some(Open::new(&plugin.vitals));
            }
            opened
        });
        if opened {
            tracing::warn!(
                plugin = %plugin.name,
                failures = breaker.failures,
                pause_seconds = breaker.pause.as_secs_f64(),
                "plugin keeps failing: its hooks are not called for a while"
            );
        }
    }

    /// Drops what belongs to none of `plugins`: after a reload.
    pub fn retain(&self, plugins: impl Fn(u32) -> bool) {
        self.0.borrow_mut().retain(|plugin, _| plugins(*plugin));
    }

    /// Drops what is idle and too old: those at the bottom may never be taken again.
    pub fn sweep(&self, now: Instant) {
        for warm in self.0.borrow_mut().values_mut() {
            warm.free.retain(|kept| !kept.life.is_old(now));
        }
    }

    fn drop_idle(&self) {
        for warm in self.0.borrow_mut().values_mut() {
            warm.free.clear();
        }
    }

    fn with<T>(&self, plugin: u32, f: impl FnOnce(&mut Warm) -> T) -> T {
        f(self.0.borrow_mut().entry(plugin).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MIB: usize = 1 << 20;

    fn life(born: Instant) -> Life {
        let recycle = Recycle {
            hooks: 3,
            age: Duration::from_mins(1),
        };
        Life::new(recycle, born)
    }

    #[test]
    fn an_instance_is_worn_after_so_many_hooks() {
        let start = Instant::now();
        let mut life = life(start);
        let worn = [1, 2, 3].map(|_| {
            life.serve(MIB);
            life.is_worn(MIB, 16 * MIB, start)
        });
        assert_eq!(worn, [false, false, true]);
    }

    #[test]
    fn an_instance_is_worn_at_an_age() {
        let start = Instant::now();
        let mut life = life(start);
        life.serve(MIB);
        let worn = |seconds| {
            let now = start + Duration::from_secs(seconds);
            (life.is_worn(MIB, 16 * MIB, now), life.is_old(now))
        };
        assert_eq!(worn(59), (false, false));
        assert_eq!(worn(60), (true, true));
    }

    #[test]
    fn an_instance_is_worn_once_it_grew_into_the_last_quarter() {
        let start = Instant::now();
        let mut life = life(start);
        life.serve(13 * MIB);
        assert!(
            !life.is_worn(13 * MIB, 16 * MIB, start),
            "it began so large"
        );
        assert!(life.is_worn(14 * MIB, 16 * MIB, start));
        assert!(!life.is_worn(14 * MIB, 32 * MIB, start), "there is room");
    }

    #[test]
    fn a_breaker_opens_after_failures_in_a_row_and_lets_one_try_after_each_pause() {
        let config = config::Breaker {
            failures: 2,
            pause: Duration::from_secs(1),
        };
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut breaker = Breaker::default();
        assert!(!breaker.fail(&config, start));
        assert!(breaker.lets(&config, start));
        assert!(breaker.fail(&config, start), "it opens");
        assert!(!breaker.lets(&config, at(999)));
        assert!(breaker.lets(&config, at(1000)), "one tries");
        assert!(!breaker.lets(&config, at(1001)), "and no other meanwhile");
        assert!(!breaker.fail(&config, at(1500)), "it stays open");
        assert!(!breaker.lets(&config, at(2499)));
        assert!(breaker.lets(&config, at(2500)));
    }

    #[test]
    fn a_breaker_of_no_failures_never_opens() {
        let config = config::Breaker {
            failures: 0,
            pause: Duration::from_secs(1),
        };
        let mut breaker = Breaker::default();
        for _ in 0..1000 {
            assert!(!breaker.fail(&config, Instant::now()));
        }
        assert!(breaker.lets(&config, Instant::now()));
    }
}
