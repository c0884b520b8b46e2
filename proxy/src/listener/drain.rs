//! Tells a worker's connections that it drains, and when the last has ended.
//!
//! Where another process has taken over there is time: who keeps a connection open is told with the
//! next response, and only connections that stay silent are closed like in any other drain.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use tokio::sync::Notify;

/// Belongs to one worker. Costs a connection one look at a flag each time it is polled.
#[derive(Clone, Default)]
pub struct Drain(Rc<State>);

/// How far a drain has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    #[default]
    Serving,
    /// Each response is the last of its connection.
    Leaving,
    /// Connections end once nothing is under way.
    Closing,
    /// What is still open is cut.
    Over,
}

#[derive(Default)]
struct State {
    stage: Cell<Stage>,
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
        self.0.stage.get() >= Stage::Closing
    }

    /// Whether what is open now is cut.
    pub fn is_over(&self) -> bool {
        self.0.stage.get() == Stage::Over
    }

    /// Whether a response is the last of its connection.
    pub fn is_leaving(&self) -> bool {
        self.0.stage.get() >= Stage::Leaving
    }

    /// Tells all connections, those to come too.
    pub fn begin(&self, stage: Stage) {
        self.0.stage.set(stage.max(self.0.stage.get()));
        self.wake();
    }

    /// Has all connections look again whether they are to go.
    pub fn wake(&self) {
        for (_, waker) in &*self.0.wakers.borrow() {
            waker.wake_by_ref();
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
    /// Whether the drain has come so far; wakes the task once it has. A task keeps its waker for life.
    pub fn poll(&mut self, cx: &Context<'_>, stage: Stage) -> bool {
        let state = &self.drain.0;
        if !self.registered && state.stage.get() < stage {
            self.registered = true;
            let mut wakers = state.wakers.borrow_mut();
            // Nearly always at the end; a handshake may have taken longer than a later one.
            let at = wakers.partition_point(|(id, _)| *id < self.id);
            wakers.insert(at, (self.id, cx.waker().clone()));
        }
        state.stage.get() >= stage
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let state = &self.drain.0;
        let mut wakers = state.wakers.borrow_mut();
        // The list is sorted.
        if let Ok(at) = wakers.binary_search_by_key(&self.id, |(id, _)| *id) {
            wakers.remove(at);
        }
        state.open.set(state.open.get() - 1);
        if state.open.get() == 0 {
            state.empty.notify_waiters();
        }
    }
}
