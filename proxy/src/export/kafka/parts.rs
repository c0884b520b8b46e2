//! Traces that are several messages: each counts once, when all its messages are settled, and as
//! the worst of what became of them. A trace that is one message is not here.

use std::collections::BTreeMap;

use crate::export::source::Place;
use crate::export::status::Reason;

/// What became of a message, or of a trace; the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Delivered,
    DeadLetter(Reason),
    Lost(Reason),
}

#[derive(Debug, Default)]
pub(super) struct Parts(BTreeMap<Place, Trace>);

#[derive(Debug)]
struct Trace {
    open: usize,
    worst: Outcome,
}

impl Parts {
    /// So many more messages of a trace are to be settled.
    pub(super) fn add(&mut self, place: Place, messages: usize) {
        let trace = self.0.entry(place.trace()).or_insert(Trace {
            open: 0,
            worst: Outcome::Delivered,
        });
        trace.open += messages;
    }

    pub(super) fn has(&self, place: Place) -> bool {
        self.0.contains_key(&place.trace())
    }

    /// A message is settled; gives what became of its trace once that is known.
    pub(super) fn settle(&mut self, place: Place, outcome: Outcome) -> Option<Outcome> {
        if self.0.is_empty() {
            return Some(outcome);
        }
        let place = place.trace();
        let Some(trace) = self.0.get_mut(&place) else {
            return Some(outcome);
        };
        trace.open = trace.open.saturating_sub(1);
        trace.worst = trace.worst.max(outcome);
        let worst = trace.worst;
        if trace.open > 0 {
            return None;
        }
        self.0.remove(&place);
        Some(worst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOST: Outcome = Outcome::Lost(Reason::TooLarge);
    const DEAD: Outcome = Outcome::DeadLetter(Reason::Refused);

    #[test]
    fn a_trace_of_one_message_is_what_became_of_that() {
        let mut parts = Parts::default();
        assert_eq!(parts.settle(Place::of_record(0), LOST), Some(LOST));
        parts.add(Place::of_record(1), 2);
        assert_eq!(parts.settle(Place::of_record(0), DEAD), Some(DEAD));
    }

    #[test]
    fn a_trace_of_several_counts_once_as_the_worst_of_them() {
        let mut parts = Parts::default();
        let first = Place::of_record(7);
        parts.add(first, 4);
        assert_eq!(parts.settle(first.part(2), LOST), None);
        assert_eq!(parts.settle(first.part(0), Outcome::Delivered), None);
        assert_eq!(parts.settle(first.part(3), DEAD), None);
        assert_eq!(parts.settle(first.part(1), LOST), Some(LOST));
        assert!(!parts.has(first));
    }
}
