//! Where messages go that a broker refuses for good: to another topic, or to a file.
//!
//! A letter is settled, and the spool's cursor may pass its trace, only once it has been
//! acknowledged there or is on the disk. Until then it is tried again, and the exporter takes
//! nothing more.

mod file;
mod topic;

use std::time::{Duration, Instant};

use super::delivery::Desk;
use crate::config::{self, DeadLetter};
use file::File;
use topic::Topic;

/// Most bytes of letters on their way at once.
const WINDOW: usize = 8 << 20;

/// Between two tries where one failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Longest wait for acknowledgements when the exporter ends.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Names of the record headers that say what became of a message.
const REASON: &str = "weir-dead-letter-reason";
const CAUSE: &str = "weir-dead-letter-cause";
const EXPORTER: &str = "weir-dead-letter-exporter";
const TOPIC: &str = "weir-dead-letter-topic";
const KEY: &str = "weir-dead-letter-key";

pub(super) struct DeadLetters<'a> {
    config: &'a config::Kafka,
    place: Option<Place<'a>>,
    /// When to try again after a failure.
    again: Option<Instant>,
}

enum Place<'a> {
    File(File<'a>),
    Topic(Topic<'a>),
}

impl<'a> DeadLetters<'a> {
    pub(super) fn new(config: &'a config::Kafka) -> Self {
        let place = config.dead_letter.as_ref().map(|to| match to {
            DeadLetter::File { path, max_bytes } => Place::File(File::new(path, *max_bytes)),
            DeadLetter::Topic(topic) => Place::Topic(Topic::new(config, topic)),
        });
        Self {
            config,
            place,
            again: None,
        }
    }

    /// Delivers the desk's letters as far as that can be done without waiting; says whether some
    /// remain.
    pub(super) fn deliver(&mut self, desk: &Desk) -> bool {
        let Some(place) = &mut self.place else {
            return false;
        };
        let busy = matches!(place, Place::Topic(topic) if topic.is_busy());
        if !busy && !desk.has_letters() {
            return false;
        }
        if self.again.is_some_and(|again| Instant::now() < again) {
            return true;
        }
        let delivered = match place {
            Place::File(file) => file.deliver(desk, &self.config.topic),
            Place::Topic(topic) => topic.deliver(desk),
        };
        match delivered {
            Ok(is_whole) => {
                self.again = None;
                if is_whole {
                    desk.letters_wait(None);
                }
            }
            Err(problem) => {
                self.again = Some(Instant::now() + PAUSE);
                desk.letters_wait(Some(problem));
            }
        }
        desk.has_letters() || matches!(place, Place::Topic(topic) if topic.is_busy())
    }

    /// Whether letters cannot be written now.
    pub(super) fn is_stuck(&self) -> bool {
        self.again.is_some()
    }

    /// Waits a moment for what is on its way; the rest goes back to the desk.
    pub(super) fn close(&mut self, desk: &Desk) {
        let deadline = Instant::now() + LAST_WAIT;
        self.again = None;
        while self.deliver(desk) && self.again.is_none() && Instant::now() < deadline {
            if let Some(Place::Topic(topic)) = &self.place {
                topic.wait(Duration::from_millis(20));
            }
        }
        if let Some(Place::Topic(topic)) = &mut self.place {
            topic.close(desk);
        }
    }
}
