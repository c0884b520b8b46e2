//! `genai` in Weir: what of exchanges with models lands in Kafka. What it reads of them is tested with
//! the plugin itself, on the same exchanges.

mod streams;
mod stripped;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weir_tests::client::{Connection, Response};
use weir_tests::config::{config, exporter};
use weir_tests::kafka::shared;
use weir_tests::trace::Trace;
use weir_tests::upstream::Upstream;

use crate::Stand;

const CHAT: &str = "/v1/chat/completions";

const FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";

fn genai(mut config: Value) -> Value {
    if config["prices"].is_null() {
        config["prices"] = json!({
            "gpt-4o-2024-08-06": { "input": 2.5, "output": 10, "cache_read": 1.25 },
            "gpt-4o-mini*": { "input": 0.15, "output": 0.6 },
            "claude-sonnet-4*": { "input": 3, "output": 15, "cache_read": 0.3, "cache_write": 3.75 },
            "text-embedding-3-small": { "input": 0.02 },
        });
    }
    json!({ "module": "builtin:genai", "on_error": "continue", "config": config })
}

/// The topic of one more exporter, which takes no content, nor the plugin's own spans.
fn strict(config: &mut Value) -> String {
    let topic = shared().topic();
    config["exporters"]["strict"] = exporter(shared(), &topic);
    let kafka = &mut config["exporters"]["strict"]["kafka"];
    kafka["disable_content_logging"] = true.into();
    kafka["plugin_span_filter"] = json!({ "mode": "exclude", "plugins": ["genai"] });
    topic
}

fn post(stand: &Stand, path: &str, headers: &[&str], body: &str) -> Response {
    let mut client = Connection::open(stand.weir.proxy());
    client.send(request(path, headers, body));
    client.receive().expect("a response")
}

fn request(path: &str, headers: &[&str], body: &str) -> String {
    let mut head =
        format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n");
    for header in headers {
        head += header;
        head += "\r\n";
    }
    format!("{head}content-length: {}\r\n\r\n{body}", body.len())
}

fn exchanges() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../wasm-plugins/genai/exchanges")
}

