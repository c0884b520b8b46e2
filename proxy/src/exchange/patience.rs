//! How long a body may keep its receiver waiting, or a client take nothing: then writes are counted.

use std::num::NonZeroU64;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::alarm::Alarm;

const NANOS: u64 = 1_000_000_000;

/// Of one body, where nothing comes out of it. Plugins and codings may keep back for long what comes in,
/// so it is for what comes in that is waited.
///
/// Where a rate is to be kept, all waits together may be as long as one, and longer by the time that what
/// came in takes at that rate. Only waits count: who is late to take what has come makes nobody slow.
pub struct Patience {
    longest: Duration,
    /// Fewest bytes a second.
    rate: Option<NonZeroU64>,
    /// Altogether, without the wait that is on; counted where there is a rate.
    waited: Duration,
    waiting: Option<Waiting>,
    alarm: Alarm,
}

/// While it is waited.
struct Waiting {
    since: Instant,
    /// How many bytes have come in.
    seen: u64,
    /// When there are to be more; `None` where it may be for ever.
    until: Option<Instant>,
}

impl Patience {
    pub fn new(longest: Duration) -> Self {
        Self {
            longest,
            rate: None,
            waited: Duration::ZERO,
            waiting: None,
            alarm: Alarm::default(),
        }
    }

    /// So many bytes a second are to come from now on, up to 2³⁰; with 0, any.
    pub fn pace(&mut self, least: u64) {
        self.rate = NonZeroU64::new(least);
    }

    /// Something came out, or it is not waited any more; `now` is asked for only where waits are counted.
    pub fn renew(&mut self, now: impl FnOnce() -> Instant) {
        if let Some(waiting) = self.waiting.take()
            && self.rate.is_some()
        {
            self.waited += now().saturating_duration_since(waiting.since);
        }
    }

    /// Nothing comes out, and so many bytes have come in: ready where that is so for too long.
    pub fn poll(&mut self, seen: u64, cx: &mut Context<'_>) -> Poll<()> {
        let until = match &self.waiting {
            Some(waiting) if waiting.seen == seen => waiting.until,
            _ => self.begin(seen, Instant::now()),
        };
        match until {
            Some(until) => self.alarm.poll(cx, until.into()),
            None => Poll::Pending,
        }
    }

    #[cfg(test)]
    pub(crate) fn waits(&self) -> bool {
        self.waiting.is_some()
    }

    /// Begins a wait, and gives its end.
    fn begin(&mut self, seen: u64, now: Instant) -> Option<Instant> {
        self.renew(|| now);
        let until = now.checked_add(self.longest.min(self.left(seen)));
        self.waiting = Some(Waiting {
            since: now,
            seen,
            until,
        });
        until
    }

    /// How long it may still be waited, with these bytes and no more.
    fn left(&self, seen: u64) -> Duration {
        let Some(rate) = self.rate else {
            return Duration::MAX;
        };
        let earned = Duration::from_secs(seen / rate)
            + Duration::from_nanos((seen % rate).saturating_mul(NANOS) / rate);
        self.longest
            .saturating_add(earned)
            .saturating_sub(self.waited)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn is_over(patience: &mut Patience, seen: u64) -> bool {
        poll_fn(|cx| Poll::Ready(patience.poll(seen, cx).is_ready())).await
    }

    #[tokio::test]
    async fn it_ends_and_begins_anew_with_what_comes_in_or_out() {
        let mut patience = Patience::new(Duration::from_millis(300));
        assert!(!is_over(&mut patience, 0).await);
        poll_fn(|cx| patience.poll(0, cx)).await;
        assert!(!is_over(&mut patience, 1).await, "something came in");
        poll_fn(|cx| patience.poll(1, cx)).await;
        patience.renew(Instant::now);
        assert!(!is_over(&mut patience, 1).await, "something came out");
    }

    #[tokio::test]
    async fn one_without_end_is_never_over() {
        let mut patience = Patience::new(Duration::MAX);
        assert!(!is_over(&mut patience, 0).await);
        patience.pace(1);
        assert!(!is_over(&mut patience, u64::MAX).await);
    }

    #[tokio::test]
    async fn one_that_has_waited_for_all_it_may_is_over_though_something_comes() {
        let hour = Duration::from_hours(1);
        let mut patience = Patience::new(hour);
        patience.pace(240);
        let start = Instant::now();
        patience.begin(0, start);
        patience.renew(|| start + hour);
        let over = poll_fn(|cx| patience.poll(0, cx));
        tokio::time::timeout(60 * SECOND, over).await.unwrap();
    }

    /// A client that sends `len` bytes after each `gap`: how many pieces of it are waited for, up to 1000.
    fn pieces(rate: u64, len: u64, gap: Duration) -> u64 {
        let mut patience = Patience::new(30 * SECOND);
        patience.pace(rate);
        let mut now = Instant::now();
        (0..1000)
            .find(|piece| {
                let until = patience.begin(piece * len, now).unwrap();
                now += gap;
                until < now
            })
            .unwrap_or(1000)
    }

    #[test]
    fn a_body_that_drips_ends_once_it_has_waited_for_longer_than_its_bytes_take() {
        // As long as it may be silent, and 1/240 s for each byte.
        assert_eq!(pieces(240, 1, SECOND), 30);
        assert_eq!(pieces(240, 0, SECOND), 30, "pieces without bytes");
        assert_eq!(pieces(240, 120, SECOND), 59, "half as fast as it is to be");
        assert_eq!(pieces(1, 1, 30 * SECOND), 1);
        assert_eq!(pieces(240, 240, SECOND), 1000);
        assert_eq!(pieces(240, 29 * 240, 29 * SECOND), 1000);
        assert_eq!(pieces(0, 1, 29 * SECOND), 1000, "any rate is enough");
    }

    #[test]
    fn what_came_fast_lets_no_silence_be_longer() {
        let mut patience = Patience::new(SECOND);
        patience.pace(1);
        let now = Instant::now();
        assert_eq!(patience.begin(1 << 40, now), Some(now + SECOND));
    }

    #[test]
    fn only_waits_are_counted() {
        let mut patience = Patience::new(SECOND);
        patience.pace(1 << 30);
        let mut now = Instant::now();
        for seen in 0..100 {
            let until = patience.begin(seen, now).unwrap();
            assert!(until > now, "{seen}");
            now += SECOND / 200;
            patience.renew(|| now);
            // Who takes it is late.
            now += 60 * SECOND;
        }
        assert_eq!(patience.left(0), SECOND / 2);
    }

    #[test]
    fn a_rate_that_comes_late_leaves_what_was_waited() {
        let mut patience = Patience::new(SECOND);
        patience.pace(240);
        let now = Instant::now();
        patience.begin(0, now);
        patience.renew(|| now + SECOND / 2);
        patience.pace(480);
        assert_eq!(patience.left(0), SECOND / 2);
        assert_eq!(patience.left(240), SECOND);
        patience.pace(0);
        patience.begin(0, now);
        patience.renew(|| panic!("no clock is read for it"));
    }
}
