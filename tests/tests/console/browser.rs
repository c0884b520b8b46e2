//! The pages, in Chromium.

use serde_json::{Value, json};
use weir_tests::browser::drive;
use weir_tests::config;
use weir_tests::http2;
use weir_tests::kafka::{self, Kafka};
use weir_tests::tls::{Authority, Valid};
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

const KEY: &str = "open-sesame-4711";

/// Three plugins, as the demo has them, and a store.
pub(crate) fn config() -> Value {
    let mut config = config::config(&Upstream::hello());
    config["plugins"] = json!({
        "request-id": { "module": "builtin:request-id" },
        "auth": { "module": "builtin:key-auth", "config": { "keys": [KEY] } },
        "headers": {
            "module": "builtin:header-rewrite",
            "config": { "request": { "remove": ["x-api-key"] } },
        },
    });
    config["listeners"][0]["plugins"] = json!(["request-id"]);
    config["routes"][0] = json!({
        "name": "hello",
        "match": { "path": "/v1/*" },
        "upstream": "up",
        "plugins": ["auth", "headers"],
    });
    config["store"] = json!({ "request_headers": ["*"] });
    config
}

fn start() -> Weir {
    Weir::start(&config().to_string())
}

pub(crate) fn key() -> Value {
    json!({ "key": KEY })
}

#[test]
fn the_trace_of_a_request_just_sent_is_found_and_read() {
    drive("traces", &start(), &key());
}

#[test]
fn spans_are_found_and_their_values_copied() {
    drive("found", &start(), &key());
}

#[test]
fn traces_show_live_as_they_end() {
    drive("live", &start(), &key());
}

#[test]
fn a_trace_is_in_view_within_a_second() {
    drive("soon", &start(), &key());
}

#[test]
fn themes_and_motion_are_as_the_system_wants_them() {
    drive("senses", &start(), &json!({}));
}

#[test]
fn ten_thousand_spans_scroll() {
    drive("large", &start(), &key());
}

#[test]
fn every_page_shows_what_happens() {
    drive("pages", &start(), &key());
}

#[test]
fn a_plugin_that_keeps_failing_shows_its_breaker_and_what_it_wrote() {
    let mut config = config();
    config["plugins"] = json!({
        "mad": {
            "module": weir_tests::weir::guest("hostile"),
            "on_error": "continue",
            "breaker": { "failures": 3, "pause": "1h" },
            "config": { "mode": "unreachable" },
        },
        "chatty": { "module": weir_tests::weir::guest("census"), "on_error": "continue" },
    });
    config["listeners"][0]["plugins"] = json!(["mad", "chatty"]);
    // The census leads requests to a path of its own.
    config["routes"][0] = json!({ "name": "all", "upstream": "up" });
    config["workers"] = json!(1);
    drive("broken", &Weir::start(&config.to_string()), &json!({}));
}

#[test]
fn generations_and_what_is_not_served_yet_are_shown() {
    let kafka = kafka::shared();
    let before = file(&Upstream::hello(), &exporter(kafka, &kafka.topic()));
    let weir = Weir::start(&before);
    let given = json!({
        "file": weir.folder().join("weir.yaml"),
        "good": format!("{before}      batch_size: 9\n"),
        "bad": format!("{before}      batch_size: none\n"),
    });
    drive("generations", &weir, &given);
}

#[test]
fn everything_is_reached_by_keyboard() {
    let kafka = kafka::shared();
    let before = file(&Upstream::hello(), &exporter(kafka, &kafka.topic()));
    let weir = Weir::start(&before);
    drive("keyboard", &weir, &key());
    let added = "      plugin_span_filter:\n        mode: exclude\n        plugins: [auth]\n";
    assert_eq!(written(&weir), format!("{before}{added}"));
}

#[test]
fn no_control_of_any_page_is_out_of_reach_of_the_keyboard() {
    let kafka = kafka::shared();
    let exporter = exporter(kafka, &kafka.topic());
    drive(
        "reached",
        &Weir::start(&file(&Upstream::hello(), &exporter)),
        &key(),
    );
}

