//! What the host refuses, while the hook goes on.

use serde_json::json;
use weir_tests::abi::Abi;
use weir_tests::config::config;
use weir_tests::kafka::shared;
use weir_tests::upstream::Upstream;

use crate::{Stand, plugin};

both! {
    injected_headers_never_leave
    headers_injected_into_a_response_never_leave
    a_flood_of_headers_is_bounded
    a_huge_header_is_refused
    names_of_headers_count_and_are_bounded
    statuses_that_are_none_are_refused
    headers_injected_into_an_answer_never_leave
    a_huge_answer_is_refused
    what_follows_an_answer_changes_nothing
    what_is_routed_is_not_routed_anew
    what_could_be_read_in_two_ways_is_no_route
    a_flood_of_log_lines_is_bounded_and_counted
    a_flood_of_attributes_is_bounded_and_counted
    forged_attributes_are_dropped_and_counted
    an_id_with_a_line_break_is_not_taken
    a_flood_of_names_for_a_call_is_bounded_and_counted
    a_flood_of_metrics_is_bounded_and_counted
    a_flood_of_values_takes_no_more_than_its_store
}

fn injected_headers_never_leave(abi: Abi) {
    let stand = Stand::new(abi, "header-injection");
    let trace = stand.assert_refused(&[("header", 46)]);
    assert_eq!(stand.refusals(&trace).len(), 46);
    let seen = stand.upstream.seen().remove(0);
    let mut names: Vec<&str> = seen.headers.iter().map(|(name, _)| name.as_str()).collect();
    // Weir's own.
    names.retain(|name| !name.starts_with("x-forwarded-"));
    assert_eq!(names, ["host", "x-harm", "traceparent"]);
    assert_eq!(seen.header("host"), Some("test"));
}

fn headers_injected_into_a_response_never_leave(abi: Abi) {
    let stand = Stand::at(abi, "header-injection", "on-response");
    let trace = stand.assert_refused(&[("header", 46)]);
    assert_eq!(stand.refusals(&trace).len(), 46);
}

fn a_flood_of_headers_is_bounded(abi: Abi) {
    let stand = Stand::new(abi, "header-flood");
    let trace = stand.assert_refused(&[("header", 1)]);
    let said = vec![("flood".to_owned(), "HeaderError::TooLarge".to_owned())];
    assert_eq!(stand.refusals(&trace), said);
    assert!(stand.upstream.seen()[0].headers.len() <= 257);
}

fn a_huge_header_is_refused(abi: Abi) {
    let stand = Stand::new(abi, "header-huge");
    let trace = stand.assert_refused(&[("header", 1)]);
    assert_eq!(stand.refusals(&trace).len(), 1);
    assert_eq!(stand.upstream.seen()[0].header("x-huge"), None);
}

fn names_of_headers_count_and_are_bounded(abi: Abi) {
    let stand = Stand::new(abi, "header-names");
    let trace = stand.assert_refused(&[("header", 2)]);
    let said = "HeaderError::TooLarge".to_owned();
    let both = ["long", "many"].map(|name| (name.to_owned(), said.clone()));
    assert_eq!(stand.refusals(&trace), both);
    let seen = stand.upstream.seen().remove(0);
    let added = seen.headers.iter().filter(|(name, _)| name.len() == 256);
    // As many as 64 KiB hold, what the client sent included.
    let bytes: usize = added
        .map(|(name, value)| name.len() + value.len() + 4)
        .sum();
    assert!((60 << 10..=64 << 10).contains(&bytes), "{bytes}");
}

fn statuses_that_are_none_are_refused(abi: Abi) {
    let stand = Stand::new(abi, "bad-status");
    let trace = stand.assert_refused(&[("answer", 8)]);
    assert_eq!(stand.refusals(&trace).len(), 8);
    let stand = Stand::at(abi, "bad-status", "on-response");
    let trace = stand.assert_refused(&[("answer", 16)]);
    assert_eq!(stand.refusals(&trace).len(), 16);
}

fn headers_injected_into_an_answer_never_leave(abi: Abi) {
    let stand = Stand::new(abi, "answer-injection");
    let trace = stand.assert_refused(&[("answer", 22)]);
    assert_eq!(stand.refusals(&trace).len(), 22);
}

fn a_huge_answer_is_refused(abi: Abi) {
    let stand = Stand::new(abi, "answer-huge");
    let trace = stand.assert_refused(&[("answer", 1)]);
    assert_eq!(stand.refusals(&trace).len(), 1);
}

fn what_follows_an_answer_changes_nothing(abi: Abi) {
    let stand = Stand::new(abi, "change-after-answer");
    let trace = stand.assert_refused_with("answered", &[("header", 3)]);
    assert_eq!(stand.refusals(&trace).len(), 3);
    assert_eq!(
        trace.attribute("plugin.strict.prehook", "short_circuit"),
        true
    );
}

fn what_is_routed_is_not_routed_anew(abi: Abi) {
    let stand = Stand::new(abi, "reroute-late");
    let trace = stand.assert_refused(&[("reroute", 1)]);
    assert_eq!(stand.refusals(&trace).len(), 1);
    assert_eq!(stand.upstream.seen()[0].target, "/strict");
}

