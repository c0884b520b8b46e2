//! Who reads and writes a connection of HTTP/1.1: the exchange that has it, in its own task, so that
//! nothing is passed between tasks and no task is woken for another.
//!
//! A request with a body, or one that asks to switch, gives its connection a task of its own: the rest
//! of a request goes on also while nobody takes of the response.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::AbortHandle;
use tokio::task::coop::unconstrained;

/// It ends when the connection has.
type Connection = Pin<Box<dyn Future<Output = hyper::Result<()>>>>;

/// See the module's documentation.
pub struct Driver(RefCell<Driven>);

enum Driven {
    ByExchange(Connection),
    ByTask(AbortHandle),
    /// It has ended, or was cut.
    Ended,
}

impl Driver {
    pub(super) fn new(connection: impl Future<Output = hyper::Result<()>> + 'static) -> Rc<Self> {
        let driven = Driven::ByExchange(Box::pin(connection));
        Rc::new(Self(RefCell::new(driven)))
    }

    /// Lets it read and write what it can; `cx` is woken when it can again.
    pub(super) fn poll(&self, cx: &mut Context<'_>) {
        let mut driven = self.0.borrow_mut();
        let Driven::ByExchange(connection) = &mut *driven else {
            return;
        };
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
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
        if matches!(&*self.0.borrow(), Driven::ByTask(_)) {
            return polled(cx);
        }
        // It comes while the connection is polled, at no other time: nobody is to be woken for it. So it
        // is looked at whatever was used of the task's budget, where that alone would be waited for.
        let mut nobody = Context::from_waker(Waker::noop());
        let mut polled = |cx: &mut Context<'_>| pin!(unconstrained(poll_fn(&mut polled))).poll(cx);
        let before = polled(&mut nobody);
        if before.is_ready() {
            return before;
        }
        self.poll(cx);
        polled(&mut nobody)
    }

    /// Gives the connection a task of its own, for good.
    pub(super) fn go_apart(&self) {
        let mut driven = self.0.borrow_mut();
        match std::mem::replace(&mut *driven, Driven::Ended) {
            Driven::ByExchange(connection) => {
                let task = tokio::task::spawn_local(async move { told(connection.await) });
                *driven = Driven::ByTask(task.abort_handle());
            }
            other => *driven = other,
        }
    }

    pub(super) fn cut(&self) {
        let driven = self.0.replace(Driven::Ended);
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
}
