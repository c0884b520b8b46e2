//! Who reads and writes a connection of HTTP/1.1: the exchange that has it, in its own task, so that
//! nothing is passed between tasks and no task is woken for another.
//!
//! A request with a body, or one that asks to switch, gives its connection a task of its own: the rest
//! of a request goes on also while nobody takes of the response.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::AbortHandle;
use tokio::task::coop::unconstrained;

use crate::lock::lock;

/// It ends when the connection has.
type Connection = Pin<Box<dyn Future<Output = hyper::Result<()>>>>;

/// See the module's documentation.
pub struct Driver {
    driven: RefCell<Driven>,
    relay: Arc<Relay>,
    /// The relay's, which an exchange's connection always knows.
    waker: Waker,
}

enum Driven {
    ByExchange(Connection),
    ByTask(AbortHandle),
    /// It has ended, or was cut.
    Ended,
}

/// Wakes the exchange that polled the connection last, but not for what that does itself: to send a
/// request and to take a piece of a body tell the connection of it, which is polled next anyhow.
struct Relay {
    /// Nobody waits for this lock: all who take it are on the worker's thread.
    task: Mutex<Waker>,
    silent: AtomicBool,
}

impl Relay {
    fn aim(&self, waker: &Waker) {
        let mut task = lock(&self.task);
        task.clone_from(waker);
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.silent.load(Relaxed) {
            let task = lock(&self.task);
            task.wake_by_ref();
        }
    }
}

impl Driver {
    pub(super) fn new(connection: impl Future<Output = hyper::Result<()>> + 'static) -> Rc<Self> {
        let relay = Arc::new(Relay {
            task: Mutex::new(Waker::noop().clone()),
            silent: AtomicBool::new(false),
        });
        Rc::new(Self {
            driven: RefCell::new(Driven::ByExchange(Box::pin(connection))),
            waker: Waker::from(Arc::clone(&relay)),
            relay,
        })
    }

    /// Does what tells the connection something; the caller polls it next.
    pub(super) fn silently<T>(&self, tell: impl FnOnce() -> T) -> T {
        self.relay.silent.store(true, Relaxed);
        let done = tell();
        self.relay.silent.store(false, Relaxed);
        done
    }

    /// Lets it read and write what it can; `cx` is woken when it can again.
    pub(super) fn poll(&self, cx: &mut Context<'_>) {
        let mut driven = self.driven.borrow_mut();
        let Driven::ByExchange(connection) = &mut *driven else {
            return;
        };
        self.relay.aim(cx.waker());
        let mut cx = Context::from_waker(&self.waker);
        if let Poll::Ready(ended) = connection.as_mut().poll(&mut cx) {
            told(ended);
            let ended = std::mem::replace(&mut *driven, Driven::Ended);
            drop(driven);
            // Who waits for an answer learns of it by this.
            drop(ended);
        }
    }

    /// Polls what is to come of the connection.
    pub(super) fn drive<T>(
        &self,
        cx: &mut Context<'_>,
        mut polled: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if matches!(&*self.driven.borrow(), Driven::ByTask(_)) {
            return polled(cx);
        }
        // It comes while the connection is polled, at no other time: nobody is to be woken for it. So it
        // is looked at whatever was used of the task's budget, where that alone would be waited for.
        let mut nobody = Context::from_waker(Waker::noop());
        let mut polled =
            || self.silently(|| pin!(unconstrained(poll_fn(&mut polled))).poll(&mut nobody));
        let before = polled();
        if before.is_ready() {
            return before;
        }
        self.poll(cx);
        polled()
    }

    /// Gives the connection a task of its own, for good.
    pub(super) fn go_apart(&self) {
        let mut driven = self.driven.borrow_mut();
        match std::mem::replace(&mut *driven, Driven::Ended) {
            Driven::ByExchange(connection) => {
                let task = tokio::task::spawn_local(async move { told(connection.await) });
                *driven = Driven::ByTask(task.abort_handle());
            }
            other => *driven = other,
        }
    }

    pub(super) fn cut(&self) {
        let driven = self.driven.replace(Driven::Ended);
        if let Driven::ByTask(task) = driven {
            task.abort();
        }
    }
}

fn told(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "upstream connection ended");
    }
}

/// A response's body, which drives the connection that it comes over.
pub struct Received {
    body: Incoming,
    driver: Option<Rc<Driver>>,
}

impl Received {
    pub(super) fn new(body: Incoming, driver: Option<Rc<Driver>>) -> Self {
        Self { body, driver }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { body, driver } = self.get_mut();
        match driver {
            Some(driver) => driver.drive(cx, |cx| Pin::new(&mut *body).poll_frame(cx)),
            None => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use tokio::sync::oneshot;
    use tokio::task::coop::{consume_budget, has_budget_remaining};

    use super::*;

    #[tokio::test]
    async fn what_has_come_is_seen_also_where_the_tasks_budget_is_used_up() {
        let (sender, mut receiver) = oneshot::channel();
        let driver = Driver::new(async move {
            let _ = sender.send("it");
            std::future::pending().await
        });
        let came = poll_fn(|cx| {
            let mut nobody = Context::from_waker(Waker::noop());
            while has_budget_remaining() {
                let _ = pin!(consume_budget()).poll(&mut nobody);
            }
            Poll::Ready(driver.drive(cx, |cx| Pin::new(&mut receiver).poll(cx)))
        });
        assert_eq!(came.await, Poll::Ready(Ok("it")));
    }

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn who_polled_last_is_woken_for_what_comes_and_not_for_what_it_does_itself() {
        let known = Rc::new(RefCell::new(Waker::noop().clone()));
        let knows = Rc::clone(&known);
        let driver = Driver::new(poll_fn(move |cx| {
            knows.borrow_mut().clone_from(cx.waker());
            Poll::Pending
        }));
        let woken = <[Arc<Woken>; 2]>::default();
        let tasks = woken.clone().map(Waker::from);
        let counts = || woken.each_ref().map(|woken| woken.0.load(Relaxed));
        for task in &tasks {
            let polled = driver.drive(&mut Context::from_waker(task), |_| {
                known.borrow().wake_by_ref();
                Poll::<()>::Pending
            });
            assert!(polled.is_pending());
        }
        driver.silently(|| known.borrow().wake_by_ref());
        assert_eq!(counts(), [0, 0]);
        known.borrow().wake_by_ref();
        assert_eq!(counts(), [0, 1]);
    }
}
