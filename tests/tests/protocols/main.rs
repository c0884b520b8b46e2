//! TLS and HTTP/2 as clients see them: certificates, handshakes, streams, translation, and what
//! clients do that they should not.

mod acme;
mod admin;
mod attacks;
mod authorities;
mod bombs;
mod certificates;
mod clients;
mod connect;
mod drips;
mod http2;
mod lies;
mod methods;
mod stalls;
mod translation;
mod upgrades;
mod upstream_tls;
mod upstreams;

use serde_json::{Value, json};
use weir_tests::tls::{Authority, Dial, Identity};
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

/// A listener with these certificates.
fn tls(identities: &[&Identity]) -> Value {
    let certificates: Vec<Value> = identities.iter().map(|one| one.json()).collect();
    json!({ "certificates": certificates })
}

/// One worker, one listener with these further keys, one route to `upstream`.
fn config(upstream: &Upstream, listener: Value) -> Value {
    let mut config = weir_tests::config::config(upstream);
    let all = listener.as_object().expect("keys").clone();
    config["listeners"][0]
        .as_object_mut()
        .expect("a listener")
        .extend(all);
    config
}

fn start(upstream: &Upstream, listener: Value) -> Weir {
    Weir::start(&config(upstream, listener).to_string())
}

/// With one certificate for `a.example`, and the authority of it.
fn start_tls(upstream: &Upstream, mut more: Value) -> (Weir, Authority) {
    let authority = Authority::default();
    let mut tls = tls(&[&authority.issue(&["a.example"])]);
    if let Some(more) = more.as_object_mut() {
        tls.as_object_mut().expect("keys").append(more);
    }
    (start(upstream, json!({ "tls": tls })), authority)
}

/// What `/metrics` counts for the one listener.
fn counted(weir: &Weir, metric: &str, reason: &str) -> u64 {
    weir.count(&format!(
        "{metric}{{listener=\"127.0.0.1:0\",reason=\"{reason}\"}}"
    ))
}

/// Whether the listener answers as ever.
fn assert_serves(weir: &Weir) {
    assert_eq!(weir.get("/", &[]).status, 200);
}

/// Whether Weir's memory stayed within bounds in an attack, at its peak too, which was `before` before it.
#[track_caller]
fn assert_hardly_grown(weir: &Weir, before: u64) {
    let grown = weir.peak_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "by {} KiB", grown >> 10);
}

fn dial(authority: &Authority) -> Dial<'_> {
    Dial::to(authority, "a.example")
}
