//! The modes.

use std::arch::wasm32;
use std::fmt::Debug;
use std::hint::black_box;

use serde::Deserialize;

use crate::bindings::weir::plugin::http::{HeaderError, RespondError};
use crate::bindings::weir::plugin::span::{CallKind, Target, Value};
use crate::bindings::weir::plugin::{
    clock, crypto, exchange, http_client, kv, log, metrics, random, span,
};
use crate::bindings::{Action, Request, Response};

const MIB: usize = 1 << 20;
const PAGE: usize = 64 << 10;

/// What to try.
#[allow(clippy::unsafe_derive_deserialize, reason = "no mode has an invariant")]
#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// Never returns.
    Loop,
    /// Runs for 20 ms, and goes on.
    Burn,
    /// Never returns from any `configure` but the first.
    LoopLater,
    /// Never returns, and calls the host all the while.
    LoopInHost,
    /// Never returns, and has the host make one large digest after the other.
    LoopInCrypto,
    /// Asks for the largest digest there is, and for one of a byte more.
    DigestHuge,
    /// Asks for a gibibyte of memory, and traps when it does not get it.
    Memory,
    /// Takes memory page by page until it gets no more, and traps.
    MemorySlowly,
    /// Asks for memory without end, though it gets none.
    GrowStorm,
    /// Keeps a mebibyte more in each call.
    Leak,
    /// Recurses without end.
    Recursion,
    /// Executes `unreachable`.
    Unreachable,
    /// Calls through a function pointer that is none.
    WildCall,
    /// Refuses its configuration, at length.
    Refuse,
    /// Sets headers with control characters, bad names and the proxy's own names.
    HeaderInjection,
    /// Adds 10,000 headers.
    HeaderFlood,
    /// Sets a header of 8 MiB.
    HeaderHuge,
    /// Sets a header with a long name, and then 250 with names and values that may be so long each.
    HeaderNames,
    /// Answers with statuses that are none.
    BadStatus,
    /// Answers with headers with control characters and the proxy's own names.
    AnswerInjection,
    /// Answers with a body of 8 MiB.
    AnswerHuge,
    /// Answers with 100,000 headers that share 64 KiB of the guest's memory: 6 GiB to who copies them.
    AnswerAmplified,
    /// Says that it answered, and has not.
    AnswerMissing,
    /// Answers, then reads and changes the head.
    ChangeAfterAnswer,
    /// Routes anew what has been routed.
    RerouteLate,
    /// Routes anew to paths that could be read in two ways.
    RerouteAmbiguous,
    /// Reads the request's fields in `on-response` without having asked for them.
    RequestHeader,
    /// Logs 10,000 lines of a kibibyte.
    LogFlood,
    /// Sets 10,000 attributes and adds 10,000 events.
    AttributeFlood,
    /// Sets attributes with reserved names and huge values.
    AttributeInjection,
    /// Names the upstream's call, and gives it an error, 10,000 times.
    NameFlood,
    /// Defines 1,000 metrics, and counts with 10,000 sets of labels.
    MetricFlood,
    /// Leaves 20,000 values of a kibibyte in its store, and one of a mebibyte.
    KvFlood,
    /// Leaves 1,000 values for later hooks.
    ExchangeFlood,
    /// Gives the request an id with a line break.
    IdInjection,
    /// Asks for 4 GiB of random bytes.
    RandomFlood,
    /// Passes a string of a gibibyte that does not exist.
    StringOutOfBounds,
    /// Passes a string that is not UTF-8.
    StringNotUtf8,
    /// Uses a handle that it was not given.
    ForeignHandle,
    /// Drops its borrow twice.
    DoubleDrop,
    /// Calls the upstream `beside` 1,100 times, and keeps what it replies.
    KeepHandles,
}

