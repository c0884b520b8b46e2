//! One plugin, configured by each chain in its own way.

use serde_json::{Value, json};
use weir_tests::client::Connection;
use weir_tests::config::config;
use weir_tests::kafka::shared;
use weir_tests::upstream::Upstream;
use weir_tests::weir::{Weir, guest};

use crate::Stand;

/// A configuration with this plugin as `one`, and a route for each path with a chain.
fn routes(upstream: &Upstream, plugin: Value, chains: &[(&str, Value)]) -> Value {
    let mut config = config(upstream);
    config["plugins"]["one"] = plugin;
    let route = |(path, plugins): &(&str, Value)| json!({ "match": { "path": path }, "upstream": "up", "plugins": plugins });
    config["routes"] = chains.iter().map(route).collect();
    config
}

fn stand(plugin: Value, chains: &[(&str, Value)]) -> Stand {
    let upstream = Upstream::hello();
    let config = routes(&upstream, plugin, chains);
    Stand::with(upstream, config)
}

/// Sets this header of responses.
fn mark(value: &str) -> Value {
    json!({ "response": { "set": { "x-mark": value } } })
}

#[test]
fn each_route_has_its_own_configuration_and_spans_and_metrics_the_plugins_name() {
    let own = json!({
        "request": { "set": { "x-own": "kept" } },
        "response": { "set": { "x-mark": "own", "x-more": "own" } },
    });
    let plugin = json!({ "module": "builtin:header-rewrite", "config": own });
    let other = json!([{ "one": mark("other") }]);
    let stand = stand(plugin, &[("/own", json!(["one"])), ("/other", other)]);
    for (path, mark, more) in [("/own", "own", Some("own")), ("/other", "other", None)] {
        let response = stand.weir.get(path, &[]);
        assert_eq!(response.header("x-mark"), Some(mark));
        // A key is replaced whole, and the others stay.
        assert_eq!(response.header("x-more"), more);
        assert_eq!(stand.seen().header("x-own"), Some("kept"));
    }
    for trace in shared().traces(&stand.topic, 2) {
        assert_eq!(trace.span("plugin.one.prehook")["Status"], "ok");
        assert_eq!(trace.span("plugin.one.posthook")["Status"], "ok");
    }
    let counted = "weir_hook_duration_seconds_count{plugin=\"one\",hook=\"posthook\"}";
    assert_eq!(stand.weir.count(counted), 2);
}

#[test]
fn a_listener_may_configure_a_plugin_too_and_a_routes_runs_beside_it() {
    let upstream = Upstream::hello();
    let add = |value: &str| json!({ "response": { "add": { "x-mark": value } } });
    let plugin = json!({ "module": "builtin:header-rewrite", "config": add("own") });
    let mut config = routes(&upstream, plugin, &[("/", json!(["one"]))]);
    config["listeners"][0]["plugins"] = json!([{ "one": add("listener") }]);
    let weir = Weir::start(&config.to_string());
    let headers = weir.get("/", &[]).headers;
    assert_eq!(crate::values(&headers, "x-mark"), ["own", "listener"]);
}

#[test]
fn hooks_are_those_that_the_configuration_asks_for() {
    let plugin = json!({ "module": "builtin:rate-limit", "config": { "requests": 10 } });
    let quiet = json!([{ "one": { "headers": false } }]);
    let stand = stand(plugin, &[("/told", json!(["one"])), ("/quiet", quiet)]);
    assert!(stand.weir.get("/told", &[]).header("ratelimit").is_some());
    assert_eq!(stand.weir.get("/quiet", &[]).header("ratelimit"), None);
    let traces = shared().traces(&stand.topic, 2);
    let posthook = "plugin.one.posthook";
    let has: Vec<bool> = traces
        .iter()
        .map(|trace| trace.names().contains(&posthook))
        .collect();
    assert_eq!(has, [true, false]);
}

/// Of each an instance waits for more requests, and the process may have 4000: they make way.
#[test]
fn more_configurations_than_there_may_be_instances_all_serve() {
    let paths: Vec<String> = (0..4_100).map(|n| format!("/{n}")).collect();
    let chains: Vec<(&str, Value)> = paths
        .iter()
        .map(|path| (path.as_str(), json!([{ "one": mark(path) }])))
        .collect();
    let upstream = Upstream::hello();
    let plugin = json!({ "module": "builtin:header-rewrite" });
    let weir = Weir::start(&routes(&upstream, plugin, &chains).to_string());
    let mut client = Connection::open(weir.proxy());
    for path in &paths {
        client.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
        let response = client.receive().expect("a response");
        assert_eq!(response.header("x-mark"), Some(path.as_str()), "{path}");
    }
}

