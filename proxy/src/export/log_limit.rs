//! Keeps one trouble from filling the log: a line at most so often for each cause, with a count.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Causes told apart; what is more shares one entry.
const MAX_CAUSES: usize = 64;

pub(super) struct LogLimit {
    interval: Duration,
    causes: HashMap<String, Entry>,
}

struct Entry {
    logged: Instant,
    held_back: u64,
    /// What happened last.
    subject: String,
}

impl LogLimit {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            causes: HashMap::new(),
        }
    }

    /// How many times it happened since the last line, if a line is due now.
    pub(super) fn permit(&mut self, cause: &str, subject: &str, now: Instant) -> Option<u64> {
        let cause = if self.causes.len() < MAX_CAUSES || self.causes.contains_key(cause) {
            cause
        } else {
            "other causes"
        };
        let Some(entry) = self.causes.get_mut(cause) else {
            let entry = Entry {
                logged: now,
                held_back: 0,
                subject: String::new(),
            };
            self.causes.insert(cause.to_owned(), entry);
            return Some(1);
        };
        if now.duration_since(entry.logged) < self.interval {
            entry.held_back += 1;
            entry.subject.clear();
            entry.subject.push_str(subject);
            return None;
        }
        entry.logged = now;
        Some(std::mem::take(&mut entry.held_back) + 1)
    }

    /// Gives each cause that was held back and whose line is due: cause, last subject, count.
    pub(super) fn due(&mut self, now: Instant, mut log: impl FnMut(&str, &str, u64)) {
        for (cause, entry) in &mut self.causes {
            if entry.held_back > 0 && now.duration_since(entry.logged) >= self.interval {
                entry.logged = now;
                log(cause, &entry.subject, std::mem::take(&mut entry.held_back));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn repeats_within_the_interval_are_counted_not_logged() {
        let mut limit = LogLimit::new(SECOND);
        let start = Instant::now();
        assert_eq!(limit.permit("refused", "a", start), Some(1));
        assert_eq!(limit.permit("refused", "b", start), None);
        assert_eq!(limit.permit("refused", "c", start), None);
        assert_eq!(limit.permit("refused", "d", start + SECOND), Some(3));
    }

    #[test]
    fn each_cause_has_its_own_line() {
        let mut limit = LogLimit::new(SECOND);
        let start = Instant::now();
        assert_eq!(limit.permit("refused", "a", start), Some(1));
        assert_eq!(limit.permit("too large", "a", start), Some(1));
    }

    #[test]
    fn what_was_held_back_is_given_once_when_its_line_is_due() {
        let mut limit = LogLimit::new(SECOND);
        let start = Instant::now();
        limit.permit("refused", "a", start);
        limit.permit("refused", "b", start);
        let mut lines = Vec::new();
        let mut due = |now| {
            limit.due(now, |cause, subject, count| {
                lines.push((cause.to_owned(), subject.to_owned(), count));
            });
        };
        due(start);
        due(start + SECOND);
        due(start + 2 * SECOND);
        assert_eq!(lines, [("refused".to_owned(), "b".to_owned(), 1)]);
    }
}
