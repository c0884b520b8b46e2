//! When a client is given more, so that it burns no core while it waits for the broker.
//!
//! An idempotent producer of librdkafka's makes no other request to a partition while five messages or
//! more are in flight there: mostly, it has one. While messages whose linger is over stand behind that
//! one, its broker thread polls without ever waiting, until the answer is there
//! (confluentinc/librdkafka#3692, #4989). So what comes meanwhile stays in the exporter's source, and
//! makes a larger batch; little of it could have been sent before. What was given at once, and is more
//! than a batch, still polls.
//!
//! All partitions have one pace. One that does not answer is to hold back no other: after a wait in
//! vain there is none for a while.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Messages given to one client.
pub(super) struct Pace {
    /// `None` where several requests may be in flight.
    linger: Option<Duration>,
    given: u64,
    /// How many had been given by when, of what is not known to be settled; oldest first.
    runs: VecDeque<(u64, Instant)>,
    /// Until when nothing is waited for.
    unpaced: Option<Instant>,
}

impl Pace {
    pub(super) fn new(linger: Option<Duration>) -> Self {
        Self {
            linger,
            given: 0,
            runs: VecDeque::new(),
            unpaced: None,
        }
    }

    /// So many messages were given from `since` on.
    pub(super) fn give(&mut self, messages: u64, since: Instant) {
        if self.linger.is_some() && messages > 0 {
            self.given += messages;
            self.runs.push_back((self.given, since));
        }
    }

    /// A wait was in vain: there is to be none until then.
    pub(super) fn give_up(&mut self, until: Instant) {
        self.unpaced = Some(until);
    }

    /// Whether the oldest of what is in flight has been with the client for its linger, and is worth
    /// a wait. Partitions answer in any order, so which is the oldest is taken from how many there are.
    pub(super) fn is_behind(&mut self, in_flight: u64, now: Instant) -> bool {
        let settled = self.given.saturating_sub(in_flight);
        while let Some((given, _)) = self.runs.front()
            && *given <= settled
        {
            self.runs.pop_front();
        }
        if self.unpaced.is_some_and(|until| now < until) {
            return false;
        }
        let oldest = self.runs.front();
        self.linger
            .zip(oldest)
            .is_some_and(|(linger, (_, since))| now.saturating_duration_since(*since) >= linger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_given_until_a_linger_is_over_and_again_when_it_is_answered() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let mut pace = Pace::new(Some(Duration::from_millis(5)));
        assert!(!pace.is_behind(0, at(9)));
        pace.give(3, at(10));
        pace.give(0, at(11));
        pace.give(2, at(13));
        assert!(!pace.is_behind(5, at(14)));
        assert!(pace.is_behind(5, at(15)));
        assert!(pace.is_behind(3, at(16)));
        assert!(!pace.is_behind(2, at(17)));
        assert!(pace.is_behind(2, at(18)));
        assert!(!pace.is_behind(0, at(19)));
    }

    #[test]
    fn after_a_wait_in_vain_there_is_none_for_a_while() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let mut pace = Pace::new(Some(Duration::from_millis(5)));
        pace.give(1, at(0));
        assert!(pace.is_behind(1, at(5)));
        pace.give_up(at(1000));
        pace.give(1, at(500));
        assert!(!pace.is_behind(2, at(999)));
        assert!(pace.is_behind(2, at(1000)));
        assert!(!pace.is_behind(0, at(1001)));
    }

    #[test]
    fn a_client_with_several_requests_in_flight_is_never_waited_for() {
        let begin = Instant::now();
        let mut pace = Pace::new(None);
        pace.give(3, begin);
        assert!(!pace.is_behind(3, begin + Duration::from_mins(1)));
    }
}
