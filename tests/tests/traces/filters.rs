//! Exporters with different filters at once.

use std::io::Write as _;

use serde_json::{Value, json};
use weir_tests::config::config;
use weir_tests::kafka::shared;
use weir_tests::trace::Trace;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::guest;

use crate::{annotated, first, start_several, two_plugins};

#[test]
fn a_dropped_plugins_children_move_up_in_one_exporter_and_not_in_the_other() {
    let filters = [
        json!({ "plugin_span_filter": { "mode": "exclude", "plugins": ["second"] } }),
        json!({ "plugin_span_filter": { "mode": "include", "plugins": ["second"] } }),
    ];
    let (weir, [without, only]) = start_several(two_plugins(&Upstream::hello()), filters);
    weir.get("/", &[]);
    let trace = first(&without);
    let names = [
        "GET all",
        "plugin.first.prehook",
        "GET",
        "plugin.first.posthook",
    ];
    assert_eq!(trace.names(), names);
    assert_eq!(trace.parent("GET"), "plugin.first.prehook");
    assert_eq!(
        trace.parent("plugin.first.posthook"),
        "plugin.first.prehook"
    );
    let trace = first(&only);
    assert_eq!(
        trace.names(),
        [
            "GET all",
            "plugin.second.prehook",
            "GET",
            "plugin.second.posthook"
        ]
    );
    assert_eq!(trace.parent("plugin.second.prehook"), "GET all");
    assert_eq!(trace.parent("GET"), "plugin.second.prehook");
}

/// A plugin's name is in lower case in names of spans, with `-` for spaces; filters take it in either form.
#[test]
fn a_plugin_is_filtered_by_its_name_as_it_is_configured_and_as_spans_have_it() {
    let mut config = config(&Upstream::hello());
    config["plugins"]["My Id"] = json!({ "module": guest("bench-header") });
    config["plugins"]["other"] = json!({ "module": guest("bench-header") });
    config["routes"][0]["plugins"] = json!(["My Id", "other"]);
    let filter = |mode: &str, name: &str| json!({ "plugin_span_filter": { "mode": mode, "plugins": [name] } });
    let filters = [
        json!({}),
        filter("exclude", "My Id"),
        filter("exclude", "my-id"),
        filter("include", "My Id"),
        filter("include", "my-id"),
    ];
    let (weir, topics) = start_several(config, filters);
    weir.get("/", &[]);
    let mine = ["plugin.my-id.prehook", "plugin.my-id.posthook"];
    let others = ["plugin.other.prehook", "plugin.other.posthook"];
    let expected = [
        (true, true),
        (false, true),
        (false, true),
        (true, false),
        (true, false),
    ];
    for (topic, (has_mine, has_others)) in topics.iter().zip(expected) {
        let trace = first(topic);
        let names = trace.names();
        for (spans, are_there) in [(mine, has_mine), (others, has_others)] {
            for span in spans {
                assert_eq!(names.contains(&span), are_there, "{span}: {names:?}");
            }
        }
    }
}

#[test]
fn request_headers_are_captured_by_pattern_and_credentials_redacted() {
    let filters = [
        json!({ "request_headers": ["X-*-Id", "authorization"] }),
        json!({ "request_headers": ["*"] }),
        json!({ "request_headers": ["*"], "redact_headers": false }),
        json!({}),
    ];
    let (weir, [some, all, bare, none]) = start_several(config(&Upstream::hello()), filters);
    weir.get(
        "/",
        &[
            "x-tenant-id: 1",
            "x-tenant-id: 2",
            "x-other: 3",
            "authorization: Bearer secret",
            "x-api-key: key",
        ],
    );
    assert_eq!(
        first(&some).0["RequestHeaders"],
        json!({ "x-tenant-id": "1, 2", "authorization": "REDACTED" })
    );
    let headers = &first(&all).0["RequestHeaders"];
    assert_eq!(headers["x-other"], "3");
    assert_eq!(headers["authorization"], "REDACTED");
    assert_eq!(headers["x-api-key"], "REDACTED");
    let headers = &first(&bare).0["RequestHeaders"];
    assert_eq!(headers["authorization"], "Bearer secret");
    assert_eq!(headers["x-api-key"], "key");
    assert_eq!(first(&none).0["RequestHeaders"], Value::Null);
}