#[test]
fn pages_fit_wide_and_narrow_screens() {
    let kafka = kafka::shared();
    let weir = Weir::start(&file(&Upstream::hello(), &exporter(kafka, &kafka.topic())));
    drive("narrow", &weir, &key());
}

#[test]
fn a_plugins_own_keys_are_a_form() {
    let before = file(&Upstream::hello(), "");
    let weir = Weir::start(&before);
    drive("plugin", &weir, &key());
    let expected = before.replace(
        "config: { keys: [open-sesame-4711] }",
        "config: { keys: [open-sesame-4711], header: x-other-key }",
    );
    assert_eq!(written(&weir), expected);
}

#[test]
fn what_is_received_by_otlp_is_shown_by_signal_and_protocol() {
    let kafka = kafka::shared();
    let mut config = config();
    config["receivers"]["otlp"] = json!({
        "grpc": { "enabled": false },
        "http": { "address": "127.0.0.1:0" },
        "exporter": { "kafka": {
            "brokers": [kafka.address()],
            "traces_topic": kafka.topic(),
            "metrics_topic": kafka.topic(),
            "logs_topic": kafka.topic(),
        }},
    });
    let weir = Weir::start(&config.to_string());
    let address = format!("http://{}", weir.otlp("http"));
    drive("otlp", &weir, &json!({ "otlp": address }));
}

#[test]
fn an_endpoint_that_is_left_out_says_why() {
    let mut config = config();
    let well = config["upstreams"]["up"]["endpoints"][0].clone();
    config["upstreams"]["up"] = json!({
        "endpoints": [well, "http://127.0.0.1:1"],
        "health": { "interval": "100ms" },
    });
    drive("upstreams", &Weir::start(&config.to_string()), &json!({}));
}

#[test]
fn certificates_that_expire_soon_are_told_apart() {
    let authority = Authority::default();
    let upstream = |valid| {
        let identity = authority.issue_valid(&["127.0.0.1"], valid);
        let tls = identity.server(&["h2"], None);
        http2::Upstream::new(Some(tls), |_| http2::Reply::default())
    };
    let (soon, lasting) = (upstream(Valid::Days(5)), upstream(Valid::Now));
    let mut config = config();
    for (name, upstream) in [("soon", &soon), ("lasting", &lasting)] {
        config["upstreams"][name] = json!({
            "endpoints": [format!("https://{}", upstream.address())],
            "tls": { "ca": authority.pem() },
        });
    }
    config["routes"] = json!([
        { "match": { "path": "/soon" }, "upstream": "soon" },
        { "match": { "path": "/lasting" }, "upstream": "lasting" },
    ]);
    drive(
        "certificates",
        &Weir::start(&config.to_string()),
        &json!({}),
    );
}

#[test]
fn without_an_upstream_its_page_says_how_to_name_one() {
    let mut config = config();
    config
        .as_object_mut()
        .expect("an object")
        .remove("upstreams");
    config["routes"] = json!([{ "name": "fixed", "respond": { "status": 204 } }]);
    drive("nowhere", &Weir::start(&config.to_string()), &json!({}));
}

#[test]
fn what_the_command_line_sets_is_locked_and_says_why() {
    let before = file(
        &Upstream::hello(),
        &exporter(kafka::shared(), "not-asked-for"),
    );
    let weir = Weir::start_set(&before, "exporters.traces.kafka.batch_size=500");
    drive("overridden", &weir, &json!({}));
}

#[test]
fn the_token_is_asked_for_once() {
    let mut config = config();
    config["admin"]["token"] = json!("s3cret-token");
    let weir = Weir::start(&config.to_string());
    drive("login", &weir, &json!({ "token": "s3cret-token" }));
}

#[test]
fn each_filter_leaves_the_traces_that_fit() {
    let mut config = config();
    config["plugins"]["genai"] = json!({ "module": "builtin:genai", "on_error": "continue" });
    config["routes"][0]["plugins"] = json!(["auth", "headers", "genai"]);
    drive("filters", &Weir::start(&config.to_string()), &key());
}

#[test]
fn what_is_not_there_is_said() {
    drive("missing", &start(), &json!({}));
}

