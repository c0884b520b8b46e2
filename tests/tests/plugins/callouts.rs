//! Calls that plugins make to upstreams, and what they count, of either ABI.

use std::io::Write as _;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::abi::Abi;
use weir_tests::client;
use weir_tests::config::config;
use weir_tests::http2::{self, Reply};
use weir_tests::service::nobody;
use weir_tests::tls::Authority;
use weir_tests::trace::Trace;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;

use crate::Stand;

const HOOK: &str = "plugin.caller.prehook";
const REFUSED: &str = "weir_plugin_refusals_total{plugin=\"caller\",what=\"call\"}";

/// A Weir with the fixture `caller` on `/`, and nothing on `/plain`; it may call `other`.
fn stand(abi: Abi, other: &Upstream, calls: Value, plugin: Value) -> Stand {
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    config["upstreams"]["other"] = json!({ "endpoints": [other.url()] });
    config["upstreams"]["secret"] = json!({ "endpoints": [other.url()] });
    let caller = &mut config["plugins"]["caller"];
    *caller = json!({
        "module": abi.guest("caller"), "upstreams": ["other"], "config": { "calls": calls },
    });
    for (key, value) in plugin.as_object().into_iter().flatten() {
        caller[key] = value.clone();
    }
    config["routes"] = json!([
        { "name": "plain", "match": { "path": "/plain" }, "upstream": "up" },
        { "name": "all", "upstream": "up", "plugins": ["caller"] },
    ]);
    Stand::with(upstream, config)
}

fn called(trace: &Trace, index: usize) -> &str {
    let said = trace.attribute(HOOK, &format!("caller.{index}"));
    said.as_str().unwrap_or_default()
}

#[test]
fn a_hook_calls_an_upstream_and_its_call_is_a_span_under_its_own() {
    for abi in Abi::BOTH {
        let other = Upstream::hello();
        let calls = json!([
            { "upstream": "other", "method": "POST", "path": "/called?x=1", "body": "asked" },
        ]);
        let stand = stand(abi, &other, calls, json!({}));
        assert_eq!(stand.get(&[]).text(), "hello");
        assert_eq!(stand.get(&[]).text(), "hello");
        assert_eq!(stand.seen().header("x-called"), Some("200 text/plain 5"));

        let seen = other.seen();
        assert_eq!(other.connections(), 1, "the worker keeps its connection");
        assert_eq!(
            (&*seen[0].method, &*seen[0].target),
            ("POST", "/called?x=1")
        );
        assert_eq!(seen[0].body, b"asked");
        assert_eq!(seen[0].header("x-caller"), Some("caller"));
        let host = other.address().to_string();
        assert_eq!(seen[0].header("host"), Some(host.as_str()));

        let trace = stand.trace();
        let span = trace.span("POST");
        assert_eq!(span["Kind"], "http.client");
        assert_eq!(span["Status"], "ok");
        assert_eq!(trace.parent("POST"), HOOK);
        assert_eq!(trace.parent("GET"), HOOK, "the request's own call");
        assert_eq!(span["Attributes"]["weir.upstream.name"], "other");
        assert_eq!(span["Attributes"]["url.path"], "/called");
        assert_eq!(span["Attributes"]["http.response.status_code"], 200);
        assert_eq!(span["Attributes"]["server.port"], other.address().port());
        let id = span["SpanID"].as_str().expect("an id");
        let trace_id = trace.0["TraceID"].as_str().expect("an id");
        let parents = seen.iter().filter_map(|seen| seen.header("traceparent"));
        let wanted = format!("00-{trace_id}-{id}-");
        assert!(parents.clone().any(|parent| parent.starts_with(&wanted)));
    }
}

#[test]
fn only_upstreams_that_are_listed_are_called() {
    for abi in Abi::BOTH {
        let other = Upstream::hello();
        let calls = json!([{ "upstream": "secret" }, { "upstream": "none" }, { "upstream": "" }]);
        let stand = stand(abi, &other, calls, json!({}));
        assert_eq!(stand.get(&[]).status, 200);
        let trace = stand.trace();
        for index in 0..3 {
            assert_eq!(called(&trace, index), "NotAllowed");
        }
        assert_eq!(other.connections(), 0);
        let event = &trace.span(HOOK)["Events"][0];
        assert_eq!(event["Name"], "call refused");
        assert_eq!(event["Attributes"]["error.type"], "not_allowed");
        assert_eq!(event["Attributes"]["weir.upstream.name"], "secret");
        assert_eq!(stand.weir.count(REFUSED), 3);
    }
}

#[test]
fn a_hook_makes_so_many_calls_and_no_more() {
    for abi in Abi::BOTH {
        let other = Upstream::hello();
        let calls = json!(vec![json!({ "upstream": "other" }); 4]);
        let stand = stand(abi, &other, calls, json!({ "limits": { "calls": 2 } }));
        assert_eq!(stand.get(&[]).status, 200);
        let trace = stand.trace();
        let said: Vec<_> = (0..4).map(|index| called(&trace, index)).collect();
        let reply = "200 text/plain 5";
        assert_eq!(said, [reply, reply, "TooMany", "TooMany"]);
        assert_eq!(other.seen().len(), 2);
        assert_eq!(stand.weir.count(REFUSED), 2);
        // The next hook begins anew.
        assert_eq!(stand.get(&[]).status, 200);
        assert_eq!(other.seen().len(), 4);
    }
}

