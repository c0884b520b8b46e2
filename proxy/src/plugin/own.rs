//! Instances that an exchange has for itself: those of plugins whose `isolation` is `request`.
//!
//! The first hook of such a plugin leaves its instance in a [`Seat`], where the exchange's later hooks
//! find it with all that it has in its memory, and pieces of bodies too; the end of the exchange drops it. A
//! call that failed or was dropped leaves the seat empty, and the next hook has a fresh one.
//!
//! While nobody calls it, as when the upstream takes long, such an instance counts among those that the
//! process may have. Half of these are for this: where they are taken, an exchange has no seat, and each of
//! its hooks a fresh instance. So none waits for another, and those who share instances find some.

use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use smallvec::SmallVec;
use tokio::sync::{Mutex, MutexGuard};

use super::engine;
use super::instances::{Instances, Kept};
use super::sandbox::turns;
use super::{Failure, Hook, Plugin};
use crate::config::Isolation;

/// Seats that exchanges have in the process.
static TAKEN: AtomicU32 = AtomicU32::new(0);

/// The seats of one exchange, by the plugin's id.
#[derive(Default)]
pub(super) struct Own(SmallVec<[(u32, Rc<Seat>); 1]>);

/// Where an instance is between calls that are to find it again; empty where there is none any more.
pub(super) struct Seat {
    instance: Mutex<Option<Kept>>,
    /// Its place among all seats; `None` for one that no exchange has.
    _ticket: Option<Ticket>,
}

/// What is in a seat, for who calls it.
pub(super) type Place<'s> = MutexGuard<'s, Option<Kept>>;

struct Ticket(&'static AtomicU32);

impl Own {
    /// The plugin's seat, for a hook of a head; its last hook takes it along. None where instances are
    /// shared, no hook comes behind this one, or there are too many.
    pub(super) fn seat(&mut self, plugin: &Plugin, hook: Hook) -> Option<Rc<Seat>> {
        if plugin.config.isolation == Isolation::Shared {
            return None;
        }
        let later = &Hook::ALL[hook as usize + 1..];
        let is_last = !later.iter().any(|later| plugin.wants(*later));
        if let Some(place) = self.0.iter().position(|(id, _)| *id == plugin.id) {
            return Some(if is_last {
                self.0.swap_remove(place).1
            } else {
                Rc::clone(&self.0[place].1)
            });
        }
        if is_last {
            return None;
        }
        let seat = Rc::new(Seat {
            instance: Mutex::default(),
            _ticket: Some(Ticket::take(&TAKEN)?),
        });
        self.0.push((plugin.id, Rc::clone(&seat)));
        Some(seat)
    }
}

impl Seat {
    /// For one that nobody else calls.
    fn alone(kept: Kept) -> Rc<Self> {
        Rc::new(Self {
            instance: Mutex::new(Some(kept)),
            _ticket: None,
        })
    }

    /// Waits for the plugin's turn, and until no other call has the instance: a hook of a head and pieces
    /// of either body may come at the same time. No longer than a call may last.
    pub(super) async fn lock(&self, plugin: &Plugin) -> Result<Place<'_>, Failure> {
        if !turns::has_waiting(plugin.id)
            && let Ok(place) = self.instance.try_lock()
        {
            return Ok(place);
        }
        no_longer_than_a_call(plugin, async {
            if turns::has_waiting(plugin.id) {
                turns::begin().await;
            }
            self.instance.lock().await
        })
        .await
    }

    /// The instance, where nobody else is going to call it.
    pub(super) fn take(self: Rc<Self>) -> Option<Kept> {
        Rc::into_inner(self)?.instance.into_inner()
    }
}

async fn no_longer_than_a_call<T>(
    plugin: &Plugin,
    waiting: impl Future<Output = T>,
) -> Result<T, Failure> {
    let most = plugin.config.limits.wall_time;
    let waited = tokio::time::timeout(most, waiting).await;
    waited.map_err(|_| Failure::Waited(most))
}

/// An instance for a hook of a head, and its place where it has one: held until the hook has ended. Beside
/// them, when it was no longer waited for that others were done with it, or had their turn.
pub(super) async fn take<'s>(
    seat: Option<&'s Seat>,
    instances: &Instances,
    plugin: &Plugin,
    hook: Hook,
    now: Instant,
) -> Result<(Kept, Option<Place<'s>>, Instant), Failure> {
    // Before any wait: where it is open nobody is called.
    instances.lets(plugin, hook, now)?;
    let (mut place, now) = match seat {
        Some(seat) => (Some(seat.lock(plugin).await?), Instant::now()),
        None if turns::has_waiting(plugin.id) => {
            no_longer_than_a_call(plugin, turns::begin()).await?;
            (None, Instant::now())
        }
        None => (None, now),
    };
    let mut none = None;
    let own = place.as_deref_mut().unwrap_or(&mut none);
    let kept = instances.take(plugin, own, now).await?;
    Ok((kept, place, now))
}

/// Leaves an instance where pieces of a body, and later hooks, find it.
pub(super) fn leave(kept: Kept, place: Option<Place<'_>>, seat: Option<&Rc<Seat>>) -> Rc<Seat> {
    match (place, seat) {
        (Some(mut place), Some(seat)) => {
            *place = Some(kept);
            Rc::clone(seat)
        }
        _ => Seat::alone(kept),
    }
}

impl Ticket {
    fn take(of: &'static AtomicU32) -> Option<Self> {
        let most = engine::room() / 2;
        let more = |taken| (taken < most).then_some(taken + 1);
        let taken = of.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok().then(|| Self(of))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_bounded_and_free_again_when_dropped() {
        // Others of the process are for other tests too.
        static OF: AtomicU32 = AtomicU32::new(0);
        let mut taken: Vec<_> = (0..engine::room() / 2).map(|_| Ticket::take(&OF)).collect();
        assert!(taken.iter().all(Option::is_some));
        assert!(Ticket::take(&OF).is_none());
        taken.pop();
        assert!(Ticket::take(&OF).is_some());
        drop(taken);
        assert_eq!(OF.load(Ordering::Relaxed), 0);
    }
}
