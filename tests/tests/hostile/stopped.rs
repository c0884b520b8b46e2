//! Hooks that are stopped, while others go on.

use std::thread;

use serde_json::{Value, json};
use weir_tests::abi::Abi;
use weir_tests::client;
use weir_tests::config::{config, exporter};
use weir_tests::kafka::shared;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::{HARM, Stand, plugin};

/// Hooks that burn their worker at once.
const BURNERS: usize = 4;

/// Modes in which the hook fails: test, mode, reason, part of the message.
macro_rules! fails {
    ($($name:ident: $mode:literal, $reason:literal, $message:literal;)*) => {
        both! { $($name)* }
        $(
            fn $name(abi: Abi) {
                Stand::new(abi, $mode).assert_fails($reason, $message);
            }
        )*
    };
}

fails! {
    an_endless_loop_is_stopped:
        "loop", "cpu_time", "used more than its 1s of CPU time";
    an_endless_loop_of_host_calls_is_stopped:
        "loop-in-host", "cpu_time", "used more than its 1s of CPU time";
    an_endless_loop_of_digests_is_stopped:
        "loop-in-crypto", "cpu_time", "used more than its 1s of CPU time";
    a_digest_that_would_hold_the_worker_is_not_made:
        "digest-huge", "bounds", "2097153 bytes for cryptography at once";
    a_gibibyte_of_memory_is_not_given:
        "memory", "memory", "asked for more than its 16777216 bytes of memory";
    memory_page_by_page_ends_at_the_limit:
        "memory-slowly", "memory", "asked for more than its 16777216 bytes of memory";
    a_storm_of_growth_is_stopped:
        "grow-storm", "cpu_time", "used more than its 1s of CPU time";
    endless_recursion_ends_with_the_stack:
        "recursion", "stack", "exhausted its stack";
    unreachable_is_a_trap:
        "unreachable", "trap", "` instruction executed in hostile::harm::Mode::harm";
    a_wild_call_is_a_trap:
        "wild-call", "trap", "out of bounds table access in hostile::harm::Mode::harm";
    random_bytes_are_bounded:
        "random-flood", "bounds", "4294967295 random bytes at once";
    a_string_that_does_not_exist_is_not_read:
        "string-out-of-bounds", "abi", "broke the component model's rules: ";
    a_string_that_is_not_utf8_is_not_taken:
        "string-not-utf8", "abi", "broke the component model's rules: ";
    a_handle_that_was_not_given_is_refused:
        "foreign-handle", "abi", "broke the component model's rules: ";
    a_borrow_is_dropped_once:
        "double-drop", "abi", "broke the component model's rules: ";
    headers_that_share_memory_are_not_copied:
        "answer-amplified", "bounds", "";
    values_for_later_hooks_are_bounded:
        "exchange-flood", "bounds", "more than 64 values to hold";
    an_answer_that_is_missing_is_a_failure:
        "answer-missing", "no_answer", "returned `respond` without an answer";
}

both! {
    a_panic_is_told_with_its_file_and_line
    a_loop_in_a_response_hook_is_stopped
    handles_that_are_kept_are_bounded
    request_fields_are_only_for_response_hooks_that_asked_for_them
    a_leak_never_reaches_the_limit_for_a_fresh_instance_takes_its_place
    what_makes_an_instance_while_a_request_waits_is_stopped_as_a_hook_is
    other_requests_go_on_while_hooks_burn_their_worker
    who_burns_just_under_its_limit_at_a_high_rate_harms_no_other
    a_client_that_leaves_during_a_hook_ends_it
}

fn a_panic_is_told_with_its_file_and_line(abi: Abi) {
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    config["plugins"]["trap"] =
        json!({ "module": abi.guest("trap"), "config": { "header": "x-trap" } });
    config["routes"][0]["plugins"] = json!(["trap"]);
    let topic = shared().topic();
    config["exporters"]["traces"] = exporter(shared(), &topic);
    let weir = Weir::start(&config.to_string());
    assert_eq!(weir.get("/", &["x-trap: a test"]).status, 500);
    let trace = shared().traces(&topic, 1).remove(0);
    let span = trace.span("plugin.trap.prehook");
    assert_eq!(span["Attributes"]["error.type"], "panic");
    let said = span["StatusMsg"].as_str().expect("a text");
    assert!(said.contains("guest panicked: sprung by a test"), "{said}");
    assert!(said.contains("wasm-plugins/trap/src/lib.rs:"), "{said}");
    assert_eq!(weir.get("/", &[]).text(), "hello");
}

