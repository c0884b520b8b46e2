//! Secrets stay where they belong.

use serde_json::{Value, json};
use weir_tests::kafka::{PASSWORD, USER, shared};
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

use crate::annotated;

/// Secrets go in by every door; each comes out only where it may.
#[test]
fn a_secret_is_nowhere_but_where_it_was_asked_for() {
    const KEY: &str = "canary-plugin-key";
    const TOKEN: &str = "canary-admin-token";
    const HEADER: &str = "canary-header";
    const QUERY: &str = "canary-query";
    const CONTENT: &str = "canary-content";
    let mut config = annotated(
        &Upstream::hello(),
        json!({ "attributes": { "gen_ai.input.messages": CONTENT } }),
    );
    config["plugins"]["auth"] =
        json!({ "module": "builtin:key-auth", "config": { "keys": ["env.PLUGIN_KEY"] } });
    config["routes"][0]["plugins"] = json!(["auth", "note"]);
    config["admin"]["token"] = json!("env.ADMIN_TOKEN");
    let (all, strict) = (shared().topic(), shared().topic());
    let asks = json!({ "request_headers": ["*"] });
    let strips = json!({ "request_headers": ["*"], "disable_content_logging": true });
    for (name, topic, settings) in [("all", &all, asks), ("strict", &strict, strips)] {
        config["exporters"][name] = json!({ "kafka": {
            "brokers": [shared().listener("SASL_PLAINTEXT")], "topic": topic, "flush_interval_ms": 10,
            "sasl_enabled": true,
            "sasl": { "mechanism": "SCRAM-SHA-256", "username": USER, "password": "env.SASL_PASSWORD" },
        } });
        for (key, value) in settings.as_object().expect("settings") {
            config["exporters"][name]["kafka"][key] = value.clone();
        }
    }
    let environment = [
        ("PLUGIN_KEY", KEY),
        ("ADMIN_TOKEN", TOKEN),
        ("SASL_PASSWORD", PASSWORD),
        ("RUST_LOG", "debug"),
    ];
    let weir = Weir::start_with(&config.to_string(), &environment);
    let authorization = format!("authorization: Bearer {HEADER}");
    let target = format!("/?secret={QUERY}");
    let right = format!("x-api-key: {KEY}");
    assert_eq!(weir.get(&target, &[&right, &authorization]).status, 200);
    assert_eq!(
        weir.get(&target, &["x-api-key: canary-wrong-key", &authorization])
            .status,
        401
    );

    let topic = |topic: &str| -> String {
        shared()
            .traces(topic, 2)
            .iter()
            .map(|trace| trace.0.to_string())
            .collect()
    };
    let bearer = format!("authorization: Bearer {TOKEN}");
    let metrics = weir_tests::client::get(weir.admin(), "/metrics", &[&bearer]);
    assert_eq!(metrics.status, 200);
    // Faults of a configuration are where values would be shown.
    let mut bad = config.clone();
    bad["plugins"]["auth"]["config"]["header"] = json!("no header");
    bad["admin"]["address"] = json!(TOKEN);
    let reload = format!(
        "POST /reload HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{bearer}\r\ncontent-length: 0\r\n\r\n"
    );
    weir.write(&bad.to_string());
    let refused = weir_tests::client::send(weir.admin(), &reload);
    assert_eq!(refused.status, 422);
    bad["admin"]["address"] = config["admin"]["address"].clone();
    weir.write(&bad.to_string());
    let refused = weir_tests::client::send(weir.admin(), &reload);
    assert_eq!(refused.status, 422);

    let (all, strict) = (topic(&all), topic(&strict));
    assert!(all.contains(CONTENT));
    let secrets = [KEY, PASSWORD, HEADER, QUERY, "canary-wrong-key"];
    let log: String = weir.log().iter().map(Value::to_string).collect();
    let places = [
        ("log", log.as_str()),
        ("/readyz", &weir.ready().to_string()),
        ("/metrics", &metrics.text()),
        ("/reload", &refused.text()),
        ("all", &all),
        ("strict", &strict),
    ];
    for (place, text) in places {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} is in {place}: {text}");
        }
        assert!(
            place == "all" || !text.contains(CONTENT),
            "content is in {place}: {text}"
        );
        assert!(
            place == "log" || !text.contains(TOKEN),
            "the token is in {place}: {text}"
        );
    }
}