fn folders() -> Vec<PathBuf> {
    let entries = fs::read_dir(exchanges()).expect("exchanges").flatten();
    let mut folders: Vec<_> = entries.map(|entry| entry.path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    folders
}

fn span(folder: &Path) -> Value {
    let text = fs::read(folder.join("span.json")).expect("a span");
    serde_json::from_slice(&text).expect("JSON")
}

/// Replies with what is recorded in the folder that a header names, events by a few bytes at a time.
fn model() -> Upstream {
    Upstream::new(|seen, stream| {
        let folder = Path::new(seen.header("x-recorded").unwrap_or_default());
        let status = &span(folder)["status"];
        let events = fs::read(folder.join("response.sse"));
        let (kind, body) = match events {
            Ok(events) => ("text/event-stream", events),
            Err(_) => {
                let body = fs::read(folder.join("response.json"));
                ("application/json", body.expect("a response"))
            }
        };
        let _ = write!(
            stream,
            "HTTP/1.1 {status} Recorded\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        for piece in body.chunks(53) {
            let _ = write!(stream, "{:x}\r\n", piece.len());
            let _ = stream.write_all(piece);
            let _ = stream.write_all(b"\r\n");
        }
        let _ = stream.write_all(b"0\r\n\r\n");
    })
}

/// The one call to a model.
fn call(trace: &Trace) -> &Value {
    let mut calls = trace
        .spans()
        .iter()
        .filter(|span| span["Kind"] == "llm.call");
    let call = calls.next();
    call.unwrap_or_else(|| panic!("no llm.call: {:#}", trace.0))
}

/// Texts of JSON as what they say.
fn plain(value: &Value) -> Value {
    match value.as_str() {
        Some(text) if text.starts_with('[') => serde_json::from_str(text).expect("JSON"),
        _ => value.clone(),
    }
}

/// Sends what is recorded in a folder; what comes back is recorded too.
fn play(stand: &Stand, folder: &Path) {
    let body = fs::read_to_string(folder.join("request.json")).expect("a request");
    let header = format!("x-recorded: {}", folder.display());
    let path = span(folder)["path"].as_str().expect("a path").to_owned();
    let response = post(stand, &path, &[&header], &body);
    let recorded =
        fs::read(folder.join("response.sse")).or_else(|_| fs::read(folder.join("response.json")));
    assert_eq!(response.body, recorded.expect("a response"));
    assert_eq!(stand.seen().body, body.as_bytes());
}

#[test]
fn recorded_exchanges_are_on_the_calls_span() {
    let stand = Stand::before(model(), &[("genai", genai(json!({})))]);
    let folders = folders();
    assert!(folders.len() >= 23);
    for folder in &folders {
        play(&stand, folder);
    }
    let traces = shared().traces(&stand.topic, folders.len());
    for (folder, trace) in folders.iter().zip(&traces) {
        let what = folder.display();
        let (expected, call) = (span(folder), call(trace));
        assert_eq!(call["Name"], expected["name"], "{what}");
        let told = &call["Attributes"];
        for (name, value) in expected["attributes"].as_object().expect("attributes") {
            assert_eq!(plain(&told[name]), *value, "{what}: {name}");
        }
        let told_of = told.as_object().expect("attributes").keys();
        let mut more = told_of.filter(|name| {
            let is_genais = name.starts_with("gen_ai.") || name.starts_with("openai.");
            is_genais && *name != FIRST_CHUNK && expected["attributes"][*name].is_null()
        });
        assert_eq!(more.next(), None, "{what}");
        let waited = told[FIRST_CHUNK].as_f64();
        let is_stream = folder.join("response.sse").exists();
        assert_eq!(waited.is_some(), is_stream, "{what}");
        assert!(waited.is_none_or(|waited| waited > 0.0), "{what}");
        assert_eq!(told["http.response.status_code"], expected["status"]);
        let error = expected["error"].as_str();
        let status = if error.is_some() { "error" } else { "ok" };
        assert_eq!(call["Status"], status, "{what}");
        assert_eq!(call["StatusMsg"], error.unwrap_or_default(), "{what}");
        let post = &trace.span("plugin.genai.posthook")["Attributes"];
        assert_eq!(post["genai.result"], expected["result"], "{what}");
        let pre = &trace.span("plugin.genai.prehook")["Attributes"];
        assert_eq!(pre["genai.result"], "call", "{what}");
        assert!(trace.0["Attributes"]["weir.dropped"].is_null(), "{what}");
    }
}

#[test]
fn a_model_without_a_price_has_its_counts_and_no_cost() {
    let prices = json!({ "gpt-4o": { "input": 1000, "output": 2000 } });
    let stand = Stand::before(model(), &[("genai", genai(json!({ "prices": prices })))]);
    let expected = [
        ("openai-completions-stream", 9, 11, None),
        ("anthropic-messages", 2000, 503, None),
        // The model that replied has none, and the one that was asked for has.
        ("openai-chat-tools", 82, 17, Some(0.116)),
    ];
    for (recorded, ..) in expected {
        play(&stand, &exchanges().join(recorded));
    }
    let traces = shared().traces(&stand.topic, expected.len());
    for ((recorded, input, output, cost), trace) in expected.iter().zip(&traces) {
        let call = call(trace);
        let told = &call["Attributes"];
        assert_eq!(told["gen_ai.usage.input_tokens"], *input, "{recorded}");
        assert_eq!(told["gen_ai.usage.output_tokens"], *output, "{recorded}");
        assert_eq!(told["gen_ai.usage.cost"].as_f64(), *cost, "{recorded}");
        assert_eq!(call["Status"], "ok", "{recorded}");
        let post = trace.span("plugin.genai.posthook");
        assert_eq!(post["Status"], "ok", "{recorded}");
    }
}

#[test]
fn content_is_stripped_and_the_call_keeps_its_place_without_the_plugins_span() {
    let canary = "canary-of-a-user";
    let body = json!({
        "id": "i", "model": "gpt-4o-2024-08-06", "usage": { "prompt_tokens": 3, "completion_tokens": 1 },
        "choices": [{ "index": 0, "finish_reason": "stop", "message": {
            "content": canary,
            "tool_calls": [{ "id": "c", "type": "function", "function": { "name": "f", "arguments": canary } }],
        } }],
    })
    .to_string();
    let upstream = Upstream::new(move |_, stream| {
        let len = body.len();
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len}\r\n\r\n{body}"
        );
    });
    let mut config = config(&upstream);
    config["plugins"]["genai"] = genai(json!({}));
    config["routes"][0]["plugins"] = json!(["genai"]);
    let strict = strict(&mut config);
    let stand = Stand::with(upstream, config);
    let asked = json!({
        "model": "gpt-4o", "stop": ["."],
        "messages": [{ "role": "system", "content": canary }, { "role": "user", "content": canary }],
        "tools": [{ "type": "function", "function": { "name": "f", "description": canary } }],
    });
    post(&stand, CHAT, &[], &asked.to_string());

    let whole = stand.trace();
    assert!(whole.0.to_string().contains(canary));
    assert_eq!(whole.parent("chat gpt-4o"), "plugin.genai.prehook");
    assert_eq!(
        whole.parent("plugin.genai.posthook"),
        "plugin.genai.prehook"
    );

    let stripped = shared().traces(&strict, 1).remove(0);
    assert!(!stripped.0.to_string().contains(canary), "{:#}", stripped.0);
    assert_eq!(stripped.spans().len(), 2);
    assert_eq!(stripped.parent("chat gpt-4o"), stripped.root()["Name"]);
    let told = &call(&stripped)["Attributes"];
    assert_eq!(told["gen_ai.usage.input_tokens"], 3);
    assert_eq!(told["gen_ai.usage.output_tokens"], 1);
    assert_eq!(told["gen_ai.usage.cost"], (3.0 * 2.5 + 10.0) / 1e6);
    assert_eq!(told["gen_ai.provider.name"], "openai");
    assert_eq!(told["gen_ai.request.model"], "gpt-4o");
    assert_eq!(told["gen_ai.response.finish_reasons"], json!(["stop"]));
    assert_eq!(told["http.response.status_code"], 200);
}

