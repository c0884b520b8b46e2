//! Whether a request that failed may be tried with another endpoint.
//!
//! Only where nothing can happen twice: not a byte of it was written (no connection), or it has no
//! body and its method is one that may be repeated (RFC 9110, section 9.2.2). Never once a response
//! has begun to go out. And never more than a share of all requests, so that tries do not finish off
//! what is overloaded.

use std::cell::Cell;
use std::time::Instant;

use http::{Method, Request};

use super::balance::{Local, Tried};
use super::body::RequestBody;
use super::connection;
use super::{Called, Error, Failure, Outgoing, Upstream};

/// Tries that may still be made: each request adds a part of one. Belongs to one worker.
pub struct Budget {
    percent: u32,
    /// In hundredths of a try.
    saved: Cell<u32>,
}

/// Most hundredths that are saved, and those that there are at the start.
const MOST: u32 = 2000;
const FIRST: u32 = 300;

impl Budget {
    pub fn new(percent: u32) -> Self {
        Self {
            percent,
            saved: Cell::new(if percent == 0 { 0 } else { FIRST }),
        }
    }

    /// A request came.
    pub fn deposit(&self) {
        self.saved.set((self.saved.get() + self.percent).min(MOST));
    }

    /// Takes a try; false where none is left.
    pub fn withdraw(&self) -> bool {
        let left = self.saved.get().checked_sub(100);
        left.map(|left| self.saved.set(left)).is_some()
    }
}

/// A request's head, kept to send it again.
pub struct Spare(Request<()>);

impl Spare {
    /// `None` where the request may not be sent twice, or there is nowhere else to send it.
    pub fn of(upstream: &Upstream, request: &Request<RequestBody>) -> Option<Self> {
        let may = upstream.config.retries.attempts > 0
            && upstream.endpoints.len() > 1
            && request.body().is_empty()
            && is_repeatable(request.method());
        may.then(|| {
            let mut head = Request::new(());
            *head.method_mut() = request.method().clone();
            *head.uri_mut() = request.uri().clone();
            *head.headers_mut() = request.headers().clone();
            Self(head)
        })
    }

    fn request(&self) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::empty());
        *request.method_mut() = self.0.method().clone();
        *request.uri_mut() = self.0.uri().clone();
        *request.headers_mut() = self.0.headers().clone();
        request
    }
}

/// The endpoint of another try, where there may be one and the budget has it.
pub fn next(
    upstream: &Upstream,
    local: &Local,
    worker: usize,
    key: u64,
    tried: &Tried,
    called: &Called,
    spare: Option<&Spare>,
) -> Option<usize> {
    if !may(upstream, called, tried.len(), spare) {
        return None;
    }
    let other = upstream.choose(local, key, tried, Instant::now())?;
    let cells = &upstream.cells[worker];
    if local.budget.withdraw() {
        cells.retries.inc();
        Some(other)
    } else {
        cells.retries_refused.inc();
        None
    }
}

/// Whether there may be another try, after so many.
fn may(upstream: &Upstream, called: &Called, tries: usize, spare: Option<&Spare>) -> bool {
    let config = &upstream.config.retries;
    if tries > config.attempts as usize {
        return false;
    }
    match called {
        Ok(reply) => spare.is_some() && config.statuses.contains(&reply.response.status()),
        Err(failure) if failure.unsent.is_some() => true,
        // What HTTP/2 does not send for what it says is no better elsewhere.
        Err(failure) => {
            spare.is_some()
                && matches!(&failure.error, Error::Protocol(error) if !connection::is_requests_fault(error))
        }
    }
}

/// The request of another try, where [`next`] says that there is one; else what there was.
pub fn again(called: Called, spare: Option<&Spare>) -> Result<Outgoing, Called> {
    match (called, spare) {
        (
            Err(Failure {
                unsent: Some(request),
                ..
            }),
            _,
        ) => Ok(request),
        (_, Some(spare)) => Ok(Box::new(spare.request())),
        (called, None) => Err(called),
    }
}

fn is_repeatable(method: &Method) -> bool {
    [
        Method::GET,
        Method::HEAD,
        Method::OPTIONS,
        Method::TRACE,
        Method::PUT,
        Method::DELETE,
    ]
    .contains(method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_a_share_of_the_requests() {
        let budget = Budget::new(20);
        let mut tries = 0;
        for _ in 0..1000 {
            budget.deposit();
            tries += u32::from(budget.withdraw());
        }
        assert_eq!(tries, 203);
    }

    #[test]
    fn what_is_saved_has_a_bound() {
        let budget = Budget::new(20);
        (0..10_000).for_each(|_| budget.deposit());
        let tries = std::iter::from_fn(|| budget.withdraw().then_some(())).count();
        assert_eq!(tries, 20);
    }

    #[test]
    fn no_share_is_no_try() {
        let budget = Budget::new(0);
        budget.deposit();
        assert!(!budget.withdraw());
    }

    #[test]
    fn methods_that_may_do_something_twice_are_not_repeated() {
        for method in [Method::POST, Method::PATCH, Method::CONNECT] {
            assert!(!is_repeatable(&method));
        }
        let lower = Method::from_bytes(b"get").unwrap();
        assert!(!is_repeatable(&lower));
    }
}
