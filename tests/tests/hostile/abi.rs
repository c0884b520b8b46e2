//! Plugins that break the canonical ABI, by hand: see `wasm-plugins/hostile/abi/base.wat`.

mod breaches;
mod unloaded;

use std::fs;

use http::Request;
use serde_json::{Value, json};
use weir_tests::abi::Abi;
use weir_tests::client::Response;
use weir_tests::config::{config, exporter};
use weir_tests::http2::{Client, run};
use weir_tests::kafka::shared;
use weir_tests::redis::Redis;
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

use crate::HARM;
use crate::others::{Others, unless_others};
use crate::stopped::assert_others_go_on;
use breaches::{BREACHES, PATH};

both! {
    each_breach_fails_its_hook_alone
    a_breach_with_values_in_redis_fails_its_hook_alone
    numbers_are_read_in_their_width
    an_answer_that_may_have_no_body_has_none
    a_handle_of_another_call_is_refused_or_stands_for_what_is_lent_now
    a_hook_and_its_allocator_may_each_use_a_whole_stack
    others_go_on_while_an_allocator_never_returns
}

/// What `base.wat` has in braces; what is not given is empty.
#[derive(Clone, Copy, Default)]
pub(crate) struct Harm {
    pub(crate) hook: &'static str,
    pub(crate) realloc: &'static str,
}

impl Harm {
    fn text(self) -> String {
        self.fill(&base())
    }

    pub(crate) fn fill(self, base: &str) -> String {
        base.replace("{HARM}", self.hook)
            .replace("{REALLOC}", self.realloc)
    }
}

pub(crate) fn base() -> String {
    let file = "/../wasm-plugins/hostile/abi/base.wat";
    fs::read_to_string(format!("{}{file}", env!("CARGO_MANIFEST_DIR"))).expect("the fixture")
}

/// A Weir with a plugin on a path of its name, for each.
struct Stand {
    weir: Weir,
    _upstream: Upstream,
    topic: String,
}

impl Stand {
    fn new(plugins: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        Self::with(None, plugins)
    }

