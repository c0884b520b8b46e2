//! What became of the configuration since the process began: generations, and reloads that changed
//! nothing. For who looks; nothing else reads it.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::Serialize;

use crate::config::Text;
use crate::lock::lock;

/// What is older is forgotten.
const MOST: usize = 20;

/// See the module's documentation.
#[derive(Default)]
pub struct History(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// The newest first.
    loads: VecDeque<Load>,
    /// The file as it was when what is served was read.
    served: Option<Text>,
    reloads: Reloads,
}

/// How many reloads there were since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reloads {
    pub ok: u64,
    /// Those that changed nothing.
    pub failed: u64,
}

/// A start or a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Load {
    /// What was served from then on.
    pub generation: u64,
    /// Microseconds since 1970.
    pub at_us: u64,
    /// Why nothing changed, where nothing did.
    pub refused: Option<String>,
}

impl History {
    /// A generation is served, of a file with this text.
    pub(super) fn served(&self, generation: u64, text: Option<Text>) {
        let mut inner = lock(&self.0);
        // The first was a start.
        inner.reloads.ok += u64::from(!inner.loads.is_empty());
        inner.served = text;
        inner.push(generation, None);
    }

    /// A reload changed nothing.
    pub(super) fn refused(&self, generation: u64, why: String) {
        let mut inner = lock(&self.0);
        inner.reloads.failed += 1;
        inner.push(generation, Some(why));
    }

    pub fn reloads(&self) -> Reloads {
        lock(&self.0).reloads
    }

    /// The newest first.
    pub fn loads(&self) -> Vec<Load> {
        let inner = lock(&self.0);
        inner.loads.iter().cloned().collect()
    }

    /// What `look` makes of the file as it was when what is served was read.
    pub fn with_served<T>(&self, look: impl FnOnce(&Text) -> T) -> Option<T> {
        let inner = lock(&self.0);
        inner.served.as_ref().map(look)
    }
}

impl Inner {
    fn push(&mut self, generation: u64, refused: Option<String>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let at_us = u64::try_from(now.unwrap_or_default().as_micros()).unwrap_or(u64::MAX);
        self.loads.truncate(MOST - 1);
        self.loads.push_front(Load {
            generation,
            at_us,
            refused,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stand_first_and_the_oldest_are_forgotten() {
        let history = History::default();
        history.served(1, None);
        assert_eq!(history.reloads(), Reloads::default());
        history.refused(1, "a fault".to_owned());
        let loads = history.loads();
        assert_eq!(loads[0].refused.as_deref(), Some("a fault"));
        assert_eq!((loads[1].generation, &loads[1].refused), (1, &None));
        for generation in 2..100 {
            history.served(generation, None);
        }
        let loads = history.loads();
        assert_eq!((loads.len(), loads[0].generation), (MOST, 99));
        assert_eq!(history.reloads(), Reloads { ok: 98, failed: 1 });
    }
}
