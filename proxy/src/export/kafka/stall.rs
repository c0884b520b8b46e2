//! A broker that answers, and takes nothing: librdkafka tries again for minutes and says nothing
//! meanwhile. Here is when that has gone on for too long, and why as far as it can be found out.

use std::time::{Duration, Instant};

use super::client::Producer;
use super::errors::Problem;

/// Longest wait for what the brokers say of the topic.
const QUESTION: Duration = Duration::from_secs(1);

/// Looks at what is sent and not acknowledged.
pub(super) struct Watch {
    /// How long a message may wait for its batch, and for an answer.
    patience: Duration,
    acknowledged: u64,
    /// When a message was last acknowledged, none was under way, or it was said that they wait.
    since: Instant,
}

impl Watch {
    pub(super) fn new(patience: Duration, now: Instant) -> Self {
        Self {
            patience,
            acknowledged: 0,
            since: now,
        }
    }

    /// Whether messages have been under way for too long and none was acknowledged; says so again
    /// only after as long.
    pub(super) fn is_stalled(&mut self, acknowledged: u64, in_flight: bool, now: Instant) -> bool {
        let moves = !in_flight || acknowledged != self.acknowledged;
        let is_stalled = !moves && now.duration_since(self.since) >= self.patience;
        if moves || is_stalled {
            self.acknowledged = acknowledged;
            self.since = now;
        }
        is_stalled
    }
}

/// What is wrong with a topic that takes nothing.
pub(super) fn problem(producer: &Producer, topic: &str) -> Problem {
    let cause = match producer.leaderless(QUESTION).as_deref() {
        Ok([]) => "has it enough replicas in sync (`min.insync.replicas`)?".to_owned(),
        Ok([one]) => format!("its partition {one} has no leader"),
        Ok([first, rest @ ..]) => {
            let others = rest.len();
            format!("its partition {first} has no leader, nor have {others} others")
        }
        Err(_) => match producer.desk().cause() {
            Some(cause) => return Problem::Broker(cause),
            None => "no answer".to_owned(),
        },
    };
    Problem::Broker(format!(
        "topic \"{topic}\" takes nothing of what is sent: {cause}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_longer_than_it_may_is_said_now_and_then_until_it_moves() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut watch = Watch::new(Duration::from_secs(30), begin);
        assert!(!watch.is_stalled(0, false, at(100)));
        assert!(!watch.is_stalled(0, true, at(129)));
        assert!(watch.is_stalled(0, true, at(130)));
        assert!(!watch.is_stalled(0, true, at(159)));
        assert!(watch.is_stalled(0, true, at(160)));
        assert!(!watch.is_stalled(1, true, at(190)));
        assert!(!watch.is_stalled(1, true, at(219)));
        assert!(watch.is_stalled(1, true, at(220)));
    }
}
