//! How long instances live, and when a plugin is no longer called.

use serde_json::{Value, json};
use weir_tests::client::{Connection, Response};
use weir_tests::config::config;
use weir_tests::kafka::shared;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::{Weir, guest};

use crate::Stand;

const PREHOOK: &str = "plugin.trap.prehook";

/// Traps on each request, until it is not called any more after three.
fn failing(on_error: &str, pause: &str) -> Stand {
    let plugin = json!({
        "module": guest("trap"), "config": { "in": "on-request" }, "on_error": on_error,
        "breaker": { "failures": 3, "pause": pause },
    });
    Stand::before(Upstream::hello(), &[("trap", plugin)])
}

fn failures(stand: &Stand, reason: &str) -> u64 {
    stand.weir.count(&format!(
        "weir_hook_failures_total{{plugin=\"trap\",hook=\"prehook\",reason=\"{reason}\"}}"
    ))
}

#[test]
fn a_plugin_that_keeps_failing_is_not_called_for_a_while() {
    let stand = failing("reject", "1h");
    for _ in 0..5 {
        assert_eq!(stand.get(&[]).status, 500);
    }
    assert_eq!(failures(&stand, "breaker_open"), 2);
    let traces = shared().traces(&stand.topic, 5);
    let reasons: Vec<_> = traces
        .iter()
        .map(|trace| trace.attribute(PREHOOK, "error.type").clone())
        .collect();
    assert_eq!(reasons[3..], [json!("breaker_open"), json!("breaker_open")]);
    assert!(
        !reasons[..3].contains(&json!("breaker_open")),
        "{reasons:?}"
    );
    let message = traces[4].span(PREHOOK)["StatusMsg"].as_str();
    assert!(message.expect("a message").starts_with("breaker open: "));
    stand
        .weir
        .says("plugin keeps failing: its hooks are not called for a while");
}

#[test]
fn while_a_breaker_is_open_on_error_decides() {
    let stand = failing("continue", "1h");
    for _ in 0..5 {
        assert_eq!(stand.get(&[]).text(), "hello");
    }
    assert_eq!(failures(&stand, "breaker_open"), 2);
}

#[test]
fn after_a_pause_one_hook_tries_again() {
    let stand = failing("reject", "10ms");
    for _ in 0..3 {
        stand.get(&[]);
    }
    let calls = || failures(&stand, "panic") + failures(&stand, "trap");
    let before = calls();
    eventually("a hook is called again", || {
        stand.get(&[]);
        (calls() > before).then_some(())
    });
}

#[test]
fn that_a_plugins_other_hook_works_does_not_keep_it_called() {
    let plugin = json!({
        "module": guest("pieces"),
        "config": { "request": { "work": "trap", "at": 1 }, "response": "skip" },
        "breaker": { "failures": 2, "pause": "1h" },
    });
    let stand = Stand::before(Upstream::hello(), &[("pieces", plugin)]);
    for _ in 0..5 {
        assert_eq!(post(&stand, 1).status, 500);
    }
    let failures = |hook, reason| {
        stand.weir.count(&format!(
            "weir_hook_failures_total{{plugin=\"pieces\",hook=\"{hook}\",reason=\"{reason}\"}}"
        ))
    };
    assert_eq!(failures("requestbody", "panic"), 2);
    assert_eq!(failures("prehook", "breaker_open"), 3);
    // No hook of an open plugin is called; that this one would work does not close it.
    assert_eq!(failures("posthook", "panic"), 0);
    assert!(failures("posthook", "breaker_open") >= 3);
}

/// Sends a body of so many bytes.
fn post(stand: &Stand, len: usize) -> Response {
    let mut client = Connection::open(stand.weir.proxy());
    let body = "x".repeat(len);
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {len}\r\n\r\n{body}"
    ));
    client.receive().expect("a response")
}

#[test]
fn a_plugin_that_recovers_is_called_as_ever() {
    // It fails where the request says so.
    let plugin = json!({
        "module": guest("pieces"), "config": { "request": { "work": "trap", "at": 1 } },
        "breaker": { "failures": 2, "pause": "10ms" },
    });
    let stand = Stand::before(Upstream::hello(), &[("pieces", plugin)]);
    let post = |len: usize| post(&stand, len).status;
    for _ in 0..3 {
        assert_eq!(post(1), 500);
    }
    // Without a body it has nothing to fail at.
    eventually("a hook tries, and goes well", || {
        (post(0) == 200).then_some(())
    });
    for _ in 0..20 {
        assert_eq!(post(0), 200);
    }
}

