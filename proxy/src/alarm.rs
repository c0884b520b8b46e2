//! A deadline that is mostly met, for many waits one after the other.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// Its timer stays set where the next deadline is a later one, and is set anew only when it runs out:
/// a wait that ends in time costs no timer.
#[derive(Default)]
pub struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready once the deadline has passed, whatever was used of the task's budget.
    pub fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            let rings = pin!(unconstrained(sleep.as_mut()));
            ready!(rings.poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_millis(10);
    const NEVER: Duration = Duration::from_hours(1);

    async fn rings(alarm: &mut Alarm, deadline: Instant) {
        poll_fn(|cx| alarm.poll(cx, deadline)).await;
        assert!(Instant::now() >= deadline);
    }

    fn is_pending(alarm: &mut Alarm, deadline: Instant) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        alarm.poll(&mut cx, deadline).is_pending()
    }

    #[tokio::test]
    async fn it_rings_at_the_deadline_that_it_was_given_last() {
        let (mut alarm, start) = (Alarm::default(), Instant::now());
        assert!(is_pending(&mut alarm, start + NEVER));
        // One that is before it; then a later one, while the timer of the first is still set.
        rings(&mut alarm, start + SOON).await;
        assert!(is_pending(&mut alarm, Instant::now() + NEVER));
        rings(&mut alarm, Instant::now() + SOON).await;
        assert!(!is_pending(&mut alarm, start));
    }

    #[tokio::test]
    async fn one_that_rang_for_nobody_is_set_anew() {
        let (mut alarm, start) = (Alarm::default(), Instant::now());
        rings(&mut alarm, start + SOON).await;
        assert!(is_pending(&mut alarm, start + NEVER));
        rings(&mut alarm, Instant::now() + SOON).await;
    }
}
