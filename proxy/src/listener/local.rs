//! A listener as a worker knows it: by which generation what comes in there is served.
//!
//! A reload may remove a listener while connections of it are open or wait to be accepted. What comes over
//! them is served by the last generation that had it, which is kept as long as one of them is open.

use std::cell::RefCell;
use std::rc::Rc;

use super::Id;
use crate::app::generation::{Generation, Listener};
use crate::worker::{Current, Worker};

/// See the module's documentation. Whoever accepts has it, and each connection.
pub struct Local {
    id: Id,
    /// The last generation that had it, where that of now has not.
    last: RefCell<Option<Rc<Current>>>,
}

impl Local {
    /// `last` is a generation that has it, where that of now has not.
    pub fn new(id: Id, last: Option<Rc<Current>>) -> Rc<Self> {
        let last = RefCell::new(last);
        Rc::new(Self { id, last })
    }

    pub fn id(&self) -> Id {
        self.id
    }

    /// Whether a reload has removed it.
    pub fn has_left(&self) -> bool {
        self.last.borrow().is_some()
    }

    /// What serves now what comes in by it.
    pub fn generation(&self, worker: &Worker) -> Rc<Current> {
        // The first to ask after a reload has it noted here.
        let latest = worker.generation();
        self.last.borrow().clone().unwrap_or(latest)
    }

    /// The listener in the generation that [`Self::generation`] gave.
    pub(crate) fn of<'g>(&self, generation: &'g Generation) -> &'g Listener {
        let found = generation.listener(self.id);
        found.expect("a generation is kept until another has the listener")
    }

    /// Another generation is in place of `before`; says whether the listener is gone by that.
    pub fn reloaded(&self, before: &Rc<Current>, now: &Generation) -> bool {
        let is_there = now.listener(self.id).is_some();
        let mut last = self.last.borrow_mut();
        let goes = !is_there && last.is_none();
        if goes {
            *last = Some(Rc::clone(before));
        } else if is_there {
            *last = None;
        }
        goes
    }
}