#[test]
fn a_plugin_may_lack_what_every_chain_gives_it() {
    let plugin = json!({ "module": "builtin:key-auth", "config": { "hide": true } });
    let keys = |key: &str| json!([{ "one": { "keys": [key] } }]);
    let upstream = Upstream::hello();
    let mut config = routes(
        &upstream,
        plugin,
        &[("/a", keys("a-key")), ("/b", keys("env.B_KEY"))],
    );
    let weir = Weir::start_with(&config.to_string(), &[("B_KEY", "b-key")]);
    for (path, key, status) in [
        ("/a", "a-key", 200),
        ("/a", "b-key", 401),
        ("/b", "b-key", 200),
        ("/b", "a-key", 401),
        ("/b", "env.B_KEY", 401),
    ] {
        let response = weir.get(path, &[&format!("x-api-key: {key}")]);
        assert_eq!(response.status, status, "{path} {key}");
    }
    let seen = upstream.seen();
    assert!(seen.iter().all(|seen| seen.header("x-api-key").is_none()));

    // Where it stands by its name alone, it lacks it.
    config["routes"][0]["plugins"] = json!(["one"]);
    config["routes"][1]["plugins"] = json!([]);
    let refused = weir.reload(&config.to_string());
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(
        refused
            .text()
            .contains("plugins.one.config.keys: is missing"),
        "{}",
        refused.text()
    );
}