fn a_loop_in_a_response_hook_is_stopped(abi: Abi) {
    Stand::at(abi, "loop", "on-response")
        .assert_fails("cpu_time", "used more than its 1s of CPU time");
}

fn handles_that_are_kept_are_bounded(abi: Abi) {
    let limits = json!({ "cpu_time": "10s", "wall_time": "1m", "calls": 1_000 });
    let keys = json!({ "upstreams": ["beside"], "limits": limits });
    let stand = Stand::with(abi, "keep-handles", "on-request", &keys);
    match abi {
        // With that of the request.
        Abi::Component => stand.assert_fails("bounds", "holds too many handles"),
        // It has no other than replies, which end with the hook.
        Abi::Module => {
            stand.assert_refused(&[("call", 100)]);
        }
    }
}

fn request_fields_are_only_for_response_hooks_that_asked_for_them(abi: Abi) {
    Stand::at(abi, "request-header", "on-response")
        .assert_fails("no_request_head", "without asking");
}

fn a_leak_never_reaches_the_limit_for_a_fresh_instance_takes_its_place(abi: Abi) {
    let stand = Stand::new(abi, "leak");
    let others = stand.others();
    for _ in 0..40 {
        assert_eq!(stand.harm("/strict").text(), "hello");
    }
    others.assert_unharmed();
    let span = stand.span_of("strict");
    let traces = shared().traces(&stand.topic, 40);
    let memory: Vec<_> = traces
        .iter()
        .map(|trace| trace.attribute(&span, "weir.hook.memory_bytes"))
        .map(|bytes| bytes.as_u64().expect("a number"))
        .collect();
    // Each of the forty leaked a mebibyte, of sixteen.
    assert!(memory.iter().all(|bytes| *bytes < 16 << 20), "{memory:?}");
    let replaced = memory.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert!(replaced >= 2, "{memory:?}");
}

fn a_client_that_leaves_during_a_hook_ends_it(abi: Abi) {
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    config["plugins"]["burner"] = plugin(&abi.guest("hostile"), "loop", "on-request", "reject");
    // Nothing else ends it.
    config["plugins"]["burner"]["limits"] = json!({ "cpu_time": "1h", "wall_time": "1h" });
    config["routes"][0]["plugins"] = json!(["burner"]);
    let topic = shared().topic();
    config["exporters"]["traces"] = exporter(shared(), &topic);
    let weir = Weir::start(&config.to_string());
    let burning = || weir.metric("weir_requests_active{route=\"all\"}");

    let mut connection = client::Connection::open(weir.proxy());
    connection.send(format!("GET / HTTP/1.1\r\nhost: test\r\n{HARM}\r\n\r\n"));
    eventually("it burns", || (burning() > 0.5).then_some(()));
    drop(connection);
    eventually("it has ended", || (burning() < 0.5).then_some(()));
    let trace = shared().traces(&topic, 1).remove(0);
    assert_eq!(trace.root()["StatusMsg"], "client disconnected");
    assert!(upstream.seen().is_empty());
    // Its instance is gone with it.
    assert_eq!(weir.get("/", &[]).text(), "hello");
    let plugins = weir.api("/api/plugins").json();
    assert_eq!(plugins["plugins"][0]["instances"], 1, "{plugins:#}");
}

fn what_makes_an_instance_while_a_request_waits_is_stopped_as_a_hook_is(abi: Abi) {
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    // The instance that is tried when it is loaded is made at once.
    let burner = &mut config["plugins"]["burner"];
    *burner = plugin(&abi.guest("hostile"), "loop-later", "on-request", "reject");
    burner["limits"] = json!({ "cpu_time": "50ms", "wall_time": "1m" });
    burner["breaker"] = json!({ "failures": 2, "pause": "1h" });
    config["routes"][0]["plugins"] = json!(["burner"]);
    let topic = shared().topic();
    config["exporters"]["traces"] = exporter(shared(), &topic);
    let weir = Weir::start(&config.to_string());
    for _ in 0..3 {
        assert_eq!(weir.get("/", &[]).status, 500);
    }
    let span = "plugin.burner.prehook";
    let traces = shared().traces(&topic, 3);
    let reasons: Vec<_> = traces
        .iter()
        .map(|trace| trace.attribute(span, "error.type"))
        .collect();
    assert_eq!(reasons, ["cpu_time", "cpu_time", "breaker_open"]);
    let said = traces[0].span(span)["StatusMsg"].as_str().expect("a text");
    // Not the two seconds that it has when nobody waits.
    assert!(!said.contains("its 2s of CPU time"), "{said}");
    assert!(upstream.seen().is_empty());
}

