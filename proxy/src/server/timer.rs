//! The timer of one HTTP/1.1 connection, for the deadlines of its requests' heads.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::Sleep;

use crate::alarm::Alarm;
use crate::lock::lock;

/// What it gives shares one [`Alarm`], so one at a time is to be polled: a head that comes in time costs
/// no timer.
#[derive(Default)]
pub(super) struct Timer(Arc<Mutex<Alarm>>);

impl hyper::rt::Timer for Timer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Until {
            deadline: deadline.into(),
            alarm: Arc::clone(&self.0),
        })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into()
    }
}

struct Until {
    deadline: tokio::time::Instant,
    /// Nobody waits for this lock: the connection's task alone takes it.
    alarm: Arc<Mutex<Alarm>>,
}

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut alarm = lock(&self.alarm);
        alarm.poll(cx, self.deadline)
    }
}

impl Sleep for Until {}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use hyper::rt::Timer as _;

    use super::*;

    const SOON: Duration = Duration::from_millis(10);
    const NEVER: Duration = Duration::from_hours(1);

    fn is_pending(sleep: &mut Pin<Box<dyn Sleep>>) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        sleep.as_mut().poll(&mut cx).is_pending()
    }

    #[tokio::test]
    async fn one_with_an_earlier_deadline_than_the_one_before_ends_in_time() {
        let timer = Timer::default();
        assert!(is_pending(&mut timer.sleep(NEVER)));
        timer.sleep(SOON).await;
    }

    #[tokio::test]
    async fn one_with_a_later_deadline_than_the_one_before_does_not_end_with_it() {
        let (timer, start) = (Timer::default(), Instant::now());
        assert!(is_pending(&mut timer.sleep_until(start + SOON)));
        timer.sleep_until(start + 3 * SOON).await;
        assert!(Instant::now() >= start + 3 * SOON);
        // The first one's timer has long run out.
        assert!(is_pending(&mut timer.sleep(NEVER)));
    }
}
