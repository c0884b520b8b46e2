//! Endpoints that keep failing are left out for a time, and those that active checks find unwell
//! until they are well again.
//!
//! All workers share an endpoint's state by atomics. A request that succeeds only reads it; one that
//! fails counts, and may leave the endpoint out. So many are never left out that too few remain:
//! whatever an endpoint's state is, one of several always stays.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use super::Endpoint;
use crate::config::Ejection;

/// What is known of an endpoint.
#[derive(Debug, Default)]
pub struct State {
    /// When it is used again, in milliseconds of [`millis`]; 0 where it was never left out.
    until: AtomicU64,
    /// Failures in a row.
    failures: AtomicU32,
    /// Times it was left out in a row, by which the time grows.
    in_row: AtomicU32,
    /// Times it was left out at all.
    ejections: AtomicU64,
    /// Active checks say so.
    unhealthy: AtomicBool,
    /// Since when it is used again after having been unhealthy; 0 where it never was.
    recovered: AtomicU64,
    /// When the log was last told of calls that gave no response; 0 where it never was.
    told: AtomicU64,
    /// Such calls since then.
    untold: AtomicU64,
}

/// From one line of the log about an endpoint's calls to the next, in milliseconds.
const BETWEEN_LINES: u64 = 10_000;

/// Held while a worker looks whether one more endpoint of an upstream may be left out.
#[derive(Debug, Default)]
pub struct Turnstile(AtomicBool);

/// Milliseconds since the process began to count, never 0.
pub fn millis(now: Instant) -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let since = now.saturating_duration_since(*START);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX - 1) + 1
}

impl State {
    /// Whether requests may go there.
    pub fn is_available(&self, now: Instant) -> bool {
        !self.is_ejected(now) && !self.is_unhealthy()
    }

    pub fn is_ejected(&self, now: Instant) -> bool {
        let until = self.until.load(Relaxed);
        until != 0 && until > millis(now)
    }

    pub fn is_unhealthy(&self) -> bool {
        self.unhealthy.load(Relaxed)
    }

    pub fn ejections(&self) -> u64 {
        self.ejections.load(Relaxed)
    }

    /// Since when it is used again; `None` where it was used all the time.
    pub fn back_since(&self, now: Instant) -> Option<Duration> {
        let since = self.until.load(Relaxed).max(self.recovered.load(Relaxed));
        (since != 0).then(|| Duration::from_millis(millis(now).saturating_sub(since)))
    }

    /// What an active check found.
    pub fn set_healthy(&self, healthy: bool, now: Instant) {
        if healthy && self.unhealthy.swap(false, Relaxed) {
            self.recovered.store(millis(now), Relaxed);
        } else if !healthy {
            self.unhealthy.store(true, Relaxed);
        }
    }

    /// A request had its response.
    pub fn succeeded(&self, now: Instant) {
        // Mostly there is nothing to forget, and what all workers share is only read.
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
        if self.in_row.load(Relaxed) != 0 && !self.is_ejected(now) {
            self.in_row.store(0, Relaxed);
        }
    }

    /// Counts a failure; true where there are enough.
    fn failed(&self, config: &Ejection) -> bool {
        self.failures.fetch_add(1, Relaxed).saturating_add(1) >= config.failures
    }

    /// Counts a call that gave no response. Gives how many there were since the log was last told,
    /// where it is to be told again.
    pub fn tell(&self, now: Instant) -> Option<u64> {
        self.untold.fetch_add(1, Relaxed);
        let (now, told) = (millis(now), self.told.load(Relaxed));
        let is_due = told == 0 || now.saturating_sub(told) >= BETWEEN_LINES;
        let exchanged = || self.told.compare_exchange(told, now, Relaxed, Relaxed);
        // Of several workers one tells, of all that were counted.
        (is_due && exchanged().is_ok()).then(|| self.untold.swap(0, Relaxed))
    }

    fn eject(&self, config: &Ejection, now: Instant) -> Duration {
        let before = self.in_row.fetch_add(1, Relaxed).min(20);
        let time = config.time.saturating_mul(1 << before).min(config.max_time);
        // Once it is used again, a single failure is enough.
        self.failures.store(config.failures - 1, Relaxed);
        let time_millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.until
            .store(millis(now).saturating_add(time_millis), Relaxed);
        self.ejections.fetch_add(1, Relaxed);
        time
    }
}

impl Turnstile {
    /// Counts a failure of an endpoint, and leaves it out if it is time to and others stay. Gives for
    /// how long.
    pub fn failed(
        &self,
        endpoints: &[Arc<Endpoint>],
        index: usize,
        config: &Ejection,
        now: Instant,
    ) -> Option<Duration> {
        let state = &endpoints[index].state;
        if !config.enabled || !state.failed(config) || state.is_ejected(now) {
            return None;
        }
        let most = most_ejected(endpoints.len(), config.max_percent);
        // Whoever comes second looks again at the next failure.
        if self.0.swap(true, Relaxed) {
            return None;
        }
        let out = endpoints
            .iter()
            .filter(|one| !one.state.is_available(now))
            .count();
        // One that checks found unwell is among them already.
        let more = usize::from(state.is_available(now));
        let time = (out + more <= most).then(|| state.eject(config, now));
        self.0.store(false, Relaxed);
        time
    }
}

