//! Which hooks run, and in which order.

use serde_json::{Value, json};
use weir_tests::client::Connection;
use weir_tests::config::config;
use weir_tests::upstream::Upstream;
use weir_tests::weir::guest;

use crate::{Stand, marker, trap, values};

#[test]
fn request_hooks_run_in_order_and_response_hooks_in_reverse() {
    let plugins = ["one", "two", "three"].map(|name| (name, marker(name)));
    let stand = Stand::new(&plugins);
    let response = stand.get(&[]);
    assert_eq!(
        values(&stand.seen().headers, "x-order"),
        ["one", "two", "three"]
    );
    assert_eq!(
        values(&response.headers, "x-order"),
        ["three", "two", "one"]
    );
    let trace = stand.trace();
    let chain = [
        "GET all",
        "plugin.one.prehook",
        "plugin.two.prehook",
        "plugin.three.prehook",
        "GET",
        "plugin.three.posthook",
        "plugin.two.posthook",
        "plugin.one.posthook",
    ];
    assert_eq!(trace.names(), chain);
}

#[test]
fn a_listeners_plugins_run_around_a_routes() {
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    config["plugins"] = json!({ "inner": marker("inner"), "outer": marker("outer") });
    config["listeners"][0]["plugins"] = json!(["outer"]);
    config["routes"][0]["plugins"] = json!(["inner"]);
    let stand = Stand::with(upstream, config);
    let response = stand.get(&[]);
    assert_eq!(values(&stand.seen().headers, "x-order"), ["outer", "inner"]);
    assert_eq!(values(&response.headers, "x-order"), ["inner", "outer"]);
}

#[test]
fn response_hooks_run_on_a_plugins_answer_for_those_that_were_reached() {
    let auth = json!({ "module": "builtin:key-auth", "config": { "keys": ["right"] } });
    let stand = Stand::new(&[
        ("before", marker("before")),
        ("auth", auth),
        ("after", marker("after")),
    ]);
    let response = stand.get(&[]);
    assert_eq!(response.status, 401);
    assert_eq!(values(&response.headers, "x-order"), ["before"]);
    assert_eq!(response.header("cache-control"), Some("private"));
    let chain = [
        "GET all",
        "plugin.before.prehook",
        "plugin.auth.prehook",
        "plugin.auth.posthook",
        "plugin.before.posthook",
    ];
    assert_eq!(stand.trace().names(), chain);
}