#[test]
fn a_huge_request_passes_and_what_else_is_there_is_told() {
    let stand = Stand::new(&[("genai", genai(json!({})))]);
    let body = json!({
        "messages": [{ "role": "user", "content": "x".repeat(6 << 20) }],
        "model": "gpt-4o", "max_tokens": 5,
    });
    let body = body.to_string();
    assert_eq!(post(&stand, CHAT, &[], &body).status, 200);
    assert_eq!(stand.seen().body.len(), body.len());
    let trace = stand.trace();
    assert_eq!(call(&trace)["Name"], "chat gpt-4o");
    assert_eq!(call(&trace)["Attributes"]["gen_ai.request.max_tokens"], 5);
    let pre = trace.span("plugin.genai.prehook");
    assert_eq!(pre["Attributes"]["genai.left_out"], 1);
    assert_eq!(pre["Status"], "ok");
}

#[test]
fn what_is_no_call_stays_what_it_was() {
    let stand = Stand::new(&[("genai", genai(json!({})))]);
    for body in ["{\"answers\": []}", "no JSON", ""] {
        assert_eq!(post(&stand, "/v1/responses", &[], body).text(), "hello");
    }
    stand.get(&[]);
    for trace in shared().traces(&stand.topic, 4) {
        let kinds = trace.spans().iter().map(|span| span["Kind"].clone());
        assert!(kinds.clone().any(|kind| kind == "http.client"));
        assert!(!kinds.clone().any(|kind| kind == "llm.call"));
        assert!(!trace.0.to_string().contains("gen_ai."));
    }
}