#[test]
fn a_reply_that_is_too_large_is_not_taken() {
    for abi in Abi::BOTH {
        let other = Upstream::new(|seen, stream| {
            let body = "x".repeat(2000);
            let framing = if seen.target == "/told" {
                "content-length: 2000"
            } else {
                "connection: close"
            };
            let _ = write!(stream, "HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{body}");
            let _ = stream.shutdown(std::net::Shutdown::Both);
        });
        let calls = json!([
            { "upstream": "other", "path": "/told" }, { "upstream": "other", "path": "/untold" },
        ]);
        let stand = stand(abi, &other, calls, json!({ "limits": { "body": "1KiB" } }));
        assert_eq!(stand.get(&[]).status, 200);
        let trace = stand.trace();
        assert_eq!(called(&trace, 0), "TooLarge");
        assert_eq!(called(&trace, 1), "TooLarge");
        let mut spans = trace.spans().iter();
        let call = spans.find(|span| span["Attributes"]["url.path"] == "/told");
        let call = call.expect("the call has a span");
        assert_eq!(call["Status"], "error");
        assert_eq!(call["Attributes"]["error.type"], "body_too_large");
    }
}

#[test]
fn an_upstream_that_is_not_there_or_breaks_off_is_an_error_the_plugin_sees() {
    for abi in Abi::BOTH {
        let other = Upstream::new(|_, stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
            let _ = stream.shutdown(std::net::Shutdown::Both);
        });
        let upstream = Upstream::hello();
        let mut config = config(&upstream);
        config["upstreams"]["other"] = json!({ "endpoints": [other.url()] });
        config["upstreams"]["gone"] = json!({ "endpoints": [format!("http://{}", nobody())] });
        config["plugins"]["caller"] = json!({
            "module": abi.guest("caller"), "upstreams": ["other", "gone"],
            "config": { "calls": [{ "upstream": "gone" }, { "upstream": "other" }] },
        });
        config["routes"][0]["plugins"] = json!(["caller"]);
        let stand = Stand::with(upstream, config);
        assert_eq!(stand.get(&[]).status, 200);
        let trace = stand.trace();
        assert_eq!(called(&trace, 0), "Connect");
        assert_eq!(called(&trace, 1), "Broken");
    }
}

/// An upstream that replies when it is told to.
fn hanging() -> (Upstream, mpsc::Sender<()>) {
    let (release, released) = mpsc::channel();
    let released = Arc::new(Mutex::new(released));
    let upstream = Upstream::new(move |_, stream| {
        let _ = released.lock().expect("lock").recv();
        let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
    });
    (upstream, release)
}

#[test]
fn a_call_that_waits_holds_up_nobody_else_on_the_worker() {
    for abi in Abi::BOTH {
        let (other, release) = hanging();
        let calls = json!([{ "upstream": "other" }]);
        let stand = stand(
            abi,
            &other,
            calls,
            json!({ "limits": { "wall_time": "10m" } }),
        );
        let proxy = stand.weir.proxy();
        let waiting = thread::spawn(move || client::get(proxy, "/", &[]));
        eventually("the call is under way", || other.seen().pop());
        // There is one worker.
        assert_eq!(stand.weir.get("/plain", &[]).status, 200);
        assert!(!waiting.is_finished());
        release.send(()).expect("the upstream waits");
        assert_eq!(waiting.join().expect("an answer").status, 200);
        assert_eq!(stand.seen().header("x-called"), Some("204 - 0"));
    }
}

#[test]
fn the_time_that_a_hook_waits_for_its_call_is_told_apart_from_what_it_computes() {
    const REPLY: Duration = Duration::from_millis(100);
    for abi in Abi::BOTH {
        let other = Upstream::new(|_, stream| {
            thread::sleep(REPLY);
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
        });
        let calls = json!([{ "upstream": "other" }]);
        let limits = json!({ "limits": { "wall_time": "10m" } });
        let stand = stand(abi, &other, calls, limits);
        assert_eq!(stand.get(&[]).status, 200);
        let trace = stand.trace();
        assert_eq!(called(&trace, 0), "204 - 0");
        let [wait, cpu] = ["weir.hook.wait_ns", "weir.hook.cpu_ns"]
            .map(|key| trace.attribute(HOOK, key).as_u64().expect("a number"));
        let span = trace.span(HOOK);
        assert!(u128::from(wait) >= REPLY.as_nanos(), "{span:#}");
        assert!(0 < cpu && cpu < wait, "{span:#}");
    }
}

