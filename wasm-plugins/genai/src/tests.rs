use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weir_sdk::testing::{Exchange, Host, Span};
use weir_sdk::{Hook, http};

use super::*;

mod bounds;

/// An exchange that was written down, and what its span is to have.
struct Recorded {
    name: String,
    request: Vec<u8>,
    response: Vec<u8>,
    kind: &'static str,
    span: Value,
}

fn recorded() -> Vec<Recorded> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("exchanges");
    let mut folders: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
        .iter()
        .map(|folder| {
            let read = |name: &str| fs::read(folder.join(name));
            let (response, kind) = match read("response.sse") {
                Ok(events) => (events, "text/event-stream; charset=utf-8"),
                Err(_) => (read("response.json").unwrap(), "application/json"),
            };
            Recorded {
                name: folder.file_name().unwrap().to_string_lossy().into_owned(),
                request: read("request.json").unwrap(),
                response,
                kind,
                span: serde_json::from_slice(&read("span.json").unwrap()).unwrap(),
            }
        })
        .collect()
}

fn prices() -> Value {
    json!({
        "gpt-4o": { "input": 99, "output": 99 },
        "gpt-4o-2024-08-06": { "input": 2.5, "output": 10, "cache_read": 1.25 },
        "gpt-4o-mini*": { "input": 0.15, "output": 0.6 },
        "gpt-4o*": { "input": 98, "output": 98 },
        "claude-sonnet-4*": { "input": 3, "output": 15, "cache_read": 0.3, "cache_write": 3.75 },
        "text-embedding-3-small": { "input": 0.02 },
    })
}

fn host(config: Value) -> Host<GenAi> {
    Host::new(config).unwrap()
}

fn ask(path: &str) -> http::request::Builder {
    http::Request::post(path).header("content-type", "application/json; charset=utf-8")
}

/// Sends the request's body by pieces of so many bytes.
fn send<'h>(host: &'h Host<GenAi>, path: &str, body: &[u8], size: usize) -> Exchange<'h, GenAi> {
    let mut exchange = host.request(ask(path).body(()).unwrap());
    let sent = exchange.stream_request(body.chunks(size));
    assert_eq!(sent.bytes(), body, "nothing of a request changes");
    exchange
}

fn reply(
    exchange: &mut Exchange<'_, GenAi>,
    head: http::response::Builder,
    body: &[u8],
    size: usize,
) {
    exchange.response(head.body("").unwrap());
    let came = exchange.stream_response(body.chunks(size));
    assert_eq!(came.bytes(), body, "nothing of a response changes");
    let pieces = body.chunks(size).filter(|piece| !piece.is_empty());
    assert_eq!(came.pieces.len(), pieces.count(), "nothing is held back");
}

/// Attributes as JSON, with texts of JSON as what they say.
fn attributes(span: &Span) -> BTreeMap<String, Value> {
    let each = span.attributes.iter().map(|(name, value)| {
        let value = match value {
            span::Value::Text(text) if text.starts_with('[') => serde_json::from_str(text).unwrap(),
            span::Value::Text(text) => json!(text),
            span::Value::Boolean(truth) => json!(truth),
            span::Value::Integer(number) => json!(number),
            span::Value::Float(number) => json!(number),
            span::Value::Texts(texts) => json!(texts),
        };
        (name.clone(), value)
    });
    each.collect()
}