fn what_could_be_read_in_two_ways_is_no_route(abi: Abi) {
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    let guest = abi.guest("hostile");
    config["plugins"]["strict"] = plugin(&guest, "reroute-ambiguous", "on-pre-request", "reject");
    config["listeners"][0]["plugins"] = json!(["strict"]);
    let stand = Stand::around(config, upstream, "prerequesthook");
    let trace = stand.assert_refused(&[("reroute", 7)]);
    let said = stand.refusals(&trace);
    assert_eq!(said.len(), 7, "{said:?}");
    for (path, error) in said {
        let invalid = error.starts_with("RerouteError::Invalid(\"the path holds ");
        assert!(invalid, "{path}: {error}");
    }
    assert_eq!(stand.upstream.seen()[0].target, "/strict");
}

fn a_flood_of_log_lines_is_bounded_and_counted(abi: Abi) {
    let stand = Stand::new(abi, "log-flood");
    let trace = stand.assert_refused(&[("log", 10_000 - 64)]);
    let lines = trace.0["PluginLogs"].as_array().expect("some lines");
    assert!((1..=64).contains(&lines.len()), "{}", lines.len());
    let dropped = trace.0["Attributes"]["weir.dropped"].as_u64();
    assert_eq!(dropped, Some(10_000 - lines.len() as u64));
}

fn a_flood_of_attributes_is_bounded_and_counted(abi: Abi) {
    let stand = Stand::new(abi, "attribute-flood");
    let trace = stand.assert_refused(&[("note", 20_000 - 128)]);
    let span = trace.span("plugin.strict.prehook");
    let notes = span["Attributes"].as_object().expect("attributes").keys();
    let notes = notes.filter(|key| key.starts_with("flood.")).count();
    let events = trace.span("GET")["Events"].as_array().map_or(0, Vec::len);
    assert_eq!(notes + events, 128);
    assert_eq!(trace.0["Attributes"]["weir.dropped"], 20_000 - 128);
}

fn forged_attributes_are_dropped_and_counted(abi: Abi) {
    let stand = Stand::new(abi, "attribute-injection");
    let trace = stand.assert_refused(&[("note", 12)]);
    let span = trace.span("plugin.strict.prehook");
    assert_eq!(span["Attributes"]["weir.hook.decision"], "continue");
    assert_eq!(span["Attributes"]["text"], "\0\r\n\u{202e}\"");
    assert_eq!(span["Attributes"]["number"], "NaN");
    assert_eq!(trace.span("GET")["Kind"], "http.client");
    assert!(!trace.0.to_string().contains("forged"));
    assert!(trace.0.to_string().len() < 16 << 10);
    assert_eq!(trace.0["Attributes"]["weir.dropped"], 12);
}

fn an_id_with_a_line_break_is_not_taken(abi: Abi) {
    let stand = Stand::new(abi, "id-injection");
    let trace = stand.assert_refused(&[("request_id", 1)]);
    let id = trace.0["RequestID"].as_str().expect("a text");
    assert!(id.len() <= 200 && !id.contains(char::is_control), "{id:?}");
}

fn a_flood_of_names_for_a_call_is_bounded_and_counted(abi: Abi) {
    let stand = Stand::new(abi, "name-flood");
    let trace = stand.assert_refused(&[("note", 20_000 - 128)]);
    let call = trace.span("flood 63");
    assert_eq!(call["StatusMsg"], "flood 63");
    assert_eq!(trace.0["Attributes"]["weir.dropped"], 20_000 - 128);
}

fn a_flood_of_metrics_is_bounded_and_counted(abi: Abi) {
    let stand = Stand::new(abi, "metric-flood");
    let trace = stand.assert_refused(&[("metric", 2)]);
    let said = stand.refusals(&trace);
    let [(flood, refused), (long, invalid)] = &said[..] else {
        panic!("{said:?}");
    };
    assert_eq!([flood, long], ["flood", "long"]);
    assert!(refused.contains("\"too-many\""), "{refused}");
    assert!(invalid.contains("\"invalid-name\""), "{invalid}");
    let metrics = stand.weir.metrics();
    let of = |prefix: &str| {
        let lines = metrics.lines().filter(|line| line.starts_with(prefix));
        lines.count()
    };
    // 2000 sets of labels in all; none is left for the 63 other metrics.
    assert_eq!(of("weir_plugin_strict_by_total{"), 2_000);
    assert_eq!(of("# TYPE weir_plugin_strict_"), 64);
    assert_eq!(of("weir_plugin_strict_flood_"), 0);
    let dropped = "weir_plugin_metrics_dropped_total{plugin=\"strict\"}";
    assert_eq!(stand.weir.count(dropped), 8_000 + 63 + 2);
}

fn a_flood_of_values_takes_no_more_than_its_store(abi: Abi) {
    let stand = Stand::new(abi, "kv-flood");
    assert_eq!(stand.weir.get("/strict", &[]).text(), "hello");
    let others = stand.others();
    let before = stand.weir.resident_bytes();
    for _ in 0..4 {
        assert_eq!(stand.harm("/strict").text(), "hello");
    }
    let trace = shared().traces(&stand.topic, 2).remove(1);
    let said = stand.refusals(&trace);
    assert_eq!(said.len(), 2);
    for (_, error) in &said {
        assert!(error.contains("\"too-large\""), "{error}");
    }
    // Four times 20 MiB went into 8 MiB.
    let grown = stand.weir.resident_bytes().saturating_sub(before);
    assert!(grown < 40 << 20, "{grown}");
    others.assert_unharmed();
    let counted = stand.counted();
    let [(value, refused), (evicted, count)] = &counted[..] else {
        panic!("{counted:?}");
    };
    assert_eq!((value.as_str(), *refused), ("value", 4 * 2));
    // What did not go to its place went for another: a value takes more than a kibibyte of eight mebibytes.
    assert_eq!(evicted, "value_evicted");
    assert!(*count > 20_000 - (8 << 10), "{count}");
}
