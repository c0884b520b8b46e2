//! How long to wait before something is sent again.

use std::time::Duration;

use crate::config::OtlpExporter;

/// A collector is not believed that asks for more.
const LONGEST: Duration = Duration::from_hours(1);

pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(config: &OtlpExporter) -> Self {
        Self {
            first: config.retry_backoff,
            most: config.retry_backoff_max,
            next: config.retry_backoff,
        }
    }

    /// Something went well.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }

    /// Twice as long as the last time, less up to a half by `chance` (from 0 to 1), so that many do
    /// not come back at once. Where the collector has asked for a time, it is that or longer.
    pub(super) fn next(&mut self, asked: Option<Duration>, chance: f64) -> Duration {
        let own = self.next.mul_f64(1.0 - chance / 2.0);
        self.next = (2 * self.next).min(self.most);
        match asked {
            None => own,
            Some(asked) => {
                let asked = asked.min(LONGEST);
                asked.max(own.min(self.first)) + asked.mul_f64(chance / 10.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn backoff() -> Backoff {
        Backoff {
            first: 100 * MILLI,
            most: 400 * MILLI,
            next: 100 * MILLI,
        }
    }

    #[test]
    fn waits_double_up_to_a_bound_and_begin_anew_when_all_is_well() {
        let mut backoff = backoff();
        let waits = [0; 4].map(|_| backoff.next(None, 0.0));
        assert_eq!(waits, [100, 200, 400, 400].map(|millis| millis * MILLI));
        backoff.reset();
        assert_eq!(backoff.next(None, 1.0), 50 * MILLI);
    }

    #[test]
    fn a_collector_that_asks_for_a_time_gets_it_within_reason() {
        let second = Duration::from_secs(1);
        assert_eq!(backoff().next(Some(30 * second), 0.0), 30 * second);
        assert!(backoff().next(Some(30 * second), 1.0) > 30 * second);
        assert_eq!(backoff().next(Some(Duration::MAX), 0.0), LONGEST);
        // One that asks for nothing is not run down.
        assert_eq!(backoff().next(Some(Duration::ZERO), 0.0), 100 * MILLI);
    }
}
