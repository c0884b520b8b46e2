//! Secrets stay where they belong.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use weir_tests::client;
use weir_tests::kafka::{PASSWORD, USER, shared};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
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

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

fn mode(path: &Path) -> u32 {
    path.metadata().expect("it is there").permissions().mode() & 0o777
}

/// What all exporters strip is in no file and in no answer, for nothing is written but what some
/// exporter keeps.
#[test]
fn what_every_exporter_strips_is_not_on_the_disk_and_not_in_the_api() {
    const KEY: &str = "canary-plugin-key";
    const HEADER: &str = "canary-header";
    const QUERY: &str = "canary-query";
    const OTHER: &str = "canary-of-a-header-that-nobody-asked-for";
    const CONTENT: &str = "canary-content";
    const PASSWORD: &str = "canary-sasl-password";
    let data = TempDir::new().expect("a folder");
    let said = json!({
        "attributes": {
            "gen_ai.input.messages": CONTENT,
            "gen_ai.output.messages": CONTENT,
            "gen_ai.tool.call.arguments": CONTENT,
            "gen_ai.tool.call.result": CONTENT,
        },
    });
    let mut config = annotated(&Upstream::hello(), said);
    config["data_dir"] = json!(data.path().join("made"));
    config["store"] = json!({});
    config["plugins"]["auth"] =
        json!({ "module": "builtin:key-auth", "config": { "keys": [KEY] } });
    config["routes"][0]["plugins"] = json!(["auth", "note"]);
    // Neither delivers, so what is on the disk stays there.
    for (name, headers) in [
        ("one", json!(["authorization"])),
        ("two", json!(["x-api-*"])),
    ] {
        config["exporters"][name]["kafka"] = json!({
            "brokers": ["127.0.0.1:1"], "topic": name,
            "sasl_enabled": true,
            "sasl": { "mechanism": "SCRAM-SHA-512", "username": "weir", "password": PASSWORD },
            "request_headers": headers, "disable_content_logging": true,
        });
    }
    let weir = Weir::start(&config.to_string());
    let id = "0af7651916cd43dd8448eb211c80319c";
    let answer = weir.get(
        &format!("/?secret={QUERY}"),
        &[
            &format!("x-api-key: {KEY}"),
            &format!("authorization: Bearer {HEADER}"),
            &format!("x-other: {OTHER}"),
            &format!("traceparent: 00-{id}-b7ad6b7169203331-01"),
            "x-request-id: marked",
        ],
    );
    assert_eq!(answer.status, 200);
    let ask = |target: &str| {
        let request =
            format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let answer = client::send(weir.admin(), request);
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        answer.text()
    };
    eventually("the store has it", || {
        ask("/api/traces").contains("marked").then_some(())
    });
    let described: Value = serde_json::from_str(&ask("/api/openapi.json")).expect("JSON");
    let paths = described["paths"].as_object().expect("paths").iter();
    let open = paths.filter(|(path, methods)| {
        let parameters = methods["get"]["parameters"].as_array();
        let needed =
            parameters.is_some_and(|all| all.iter().any(|one| one["required"] == json!(true)));
        methods["get"].is_object() && !needed && !path.contains('{') && !path.ends_with("/tail")
    });
    let mut targets: Vec<String> = open.map(|(path, _)| path.clone()).collect();
    assert!(targets.len() > 8, "{targets:?}");
    targets.extend([
        format!("/api/traces/{id}"),
        format!("/api/traces/{id}/message?exporter=one"),
        "/api/configuration/form?at=exporters&at=one&at=kafka".to_owned(),
        "/readyz".to_owned(),
        "/metrics".to_owned(),
    ]);
    let mut places: Vec<(String, Vec<u8>)> = targets
        .into_iter()
        .map(|target| (target.clone(), ask(&target).into_bytes()))
        .collect();
    let spool = data.path().join("made/spool");
    assert_eq!(mode(&spool), 0o700);
    for path in files(&data.path().join("made")) {
        if path.starts_with(&spool) {
            assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
        }
        let bytes = std::fs::read(&path).expect("a file");
        places.push((path.display().to_string(), bytes));
    }
    let log = weir.log().iter().map(Value::to_string).collect::<String>();
    places.push(("log".to_owned(), log.into_bytes()));
    let has = |bytes: &[u8], text: &str| {
        bytes
            .windows(text.len())
            .any(|found| found == text.as_bytes())
    };
    let segment = |place: &&(String, Vec<u8>)| {
        Path::new(&place.0)
            .extension()
            .is_some_and(|extension| extension == "seg")
    };
    assert!(
        places
            .iter()
            .filter(segment)
            .any(|place| has(&place.1, "marked")),
        "the trace is in the spool"
    );
    for (place, bytes) in &places {
        for secret in [KEY, HEADER, QUERY, OTHER, CONTENT, PASSWORD] {
            assert!(!has(bytes, secret), "{secret} is in {place}");
        }
    }
}