#[test]
fn recorded_exchanges_are_told_of_however_they_come_in_pieces() {
    let exchanges = recorded();
    assert!(exchanges.len() >= 23);
    for recorded in exchanges {
        let host = host(json!({ "prices": prices() }));
        let is_stream = recorded.kind.contains("event-stream");
        for size in [1, 7, 100_000] {
            let what = format!("{} by {size}", recorded.name);
            let path = recorded.span["path"].as_str().unwrap();
            let mut exchange = send(&host, path, &recorded.request, size);
            let head = http::Response::builder()
                .status(u16::try_from(recorded.span["status"].as_u64().unwrap()).unwrap())
                .header("content-type", recorded.kind);
            reply(&mut exchange, head, &recorded.response, size);
            let span = exchange.upstream_span();
            let (kind, name) = span.call.clone().unwrap();
            assert_eq!(kind, Kind::Llm, "{what}");
            assert_eq!(name, recorded.span["name"], "{what}");
            let mut told = attributes(span);
            let waited = told.remove("gen_ai.response.time_to_first_chunk");
            assert_eq!(waited.is_some(), is_stream, "{what}");
            let expected: BTreeMap<String, Value> =
                serde_json::from_value(recorded.span["attributes"].clone()).unwrap();
            for (name, value) in &expected {
                assert_eq!(told.get(name), Some(value), "{what}: {name}");
            }
            let more: Vec<_> = told
                .keys()
                .filter(|name| !expected.contains_key(*name))
                .collect();
            assert!(more.is_empty(), "{what}: {more:?}");
            let error = recorded.span["error"]
                .as_str()
                .filter(|error| !error.is_empty());
            assert_eq!(span.error.as_deref(), error, "{what}");
            let result = exchange.span(Hook::Response).attribute("genai.result");
            let expected = recorded.span["result"].as_str().unwrap();
            assert_eq!(result, Some(&expected.into()), "{what}");
        }
    }
}

#[test]
fn without_content_nothing_that_was_said_is_told() {
    for recorded in recorded() {
        let host = host(json!({ "content": false }));
        let path = recorded.span["path"].as_str().unwrap();
        let mut exchange = send(&host, path, &recorded.request, 1000);
        let head = http::Response::builder().header("content-type", recorded.kind);
        reply(&mut exchange, head, &recorded.response, 1000);
        let told = attributes(exchange.upstream_span());
        for name in told.keys() {
            let is_content = name.contains("messages")
                || name.contains("instructions")
                || name.contains("definitions");
            assert!(!is_content, "{}: {name}", recorded.name);
        }
        assert!(told.contains_key("gen_ai.request.model"));
    }
}

/// What is told of a reply to a request for a response.
fn response(host: &Host<GenAi>, kind: &str, body: &str) -> BTreeMap<String, Value> {
    let request = br#"{"model":"m","input":"x"}"#;
    let mut exchange = send(host, "/v1/responses", request, 99);
    let head = http::Response::builder().header("content-type", kind);
    reply(&mut exchange, head, body.as_bytes(), 99);
    attributes(exchange.upstream_span())
}

#[test]
fn an_error_has_the_providers_name_for_it_and_no_other() {
    let host = host(json!({}));
    for (event, name) in [
        (
            json!({ "type": "error", "code": "overloaded", "message": "m" }),
            "overloaded",
        ),
        (
            json!({ "type": "error", "code": null, "message": "m" }),
            "_OTHER",
        ),
        (
            json!({ "type": "error", "error": { "type": "server_error", "code": null } }),
            "server_error",
        ),
    ] {
        let told = response(&host, "text/event-stream", &format!("data: {event}\n\n"));
        assert_eq!(told["error.type"], name, "{event}");
    }
}

#[test]
fn a_response_that_is_made_in_the_background_has_not_finished() {
    let host = host(json!({}));
    let reasons = "gen_ai.response.finish_reasons";
    for (status, told) in [
        ("queued", None),
        ("in_progress", None),
        ("completed", Some(json!(["completed"]))),
    ] {
        let body = json!({ "id": "resp_1", "status": status, "output": [] }).to_string();
        let of = response(&host, "application/json", &body);
        assert_eq!(of["gen_ai.response.id"], "resp_1", "{status}");
        assert_eq!(of.get(reasons), told.as_ref(), "{status}");
    }
}

