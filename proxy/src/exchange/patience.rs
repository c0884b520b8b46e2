//! How long a body may keep its receiver waiting, or a client take nothing: then writes are counted.

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::alarm::Alarm;

/// Of one body, where nothing comes out of it. Plugins and codings may keep back for long what comes in,
/// so it is for what comes in that is waited.
pub struct Patience {
    longest: Duration,
    /// While it is waited: how many bytes have come in, and until when there are to be more; `None`
    /// where it may be for ever.
    waiting: Option<(u64, Option<Instant>)>,
    alarm: Alarm,
}

impl Patience {
    pub fn new(longest: Duration) -> Self {
        Self {
            longest,
            waiting: None,
            alarm: Alarm::default(),
        }
    }

    /// Something came out.
    pub fn renew(&mut self) {
        self.waiting = None;
    }

    /// Nothing comes out, and so many bytes have come in: ready where that is so for too long.
    pub fn poll(&mut self, seen: u64, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = match self.waiting {
            Some((then, deadline)) if then == seen => deadline,
            _ => {
                let deadline = Instant::now().checked_add(self.longest);
                self.waiting = Some((seen, deadline));
                deadline
            }
        };
        match deadline {
            Some(deadline) => self.alarm.poll(cx, deadline),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn is_over(patience: &mut Patience, seen: u64) -> bool {
        poll_fn(|cx| Poll::Ready(patience.poll(seen, cx).is_ready())).await
    }

    #[tokio::test]
    async fn it_ends_and_begins_anew_with_what_comes_in_or_out() {
        let mut patience = Patience::new(Duration::from_millis(300));
        assert!(!is_over(&mut patience, 0).await);
        poll_fn(|cx| patience.poll(0, cx)).await;
        assert!(!is_over(&mut patience, 1).await, "something came in");
        poll_fn(|cx| patience.poll(1, cx)).await;
        patience.renew();
        assert!(!is_over(&mut patience, 1).await, "something came out");
    }

    #[tokio::test]
    async fn one_without_end_is_never_over() {
        assert!(!is_over(&mut Patience::new(Duration::MAX), 0).await);
    }
}
