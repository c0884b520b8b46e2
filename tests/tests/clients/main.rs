//! What Weir believes about clients, what it tells upstreams of them, and what it logs.

mod access_log;
mod forwarded;
mod proxy_protocol;

use serde_json::{Value, json};
use weir_tests::upstream::Upstream;

/// The usual configuration with further top-level keys.
fn config(upstream: &Upstream, keys: Value) -> Value {
    let mut config = weir_tests::config::config(upstream);
    for (key, value) in keys.as_object().expect("keys") {
        config[key] = value.clone();
    }
    config
}

/// As [`config`], with keys of the listener.
fn listening(upstream: &Upstream, listener: Value, keys: Value) -> Value {
    let mut config = config(upstream, keys);
    for (key, value) in listener.as_object().expect("keys") {
        config["listeners"][0][key] = value.clone();
    }
    config
}

/// Peers of this machine are trusted.
fn trusting() -> Value {
    json!({ "trusted_proxies": ["127.0.0.0/8"] })
}