/// What the hook was given.
pub(crate) enum Head<'a> {
    Request(&'a Request),
    Response(&'a Response),
}

impl Mode {
    /// Does it. There is no head in `configure`.
    pub(crate) fn harm(self, head: Option<&Head<'_>>) -> Result<Action, String> {
        if let Some(head) = head {
            return Ok(self.harm_exchange(head));
        }
        if self == Self::Refuse {
            return Err("hostile ".repeat(MIB));
        }
        self.harm_anywhere();
        Ok(Action::Proceed)
    }

    /// What needs nothing of the host.
    fn harm_anywhere(self) {
        match self {
            Self::Loop => loop {
                black_box(());
            },
            Self::Burn => {
                let end = clock::monotonic() + 20_000_000;
                while clock::monotonic() < end {
                    for n in 0..1_000 {
                        black_box(n);
                    }
                }
            }
            Self::LoopLater => {
                if kv::get("tried").expect("a store").is_some() {
                    Self::Loop.harm_anywhere();
                }
                kv::set("tried", b"", u64::MAX).expect("room");
            }
            Self::LoopInHost => loop {
                black_box(random::next());
            },
            Self::LoopInCrypto => {
                let data = vec![0; 2 * MIB];
                loop {
                    black_box(crypto::digest(crypto::Hash::Sha512, &data));
                }
            }
            Self::DigestHuge => {
                black_box(crypto::digest(crypto::Hash::Sha512, &vec![0; 2 * MIB]));
                black_box(crypto::digest(crypto::Hash::Sha512, &vec![0; 2 * MIB + 1]));
            }
            Self::Memory => {
                black_box(vec![1_u8; 1024 * MIB]);
            }
            Self::MemorySlowly => loop {
                black_box(vec![1_u8; PAGE].leak());
            },
            Self::GrowStorm => loop {
                black_box(wasm32::memory_grow::<0>(usize::MAX));
            },
            Self::Leak => {
                black_box(vec![1_u8; MIB].leak());
            }
            Self::Recursion => {
                black_box(recurse(0));
            }
            Self::Unreachable => wasm32::unreachable(),
            Self::WildCall => {
                // SAFETY: none; the table has no such entry, and the guest traps.
                let wild: fn() = unsafe { std::mem::transmute(black_box(0x00ff_ffff_usize)) };
                wild();
            }
            Self::LogFlood => {
                for line in 0..10_000 {
                    log::write(
                        log::Level::Info,
                        &format!("{line} {}", "flood ".repeat(170)),
                    );
                }
            }
            Self::RandomFlood => {
                black_box(random::bytes(u32::MAX));
            }
            Self::StringOutOfBounds => write(0, 1024 * MIB),
            Self::StringNotUtf8 => {
                let bytes = [0xff_u8; 16];
                write(bytes.as_ptr() as usize, bytes.len());
            }
            _ => {}
        }
    }

    fn harm_exchange(self, head: &Head<'_>) -> Action {
        match self {
            Self::HeaderInjection => {
                for (name, value) in INJECTIONS {
                    refused(
                        &format!("{name:?}: {value:?}"),
                        head.set_header(name, value),
                    );
                    refused(
                        &format!("{name:?} + {value:?}"),
                        head.add_header(name, value),
                    );
                }
                refused("remove host", head.remove_header("host"));
                refused(
                    "remove content-length",
                    head.remove_header("content-length"),
                );
            }
            Self::HeaderFlood => {
                let flood =
                    (0..10_000).try_for_each(|n| head.add_header(&format!("x-flood-{n}"), "flood"));
                refused("flood", flood);
            }
            Self::HeaderHuge => refused("huge", head.set_header("x-huge", &"x".repeat(8 * MIB))),
            Self::HeaderNames => {
                refused("long", head.set_header(&"x".repeat(257), "long"));
                let large = "x".repeat(40 << 10);
                for _ in 0..3 {
                    head.set_header("x-large", &large)
                        .expect("it takes its own place");
                }
                head.remove_header("x-large").expect("it is its own");
                let value = "x".repeat(1024);
                let names = (0..250).try_for_each(|n| {
                    head.add_header(&format!("{}{n:03}", "x".repeat(253)), &value)
                });
                refused("many", names);
            }
            Self::BadStatus => {
                for status in [0, 99, 100, 101, 199, 600, 1000, u16::MAX] {
                    refused(
                        &format!("answer {status}"),
                        head.respond(status, &[], b"hostile"),
                    );
                    if let Head::Response(response) = head {
                        refused(&format!("status {status}"), response.set_status(status));
                    }
                }
            }
            Self::AnswerInjection => {
                for (name, value) in INJECTIONS {
                    let field = (name, value.as_bytes());
                    refused(
                        &format!("{name:?}: {value:?}"),
                        head.respond(200, &[field], b"hostile"),
                    );
                }
            }
            Self::AnswerHuge => refused("huge", head.respond(200, &[], &vec![b'x'; 8 * MIB])),
            Self::AnswerAmplified => {
                let value = vec![b'x'; PAGE];
                let fields: Vec<(&str, &[u8])> = vec![("x-amplified", &value); 100_000];
                refused("amplified", head.respond(200, &fields, b"hostile"));
            }
            Self::AnswerMissing => return Action::Respond,
            Self::ChangeAfterAnswer => {
                head.respond(200, &[], b"answered")
                    .expect("an answer like any other");
                black_box(head.header("host"));
                refused("set", head.set_header("x-late", "late"));
                refused("add", head.add_header("x-late", "late"));
                refused("remove", head.remove_header("x-late"));
                return Action::Respond;
            }
            Self::RerouteLate => {
                if let Head::Request(request) = head {
                    refused("reroute", request.reroute(None, Some("/elsewhere"), None));
                }
            }
            Self::RerouteAmbiguous => {
                if let Head::Request(request) = head {
                    for path in AMBIGUOUS {
                        refused(path, request.reroute(None, Some(path), None));
                    }
                }
            }
            Self::RequestHeader => {
                if let Head::Response(response) = head {
                    black_box(response.request_header("authorization"));
                }
            }
            Self::AttributeFlood => {
                for n in 0..10_000 {
                    span::set_attribute(Target::Hook, &format!("flood.{n}"), Value::Integer(n));
                    span::add_event(Target::Upstream, &format!("flood.{n}"), &[]);
                }
            }
            Self::AttributeInjection => {
                let forged = || Value::Text("forged");
                for name in ["weir.hook.decision", "weir.", "", &"n".repeat(PAGE)] {
                    span::set_attribute(Target::Hook, name, forged());
                    span::set_attribute(Target::Upstream, name, forged());
                }
                span::set_attribute(Target::Hook, "huge", Value::Text(&"x".repeat(2 * MIB)));
                span::set_attribute(Target::Hook, "text", Value::Text("\0\r\n\u{202e}\""));
                span::set_attribute(Target::Hook, "number", Value::Float(f64::NAN));
                span::set_error(&"x".repeat(2 * MIB));
                span::describe_call(CallKind::Llm, &"x".repeat(2 * MIB));
                span::set_call_error(&"x".repeat(2 * MIB));
            }
            Self::NameFlood => {
                for n in 0..10_000 {
                    span::describe_call(CallKind::Http, &format!("flood {n}"));
                    span::set_call_error(&format!("flood {n}"));
                }
            }
            Self::MetricFlood => {
                let by = metrics::counter("by", "flood", &["label"]).expect("the first");
                for n in 0..10_000 {
                    metrics::add(by, &[&n.to_string()], 1.0);
                }
                let flood = (0..1_000).try_for_each(|n| {
                    let metric = metrics::counter(&format!("flood_{n}"), "flood", &[])?;
                    metrics::add(metric, &[], 1.0);
                    Ok::<_, metrics::Error>(())
                });
                refused("flood", flood);
                let long = "n".repeat(MIB);
                refused("long", metrics::gauge(&long, "flood", &[]).map(drop));
                metrics::add(by, &[&long], 1.0);
                metrics::set(u32::MAX, &[], 1.0);
            }
            Self::KvFlood => {
                for n in 0..20_000 {
                    kv::set(&format!("flood {n}"), &[b'x'; 1024], u64::MAX).expect("room is made");
                }
                refused("huge", kv::set("huge", &vec![b'x'; MIB], u64::MAX));
                refused("key", kv::set(&"k".repeat(MIB), b"", u64::MAX));
            }
            Self::ExchangeFlood => {
                for n in 0..1_000 {
                    exchange::set(&format!("flood-{n}"), &"x".repeat(1024));
                }
            }
            Self::IdInjection => {
                exchange::set_request_id("id\r\nset-cookie: hostile=1");
                exchange::set_request_id(&"x".repeat(MIB));
            }
            Self::ForeignHandle => {
                // SAFETY: none; the host knows its handles, and the guest traps.
                black_box(unsafe { Request::from_handle(0x1234) }.method());
            }
            Self::DoubleDrop => {
                // SAFETY: none, in both: the host knows its handles, and the guest traps.
                match head {
                    Head::Request(request) => {
                        drop(unsafe { Request::from_handle(request.handle()) });
                    }
                    Head::Response(response) => {
                        drop(unsafe { Response::from_handle(response.handle()) });
                    }
                }
            }
            Self::KeepHandles => {
                let call = |_| http_client::send("beside", "GET", "/", &[], b"", 0);
                let replies: Vec<_> = (0..1_100).flat_map(call).collect();
                black_box(&replies);
            }
            _ => self.harm_anywhere(),
        }
        Action::Proceed
    }
}

/// Paths that a router and an upstream could read in two ways.
const AMBIGUOUS: [&str; 7] = [
    "/public/../private",
    "/public/./x",
    "/public/%2e%2E/private",
    "/public%2fx",
    "/public%5Cx?y",
    "/public/%00",
    "/public/%zz",
];

/// Names and values that no host may take.
const INJECTIONS: [(&str, &str); 22] = [
    ("x-a", "a\r\nset-cookie: hostile=1"),
    ("x-a", "a\nb"),
    ("x-a", "a\rb"),
    ("x-a", "a\0b"),
    ("x-a", "a\x1bb"),
    ("x-a", "a\x7fb"),
    ("", "a"),
    ("x a", "a"),
    ("x-a:", "a"),
    ("x-a\r\nset-cookie", "a"),
    ("x-ä", "a"),
    (":path", "/admin"),
    (":authority", "elsewhere"),
    ("host", "elsewhere"),
    ("Connection", "close"),
    ("content-length", "0"),
    ("Transfer-Encoding", "chunked"),
    ("te", "trailers"),
    ("trailer", "x-a"),
    ("upgrade", "websocket"),
    ("keep-alive", "timeout=1"),
    ("proxy-connection", "close"),
];

/// Leaves what the host said on the span, and traps if it said yes.
fn refused<E: Debug>(what: &str, result: Result<(), E>) {
    match result {
        Err(error) => {
            let said = format!("{error:?}");
            span::set_attribute(
                Target::Hook,
                &format!("hostile.{}", what.escape_debug()),
                Value::Text(&said),
            );
        }
        Ok(()) => panicked(&format!("the host allowed {what}")),
    }
}

#[allow(unconditional_recursion, reason = "what is to be tried")]
fn recurse(depth: u64) -> u64 {
    black_box(recurse(black_box(depth) + 1)) + 1
}

/// Logs what is, or is not, at an address of the guest's memory.
fn write(pointer: usize, len: usize) {
    #[link(wasm_import_module = "weir:plugin/log@0.1.0")]
    unsafe extern "C" {
        #[link_name = "write"]
        fn write(level: u32, pointer: usize, len: usize);
    }
    // SAFETY: none; the host looks before it reads, and the guest traps.
    unsafe { write(0, pointer, len) }
}

fn panicked(message: &str) -> ! {
    log::panicked(message);
    wasm32::unreachable()
}

impl Head<'_> {
    fn header(&self, name: &str) -> Option<String> {
        match self {
            Self::Request(request) => request.header(name),
            Self::Response(response) => response.header(name),
        }
    }

    fn set_header(&self, name: &str, value: &str) -> Result<(), HeaderError> {
        match self {
            Self::Request(request) => request.set_header(name, value),
            Self::Response(response) => response.set_header(name, value),
        }
    }

    fn add_header(&self, name: &str, value: &str) -> Result<(), HeaderError> {
        match self {
            Self::Request(request) => request.add_header(name, value),
            Self::Response(response) => response.add_header(name, value),
        }
    }

    fn remove_header(&self, name: &str) -> Result<(), HeaderError> {
        match self {
            Self::Request(request) => request.remove_header(name),
            Self::Response(response) => response.remove_header(name),
        }
    }

    fn respond(
        &self,
        status: u16,
        headers: &[(&str, &[u8])],
        body: &[u8],
    ) -> Result<(), RespondError> {
        match self {
            Self::Request(request) => request.respond(status, headers, body),
            Self::Response(response) => response.respond(status, headers, body),
        }
    }
}