/// A plugin that counts, with these keys.
fn counting(keys: &Value) -> Stand {
    let mut plugin = json!({ "module": guest("pieces"), "config": { "request": "skip" } });
    let known = plugin.as_object_mut().expect("a mapping");
    known.extend(keys.as_object().expect("a mapping").clone());
    Stand::before(Upstream::hello(), &[("pieces", plugin)])
}

/// How many hooks on requests an instance had served, of each of so many requests.
fn counted(keys: &Value, requests: usize) -> Vec<Value> {
    let stand = counting(keys);
    for _ in 0..requests {
        assert_eq!(stand.get(&[]).status, 200);
    }
    let traces = shared().traces(&stand.topic, requests);
    let seen = traces.iter().map(|trace| {
        trace
            .attribute("plugin.pieces.prehook", "pieces.heads")
            .clone()
    });
    seen.collect()
}

#[test]
fn an_instance_serves_one_request_where_it_is_to() {
    assert_eq!(counted(&json!({ "isolation": "shared" }), 3), [1, 2, 3]);
    assert_eq!(counted(&json!({ "isolation": "request" }), 3), [1, 1, 1]);
}

#[test]
fn a_span_says_what_a_fresh_instance_took() {
    let stand = counting(&json!({}));
    for _ in 0..2 {
        assert_eq!(stand.get(&[]).status, 200);
    }
    let traces = shared().traces(&stand.topic, 2);
    let [first, second] = [0, 1].map(|index: usize| {
        traces[index]
            .attribute("plugin.pieces.prehook", "weir.hook.made_ns")
            .as_u64()
    });
    assert!(first.is_some_and(|took| took > 0), "{first:?}");
    assert_eq!(second, None, "it was warm");
}

#[test]
fn a_fresh_instance_takes_over_after_so_many_hooks() {
    let keys = json!({ "recycle": { "hooks": 3 } });
    assert_eq!(counted(&keys, 7), [1, 2, 3, 1, 2, 3, 1]);
}

#[test]
fn an_instance_that_is_old_serves_no_more() {
    let keys = json!({ "recycle": { "age": "1ms" } });
    // Each is older than that once its upstream has answered.
    let fresh = counted(&keys, 200)
        .iter()
        .filter(|heads| **heads == 1)
        .count();
    assert!(fresh > 1, "{fresh}");
}

#[test]
fn an_idle_instance_is_dropped_when_it_is_old() {
    let stand = counting(&json!({ "recycle": { "age": "1s" } }));
    assert_eq!(stand.get(&[]).status, 200);
    let instances = || {
        let answer = stand.weir.api("/api/plugins");
        let plugins = answer.json()["plugins"].clone();
        plugins[0]["instances"].as_u64().expect("a number")
    };
    eventually("it is dropped", || (instances() == 0).then_some(()));
}

#[test]
fn compiled_modules_are_kept_and_what_is_damaged_is_compiled_anew() {
    let upstream = Upstream::hello();
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = weir_tests::config::config(&upstream);
    config["data_dir"] = json!(folder.path().join("data"));
    config["plugins"]["mark"] = crate::marker("mark");
    config["routes"][0]["plugins"] = json!(["mark"]);
    let start = || {
        let weir = weir_tests::weir::Weir::start(&config.to_string());
        assert_eq!(
            crate::values(&weir.get("/", &[]).headers, "x-order"),
            ["mark"]
        );
        weir.logged("a compiled module is damaged: it is compiled anew")
    };
    assert!(!start());
    let compiled = folder.path().join("data/compiled");
    let kept: Vec<_> = std::fs::read_dir(&compiled)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    let [file] = &kept[..] else {
        panic!("one module was compiled: {kept:?}");
    };
    let written = || {
        let meta = std::fs::metadata(file).expect("it is there");
        meta.modified().expect("a time")
    };
    let first = written();
    assert!(!start());
    assert_eq!(written(), first, "it is not compiled again");

    let mut bytes = std::fs::read(file).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, &bytes).expect("written");
    assert!(start());
    assert!(!start(), "it was put right");
}

#[test]
fn where_there_are_few_addresses_there_are_fewer_instances() {
    let mut config = config(&Upstream::hello());
    config["plugins"]["request-id"] = json!({ "module": "builtin:request-id" });
    config["routes"][0]["plugins"] = json!(["request-id"]);
    // 1 TiB: each instance has 4 GiB.
    let weir = Weir::limited(&config.to_string(), "--as=1099511627776");
    assert_eq!(weir.get("/", &[]).text(), "hello");
    let few = "little address space for instances of plugins";
    weir.says(few);
    let log = weir.log();
    let line = log.iter().find(|line| line["message"] == few);
    assert_eq!(line.expect("the warning")["instances"], 250);
}
