//! Replies that stream: what is told of them as they come, and however they end.

use std::io::Write as _;
use std::net::Shutdown;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Instant;

use serde_json::{Value, json};
use weir_tests::client::Connection;
use weir_tests::trace::Trace;
use weir_tests::upstream::Upstream;

use super::{CHAT, FIRST_CHUNK, call, genai, plain, request};
use crate::Stand;

/// An upstream that sends each event when it is told to, and ends where there is no more.
fn told_to(events: mpsc::Receiver<&'static str>, ends: bool) -> Upstream {
    let events = Arc::new(Mutex::new(events));
    Upstream::new(move |_, stream| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let _ = stream.write_all(head.as_bytes());
        while let Ok(event) = events.lock().expect("lock").recv() {
            let _ = write!(stream, "{:x}\r\n{event}\r\n", event.len());
        }
        if ends {
            let _ = stream.write_all(b"0\r\n\r\n");
        }
        let _ = stream.shutdown(Shutdown::Both);
    })
}

/// A stream under way.
struct Streaming {
    stand: Stand,
    tell: mpsc::Sender<&'static str>,
    client: Connection,
}

impl Streaming {
    /// To its head.
    fn start(path: &str, asked: &str, ends: bool) -> Self {
        let (tell, events) = mpsc::channel();
        let stand = Stand::before(told_to(events, ends), &[("genai", genai(json!({})))]);
        let mut client = Connection::open(stand.weir.proxy());
        client.send(request(path, &["accept-encoding: br, gzip"], asked));
        client.receive_head().expect("a head");
        Self {
            stand,
            tell,
            client,
        }
    }

    /// The upstream sends it, and the client has it.
    fn pass(&mut self, event: &'static str) {
        self.tell.send(event).expect("the upstream waits");
        let piece = self.client.read_chunk().expect("a piece");
        assert_eq!(piece, event.as_bytes());
    }

    /// Cut by one side or the other: the trace.
    fn cut(self, by_client: bool) -> Trace {
        let Self {
            stand,
            tell,
            mut client,
        } = self;
        let (reason, _waits) = if by_client {
            drop(client);
            ("client_disconnected", Some(tell))
        } else {
            drop(tell);
            client.read_to_end();
            ("upstream_body", None)
        };
        let trace = stand.trace();
        assert_eq!(trace.root()["Attributes"]["error.type"], reason);
        assert!(by_client || call(&trace)["Status"] == "error");
        trace
    }
}

const ASKED: &str =
    r#"{"model":"gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"Count."}]}"#;

const EVENTS: [&str; 2] = [
    "data: {\"id\":\"i\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"One\"}}],\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":1}}\n\n",
    "data: {\"id\":\"i\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\", two\"},\"finish_reason\":\"stop\"}]}\n\n",
];

const COMMENT: &str = ": it takes long\n\n";

#[test]
fn an_event_goes_on_before_the_next_has_come() {
    let mut streaming = Streaming::start(CHAT, ASKED, true);
    for event in EVENTS {
        streaming.pass(event);
    }
    drop(streaming.tell);
    assert_eq!(streaming.client.read_chunk().expect("the end"), b"");
    let stand = streaming.stand;
    assert_eq!(stand.seen().header("accept-encoding"), Some("gzip"));
    let trace = stand.trace();
    let told = &call(&trace)["Attributes"];
    assert_eq!(told["gen_ai.response.finish_reasons"], json!(["stop"]));
    assert_eq!(said(&trace), "One, two");
}

/// The first part of what was said.
fn said(trace: &Trace) -> Value {
    let mut said = plain(&call(trace)["Attributes"]["gen_ai.output.messages"]);
    said[0]["parts"][0]["content"].take()
}

#[test]
fn the_time_to_the_first_chunk_ends_with_the_first_event() {
    let asked = Instant::now();
    let mut streaming = Streaming::start(CHAT, ASKED, true);
    // A head is no chunk, and neither is a comment.
    let held = Instant::now();
    (0..20).for_each(|_| streaming.pass(COMMENT));
    let held = held.elapsed();
    streaming.pass(EVENTS[0]);
    let came = asked.elapsed();
    (0..20).for_each(|_| streaming.pass(COMMENT));
    streaming.pass(EVENTS[1]);
    drop(streaming.tell);
    streaming.client.read_chunk().expect("the end");
    let trace = streaming.stand.trace();
    let waited = call(&trace)["Attributes"][FIRST_CHUNK].as_f64();
    let waited = waited.expect("a number of seconds");
    assert!(waited >= held.as_secs_f64(), "{waited} of {held:?}");
    assert!(waited <= came.as_secs_f64(), "{waited} of {came:?}");
}

#[test]
fn of_a_stream_that_is_cut_what_came_is_told() {
    for by_client in [true, false] {
        let mut streaming = Streaming::start(CHAT, ASKED, false);
        streaming.pass(EVENTS[0]);
        let trace = streaming.cut(by_client);
        let call = call(&trace);
        assert_eq!(call["Name"], "chat gpt-4o-mini");
        let told = &call["Attributes"];
        assert_eq!(told["gen_ai.response.id"], "i");
        assert_eq!(told["gen_ai.usage.input_tokens"], 4);
        assert!(told["gen_ai.usage.cost"].is_number());
        assert!(told[FIRST_CHUNK].is_number());
        assert_eq!(said(&trace), "One");
    }
}

/// Streams of either provider that tell in their third piece why they end and what they used.
const COUNTED: [(&str, &str, [&str; 3]); 2] = [
    (
        CHAT,
        ASKED,
        [
            "data: {\"id\":\"i\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"One, two\"}}]}\n\n",
            "data: {\"id\":\"i\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\", three\"}}]}\n\n",
            "data: {\"id\":\"i\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"end_turn\"}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":7}}\n\n",
        ],
    ),
    (
        "/v1/messages",
        r#"{"model":"claude-sonnet-4-0","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"Count."}]}"#,
        [
            "data: {\"type\":\"message_start\",\"message\":{\"id\":\"i\",\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n",
            "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"One, two, three\"}}\n\n",
            "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":7}}\n\n",
        ],
    ),
];

#[test]
fn of_a_stream_that_is_cut_behind_its_counts_they_are_told() {
    for (path, asked, events) in COUNTED {
        for by_client in [true, false] {
            let mut streaming = Streaming::start(path, asked, false);
            for event in events {
                streaming.pass(event);
            }
            let trace = streaming.cut(by_client);
            let told = &call(&trace)["Attributes"];
            assert_eq!(told["gen_ai.response.finish_reasons"], json!(["end_turn"]));
            assert_eq!(told["gen_ai.usage.input_tokens"], 9, "{path}");
            assert_eq!(told["gen_ai.usage.output_tokens"], 7, "{path}");
            assert!(told["gen_ai.usage.cost"].is_number(), "{path}");
            let post = trace.span("plugin.genai.posthook");
            assert!(post["Attributes"]["genai.result"].is_null(), "{path}");
        }
    }
}

#[test]
fn of_a_client_that_leaves_at_the_last_event_all_is_told() {
    for (path, asked, events) in COUNTED {
        let mut streaming = Streaming::start(path, asked, false);
        for event in events {
            streaming.pass(event);
        }
        streaming.pass(if path == CHAT {
            "data: [DONE]\n\n"
        } else {
            "data: {\"type\":\"message_stop\"}\n\n"
        });
        let trace = streaming.cut(true);
        assert_eq!(said(&trace), "One, two, three", "{path}");
        let post = trace.span("plugin.genai.posthook");
        assert_eq!(post["Attributes"]["genai.result"], "stream", "{path}");
    }
}