#[test]
fn content_is_stripped_where_that_is_asked_for_and_measures_stay() {
    let filters = [json!({ "disable_content_logging": true }), json!({})];
    let attributes = json!({
        "gen_ai.input.messages": "said",
        "gen_ai.output.messages": "heard",
        "gen_ai.usage.input_tokens": "12",
        "gen_ai.request.model": "gpt-4o",
    });
    let config = annotated(&Upstream::hello(), json!({ "attributes": attributes }));
    let (weir, [stripped, whole]) = start_several(config, filters);
    weir.get("/", &[]);
    let kept = json!({ "gen_ai.usage.input_tokens": "12", "gen_ai.request.model": "gpt-4o" });
    for (topic, content) in [(stripped, false), (whole, true)] {
        let trace = first(&topic);
        let text = trace.0.to_string();
        assert_eq!(text.contains("said") && text.contains("heard"), content);
        let event = &trace.span("plugin.note.prehook")["Events"][0]["Attributes"];
        let places = [
            event,
            &trace.span("plugin.note.prehook")["Attributes"],
            &trace.span("GET")["Attributes"],
        ];
        for place in places {
            for (key, value) in kept.as_object().expect("an object") {
                assert_eq!(place[key], *value);
            }
        }
    }
}

#[test]
fn excluded_attributes_are_left_out_by_exact_name() {
    let filters = [
        json!({ "excluded_attributes": ["client.address", "answer", "url"] }),
        json!({}),
    ];
    let config = annotated(
        &Upstream::hello(),
        json!({ "attributes": { "answer": "forty-two" } }),
    );
    let (weir, [less, all]) = start_several(config, filters);
    weir.get("/", &[]);
    let trace = first(&less);
    assert_eq!(trace.root()["Attributes"].get("client.address"), None);
    assert_eq!(trace.root()["Attributes"]["url.path"], "/");
    assert!(!trace.0.to_string().contains("forty-two"));
    assert_eq!(
        first(&all).root()["Attributes"]["client.address"],
        "127.0.0.1"
    );
}

#[test]
fn sampling_goes_by_trace_id_and_keeps_errors() {
    let upstream = Upstream::new(|seen, stream| {
        let status = if seen.target == "/fails" {
            "500 Wrong"
        } else {
            "200 OK"
        };
        let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
    });
    let filters = [
        json!({ "sampling": { "ratio": 0.5 } }),
        json!({ "sampling": { "ratio": 0.0, "keep": { "errors": false, "slower_than": "0ms" } } }),
    ];
    let (weir, [half, slow]) = start_several(config(&upstream), filters);
    let low = "0af7651916cd43dd8000000000000001";
    let high = "0af7651916cd43dd80ffffffffffffff";
    let failed = "0af7651916cd43dd8000000000000002";
    for (target, id) in [("/", low), ("/", high), ("/fails", failed)] {
        weir.get(
            target,
            &[&format!("traceparent: 00-{id}-b7ad6b7169203331-01")],
        );
    }
    let ids = |traces: &[Trace]| -> Vec<Value> {
        traces
            .iter()
            .map(|trace| trace.0["TraceID"].clone())
            .collect()
    };
    assert_eq!(ids(&shared().traces(&half, 2)), [high, failed]);
    assert_eq!(ids(&shared().traces(&slow, 3)), [low, high, failed]);
    eventually("the other is counted", || {
        let metric = "weir_export_sampled_out_total{exporter=\"exporter-0\"}";
        (weir.metric(metric) > 0.5).then_some(())
    });
}