fn other_requests_go_on_while_hooks_burn_their_worker(abi: Abi) {
    let burner = plugin(&abi.guest("hostile"), "loop", "on-request", "reject");
    assert_others_go_on(burner);
}

fn who_burns_just_under_its_limit_at_a_high_rate_harms_no_other(abi: Abi) {
    const EACH: usize = 20;
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    let burner = &mut config["plugins"]["burner"];
    *burner = plugin(&abi.guest("hostile"), "burn", "on-request", "reject");
    // It burns for 20 ms.
    burner["limits"] = json!({ "cpu_time": "25ms", "wall_time": "1m" });
    config["routes"] = json!([
        { "name": "burn", "match": { "path": "/burn" }, "upstream": "up", "plugins": ["burner"] },
        { "name": "other", "upstream": "up" },
    ]);
    let topic = shared().topic();
    config["exporters"]["traces"] = exporter(shared(), &topic);
    let weir = Weir::start(&config.to_string());
    let address = weir.proxy();
    let burn = || {
        thread::spawn(move || {
            for _ in 0..EACH {
                assert_eq!(client::get(address, "/burn", &[HARM]).text(), "hello");
            }
        })
    };
    let burners: Vec<_> = (0..BURNERS).map(|_| burn()).collect();
    let mut others = 0;
    while !burners.iter().all(thread::JoinHandle::is_finished) {
        assert_eq!(weir.get("/", &[]).text(), "hello");
        others += 1;
    }
    for burner in burners {
        burner.join().expect("each was answered");
    }
    assert!(others > 0);
    let failures = weir.metrics();
    let failures = failures
        .lines()
        .filter(|line| line.starts_with("weir_hook_failures_total{plugin=\"burner\""));
    assert!(
        failures.clone().all(|line| line.ends_with(" 0")),
        "{:?}",
        failures.collect::<Vec<_>>()
    );
    let traces = shared().traces(&topic, BURNERS * EACH + others);
    let span = "plugin.burner.prehook";
    let burnt = traces
        .iter()
        .filter(|trace| trace.names().contains(&span))
        .inspect(|trace| assert_eq!(trace.span(span)["Status"], "ok"));
    assert_eq!(burnt.count(), BURNERS * EACH);
}

/// Requests of the same worker are served while hooks of `burner` use all the time they have.
pub(crate) fn assert_others_go_on(burner: Value) {
    let upstream = Upstream::hello();
    let mut config = config(&upstream);
    config["plugins"]["burner"] = burner;
    config["plugins"]["burner"]["limits"] = json!({ "cpu_time": "2s", "wall_time": "1m" });
    config["routes"] = json!([
        { "name": "burn", "match": { "path": "/burn" }, "upstream": "up", "plugins": ["burner"] },
        { "name": "other", "upstream": "up" },
    ]);
    let weir = Weir::start(&config.to_string());
    let burning = || weir.metric("weir_requests_active{route=\"burn\"}");

    let address = weir.proxy();
    let burn = || thread::spawn(move || client::get(address, "/burn", &[HARM]));
    let burners: Vec<_> = (0..BURNERS).map(|_| burn()).collect();
    eventually("all of them burn", || (burning() > 3.5).then_some(()));
    let mut served = 0;
    while burning() > 0.5 {
        assert_eq!(weir.get("/", &[]).text(), "hello");
        // The same plugin, unharmed.
        assert_eq!(weir.get("/burn", &[]).text(), "hello");
        served += 1;
    }
    // More than would have their turn where one burner ends and the next begins.
    assert!(served > 2 * BURNERS, "{served}");
    for burner in burners {
        assert_eq!(burner.join().expect("an answer").status, 500);
    }
    let labels = "plugin=\"burner\",hook=\"prehook\",reason=\"cpu_time\"";
    let failures = weir.metric(&format!("weir_hook_failures_total{{{labels}}}"));
    assert!((failures - 4.0).abs() < 0.5, "{failures}");
}
