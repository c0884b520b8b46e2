//! A worker's warm instances, and its breakers.
//!
//! Belongs to one worker: no lock. An instance is taken for one hook and given back when the hook
//! went well; one that failed is dropped by not giving it back. One that an exchange has for itself
//! stays with it (`own`). A plugin that keeps failing is not called any more for a while: its
//! [`Breaker`] is open.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Instant;

use super::vitals::{Counted, Open};
use super::{Failure, Hook, Instance, Plugin};
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
    /// Linear memory after its last call that went well, in bytes; `None` before the first.
    memory: Option<usize>,
    life: Life,
    counted: Counted,
}

impl Kept {
    /// Whether it has served no hook yet.
    pub fn is_fresh(&self) -> bool {
        self.memory.is_none()
    }

    /// A call went well, and has left it with so much memory.
    pub(super) fn has(&mut self, memory: usize) {
        self.memory = Some(memory);
        self.counted.has(memory);
    }

    /// It has served a hook; `None` where a fresh one is to take its place.
    fn served(mut self, limit: usize, now: Instant) -> Option<Self> {
        let memory = self.memory.unwrap_or_default();
        self.life.serve(memory);
        (!self.life.is_worn(memory, limit, now)).then_some(self)
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

/// Stops the calls of a plugin of which a hook keeps failing.
#[derive(Clone, Copy, Debug, Default)]
struct Breaker {
    /// Failures in a row, by [`Hook`]: that another hook goes well says nothing of the one that fails.
    failed: [u32; Hook::ALL.len()],
    /// When it opened, or last let a call through to try.
    open: Option<Instant>,
}

impl Breaker {
    /// Whether a call may be made. Where it is open, one of a hook that failed so often may after each
    /// pause, to try; others may until then, since one may come after them only.
    fn lets(&mut self, hook: Hook, config: &config::Breaker, now: Instant) -> bool {
        match self.open {
            Some(since) if now.saturating_duration_since(since) < config.pause => false,
            Some(_) => {
                if self.failed[hook as usize] >= config.failures {
                    self.open = Some(now);
                }
                true
            }
            None => true,
        }
    }

    /// Whether it opened by this failure.
    fn fail(&mut self, hook: Hook, config: &config::Breaker, now: Instant) -> bool {
        let failed = &mut self.failed[hook as usize];
        *failed = failed.saturating_add(1);
        let opens = config.failures > 0 && *failed >= config.failures;
        let was_open = self.open.is_some();
        if opens {
            self.open = Some(now);
        }
        opens && !was_open
    }

    /// A hook went well. Whether it is closed by that: where none fails so often now, or those that do
    /// were not called to try for a pause in which they might have been. They open it again at once.
    fn succeed(&mut self, hook: Hook, config: &config::Breaker, now: Instant) -> bool {
        self.failed[hook as usize] = 0;
        let closes = self.open.is_some_and(|since| {
            self.failed.iter().all(|one| *one < config.failures)
                || now.saturating_duration_since(since) / 2 >= config.pause
        });
        if closes {
            self.open = None;
        }
        closes
    }
}

impl Instances {
    /// Whether a hook of a head may be called, by its breaker.
    pub fn lets(&self, plugin: &Plugin, hook: Hook, now: Instant) -> Result<(), Failure> {
        let breaker = &plugin.config.breaker;
        if self.with(plugin.id, |warm| warm.breaker.lets(hook, breaker, now)) {
            Ok(())
        } else {
            Err(Failure::BreakerOpen(breaker.failures))
        }
    }

    /// The exchange's `own` instance for a hook of a head, a warm or a fresh one.
    pub async fn take(
        &self,
        plugin: &Plugin,
        own: &mut Option<Kept>,
        now: Instant,
    ) -> Result<Kept, Failure> {
        let warm = || self.with(plugin.id, |warm| warm.free.pop());
        if let Some(kept) = own.take().or_else(warm) {
            return Ok(kept);
        }
        // Boxed because it is rare, and large.
        Box::pin(self.make(plugin, now)).await
    }

    async fn make(&self, plugin: &Plugin, now: Instant) -> Result<Kept, Failure> {
        let mut made = plugin.instance().await;
        if matches!(made, Err(Failure::Instantiate(_))) {
            // The process has no more: those that are idle make room.
            self.drop_idle();
            made = plugin.instance().await;
        }
        Ok(Kept {
            instance: made?,
            memory: None,
            life: Life::new(plugin.config.recycle, now),
            counted: Counted::new(&plugin.vitals),
        })
    }

    /// A hook of a head went well, and so did all pieces of the body behind it. Its instance is free,
    /// unless the exchange has it for itself.
    pub fn succeeded(&self, plugin: &Plugin, hook: Hook, free: Option<Kept>, now: Instant) {
        let again = free.filter(|_| plugin.config.isolation == Isolation::Shared);
        let limit = plugin.config.limits.memory();
        let again = again.and_then(|kept| kept.served(limit, now));
        self.with(plugin.id, |warm| {
            if warm.breaker.succeed(hook, &plugin.config.breaker, now) {
                warm.open = None;
            }
            if let Some(kept) = again
                && warm.free.len() < WARM
            {
                warm.free.push(kept);
            }
        });
    }

    /// A hook of a head failed, or on a piece of the body behind it; one that was not called for it
    /// teaches nothing.
    pub fn failed(&self, plugin: &Plugin, hook: Hook, failure: &Failure, now: Instant) {
        if let Failure::BreakerOpen(_) | Failure::Waited(_) = failure {
            return;
        }
        let breaker = &plugin.config.breaker;
        let opened = self.with(plugin.id, |warm| {
            let opened = warm.breaker.fail(hook, breaker, now);
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

    const BREAKER: config::Breaker = config::Breaker {
        failures: 2,
        pause: Duration::from_secs(1),
    };

    #[test]
    fn a_breaker_opens_after_failures_in_a_row_and_lets_one_try_after_each_pause() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut breaker = Breaker::default();
        let lets = |breaker: &mut Breaker, now| breaker.lets(Hook::Request, &BREAKER, now);
        assert!(!breaker.fail(Hook::Request, &BREAKER, start));
        assert!(lets(&mut breaker, start));
        assert!(breaker.fail(Hook::Request, &BREAKER, start), "it opens");
        assert!(!lets(&mut breaker, at(999)));
        assert!(lets(&mut breaker, at(1000)), "one tries");
        assert!(!lets(&mut breaker, at(1001)), "and no other meanwhile");
        let opened = breaker.fail(Hook::Request, &BREAKER, at(1500));
        assert!(!opened, "it stays open");
        assert!(!lets(&mut breaker, at(2499)));
        assert!(lets(&mut breaker, at(2500)));
        let closed = breaker.succeed(Hook::Request, &BREAKER, at(2500));
        assert!(closed);
        assert!(lets(&mut breaker, at(2501)));
    }

    #[test]
    fn a_hook_that_goes_well_excuses_no_other() {
        let start = Instant::now();
        let later = start + BREAKER.pause;
        let mut breaker = Breaker::default();
        assert!(!breaker.fail(Hook::Request, &BREAKER, start));
        assert!(!breaker.succeed(Hook::Response, &BREAKER, start));
        assert!(breaker.fail(Hook::Request, &BREAKER, start), "it opens");
        assert!(!breaker.lets(Hook::Response, &BREAKER, start), "for all");
        // What comes before the hook that is to try does not try in its place.
        assert!(breaker.lets(Hook::PreRequest, &BREAKER, later));
        assert!(!breaker.succeed(Hook::PreRequest, &BREAKER, later));
        assert!(breaker.lets(Hook::Request, &BREAKER, later));
        assert!(!breaker.lets(Hook::Response, &BREAKER, later));
        assert!(breaker.succeed(Hook::Request, &BREAKER, later), "it closes");
        assert!(breaker.lets(Hook::Response, &BREAKER, later));
    }

    #[test]
    fn a_breaker_whose_hook_is_called_no_more_closes_when_others_go_well() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut breaker = Breaker::default();
        for _ in 0..2 {
            breaker.fail(Hook::Response, &BREAKER, start);
        }
        assert!(breaker.lets(Hook::Request, &BREAKER, at(1999)));
        assert!(!breaker.succeed(Hook::Request, &BREAKER, at(1999)));
        assert!(breaker.lets(Hook::Request, &BREAKER, at(2000)));
        assert!(
            breaker.succeed(Hook::Request, &BREAKER, at(2000)),
            "it closes"
        );
        assert!(breaker.lets(Hook::Response, &BREAKER, at(2001)));
        let opens = breaker.fail(Hook::Response, &BREAKER, at(2001));
        assert!(opens, "at its first failure");
    }

    #[test]
    fn a_breaker_of_no_failures_never_opens() {
        let config = config::Breaker {
            failures: 0,
            ..BREAKER
        };
        let mut breaker = Breaker::default();
        for _ in 0..1000 {
            assert!(!breaker.fail(Hook::Request, &config, Instant::now()));
        }
        assert!(breaker.lets(Hook::Request, &config, Instant::now()));
        assert!(!breaker.succeed(Hook::Request, &config, Instant::now()));
    }
}