/// How many of so many endpoints may be left out: never all.
fn most_ejected(endpoints: usize, percent: u32) -> usize {
    let share = endpoints.saturating_mul(percent as usize).div_ceil(100);
    share.min(endpoints.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::prelude::*;

    use super::*;

    fn config() -> Ejection {
        Ejection {
            enabled: true,
            failures: 5,
            statuses: vec![StatusCode::INTERNAL_SERVER_ERROR],
            time: Duration::from_secs(10),
            max_time: Duration::from_mins(1),
            max_percent: 50,
        }
    }

    fn endpoints(count: u16) -> Vec<Arc<Endpoint>> {
        (0..count)
            .map(|port| Arc::new(Endpoint::for_test(port + 1)))
            .collect()
    }

    fn fail(endpoints: &[Arc<Endpoint>], index: usize, now: Instant) -> Option<Duration> {
        Turnstile::default().failed(endpoints, index, &config(), now)
    }

    #[test]
    fn failures_in_a_row_leave_an_endpoint_out_for_a_time() {
        let endpoints = endpoints(3);
        let now = Instant::now();
        let state = &endpoints[1].state;
        for _ in 0..4 {
            assert_eq!(fail(&endpoints, 1, now), None);
        }
        state.succeeded(now);
        for _ in 0..4 {
            assert_eq!(fail(&endpoints, 1, now), None);
        }
        assert_eq!(fail(&endpoints, 1, now), Some(Duration::from_secs(10)));
        assert!(!state.is_available(now));
        // What was under way and fails now changes nothing.
        assert_eq!(fail(&endpoints, 1, now), None);
        assert!(!state.is_available(now + Duration::from_millis(9_999)));
        assert!(state.is_available(now + Duration::from_secs(10)));
    }

    #[test]
    fn one_that_fails_again_at_once_is_left_out_twice_as_long_up_to_a_bound() {
        let endpoints = endpoints(2);
        let mut now = Instant::now();
        for _ in 0..4 {
            fail(&endpoints, 0, now);
        }
        for seconds in [10, 20, 40, 60, 60] {
            let time = Duration::from_secs(seconds);
            assert_eq!(fail(&endpoints, 0, now), Some(time));
            now += time;
        }
        endpoints[0].state.succeeded(now);
        for _ in 0..4 {
            assert_eq!(fail(&endpoints, 0, now), None);
        }
        assert_eq!(fail(&endpoints, 0, now), Some(Duration::from_secs(10)));
    }

    #[test]
    fn the_log_is_told_of_failures_at_once_and_then_of_many_in_one_line() {
        let state = State::default();
        // Behind where `millis` begins.
        let now = Instant::now() + Duration::from_secs(1);
        assert_eq!(state.tell(now), Some(1));
        for _ in 0..100 {
            assert_eq!(state.tell(now + Duration::from_secs(9)), None);
        }
        assert_eq!(state.tell(now + Duration::from_secs(10)), Some(101));
        assert_eq!(state.tell(now + Duration::from_secs(11)), None);
        assert_eq!(state.tell(now + Duration::from_hours(1)), Some(2));
    }

    #[test]
    fn an_endpoint_alone_is_never_left_out() {
        let endpoints = endpoints(1);
        let now = Instant::now();
        for _ in 0..100 {
            assert_eq!(fail(&endpoints, 0, now), None);
        }
    }

    #[test]
    fn a_part_is_rounded_up_and_one_stays() {
        for (endpoints, percent, most) in [
            (1, 100, 0),
            (2, 50, 1),
            (2, 100, 1),
            (3, 50, 2),
            (3, 0, 0),
            (10, 30, 3),
            (10, 31, 4),
        ] {
            assert_eq!(most_ejected(endpoints, percent), most);
        }
    }

    #[test]
    fn what_checks_found_unwell_counts_among_those_left_out() {
        let endpoints = endpoints(2);
        let now = Instant::now();
        endpoints[0].state.set_healthy(false, now);
        for _ in 0..100 {
            assert_eq!(fail(&endpoints, 1, now), None);
        }
        endpoints[0].state.set_healthy(true, now);
        assert!(fail(&endpoints, 1, now).is_some());
    }

    proptest! {
        #[test]
        fn whatever_fails_not_all_are_left_out(
            count in 1..8_u16,
            failures in proptest::collection::vec((0..8_usize, 0..20_u64, any::<bool>()), 0..400),
        ) {
            let endpoints = endpoints(count);
            let mut now = Instant::now();
            for (index, seconds, success) in failures {
                now += Duration::from_secs(seconds) / 4;
                let index = index % endpoints.len();
                if success {
                    endpoints[index].state.succeeded(now);
                } else {
                    fail(&endpoints, index, now);
                }
                prop_assert!(endpoints.iter().any(|one| one.state.is_available(now)));
            }
        }
    }
}
