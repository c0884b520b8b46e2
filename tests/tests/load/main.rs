//! Many clients, and clients that ask too much: connections are shared out, what there is no room for
//! is refused or waits, and everybody else is served.

mod balance;
mod descriptors;
mod floods;
mod idle;
mod overload;

use serde_json::{Value, json};
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

/// So many workers, one route to `upstream`, and one listener with these further keys.
fn config(upstream: &Upstream, workers: usize, listener: Value) -> Value {
    let mut config = weir_tests::config::config(upstream);
    config["workers"] = json!(workers);
    let keys = listener.as_object().expect("keys").clone();
    let one = config["listeners"][0].as_object_mut();
    one.expect("a listener").extend(keys);
    config
}

fn start(upstream: &Upstream, workers: usize, listener: Value) -> Weir {
    Weir::start(&config(upstream, workers, listener).to_string())
}

/// Connections of the one listener that were closed for this reason.
fn refused(weir: &Weir, reason: &str) -> u64 {
    let labels = format!("listener=\"127.0.0.1:0\",reason=\"{reason}\"");
    weir.count(&format!("weir_connections_refused_total{{{labels}}}"))
}