    fn with(
        redis: Option<&Redis>,
        plugins: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Self {
        let upstream = Upstream::hello();
        let mut config = config(&upstream);
        let mut routes = Vec::new();
        for (name, plugin) in plugins {
            config["plugins"][name] = plugin;
            // Some tests let hooks fail many times in a row.
            config["plugins"][name]["breaker"] = json!({ "failures": 0 });
            routes.push(json!({
                "name": name, "match": { "path": format!("/{name}") }, "upstream": "up",
                "plugins": [name],
            }));
        }
        routes.push(json!({ "name": "other", "match": { "path": "/" }, "upstream": "up" }));
        config["routes"] = routes.into();
        if let Some(redis) = redis {
            config["kv"] = redis.kv();
        }
        let topic = shared().topic();
        config["exporters"]["traces"] = unless_others(exporter(shared(), &topic));
        Self {
            weir: Weir::start(&config.to_string()),
            _upstream: upstream,
            topic,
        }
    }

    fn get(&self, name: &str, headers: &[&str]) -> Response {
        self.weir.get(&format!("/{name}"), headers)
    }
}

fn each_breach_fails_its_hook_alone(abi: Abi) {
    assert_each_fails(abi, None, BREACHES);
}

/// There the host calls the allocator on a stack of its own.
fn a_breach_with_values_in_redis_fails_its_hook_alone(abi: Abi) {
    const GET: &str = "(call $kv-get (i32.const 64) (i32.const 6) (i32.const 32))";
    let redis = Redis::start();
    let of_store = BREACHES
        .iter()
        .filter(|(_, hook, ..)| hook.contains("(call $kv-"));
    let of_allocator = BREACHES.iter().filter(|(_, hook, ..)| *hook == PATH);
    let of_allocator = of_allocator.map(|(name, _, realloc, reason)| {
        redis.ask(&["SET", &format!("weir:{name}:x-harm"), "value"]);
        (*name, GET, *realloc, *reason)
    });
    let breaches: Vec<_> = of_store.copied().chain(of_allocator).collect();
    assert!(breaches.len() > 12);
    assert_each_fails(abi, Some(&redis), &breaches);
}

fn assert_each_fails(
    abi: Abi,
    redis: Option<&Redis>,
    breaches: &[(&'static str, &'static str, &'static str, &'static str)],
) {
    let stand = Stand::with(
        redis,
        breaches.iter().map(|&(name, hook, realloc, _)| {
            let harm = Harm { hook, realloc };
            let module = abi.written(&harm.text());
            let limits = json!({ "cpu_time": "1s", "wall_time": "1m", "memory": "32MiB" });
            (name, json!({ "module": module, "limits": limits }))
        }),
    );
    let others = Others::asking(stand.weir.proxy(), "/");
    for (name, _, _, reason) in breaches {
        assert_eq!(stand.get(name, &[HARM]).status, 500, "{name}");
        assert_eq!(stand.get(name, &[]).text(), "hello", "{name}");
        let labels = format!("plugin=\"{name}\",hook=\"prehook\",reason=\"{reason}\"");
        let counted = stand
            .weir
            .count(&format!("weir_hook_failures_total{{{labels}}}"));
        assert_eq!(counted, 1, "{name}: {reason}");
    }
    others.assert_unharmed();
    let traces = shared().traces(&stand.topic, 2 * breaches.len());
    let mut wrong = Vec::new();
    for (trace, (name, _, _, reason)) in traces.iter().step_by(2).zip(breaches) {
        let span = trace.span(&format!("plugin.{name}.prehook"));
        if span["Attributes"]["error.type"] != *reason {
            wrong.push(format!("{name}: not {reason}, but {}", span["StatusMsg"]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Wider values than a type has are cut, and what lies beside a value in memory is none of it.
fn numbers_are_read_in_their_width(abi: Abi) {
    let harm = Harm {
        hook: "
            (call $set-attribute
              (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 1) (i64.const 256) (i32.const 0))
            (call $set-attribute
              (i32.const 0) (i32.const 65) (i32.const 1) (i32.const 1) (i64.const 0x100000000) (i32.const 0))
            (call $fill (i32.const 2) (i32.const 24) (i32.const 16))
            (i32.store8 (i32.const 0x10008) (i32.const 1))
            (i32.store (i32.const 0x10010) (i32.const 0xffffff00))
            (i32.store8 (i32.const 0x10020) (i32.const 1))
            (i32.store (i32.const 0x10028) (i32.const 2))
            (i32.store (i32.const 0x10018) (i32.const 65))
            (i32.store (i32.const 0x10004) (i32.const 1))
            (i32.store (i32.const 0x1001c) (i32.const 1))
            (call $add-event (i32.const 0) (i32.const 64) (i32.const 6) (i32.const 0x10000) (i32.const 2))
            (call $respond
              (local.get $handle) (i32.const 65758) (i32.const 0) (i32.const 0) (i32.const 64) (i32.const 6) (i32.const 32))
            (call $drop-request (local.get $handle))
            (return (i32.const 1))",
        ..Harm::default()
    };
    let module = abi.written(&harm.text());
    let stand = Stand::new([("wide", json!({ "module": module }))]);
    let response = stand.get("wide", &[HARM]);
    assert_eq!(
        (response.status, response.text().as_str()),
        (222, "x-harm"),
        "65536 + 222"
    );
    let trace = shared().traces(&stand.topic, 1).remove(0);
    let span = trace.span("plugin.wide.prehook");
    assert_eq!(span["Attributes"]["x"], true);
    assert_eq!(span["Attributes"]["-"], false);
    let event = &span["Events"][0]["Attributes"];
    assert_eq!(*event, json!({ "x": false, "-": true }));
}

/// A client would take the body for the next response, or close the connection.
fn an_answer_that_may_have_no_body_has_none(abi: Abi) {
    let harm = Harm {
        hook: "
            (call $respond
              (local.get $handle) (i32.const 204) (i32.const 0) (i32.const 0) (i32.const 64) (i32.const 6) (i32.const 32))
            (call $drop-request (local.get $handle))
            (return (i32.const 1))",
        ..Harm::default()
    };
    let module = abi.written(&harm.text());
    let stand = Stand::new([("bare", json!({ "module": module }))]);
    assert_eq!(stand.get("bare", &[HARM]).status, 204);
    run(async {
        let client = Client::open(stand.weir.proxy()).await;
        let request = Request::get("http://test/bare").header("x-harm", "yes");
        let request = request.body(()).expect("a request");
        let answer = client.send(request).await.expect("a response");
        assert_eq!((answer.status(), answer.body.len()), (204, 0));
    });
    // To nobody it looked as if the client had left.
    let aborted = "weir_requests_aborted_total{route=\"bare\"}";
    assert_eq!(stand.weir.count(aborted), 0);
}

/// A plugin that keeps the handle of the first request that is to be harmed: what it does with later ones,
/// and on each response.
fn keeping(abi: Abi, then: &str, response: &str) -> Value {
    let hook = format!(
        "(if (global.get $kept) (then {then}) (else (global.set $kept (local.get $handle))))"
    );
    let changed = [
        (
            "(global $harms",
            "(global $kept (mut i32) (i32.const 0)) (global $harms".to_owned(),
        ),
        ("{HARM}", hook),
        // Responses too.
        (
            "(i32.store8 offset=1032 (i32.const 0) (i32.const 2))",
            "(i32.store8 offset=1032 (i32.const 0) (i32.const 6))".to_owned(),
        ),
        (
            "(call $drop-response (local.get $handle))",
            format!("{response} (call $drop-response (local.get $handle))"),
        ),
    ];
    let text = changed.iter().fold(base(), |text, (old, new)| {
        assert!(text.contains(*old), "{old}");
        text.replacen(*old, new, 1)
    });
    json!({ "module": abi.written(&Harm::default().fill(&text)) })
}

/// Handles carry nothing: one that was kept leads to no other request, in a call of whichever hook.
fn a_handle_of_another_call_is_refused_or_stands_for_what_is_lent_now(abi: Abi) {
    const KEPT: &str = "(call $path (global.get $kept) (i32.const 32))";
    let alone = format!("(call $drop-request (local.get $handle)) {KEPT}");
    let beside = format!("(if (global.get $kept) (then {KEPT}))");
    let tells = "
        (call $header (global.get $kept) (i32.const 64) (i32.const 6) (i32.const 16))
        (call $respond
          (local.get $handle) (i32.const 200) (i32.const 0) (i32.const 0)
          (i32.load (i32.const 20)) (i32.load (i32.const 24)) (i32.const 32))
        (call $drop-request (local.get $handle))
        (return (i32.const 1))";
    let stand = Stand::new([
        ("alone", keeping(abi, &alone, "")),
        ("response", keeping(abi, "", &beside)),
        ("tells", keeping(abi, tells, "")),
    ]);
    assert_eq!(stand.get("alone", &[HARM]).text(), "hello");
    assert_eq!(stand.get("alone", &[HARM]).status, 500, "nothing is lent");
    assert_eq!(stand.get("alone", &[HARM]).text(), "hello", "a fresh one");
    assert_eq!(stand.get("response", &[]).text(), "hello");
    assert_eq!(stand.get("response", &[HARM]).status, 500, "of its request");
    assert_eq!(stand.get("tells", &["x-harm: one"]).text(), "hello");
    assert_eq!(stand.get("tells", &["x-harm: two"]).text(), "two");

    let traces = shared().traces(&stand.topic, 7);
    for (index, span) in [(1, "plugin.alone.prehook"), (4, "plugin.response.posthook")] {
        let reason = traces[index].attribute(span, "error.type");
        assert_eq!(reason, "abi", "{:#}", traces[index].span(span));
    }
}

/// The host calls the allocator on the stack of the hook that called the host.
fn a_hook_and_its_allocator_may_each_use_a_whole_stack(abi: Abi) {
    /// Calls of `$dive` for each byte of the header.
    const DEEPER: usize = 16;
    let harm = Harm {
        // A header of `b`s lets the allocator recurse without end, one of `a`s does not.
        hook: "
            (global.set $harms
              (i32.eq (i32.load8_u (i32.load (i32.const 20))) (i32.const 98)))
            (drop (call $dive
              (local.get $handle) (i32.mul (i32.load (i32.const 24)) (i32.const 16))))",
        realloc: "(return (call $recurse (i32.const 0)))",
    };
    let module = abi.written(&harm.text());
    let stand = Stand::new([("deep", json!({ "module": module }))]);
    let status = |letter: &str, depth: usize| {
        let header = format!("x-harm: {}", letter.repeat(depth));
        stand.get("deep", &[&header]).status
    };
    // The greatest depth from which the host can be called.
    let (mut fits, mut does_not) = (1, 32 << 10);
    while does_not - fits > 1 {
        let depth = usize::midpoint(fits, does_not);
        match status("a", depth) {
            200 => fits = depth,
            500 => does_not = depth,
            other => panic!("{other} at a depth of {}", DEEPER * depth),
        }
    }
    for depth in fits.saturating_sub(64)..fits + 8 {
        assert_eq!(status("b", depth), 500, "at a depth of {}", DEEPER * depth);
    }
    assert_eq!(stand.get("deep", &[]).text(), "hello");
    let labels = "plugin=\"deep\",hook=\"prehook\",reason=\"stack\"";
    let failures = stand
        .weir
        .count(&format!("weir_hook_failures_total{{{labels}}}"));
    assert!(failures > 72, "{failures}");
}

fn others_go_on_while_an_allocator_never_returns(abi: Abi) {
    let harm = Harm {
        hook: PATH,
        realloc: "(loop $again (br $again))",
    };
    let module = abi.written(&harm.text());
    assert_others_go_on(json!({ "module": module }));
}

/// An export may be an import, which the host then calls itself.
#[test]
fn a_hook_that_is_the_hosts_own_function_fails() {
    let text = Harm::default().text().replace(
        "(func (export \"on-request\")",
        "(export \"on-request\" (func $status)) (func (export \"mine\")",
    );
    let module = Abi::Module.written(&text);
    let stand = Stand::new([("own", json!({ "module": module }))]);
    for _ in 0..2 {
        assert_eq!(stand.get("own", &[]).status, 500);
    }
    let trace = shared().traces(&stand.topic, 2).remove(0);
    let span = trace.span("plugin.own.prehook");
    assert_eq!(span["Attributes"]["error.type"], "abi", "{span:#}");
}
