//! The desk's dead letters: what was refused for good, until it is written elsewhere or lost.

use super::{Desk, Desktop, Returned, trace_of};
use crate::export::kafka::errors::Problem;
use crate::export::kafka::parts::Outcome;
use crate::export::source::Place;
use crate::export::status::Reason;

/// A message that was refused for good.
pub(in crate::export::kafka) struct Letter {
    pub(in crate::export::kafka) place: Place,
    pub(in crate::export::kafka) message: Returned,
    pub(in crate::export::kafka) reason: Reason,
    /// What the log says.
    pub(in crate::export::kafka) cause: String,
}

impl Letter {
    pub(in crate::export::kafka) fn bytes(&self) -> usize {
        self.message.bytes()
    }
}

impl Desk {
    /// A message will never be taken: it becomes a dead letter, or is lost.
    pub(in crate::export::kafka) fn refuse(
        &self,
        place: Place,
        message: Returned,
        reason: Reason,
        cause: String,
    ) {
        self.refuse_now(&mut self.state(), place, message, reason, cause);
    }

    /// As [`Desk::refuse`], for who holds the state.
    pub(super) fn refuse_now(
        &self,
        state: &mut Desktop,
        place: Place,
        message: Returned,
        reason: Reason,
        cause: String,
    ) {
        state.refused += 1;
        let (trace, said) = (trace_of(&message).into_owned(), cause.clone());
        if self.has_dead_letters {
            let letter = Letter {
                place,
                message,
                reason,
                cause,
            };
            self.meter.in_flight.add(letter.bytes());
            state.letters.push_back(letter);
        } else {
            self.settle(state, place, Outcome::Lost(reason));
        }
        self.log_failure(state, &trace, &said);
    }

    /// Takes what was refused for good and is not written elsewhere yet, up to so many bytes.
    pub(in crate::export::kafka) fn take_letters(&self, most_bytes: usize) -> Vec<Letter> {
        let letters = &mut self.state().letters;
        let mut bytes = 0;
        let mut count = 0;
        for letter in &*letters {
            if count > 0 && bytes + letter.bytes() > most_bytes {
                break;
            }
            bytes += letter.bytes();
            count += 1;
        }
        letters.drain(..count).collect()
    }

    /// Puts letters back that could not be written, to be tried again.
    pub(in crate::export::kafka) fn put_back(
        &self,
        letters: impl DoubleEndedIterator<Item = Letter>,
    ) {
        let mut state = self.state();
        letters
            .rev()
            .for_each(|letter| state.letters.push_front(letter));
    }

    pub(in crate::export::kafka) fn has_letters(&self) -> bool {
        !self.state().letters.is_empty()
    }

    /// Says why dead letters wait, or that they do not.
    pub(in crate::export::kafka) fn letters_wait(&self, problem: Option<Problem>) {
        let message = problem.as_ref().map(Problem::to_string);
        let was = std::mem::replace(&mut self.state().letters_wait, message);
        match problem {
            Some(problem) => self.degrade(&problem),
            None if was.is_some() => self.recovered(),
            None => {}
        }
    }

    /// A dead letter was written, or will never be.
    pub(in crate::export::kafka) fn letter_settled(&self, letter: &Letter, written: bool) {
        self.meter.in_flight.subtract(letter.bytes());
        let outcome = if written {
            Outcome::DeadLetter(letter.reason)
        } else {
            Outcome::Lost(letter.reason)
        };
        self.settle(&mut self.state(), letter.place, outcome);
    }
}
