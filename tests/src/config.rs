//! Configurations to start from, as JSON: YAML takes it, and tests change it key by key.

use serde_json::{Value, json};

use crate::kafka::Kafka;
use crate::upstream::Upstream;

/// One worker, one listener, and one route that takes everything to `upstream`.
pub fn config(upstream: &Upstream) -> Value {
    json!({
        "workers": 1,
        "listeners": [{ "address": "127.0.0.1:0", "plugins": [] }],
        "admin": { "address": "127.0.0.1:0" },
        "upstreams": { "up": { "endpoints": [upstream.url()] } },
        "plugins": {},
        "routes": [{ "name": "all", "upstream": "up", "plugins": [] }],
        "exporters": {},
        // Many tests share few cores: that one is late there says nothing.
        "overload": { "enabled": false },
    })
}

/// An exporter to a topic of a broker, which sends at once.
pub fn exporter(kafka: &Kafka, topic: &str) -> Value {
    json!({
        "kafka": { "brokers": [kafka.address()], "topic": topic, "flush_interval_ms": 10 },
    })
}