#[test]
fn a_call_that_hangs_ends_with_the_hooks_wall_time() {
    for abi in Abi::BOTH {
        let (other, _release) = hanging();
        let calls = json!([{ "upstream": "other", "method": "POST" }]);
        let stand = stand(
            abi,
            &other,
            calls,
            json!({ "limits": { "wall_time": "200ms" } }),
        );
        assert_eq!(stand.get(&[]).status, 500);
        let trace = stand.trace();
        assert_eq!(trace.attribute(HOOK, "error.type"), "wall_time");
        let call = trace.span("POST");
        assert_eq!(call["Status"], "error");
        assert_eq!(call["Attributes"]["error.type"], "cancelled");
        let failed = stand.weir.metrics();
        let failed = failed.lines().find(|line| {
            line.starts_with("weir_hook_failures_total") && line.contains("wall_time")
        });
        assert!(
            failed.is_some_and(|line| line.ends_with("} 1")),
            "{failed:?}"
        );
        assert_eq!(stand.weir.get("/plain", &[]).status, 200);
    }
}

#[test]
fn a_call_goes_by_its_upstreams_tls_version_and_timeouts() {
    let authority = Authority::default();
    let identity = authority.issue(&["127.0.0.1"]);
    let (silent, _release) = hanging();
    for abi in Abi::BOTH {
        let other = http2::Upstream::new(Some(identity.server(&["h2"], None)), |_| Reply {
            body: b"secret",
            ..Reply::default()
        });
        let upstream = Upstream::hello();
        let mut config = config(&upstream);
        let url = format!("https://{}", other.address());
        let stranger = Authority::default();
        config["upstreams"]["other"] =
            json!({ "endpoints": [&url], "tls": { "ca": authority.pem() } });
        config["upstreams"]["doubtful"] =
            json!({ "endpoints": [&url], "tls": { "ca": stranger.pem() } });
        config["upstreams"]["silent"] =
            json!({ "endpoints": [silent.url()], "timeouts": { "response": "50ms" } });
        let names = ["other", "other", "doubtful", "silent"];
        config["plugins"]["caller"] = json!({
            "module": abi.guest("caller"), "upstreams": &names[1..],
            "config": { "calls": names.map(|name| json!({ "upstream": name, "method": "POST" })) },
            "limits": { "wall_time": "10m" },
        });
        config["routes"][0]["plugins"] = json!(["caller"]);
        let stand = Stand::with(upstream, config);
        assert_eq!(stand.get(&[]).status, 200);
        let trace = stand.trace();
        let said = [0, 1, 2, 3].map(|index| called(&trace, index).to_owned());
        assert_eq!(said, ["200 - 6", "200 - 6", "Connect", "Timeout"]);
        assert_eq!(other.seen().len(), 2, "nothing was said to the doubtful");
        let connects = "weir_upstream_connects_total{upstream=\"other\"}";
        assert_eq!(stand.weir.count(connects), 1);
    }
}

#[test]
fn a_plugin_may_wait_less_than_the_upstream_would_let_it() {
    for abi in Abi::BOTH {
        let (other, _release) = hanging();
        let calls = json!([{ "upstream": "other", "method": "POST", "timeout_ms": 50 }]);
        let stand = stand(
            abi,
            &other,
            calls,
            json!({ "limits": { "wall_time": "10m" } }),
        );
        assert_eq!(stand.get(&[]).status, 200);
        let trace = stand.trace();
        assert_eq!(called(&trace, 0), "Timeout");
        assert_eq!(trace.span("POST")["Attributes"]["error.type"], "timeout");
    }
}

#[test]
fn what_a_plugin_counts_is_on_metrics() {
    for abi in Abi::BOTH {
        let other = Upstream::hello();
        let calls = json!([{ "upstream": "other" }, { "upstream": "none" }]);
        let stand = stand(abi, &other, calls, json!({}));
        for _ in 0..3 {
            assert_eq!(stand.get(&[]).status, 200);
        }
        let metrics = stand.weir.metrics();
        for line in [
            "# TYPE weir_plugin_caller_calls counter",
            "weir_plugin_caller_calls_total{plugin=\"caller\",outcome=\"reply\"} 3",
            "weir_plugin_caller_calls_total{plugin=\"caller\",outcome=\"error\"} 3",
            "weir_plugin_caller_last_status{plugin=\"caller\"} 200",
            "weir_plugin_caller_reply_bytes_count{plugin=\"caller\"} 3",
        ] {
            assert!(metrics.contains(line), "{line}\n{metrics}");
        }
    }
}

#[test]
fn an_upstream_that_there_is_not_is_a_fault_of_the_configuration() {
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    config["plugins"]["caller"] = json!({
        "module": Abi::Module.guest("caller"), "upstreams": ["upp"], "config": { "calls": [] },
    });
    let refusal = weir_tests::weir::Weir::refusal(&config.to_string());
    assert!(refusal.contains("unknown upstream `upp`"), "{refusal}");
    assert!(refusal.contains("plugins.caller.upstreams[0]"), "{refusal}");
}