#[test]
fn other_requests_are_let_by() {
    let host = host(json!({}));
    let call = json!({ "model": "m", "messages": [] }).to_string();
    let requests = [
        http::Request::get("/v1/chat/completions").body(call.clone()),
        ask("/v1/models").body(call.clone()),
        ask("/v1/chat/completions/x").body(call.clone()),
        ask("/messages").body(call.clone()),
        http::Request::post("/v1/chat/completions")
            .header("content-type", "text/plain")
            .body(call.clone()),
        ask("/v1/chat/completions")
            .header("content-encoding", "gzip")
            .body(call.clone()),
    ];
    for request in requests {
        let mut exchange = host.request(request.unwrap());
        let result = exchange.span(Hook::Request).attribute("genai.result");
        assert_eq!(result, Some(&"other".into()));
        exchange.response(http::Response::new(call.clone()));
        assert_eq!(*exchange.upstream_span(), Span::default());
    }
}

#[test]
fn a_body_of_another_service_is_no_call() {
    let host = host(json!({}));
    for (path, body, result) in [
        ("/surveys/7/responses", r#"{"answers": [1, 2]}"#, "other"),
        ("/v1/messages", r#"{"messages": [{"to": "a"}]}"#, "other"),
        ("/v1/chat/completions", "[]", "malformed"),
        (
            "/v1/chat/completions",
            r#"{"model": "m", "messages": [}"#,
            "malformed",
        ),
        (
            "/v1/chat/completions",
            r#"{"model": "m", "messages": []"#,
            "malformed",
        ),
        ("/v1/chat/completions", "\0\u{ff}", "malformed"),
    ] {
        let mut exchange = send(&host, path, body.as_bytes(), 5);
        let told = exchange.span(Hook::Request).attribute("genai.result");
        assert_eq!(told, Some(&result.into()), "{body}");
        let response = http::Response::builder().header("content-type", "application/json");
        exchange.response(response.body(r#"{"id": "x", "model": "m"}"#).unwrap());
        assert_eq!(*exchange.upstream_span(), Span::default(), "{body}");
    }
}

#[test]
fn an_operator_may_name_the_provider() {
    let host = host(json!({ "provider": "groq" }));
    let exchange = send(
        &host,
        "/v1/chat/completions",
        br#"{"model":"m","messages":[]}"#,
        99,
    );
    let told = exchange.upstream_span().attribute("gen_ai.provider.name");
    assert_eq!(told, Some(&"groq".into()));
}

#[test]
fn encodings_that_cannot_be_read_are_not_asked_for() {
    let host = host(json!({}));
    for (accepted, left) in [
        ("gzip, deflate, br, zstd", Some("gzip, deflate, zstd")),
        ("br;q=1.0, gzip;q=0.5", Some("gzip;q=0.5")),
        ("br", Some("identity")),
        ("*", Some("identity")),
        ("gzip", Some("gzip")),
        ("", Some("")),
    ] {
        let request = ask("/v1/chat/completions").header("accept-encoding", accepted);
        let exchange = host.request(request.body("{}").unwrap());
        let sent = exchange.request_headers().get("accept-encoding");
        assert_eq!(
            sent.map(|value| value.to_str().unwrap()),
            left,
            "{accepted}"
        );
    }
}

#[test]
fn a_configuration_that_cannot_be_meant_is_refused() {
    for (config, error) in [
        (
            json!({ "max_bytes": 1 }),
            "max_bytes: must be 1024 to 16777216",
        ),
        (json!({ "provider": "" }), "provider: must not be empty"),
        (
            json!({ "prices": { "m": { "input": -1 } } }),
            "prices: m: not a price",
        ),
        (
            json!({ "prices": { "a*b": { "input": 1 } } }),
            "prices: \"a*b\": a model's name, or its beginning and `*`",
        ),
    ] {
        assert_eq!(Host::<GenAi>::new(config).unwrap_err(), error);
    }
    assert!(Host::<GenAi>::new(json!({ "prices": { "m": {} } })).is_err());
    assert!(Host::<GenAi>::new(json!({ "price": {} })).is_err());
}
