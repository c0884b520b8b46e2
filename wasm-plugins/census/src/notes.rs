//! The other interfaces: `exchange`, `kv`, `span`, `log`, `clock` and `random`.

use crate::bindings::weir::plugin::log::{self, Level};
use crate::bindings::weir::plugin::span::{self, CallKind, Target, Value};
use crate::bindings::weir::plugin::{clock, exchange, kv, random};
use crate::{named, say};

/// Longer than what is kept of anything.
const LONG: usize = 100 << 10;

pub(crate) fn exchange_at_first() {
    say("request-id", exchange::request_id());
    for id in ["", "a\nb", "census–1"] {
        exchange::set_request_id(id);
        say(&format!("request-id {id:?}"), exchange::request_id());
    }
    exchange::set_request_id(&"ü".repeat(LONG));
    say("request-id.long", exchange::request_id().len());
    exchange::set_request_id("census-2");

    say("get", exchange::get("key"));
    exchange::set("key", "one");
    exchange::set("key", "two");
    exchange::set("", "");
    exchange::set("Schlüssel", &"ü".repeat(4 << 10));
    exchange_later();
}

/// What the first hook left.
pub(crate) fn exchange_later() {
    say("request-id.later", exchange::request_id());
    say("get.key", exchange::get("key"));
    say("get.empty", exchange::get(""));
    say("get.absent", exchange::get("absent"));
    let long = exchange::get("Schlüssel");
    say("get.long", long.map(|value| value == "ü".repeat(4 << 10)));
}

/// Whatever was there before: a census may have been taken.
pub(crate) fn values() {
    const TTL: u64 = 60_000;
    for key in ["key", "number", "none"] {
        let _ = kv::delete(key);
    }
    say("kv.get", named!(kv::get("key")));
    say("kv.delete.none", named!(kv::delete("key")));
    say("kv.set", named!(kv::set("key", b"\xff\0value", TTL)));
    say("kv.get.set", named!(kv::get("key")));
    say("kv.set.empty", named!(kv::set("", b"", 0)));
    say("kv.get.empty", named!(kv::get("")));
    say(
        "kv.set.long",
        named!(kv::set("long", &[b'x'; LONG], u64::MAX)),
    );
    say("kv.add", named!(kv::add("number", 40, TTL)));
    say("kv.add.again", named!(kv::add("number", -50, TTL)));
    say("kv.add.bytes", named!(kv::add("key", 1, TTL)));
    say("kv.add.over", named!(kv::add("number", i64::MIN, TTL)));
    say(
        "kv.cas",
        named!(kv::compare_and_set("key", None, b"new", TTL)),
    );
    let expected = Some(&b"\xff\0value"[..]);
    say(
        "kv.cas.set",
        named!(kv::compare_and_set("key", expected, b"new", TTL)),
    );
    say(
        "kv.cas.none",
        named!(kv::compare_and_set("none", None, b"", TTL)),
    );
    say(
        "kv.cas.long",
        named!(kv::compare_and_set("key", Some(b"new"), &[0; LONG], TTL)),
    );
    say("kv.delete", named!(kv::delete("key")));
}

pub(crate) fn ambient() {
    let (first, second) = (clock::monotonic(), clock::monotonic());
    say("monotonic", first <= second);
    // After the year 2020, before the year 2500.
    let years = 1_577_836_800_000_000_000..16_725_225_600_000_000_000;
    say("now", years.contains(&clock::now()));
    say("random", random::next() != random::next());
    for len in [0, 1, 32, 4096] {
        let bytes = random::bytes(len);
        let random = len < 32 || bytes != random::bytes(len);
        say(&format!("random {len}"), (bytes.len(), random));
    }
}

/// Of every kind, to both spans.
pub(crate) fn attributes() {
    for on in [Target::Hook, Target::Upstream] {
        let long = "x".repeat(LONG);
        let set = |name: &str, value| span::set_attribute(on, &format!("kind.{name}"), value);
        set("text", Value::Text("Zensus – 人口調査\n\0"));
        set("text.empty", Value::Text(""));
        set("true", Value::Boolean(true));
        set("false", Value::Boolean(false));
        set("least", Value::Integer(i64::MIN));
        set("most", Value::Integer(i64::MAX));
        set("minus", Value::Integer(-1));
        set("half", Value::Float(-0.5));
        set("infinite", Value::Float(f64::INFINITY));
        set("nan", Value::Float(f64::NAN));
        set("texts", Value::Texts(&["Zensus", "", "人口調査"]));
        set("texts.none", Value::Texts(&[]));
        // Dropped and counted.
        set("text.long", Value::Text(&long));
        set("texts.long", Value::Texts(&["x"; 20_000]));
        span::set_attribute(on, "", Value::Boolean(true));
        span::set_attribute(on, "weir.forged", Value::Boolean(true));
        span::set_attribute(on, &"n".repeat(LONG), Value::Boolean(true));
    }
}

pub(crate) fn events() {
    for on in [Target::Hook, Target::Upstream] {
        span::add_event(on, "event.empty", &[]);
        let kinds = [
            ("text", Value::Text("text")),
            ("", Value::Text("")),
            ("true", Value::Boolean(true)),
            ("false", Value::Boolean(false)),
            ("least", Value::Integer(i64::MIN)),
            ("most", Value::Integer(i64::MAX)),
            ("half", Value::Float(-0.5)),
            ("texts", Value::Texts(&["one", "two"])),
        ];
        span::add_event(on, "event.kinds", &kinds);
        let many: Vec<_> = (0..300).map(|n| ("many", Value::Integer(n))).collect();
        span::add_event(on, "event.many", &many);
    }
}

/// What the call is; what is said last holds.
pub(crate) fn call(name: &str) {
    for (kind, name) in [(CallKind::Http, "forgotten"), (CallKind::Llm, name)] {
        span::describe_call(kind, name);
    }
    // Dropped and counted, but for the empty name.
    span::describe_call(CallKind::Http, "");
    span::describe_call(CallKind::Http, &"n".repeat(LONG));
    span::set_call_error("a census is no call");
}

/// At every level.
pub(crate) fn lines() {
    for (level, name) in [
        (Level::Trace, "trace"),
        (Level::Debug, "debug"),
        (Level::Info, "info"),
        (Level::Warn, "warn"),
        (Level::Error, "error"),
    ] {
        log::write(level, name);
    }
    log::write(Level::Info, "");
    log::write(Level::Info, "Zensus – 人口調査\n\0");
    // Dropped and counted.
    log::write(Level::Info, &"x".repeat(LONG));
    // It does not trap, so this is of no consequence.
    log::panicked("no panic");
}
