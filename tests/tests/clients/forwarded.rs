//! `X-Forwarded-*`, `Forwarded`, B3 and baggage.

use serde_json::{Value, json};
use weir_tests::config::exporter;
use weir_tests::kafka::shared;
use weir_tests::trace::Trace;
use weir_tests::upstream::{Seen, Upstream};
use weir_tests::weir::Weir;

use crate::{config, trusting};

/// What the upstream sees of a request with these fields.
fn seen(keys: Value, fields: &[&str]) -> Seen {
    let upstream = Upstream::hello();
    let weir = Weir::start(&config(&upstream, keys).to_string());
    assert_eq!(weir.get("/", fields).status, 200);
    upstream.seen().remove(0)
}

fn fields<'s>(seen: &'s Seen, name: &str) -> Vec<&'s str> {
    let named = seen.headers.iter().filter(|(other, _)| other == name);
    named.map(|(_, value)| value.as_str()).collect()
}

const SPOOFED: [&str; 5] = [
    "x-forwarded-for: 9.9.9.9",
    "x-forwarded-proto: https",
    "x-forwarded-host: evil.test",
    "x-forwarded-prefix: /evil",
    "forwarded: for=9.9.9.9",
];

#[test]
fn what_an_untrusted_client_says_of_itself_is_replaced() {
    let seen = seen(json!({}), &SPOOFED);
    assert_eq!(fields(&seen, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(fields(&seen, "x-forwarded-proto"), ["http"]);
    assert_eq!(fields(&seen, "x-forwarded-host"), ["test"]);
    assert!(fields(&seen, "x-forwarded-prefix").is_empty());
    assert!(fields(&seen, "forwarded").is_empty());
}

#[test]
fn what_a_trusted_proxy_says_is_kept_and_added_to() {
    let mut keys = trusting();
    keys["forwarded"] = "both".into();
    let seen = seen(keys, &SPOOFED);
    assert_eq!(fields(&seen, "x-forwarded-for"), ["9.9.9.9, 127.0.0.1"]);
    assert_eq!(fields(&seen, "x-forwarded-proto"), ["https"]);
    assert_eq!(fields(&seen, "x-forwarded-host"), ["evil.test"]);
    assert_eq!(fields(&seen, "x-forwarded-prefix"), ["/evil"]);
    assert_eq!(
        fields(&seen, "forwarded"),
        ["for=9.9.9.9, for=127.0.0.1;host=\"test\";proto=http"]
    );
}

#[test]
fn connection_takes_nothing_of_weirs_own_away() {
    let names = "connection: close, x-forwarded-for, x-forwarded-proto, x-forwarded-host, \
                 forwarded, traceparent, host, b3";
    let seen = seen(json!({ "forwarded": "both", "b3": "single" }), &[names]);
    for name in [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "forwarded",
        "traceparent",
        "host",
        "b3",
    ] {
        assert_eq!(fields(&seen, name).len(), 1, "{name}");
    }
}

#[test]
fn without_forwarded_fields_those_of_others_go_all_the_same() {
    let seen = seen(json!({ "forwarded": "off" }), &SPOOFED);
    for name in ["x-forwarded-for", "x-forwarded-proto", "forwarded"] {
        assert!(fields(&seen, name).is_empty(), "{name}");
    }
}

/// The trace of one request with these fields, and what the upstream saw.
fn traced(keys: Value, fields: &[&str]) -> (Trace, Seen) {
    let upstream = Upstream::hello();
    let mut config = config(&upstream, keys);
    let topic = shared().topic();
    config["exporters"]["traces"] = exporter(shared(), &topic);
    let weir = Weir::start(&config.to_string());
    assert_eq!(weir.get("/", fields).status, 200);
    let trace = shared().traces(&topic, 1).remove(0);
    (trace, upstream.seen().remove(0))
}

#[test]
fn the_traces_client_is_whom_a_trusted_proxy_names() {
    let fields = ["x-forwarded-for: 3.3.3.3, 2.2.2.2, 127.0.0.9"];
    let (trace, _) = traced(trusting(), &fields);
    assert_eq!(trace.root()["Attributes"]["client.address"], "2.2.2.2");
    let (trace, _) = traced(json!({}), &fields);
    assert_eq!(trace.root()["Attributes"]["client.address"], "127.0.0.1");
}

const ID: &str = "80f198ee56343ba864fe8b2a57d3eff7";

#[test]
fn b3_is_read_in_either_form_and_sent_on_in_the_one_that_is_asked_for() {
    let single = format!("b3: {ID}-e457b5a2e4d86bd1-1");
    let (trace, seen) = traced(json!({ "b3": "multi" }), &[&single]);
    assert_eq!(trace.0["TraceID"], ID);
    assert_eq!(trace.0["ParentID"], "e457b5a2e4d86bd1");
    let call = trace.span("GET")["SpanID"].as_str().expect("an id");
    assert_eq!(fields(&seen, "x-b3-traceid"), [ID]);
    assert_eq!(fields(&seen, "x-b3-spanid"), [call]);
    assert_eq!(fields(&seen, "x-b3-sampled"), ["1"]);
    assert!(fields(&seen, "b3").is_empty());
    assert_eq!(fields(&seen, "traceparent"), [format!("00-{ID}-{call}-01")]);

    let id = format!("x-b3-traceid: {ID}");
    let multi = [
        id.as_str(),
        "x-b3-spanid: e457b5a2e4d86bd1",
        "x-b3-sampled: 0",
    ];
    let (trace, seen) = traced(json!({ "b3": "single" }), &multi);
    assert_eq!(trace.0["TraceID"], ID);
    let call = trace.span("GET")["SpanID"].as_str().expect("an id");
    assert_eq!(fields(&seen, "b3"), [format!("{ID}-{call}-0")]);
    assert!(fields(&seen, "x-b3-traceid").is_empty());
}

#[test]
fn a_traceparent_rules_over_b3_and_without_the_key_b3_passes_as_it_came() {
    let parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let single = format!("b3: {ID}-e457b5a2e4d86bd1-1");
    let (trace, _) = traced(json!({ "b3": "single" }), &[parent, &single]);
    assert_eq!(trace.0["TraceID"], "0af7651916cd43dd8448eb211c80319c");
    let (trace, seen) = traced(json!({}), &[&single, "baggage: user=7,tenant=a%20b"]);
    assert_ne!(trace.0["TraceID"], ID);
    assert_eq!(fields(&seen, "b3"), [format!("{ID}-e457b5a2e4d86bd1-1")]);
    assert_eq!(fields(&seen, "baggage"), ["user=7,tenant=a%20b"]);
}