#[test]
fn what_is_wrong_with_a_configuration_is_told_by_line_and_path() {
    let upstream = Upstream::hello();
    let yaml = |limit: &str, a: &str, b: &str, c: &str| {
        format!(
            "\
workers: 1
listeners: [{{ address: \"127.0.0.1:0\" }}]
admin: {{ address: \"127.0.0.1:0\" }}
upstreams: {{ up: {{ endpoints: [\"{}\"] }} }}
plugins:
  limit: {{ module: \"builtin:rate-limit\", config: {limit} }}
  first: {{ module: {trap} }}
routes:
  - {{ match: {{ path: /a }}, upstream: up, plugins: [{{ limit: {a} }}] }}
  - {{ match: {{ path: /b }}, upstream: up, plugins: [{{ limit: {b} }}] }}
  - match: {{ path: /c }}
    upstream: up
    plugins: {c}
",
            upstream.url(),
            trap = json!(guest("trap")),
        )
    };
    let good = yaml(
        "{ seconds: 60 }",
        "{ requests: 1 }",
        "{ requests: 2 }",
        "[]",
    );
    let weir = Weir::start(&good);
    let bad = yaml(
        "{ seconds: 0 }",
        "{ requests: 0 }",
        "{ requsts: 5 }",
        "\n      - limit:\n          requests: 5\n          by: header\n          seconds: 1\n      - \
         first: { in: on-pre-request }",
    );
    let refused = weir.reload(&bad);
    assert_eq!(refused.status, 422, "{}", refused.text());
    let said = refused.json()["detail"]
        .as_str()
        .expect("a text")
        .to_owned();
    let file = weir.folder().join("weir.yaml");
    let expected = [
        (
            "WEIR-C007",
            "plugins.limit.config.seconds: must be at least 1",
            6,
            None,
        ),
        (
            "WEIR-C007",
            "routes[0].plugins[0].limit.requests: must be at least 1",
            9,
            None,
        ),
        (
            "WEIR-C004",
            "routes[1].plugins[0].limit.requsts: unknown key",
            10,
            Some("did you mean `requests`?"),
        ),
        (
            "WEIR-C005",
            "routes[1].plugins[0].limit.requests: is missing",
            10,
            None,
        ),
        (
            "WEIR-C015",
            "routes[2].plugins[0].limit: plugin `limit`: refused its configuration: header: is needed with `by: header`",
            14,
            None,
        ),
        (
            "WEIR-C015",
            "routes[2].plugins[1]: plugin `first` has a pre-request hook, which only a listener's chain may have, and stands in that of route `/c`",
            18,
            None,
        ),
    ];
    for (code, message, line, hint) in expected {
        let fault = format!("error[{code}]: {message}\n  --> {}:{line}:", file.display());
        assert_eq!(said.matches(&fault).count(), 1, "{fault}\n{said}");
        if let Some(hint) = hint {
            assert!(said.contains(hint), "{hint}\n{said}");
        }
    }
    assert_eq!(said.matches("error[").count(), expected.len(), "{said}");
    assert_eq!(weir.ready()["generation"], 1);
    assert_eq!(weir.get("/a", &[]).status, 200);
}

/// How many hooks on requests an instance had served, of each of the last requests.
fn heads(stand: &Stand, requests: usize) -> Vec<Value> {
    let traces = shared().traces(&stand.topic, requests);
    let heads = traces.iter().map(|trace| {
        trace
            .attribute("plugin.one.prehook", "pieces.heads")
            .clone()
    });
    heads.collect()
}

fn pieces(own: &Value) -> Value {
    json!({ "module": guest("pieces"), "config": own })
}

#[test]
fn equal_configurations_share_instances_and_others_do_not() {
    let skip = || json!({ "request": "skip" });
    let stand = stand(
        pieces(&skip()),
        &[
            ("/a", json!(["one"])),
            ("/b", json!([{ "one": skip() }])),
            ("/c", json!([{ "one": { "response": "skip" } }])),
        ],
    );
    for path in ["/a", "/b", "/c", "/a", "/c"] {
        assert_eq!(stand.weir.get(path, &[]).status, 200);
    }
    assert_eq!(heads(&stand, 5), [1, 2, 1, 3, 2]);
}

#[test]
fn a_reload_that_changes_one_configuration_keeps_the_instances_of_the_others() {
    let upstream = Upstream::hello();
    let config = |own: &str, c: &Value| {
        let own = json!({ "request": "skip", "response": own });
        let chains = [
            ("/a", json!([{ "one": { "response": "none" } }])),
            ("/b", json!([{ "one": { "response": "upper" } }])),
            ("/c", json!([{ "one": c }])),
        ];
        routes(&upstream, pieces(&own), &chains)
    };
    let mut first = config("skip", &json!({ "response": "pass" }));
    let topic = shared().topic();
    first["exporters"]["traces"] = weir_tests::config::exporter(shared(), &topic);
    let weir = Weir::start(&first.to_string());
    let ask = || {
        for path in ["/a", "/b", "/c"] {
            assert_eq!(weir.get(path, &[]).status, 200);
        }
    };
    ask();
    ask();
    // Of what the plugin has itself, nothing is used that these do not replace.
    let mut second = config("double", &json!({ "response": "double" }));
    second["exporters"] = first["exporters"].clone();
    assert_eq!(weir.reload(&second.to_string()).status, 200);
    ask();
    let traces = shared().traces(&topic, 9);
    let of = |trace: &weir_tests::trace::Trace, key: &str| {
        trace.attribute("plugin.one.prehook", key).clone()
    };
    let heads: Vec<Value> = traces.iter().map(|one| of(one, "pieces.heads")).collect();
    assert_eq!(heads, [1, 1, 1, 2, 2, 2, 3, 3, 1]);
    let generations: Vec<Value> = traces[6..]
        .iter()
        .map(|one| of(one, "weir.hook.generation"))
        .collect();
    assert_eq!(generations, [1, 1, 2]);
}

#[test]
fn limits_that_differ_have_buckets_of_their_own_in_the_one_store() {
    let plugin = json!({ "module": "builtin:rate-limit", "config": { "seconds": 3600 } });
    let requests = |count: u32| json!([{ "one": { "requests": count } }]);
    let upstream = Upstream::hello();
    let config = routes(
        &upstream,
        plugin,
        &[
            ("/one", requests(1)),
            ("/two", requests(2)),
            ("/same", requests(1)),
        ],
    );
    let weir = Weir::start(&config.to_string());
    let status = |path| weir.get(path, &[]).status;
    assert_eq!([status("/one"), status("/one")], [200, 429]);
    assert_eq!(
        [status("/two"), status("/two"), status("/two")],
        [200, 200, 429]
    );
    assert_eq!(
        status("/same"),
        429,
        "the same configuration, the same bucket"
    );
}

#[test]
fn a_breaker_is_one_of_a_configuration() {
    let plugin = json!({
        "module": guest("trap"), "breaker": { "failures": 3, "pause": "1h" },
    });
    let quiet = json!([{ "one": { "header": "x-trap" } }]);
    let stand = stand(plugin, &[("/bad", json!(["one"])), ("/good", quiet)]);
    for _ in 0..5 {
        assert_eq!(stand.weir.get("/bad", &[]).status, 500);
        assert_eq!(stand.weir.get("/good", &[]).status, 200);
    }
    let open = "weir_hook_failures_total{plugin=\"one\",hook=\"prehook\",reason=\"breaker_open\"}";
    assert_eq!(stand.weir.count(open), 2);
}
