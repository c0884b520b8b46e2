//! What an exporter's client says of itself: queue, batches, and each broker.
//!
//! Gauges are those of the client there is; counters run on when a client is replaced.

use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Messages in the client, and their bytes.
    pub queue_messages: u64,
    pub queue_bytes: u64,
    /// Of a batch lately, on the average.
    pub batch_messages: f64,
    pub batch_bytes: f64,
    /// By `host:port`.
    pub brokers: BTreeMap<String, Broker>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Broker {
    pub is_up: bool,
    /// Of a request lately, in seconds; `None` where there was none.
    pub round_trip: Option<RoundTrip>,
    /// For how long the broker held answers back lately, on the average, in seconds.
    pub throttle: f64,
    /// Requests that wait for an answer.
    pub waiting: u64,
    pub totals: Totals,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RoundTrip {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

/// Counted since the exporter began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub connects: u64,
    pub disconnects: u64,
    pub requests: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub errors: u64,
    pub retries: u64,
    pub timeouts: u64,
}

impl Totals {
    fn add(&mut self, other: &Self) {
        let Self {
            connects,
            disconnects,
            requests,
            sent_bytes,
            received_bytes,
            errors,
            retries,
            timeouts,
        } = other;
        self.connects += connects;
        self.disconnects += disconnects;
        self.requests += requests;
        self.sent_bytes += sent_bytes;
        self.received_bytes += received_bytes;
        self.errors += errors;
        self.retries += retries;
        self.timeouts += timeouts;
    }
}

impl Totals {
    /// What is counted here and no more in `now`.
    fn without(&self, now: &Self) -> Self {
        Self {
            connects: self.connects.saturating_sub(now.connects),
            disconnects: self.disconnects.saturating_sub(now.disconnects),
            requests: self.requests.saturating_sub(now.requests),
            sent_bytes: self.sent_bytes.saturating_sub(now.sent_bytes),
            received_bytes: self.received_bytes.saturating_sub(now.received_bytes),
            errors: self.errors.saturating_sub(now.errors),
            retries: self.retries.saturating_sub(now.retries),
            timeouts: self.timeouts.saturating_sub(now.timeouts),
        }
    }
}

/// The clients of one exporter, one after the other.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// Of those that are gone.
    before: BTreeMap<String, Totals>,
    /// As the one there is has said.
    current: BTreeMap<String, Totals>,
    statistics: Option<Arc<Statistics>>,
}

impl Client {
    /// A new client counts from nothing.
    pub(super) fn begin(&mut self) {
        for (broker, totals) in std::mem::take(&mut self.current) {
            self.before.entry(broker).or_default().add(&totals);
        }
    }

    pub(super) fn update(&mut self, mut statistics: Statistics) {
        // librdkafka forgets about what it does not need any more, with its counts.
        for (name, totals) in std::mem::take(&mut self.current) {
            let now = statistics.brokers.get(&name);
            let now = now.map(|broker| broker.totals).unwrap_or_default();
            let lost = totals.without(&now);
            if lost != Totals::default() {
                self.before.entry(name).or_default().add(&lost);
            }
        }
        for (name, broker) in &mut statistics.brokers {
            self.current.insert(name.clone(), broker.totals);
            if let Some(before) = self.before.get(name) {
                broker.totals.add(before);
            }
        }
        for (name, before) in &self.before {
            let broker = statistics.brokers.entry(name.clone());
            broker.or_insert_with(|| Broker {
                totals: *before,
                ..Broker::default()
            });
        }
        self.statistics = Some(Arc::new(statistics));
    }

    pub(super) fn statistics(&self) -> Option<Arc<Statistics>> {
        self.statistics.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(requests: u64) -> Statistics {
        let totals = Totals {
            requests,
            ..Totals::default()
        };
        let broker = Broker {
            totals,
            ..Broker::default()
        };
        Statistics {
            brokers: BTreeMap::from([("one:9092".to_owned(), broker)]),
            ..Statistics::default()
        }
    }

    fn requests(client: &Client) -> u64 {
        client.statistics().unwrap().brokers["one:9092"]
            .totals
            .requests
    }

    #[test]
    fn counters_run_on_over_a_change_of_clients() {
        let mut client = Client::default();
        client.begin();
        client.update(said(5));
        client.update(said(7));
        assert_eq!(requests(&client), 7);
        client.begin();
        assert_eq!(requests(&client), 7);
        client.update(said(2));
        assert_eq!(requests(&client), 9);
        client.begin();
        client.update(Statistics::default());
        assert_eq!(requests(&client), 9);
    }

    #[test]
    fn what_a_client_forgets_stays_counted() {
        let mut client = Client::default();
        client.begin();
        client.update(said(7));
        client.update(said(2));
        assert_eq!(requests(&client), 7);
        client.update(said(4));
        assert_eq!(requests(&client), 9);
        client.update(Statistics::default());
        assert_eq!(requests(&client), 9);
        client.update(said(1));
        assert_eq!(requests(&client), 10);
        client.begin();
        assert_eq!(requests(&client), 10);
    }
}