#[test]
fn without_a_store_pages_say_what_to_add() {
    let weir = Weir::start(&weir_tests::config::config(&Upstream::hello()).to_string());
    drive("unkept", &weir, &json!({}));
}

#[test]
fn exporters_that_do_not_deliver_say_why_and_what_waits() {
    let kafka = kafka::shared();
    let topic = kafka.refusing_topic();
    let data = tempfile::tempdir().expect("a folder");
    let mut config = config();
    config["data_dir"] = json!(data.path());
    config["spool"] = json!({ "segment_bytes": "2MiB" });
    let refused = weir_tests::config::exporter(kafka, &topic);
    config["exporters"] = json!({ "lossy": refused, "letters": refused });
    config["exporters"]["letters"]["kafka"]["dead_letter"] =
        json!({ "file": data.path().join("letters.jsonl") });
    config["exporters"]["away"]["kafka"] = json!({ "brokers": ["127.0.0.1:1"], "topic": "t" });
    drive("failing", &Weir::start(&config.to_string()), &key());
}

/// A file as a person writes it, whose comments must survive.
fn file(upstream: &Upstream, exporters: &str) -> String {
    format!(
        "\
# Our edge. Ask the platform team before you change it.
workers: 1
listeners:
  - address: 127.0.0.1:0   # a free port
    plugins: [request-id]

admin:
  address: 127.0.0.1:0

upstreams:
  up: {{ endpoints: [\"{}\"] }}

plugins:
  request-id: {{ module: builtin:request-id }}
  auth:
    module: builtin:key-auth
    config: {{ keys: [{KEY}] }}   # one for now
  headers: {{ module: builtin:header-rewrite, config: {{ request: {{ remove: [x-api-key] }} }} }}

routes:
  - name: hello
    match: {{ path: /v1/* }}
    upstream: up
    plugins: [auth, headers]

store: {{}} # for the console
{exporters}",
        upstream.url()
    )
}

fn exporter(kafka: &Kafka, topic: &str) -> String {
    format!(
        "\nexporters:\n  traces:\n    kafka:\n      # Ours.\n      brokers: [\"{}\"]\n      topic: {topic} # agreed with data\n      flush_interval_ms: 10\n",
        kafka.address()
    )
}

pub(crate) fn written(weir: &Weir) -> String {
    std::fs::read_to_string(weir.folder().join("weir.yaml")).expect("the file")
}

#[test]
fn the_kafka_form_leads_from_nothing_to_messages_in_the_topic() {
    let kafka = kafka::shared();
    let topic = kafka.topic();
    let before = file(&Upstream::hello(), "");
    let weir = Weir::start(&before);
    let given = json!({ "key": KEY, "broker": kafka.address(), "topic": topic });
    drive("kafka", &weir, &given);
    let after = written(&weir);
    let added = after
        .strip_prefix(&before)
        .expect("all that was written stays");
    let section = format!(
        "\nexporters:\n  traces:\n    kafka:\n      brokers: [\"{}\"]\n      topic: {topic}\n      flush_interval_ms: 10\n",
        kafka.address()
    );
    assert_eq!(added, section);
    let trace = &kafka.traces(&topic, 1)[0];
    assert_eq!(
        trace.0["Spans"][0]["Attributes"]["url.path"],
        "/v1/delivered"
    );
}

#[test]
fn the_kafka_form_leads_to_a_broker_with_tls_and_sasl_and_never_has_the_password() {
    let kafka = kafka::shared();
    let topic = kafka.topic();
    let before = file(&Upstream::hello(), "");
    let weir = Weir::start_with(&before, &[("SASL_PASSWORD", kafka::PASSWORD)]);
    let ca = weir.folder().join("ca.pem");
    std::fs::write(&ca, kafka.ca()).expect("write the authority");
    let given = json!({
        "key": KEY,
        "broker": kafka.listener("SASL_SSL"),
        "topic": topic,
        "ca": ca,
        "user": kafka::USER,
        "password": kafka::PASSWORD,
    });
    drive("secured", &weir, &given);
    let after = written(&weir);
    let added = after.strip_prefix(&before).expect("what was written stays");
    for line in [
        "tls_enabled: true",
        "sasl_enabled: true",
        "mechanism: SCRAM-SHA-512",
        "password: env.SASL_PASSWORD",
    ] {
        assert!(added.contains(line), "{line}: {added}");
    }
    assert!(!added.contains(kafka::PASSWORD), "{added}");
    let trace = &kafka.traces(&topic, 1)[0];
    assert_eq!(
        trace.0["Spans"][0]["Attributes"]["url.path"],
        "/v1/delivered"
    );
    assert!(!weir.logged(kafka::PASSWORD));
}

#[test]
fn the_tracing_sheet_takes_a_plugins_spans_from_the_topic() {
    let kafka = kafka::shared();
    let topic = kafka.topic();
    let before = file(&Upstream::hello(), &exporter(kafka, &topic));
    let weir = Weir::start(&before);
    drive("tracing", &weir, &json!({ "key": KEY, "topic": topic }));
    let text = kafka.traces(&topic, 1)[0].0.to_string();
    assert!(
        text.contains("plugin.headers.prehook") && !text.contains("plugin.auth."),
        "{text}"
    );
    let expected = format!(
        "{before}      plugin_span_filter:\n        mode: exclude\n        plugins: [auth]\n      enabled: false\n"
    );
    assert_eq!(written(&weir), expected);
}

#[test]
fn the_tracing_sheet_keeps_a_list_of_plugins_to_include() {
    let kafka = kafka::shared();
    let filter = |plugins| {
        format!("      plugin_span_filter: {{ mode: include, plugins: [{plugins}] }} # few\n")
    };
    let before = file(&Upstream::hello(), &exporter(kafka, &kafka.topic()));
    let weir = Weir::start(&format!("{before}{}", filter("headers")));
    drive("include", &weir, &json!({}));
    assert_eq!(
        written(&weir),
        format!("{before}{}", filter("auth, headers"))
    );
}

#[test]
fn an_edit_on_the_disk_is_noticed_and_not_lost() {
    let kafka = kafka::shared();
    let topic = kafka.topic();
    let before = file(&Upstream::hello(), &exporter(kafka, &topic));
    let weir = Weir::start(&before);
    let meanwhile = before.replace("# agreed with data", "# agreed with data, and sales");
    let given = json!({ "file": weir.folder().join("weir.yaml"), "text": meanwhile });
    drive("conflict", &weir, &given);
    assert_eq!(written(&weir), format!("{meanwhile}      batch_size: 7\n"));
}

#[test]
fn what_cannot_be_saved_is_shown_to_be_copied() {
    let kafka = kafka::shared();
    let topic = kafka.topic();
    let before = file(&Upstream::hello(), &exporter(kafka, &topic));
    let weir = Weir::start_with(
        &before,
        &[("WEIR__EXPORTERS__TRACES__KAFKA__COMPRESSION", "lz4")],
    );
    let file = weir.folder().join("weir.yaml");
    let mut permissions = std::fs::metadata(&file).expect("the file").permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&file, permissions).expect("its owner may");
    drive("locked", &weir, &json!({}));
    assert_eq!(written(&weir), before);
}

#[test]
fn yaml_is_copied_where_the_browser_keeps_the_clipboard_from_the_page() {
    let before = file(
        &Upstream::hello(),
        &exporter(kafka::shared(), "not-asked-for"),
    );
    let before = before.replacen(
        "admin:\n  address: 127.0.0.1:0",
        "admin:\n  address: 0.0.0.0:0",
        1,
    );
    let weir = Weir::start(&before);
    drive("copied", &weir, &json!({}));
    assert_eq!(written(&weir), before);
}

#[test]
fn a_file_that_cannot_be_edited_in_its_place_is_left_to_its_author() {
    let exporters = exporter(kafka::shared(), "not-asked-for");
    let exporters = exporters.replacen("kafka:", "kafka: &first", 1);
    let before = file(
        &Upstream::hello(),
        &format!("{exporters}  second:\n    kafka: *first\n"),
    );
    let weir = Weir::start(&before);
    drive("anchored", &weir, &json!({}));
    assert_eq!(written(&weir), before);
}