#[test]
fn response_hooks_run_on_a_502() {
    let upstream = Upstream::new(|_, stream| {
        let _ = stream.shutdown(std::net::Shutdown::Both);
    });
    let stand = Stand::before(upstream, &[("one", marker("one")), ("two", marker("two"))]);
    let response = stand.get(&[]);
    assert_eq!(response.status, 502);
    assert_eq!(
        response.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(values(&response.headers, "x-order"), ["two", "one"]);
    let trace = stand.trace();
    assert_eq!(trace.span("GET")["Status"], "error");
    assert_eq!(trace.parent("plugin.two.posthook"), "plugin.two.prehook");
}

#[test]
fn a_404_meets_no_response_hook_because_no_request_hook_was_reached() {
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    config["plugins"] = json!({ "mark": marker("mark") });
    config["listeners"][0]["plugins"] = json!(["mark"]);
    config["routes"][0]["match"] = json!({ "path": "/only" });
    let stand = Stand::with(upstream, config);
    let response = stand.get(&[]);
    assert_eq!(response.status, 404);
    assert_eq!(
        response.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(response.header("x-order"), None);
    assert_eq!(stand.trace().names(), ["GET"]);
}

#[test]
fn pre_request_hooks_of_a_listener_run_before_routing() {
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    config["plugins"] = json!({ "early": trap("on-pre-request") });
    config["plugins"]["early"]["on_error"] = json!("continue");
    config["listeners"][0]["plugins"] = json!(["early"]);
    config["routes"][0]["match"] = json!({ "path": "/only" });
    let stand = Stand::with(upstream, config);
    assert_eq!(stand.get(&[]).status, 404);
    let trace = stand.trace();
    assert_eq!(trace.names(), ["GET", "plugin.early.prerequesthook"]);
    assert_eq!(trace.parent("plugin.early.prerequesthook"), "GET");
}

#[test]
fn pre_request_hooks_begin_the_one_chain_of_a_requests_hooks() {
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    for name in ["early", "second"] {
        config["plugins"][name] = trap("on-pre-request");
        config["plugins"][name]["on_error"] = json!("continue");
    }
    config["plugins"]["mark"] = marker("mark");
    config["listeners"][0]["plugins"] = json!(["early", "second"]);
    config["routes"][0]["plugins"] = json!(["mark"]);
    let stand = Stand::with(upstream, config);
    assert_eq!(stand.get(&[]).text(), "hello");
    let trace = stand.trace();
    for (span, parent) in [
        ("plugin.early.prerequesthook", "GET all"),
        (
            "plugin.second.prerequesthook",
            "plugin.early.prerequesthook",
        ),
        ("plugin.mark.prehook", "plugin.second.prerequesthook"),
        ("GET", "plugin.mark.prehook"),
        ("plugin.mark.posthook", "plugin.mark.prehook"),
    ] {
        assert_eq!(trace.parent(span), parent, "{span}");
    }
}

/// A listener whose plugin sends each request on to somewhere else, before three routes with a plugin each that
/// adds the route's name: by host, by path, and for all else.
fn detoured(to: &Value) -> Stand {
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    config["plugins"] = json!({
        "detour": { "module": guest("wrap"), "config": { "to": to } },
        "host": marker("host"), "path": marker("path"), "all": marker("all"),
    });
    config["listeners"][0]["plugins"] = json!(["detour"]);
    config["routes"] = json!([
        { "name": "host", "match": { "host": "inner.test" }, "upstream": "up", "plugins": ["host"] },
        { "name": "path", "match": { "path": "/inner/*" }, "upstream": "up", "plugins": ["path"] },
        { "name": "all", "upstream": "up", "plugins": ["all"] },
    ]);
    Stand::with(upstream, config)
}

#[test]
fn where_a_request_is_sent_on_to_that_routes_plugins_run() {
    for (to, route, host, target) in [
        (
            json!({ "authority": "inner.test" }),
            "host",
            "inner.test",
            "/",
        ),
        (
            json!({ "path": "/inner/x?y=1" }),
            "path",
            "test",
            "/inner/x?y=1",
        ),
        (json!({}), "all", "test", "/"),
    ] {
        let stand = detoured(&to);
        let response = stand.get(&[]);
        assert_eq!(response.text(), "hello", "{to}");
        assert_eq!(values(&response.headers, "x-order"), [route], "{to}");
        let seen = stand.seen();
        assert_eq!(values(&seen.headers, "x-order"), [route], "{to}");
        assert_eq!((seen.header("host"), &*seen.target), (Some(host), target));
        let trace = stand.trace();
        let chain = [
            format!("GET {route}"),
            "plugin.detour.prerequesthook".to_owned(),
            format!("plugin.{route}.prehook"),
            "GET".to_owned(),
            format!("plugin.{route}.posthook"),
        ];
        assert_eq!(trace.names(), chain, "{to}");
    }
}

#[test]
fn a_pre_request_hook_reaches_its_own_plugin_alone() {
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    config["plugins"] = json!({ "mark": marker("mark"), "early": trap("on-pre-request") });
    config["plugins"]["early"]["on_error"] = json!("continue");
    config["listeners"][0]["plugins"] = json!(["mark", "early"]);
    config["routes"][0]["match"] = json!({ "path": "/only" });
    let stand = Stand::with(upstream, config);
    let response = stand.get(&[]);
    assert_eq!(response.status, 404);
    assert_eq!(response.header("x-order"), None);
    assert_eq!(
        stand.trace().names(),
        ["GET", "plugin.early.prerequesthook"]
    );
}

#[test]
fn a_plugin_that_fails_rejects_the_request() {
    let stand = Stand::new(&[("trap", trap("on-request"))]);
    let response = stand.get(&[]);
    assert_eq!(response.status, 500);
    assert_eq!(
        response.header("content-type"),
        Some("application/problem+json")
    );
    assert!(!response.text().contains("trap"), "{}", response.text());
    assert!(stand.upstream.seen().is_empty());
}

#[test]
fn a_plugin_that_fails_is_passed_over_where_it_may_be() {
    let mut plugin = trap("on-request");
    plugin["on_error"] = json!("continue");
    let stand = Stand::new(&[("trap", plugin), ("mark", marker("mark"))]);
    let response = stand.get(&[]);
    assert_eq!(response.text(), "hello");
    assert_eq!(values(&stand.seen().headers, "x-order"), ["mark"]);
    let trace = stand.trace();
    assert_eq!(trace.span("plugin.trap.prehook")["Status"], "error");
    assert_eq!(trace.parent("plugin.mark.prehook"), "plugin.trap.prehook");
    assert_eq!(trace.root()["Status"], "unset");
}

#[test]
fn what_was_streamed_is_noted_also_where_no_upstream_is_called() {
    let both = json!({ "request": "upper", "response": "pass" });
    for target in ["/told", "/direct"] {
        let upstream = Upstream::hello();
        let mut config = config(&upstream);
        // The second has the request's body read through the first.
        for (name, of) in [
            ("pieces", both.clone()),
            ("wrap", json!({ "request": 1000 })),
            ("teller", json!({ "pieces": 2 })),
        ] {
            config["plugins"][name] = json!({ "module": guest(name), "config": of });
        }
        let chain = json!(["pieces", "wrap", "teller"]);
        config["routes"][0]["plugins"] = chain.clone();
        if target == "/direct" {
            let respond = json!({ "status": 200, "body": "here" });
            config["routes"] = json!([{ "name": "all", "respond": respond, "plugins": chain }]);
        }
        let stand = Stand::with(upstream, config);
        let mut client = Connection::open(stand.weir.proxy());
        client.send(format!(
            "POST {target} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n\
             3\r\none\r\n0\r\n\r\n"
        ));
        let response = client.receive().expect("a response");
        assert_eq!(response.status, 200, "{target}");
        assert!(response.complete, "{target}");
        assert!(stand.upstream.seen().is_empty());
        let trace = stand.trace();
        let span = &trace.span("plugin.pieces.prehook")["Attributes"];
        assert_eq!(span["weir.hook.body"], "streamed", "{target}");
        assert_eq!(span["plugin.invocation_count"], 2, "{target}");
        assert_eq!(span["pieces.seen"], 2, "{target}");
        // What it left for itself at its pieces.
        let left = trace.attribute("plugin.pieces.posthook", "pieces.left");
        assert_eq!(left, "piece 2", "{target}");
    }
}
