//! Tells a worker's connections that it drains, and when the last has ended.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use tokio::sync::Notify;

/// Belongs to one worker. Costs a connection one look at a flag each time it is polled.
#[derive(Clone, Default)]
pub struct Drain(Rc<State>);

#[derive(Default)]
struct State {
    draining: Cell<bool>,
    open: Cell<usize>,
    wakers: RefCell<Vec<(u64, Waker)>>,
    next: Cell<u64>,
    empty: Notify,
}

/// One connection's watch; the drain waits for its end.
pub struct Watch {
    drain: Drain,
    id: u64,
    registered: bool,
}

impl Drain {
    pub fn watch(&self) -> Watch {
        let state = &self.0;
        state.open.set(state.open.get() + 1);
        let id = state.next.get();
        state.next.set(id + 1);
        Watch {
            drain: self.clone(),
            id,
            registered: false,
        }
    }

    pub fn is_draining(&self) -> bool {
        self.0.draining.get()
    }

    /// Tells all connections, those to come too.
    pub fn begin(&self) {
        self.0.draining.set(true);
        for (_, waker) in self.0.wakers.borrow_mut().drain(..) {
            waker.wake();
        }
    }

    /// Waits until the last watch is gone.
    pub async fn ended(&self) {
        while self.0.open.get() > 0 {
            self.0.empty.notified().await;
        }
    }
}

impl Watch {
    /// Whether the worker drains; wakes the task once it does. A task keeps its waker for life.
    pub fn poll(&mut self, cx: &Context<'_>) -> bool {
        let state = &self.drain.0;
        if !self.registered && !state.draining.get() {
            self.registered = true;
            state
                .wakers
                .borrow_mut()
                .push((self.id, cx.waker().clone()));
        }
        state.draining.get()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let state = &self.drain.0;
        let mut wakers = state.wakers.borrow_mut();
        // Ids grow, so that the list is sorted.
        if let Ok(at) = wakers.binary_search_by_key(&self.id, |(id, _)| *id) {
            wakers.remove(at);
        }
        state.open.set(state.open.get() - 1);
        if state.open.get() == 0 {
            state.empty.notify_one();
        }
    }
}
