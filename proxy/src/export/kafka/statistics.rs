//! What of librdkafka's statistics is told on.

use std::collections::BTreeMap;

use rdkafka::statistics::{Broker as Said, Window};

use crate::export::statistics::{Broker, RoundTrip, Statistics, Totals};

/// Brokers as they are known to librdkafka: as given (bootstrap) and as they named themselves
/// share a `host:port`.
pub(super) fn of(said: &rdkafka::Statistics) -> Statistics {
    let mut brokers: BTreeMap<String, Broker> = BTreeMap::new();
    for broker in said.brokers.values() {
        // Those that stand for a role, such as the coordinator's, are connections to others.
        if !matches!(broker.source.as_str(), "learned" | "configured") {
            continue;
        }
        let known = brokers.entry(address(broker).to_owned()).or_default();
        merge(known, broker);
    }
    let topics = said.topics.values();
    let (mut batches, mut messages, mut bytes) = (0, 0.0, 0.0);
    for topic in topics {
        batches += topic.batchcnt.cnt;
        messages += float(topic.batchcnt.sum);
        bytes += float(topic.batchsize.sum);
    }
    let of_batch = |sum: f64| {
        if batches > 0 {
            sum / float(batches)
        } else {
            0.0
        }
    };
    Statistics {
        queue_messages: said.msg_cnt,
        queue_bytes: said.msg_size,
        batch_messages: of_batch(messages),
        batch_bytes: of_batch(bytes),
        brokers,
    }
}

/// `host:port`.
fn address(broker: &Said) -> &str {
    let name = match broker.nodename.as_str() {
        "" => broker
            .name
            .rsplit_once('/')
            .map_or(&*broker.name, |split| split.0),
        name => name,
    };
    name.rsplit_once("://").map_or(name, |(_, address)| address)
}

fn merge(known: &mut Broker, said: &Said) {
    known.is_up |= matches!(said.state.as_str(), "UP" | "UPDATE");
    let trip = said
        .rtt
        .as_ref()
        .filter(|trip| trip.cnt > 0)
        .map(round_trip);
    known.round_trip = known.round_trip.max_by_p99(trip);
    known.throttle = known.throttle.max(
        said.throttle
            .as_ref()
            .map_or(0.0, |window| float(window.avg) / 1e3),
    );
    known.waiting += count(said.waitresp_cnt);
    let totals = &mut known.totals;
    *totals = Totals {
        connects: totals.connects + count(said.connects.unwrap_or_default()),
        disconnects: totals.disconnects + count(said.disconnects.unwrap_or_default()),
        requests: totals.requests + said.tx,
        sent_bytes: totals.sent_bytes + said.txbytes,
        received_bytes: totals.received_bytes + said.rxbytes,
        errors: totals.errors + said.txerrs + said.rxerrs,
        retries: totals.retries + said.txretries,
        timeouts: totals.timeouts + said.req_timeouts,
    };
}

/// librdkafka tells it in microseconds.
fn round_trip(window: &Window) -> RoundTrip {
    let seconds = |micros: i64| float(micros) / 1e6;
    RoundTrip {
        p50: seconds(window.p50),
        p99: seconds(window.p99),
        max: seconds(window.max),
    }
}

trait Slower {
    fn max_by_p99(self, other: Self) -> Self;
}

impl Slower for Option<RoundTrip> {
    fn max_by_p99(self, other: Self) -> Self {
        match (self, other) {
            (Some(one), Some(other)) if other.p99 > one.p99 => Some(other),
            (Some(one), _) => Some(one),
            (None, other) => other,
        }
    }
}

/// What counts is never negative.
fn count(value: i64) -> u64 {
    value.try_into().unwrap_or_default()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "for a metric, whose numbers are floats"
)]
fn float(value: i64) -> f64 {
    value as f64
}
