//! How exporters fare, for `/readyz`; `/metrics` has more of it by [`super::gather`].

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::export::statistics::Statistics;
use crate::export::status::{Reason, Status};

pub(super) fn ready(status: &Status) -> Value {
    let (state, message) = status.state.told();
    let last_error = status.last_error.as_ref().map(|error| {
        let at = jiff::Timestamp::try_from(error.at).unwrap_or_default();
        json!({ "message": error.message, "at": at.to_string() })
    });
    json!({
        "name": status.exporter,
        "state": state,
        "message": message,
        "last_error": last_error,
        "delivered": status.delivered,
        "retried": status.retried,
        "dead_letters": by_reason(&status.dead_letters),
        "dropped": by_reason(&status.dropped),
        "oldest_s": status.oldest.as_secs(),
        "client": status.client.as_deref().map(client),
    })
}

/// What librdkafka says of itself, as far as it tells what is wrong.
fn client(statistics: &Statistics) -> Value {
    let brokers = statistics.brokers.iter().map(|(address, broker)| {
        let fares = json!({
            "up": broker.is_up,
            "waiting": broker.waiting,
            "errors": broker.totals.errors,
            "retries": broker.totals.retries,
            "timeouts": broker.totals.timeouts,
        });
        (address.clone(), fares)
    });
    json!({
        "queue_messages": statistics.queue_messages,
        "queue_bytes": statistics.queue_bytes,
        "brokers": brokers.collect::<Map<String, Value>>(),
    })
}

/// Those that happened.
pub(super) fn by_reason(counts: &[(Reason, u64)]) -> BTreeMap<&'static str, u64> {
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    counts
        .map(|(reason, count)| (reason.as_str(), *count))
        .collect()
}
