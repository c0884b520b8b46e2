//! What is loaded as a plugin, and what is not.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use weir::plugin::registry;
use weir_tests::abi::Abi;
use weir_tests::config::config;
use weir_tests::upstream::Upstream;
use weir_tests::weir::{Weir, binary, guest};

use crate::{Stand, trap};

#[test]
fn a_pre_request_hook_in_a_routes_chain_stops_the_start() {
    let said = refusal(trap("on-pre-request"));
    let expected = "plugin `bad` has a pre-request hook, which only a listener's chain may have, and stands in that of route `all`";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn a_builtins_digest_is_that_of_its_file() {
    let plugins = ["header-rewrite", "key-auth", "request-id"].map(|name| {
        let config = match name {
            "header-rewrite" => json!({ "request": { "set": { "x-a": "a" } } }),
            "key-auth" => json!({ "keys": ["right"] }),
            _ => json!({}),
        };
        (
            name,
            json!({ "module": format!("builtin:{name}"), "config": config }),
        )
    });
    let stand = Stand::new(&plugins);
    stand.get(&["x-api-key: right"]);
    let trace = stand.trace();
    for (name, _) in &plugins {
        let digest = sha256(&fs::read(guest(name)).expect("the guest"));
        let span = format!("plugin.{name}.prehook");
        assert_eq!(
            *trace.attribute(&span, "weir.hook.module_digest"),
            digest,
            "{name}"
        );
    }
}

#[test]
fn each_builtin_is_its_file_and_says_what_it_imports_and_how_it_is_configured() {
    let mut count = 0;
    for name in registry::builtins() {
        let module = fs::read(guest(name)).expect("the guest");
        assert!(registry::builtin(name) == Some(&*module), "{name}");
        let output = Command::new(binary())
            .args(["plugin", "inspect", &format!("builtin:{name}"), "--json"])
            .output();
        let said = output.expect("weir runs").stdout;
        let said: Value = serde_json::from_slice(&said).expect("JSON");
        assert_eq!(said["sha256"], sha256(&module), "{name}");
        assert_eq!(said["size_bytes"], module.len(), "{name}");
        let memory = said["memory_bytes"].as_u64().expect("a number");
        assert!(memory > 0 && memory.is_multiple_of(64 << 10), "{memory}");
        let imports = said["imports"].as_object().expect("imports");
        let foreign = imports
            .keys()
            .find(|from| !from.starts_with("weir:plugin/"));
        assert_eq!(foreign, None, "{name}");
        let schema = &said["config_schema"];
        assert_eq!(schema["additionalProperties"], false, "{name}");
        let keys = schema["properties"].as_object().expect("keys");
        assert!(!keys.is_empty(), "{name}");
        for (key, of) in keys {
            assert!(of["description"].is_string(), "{name}: {key}");
        }
        count += 1;
    }
    assert!(count >= 13, "{count} plugins");
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn a_pinned_module_is_loaded() {
    let digest = sha256(&fs::read(guest("key-auth")).expect("the guest"));
    let plugin = json!({
        "module": "builtin:key-auth", "sha256": digest, "config": { "keys": ["right"] },
    });
    assert_eq!(Stand::new(&[("auth", plugin)]).get(&[]).status, 401);
}

/// What Weir says of a plugin that it does not start with.
fn refusal(plugin: Value) -> String {
    let mut config = config(&Upstream::hello());
    config["plugins"]["bad"] = plugin;
    config["routes"][0]["plugins"] = json!(["bad"]);
    Weir::refusal(&config.to_string())
}

#[test]
fn another_module_than_the_pinned_is_refused_with_both_digests() {
    let pinned = "0".repeat(64);
    let found = sha256(&fs::read(guest("key-auth")).expect("the guest"));
    let plugin = json!({
        "module": "builtin:key-auth", "sha256": pinned, "config": { "keys": ["right"] },
    });
    let said = refusal(plugin);
    let expected = format!("plugin `bad`: module has sha256 {found}, but {pinned} is pinned");
    assert!(said.contains(&expected), "{said}");
}

#[test]
fn a_configuration_that_its_plugin_refuses_stops_the_start() {
    let config = json!({ "requests": 1, "by": "header" });
    let said = refusal(json!({ "module": "builtin:rate-limit", "config": config }));
    let expected = "plugin `bad`: refused its configuration: header: is needed with `by: header`";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn a_plugin_that_cannot_start_with_its_memory_is_told_of_at_that_key() {
    let config = |limits: &str| {
        format!(
            "listeners: [{{ address: '127.0.0.1:0' }}]
admin: {{ address: '127.0.0.1:0' }}
upstreams: {{ up: {{ endpoints: ['http://127.0.0.1:9'] }} }}
plugins:
  bad:
    module: builtin:key-auth
    config: {{ keys: [right] }}
    {limits}
routes: [{{ upstream: up, plugins: [bad] }}]
"
        )
    };
    let weir = Weir::start(&config("limits: {}"));
    let small = config("limits: { kv: 1MiB, memory: 64KiB }");
    let refused = weir.reload(&small);
    assert_eq!(refused.status, 422);
    let of_reload = refused.json()["detail"].as_str().map(str::to_owned);
    for said in [of_reload.expect("a detail"), Weir::refusal(&small)] {
        assert!(
            said.contains("error[WEIR-C015]: plugins.bad.limits.memory: plugin `bad`: asked for more than its 65536 bytes of memory"),
            "{said}"
        );
        assert!(said.contains("weir.yaml:8:"), "{said}");
    }
}

#[test]
fn an_unknown_key_in_a_plugins_configuration_stops_the_start() {
    let config = json!({ "keys": ["right"], "hidden": true });
    let said = refusal(json!({ "module": "builtin:key-auth", "config": config }));
    let expected = "error[WEIR-C004]: plugins.bad.config.hidden: unknown key";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn a_core_module_is_loaded() {
    let plugin = json!({ "module": guest("bench-header") });
    let response = Stand::new(&[("bench", plugin)]).get(&[]);
    assert_eq!(response.header("x-bench"), Some("text/plain"));
}

#[test]
fn a_component_is_loaded() {
    let file = Abi::Component.guest("bench-header");
    let stand = Stand::new(&[("bench", json!({ "module": &file }))]);
    assert_eq!(stand.get(&[]).header("x-bench"), Some("text/plain"));
    let trace = stand.trace();
    let digest = trace.attribute("plugin.bench.prehook", "weir.hook.module_digest");
    assert_eq!(*digest, sha256(&fs::read(file).expect("the component")));
}

#[test]
fn a_reload_that_is_refused_leaves_what_plugins_count() {
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    // It defines its metrics when it is called, not before.
    config["plugins"]["counts"] = json!({
        "module": guest("hostile"), "config": { "mode": "metric-flood" },
        "limits": { "cpu_time": "1s", "wall_time": "1m" },
    });
    config["routes"][0]["plugins"] = json!(["counts"]);
    let weir = Weir::start(&config.to_string());
    assert_eq!(weir.get("/", &[]).text(), "hello");
    let counted = "weir_plugin_counts_by_total{plugin=\"counts\",label=\"1\"}";
    assert_eq!(weir.count(counted), 1);
    // It could be loaded so, but not the other one.
    let mut refused = config.clone();
    refused["plugins"]["counts"]["config"]["header"] = json!("x-harm");
    refused["plugins"]["bad"] = trap("configure");
    assert_eq!(weir.reload(&refused.to_string()).status, 422);
    assert_eq!(weir.count(counted), 1);
    assert_eq!(weir.get("/", &[]).text(), "hello");
    assert_eq!(weir.count(counted), 2);
}
