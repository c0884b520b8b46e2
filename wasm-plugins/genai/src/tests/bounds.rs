//! What clients and upstreams could do to it.

use super::*;

const CHAT: &str = "/v1/chat/completions";

/// A plain chat, to its response.
fn chat<'h>(host: &'h Host<GenAi>, kind: &str, body: &[u8]) -> Exchange<'h, GenAi> {
    let mut exchange = send(host, CHAT, br#"{"model":"m","messages":[]}"#, 99);
    let head = http::Response::builder().header("content-type", kind);
    reply(&mut exchange, head, body, 1 << 16);
    exchange
}

fn result(exchange: &Exchange<'_, GenAi>) -> String {
    match exchange.span(Hook::Response).attribute("genai.result") {
        Some(span::Value::Text(result)) => result.clone().into_owned(),
        other => panic!("{other:?}"),
    }
}

fn told(exchange: &Exchange<'_, GenAi>, name: &str) -> Value {
    attributes(exchange.upstream_span())
        .remove(name)
        .unwrap_or_default()
}

#[test]
fn of_a_huge_request_all_but_the_huge_is_told() {
    let host = host(json!({ "max_bytes": 4096 }));
    let image = "A".repeat(3 << 20);
    let body = json!({
        "messages": [{ "role": "user", "content": image }],
        "model": "m",
        "temperature": 0.5,
    });
    let exchange = send(&host, CHAT, body.to_string().as_bytes(), 1 << 16);
    assert_eq!(exchange.upstream_span().call.as_ref().unwrap().1, "chat m");
    assert_eq!(told(&exchange, "gen_ai.request.temperature"), 0.5);
    assert_eq!(told(&exchange, "gen_ai.input.messages"), Value::Null);
    let left_out = exchange.span(Hook::Request).attribute("genai.left_out");
    assert_eq!(left_out, Some(&1.into()));
}

#[test]
fn many_messages_leave_the_last_and_fit_an_attribute() {
    let host = host(json!({}));
    let messages: Vec<_> = (0..4000)
        .map(|n| json!({ "role": "user", "content": format!("\u{1}\"{n}\" {}", "x".repeat(100)) }))
        .collect();
    let body = json!({ "model": "m", "messages": messages });
    let exchange = send(&host, CHAT, body.to_string().as_bytes(), 1 << 16);
    let text = match exchange.upstream_span().attribute("gen_ai.input.messages") {
        Some(span::Value::Text(text)) => text.clone(),
        other => panic!("{other:?}"),
    };
    assert!(text.len() <= 64 << 10, "{}", text.len());
    let messages: Value = serde_json::from_str(&text).unwrap();
    let messages = messages.as_array().unwrap();
    assert!(messages.len() > 100);
    let last = messages.last().unwrap()["parts"][0]["content"]
        .as_str()
        .unwrap();
    assert!(last.contains("3999"), "{last}");
}

#[test]
fn texts_of_control_characters_fit_an_attribute() {
    let host = host(json!({}));
    for text in [
        "\u{1}".repeat(40_000),
        "\"".repeat(100_000),
        "人".repeat(80_000),
    ] {
        let messages = json!([
            { "role": "user", "content": text },
            { "role": "tool", "tool_call_id": "c", "content": text },
            { "role": "assistant", "tool_calls": [{ "type": "function", "id": "c", "function": { "name": "n", "arguments": text } }] },
        ]);
        let body = json!({ "model": "m", "messages": messages });
        let mut exchange = send(&host, CHAT, body.to_string().as_bytes(), 1 << 16);
        let response = json!({ "choices": [{ "message": { "content": text } }] });
        let head = http::Response::builder().header("content-type", "application/json");
        reply(
            &mut exchange,
            head,
            response.to_string().as_bytes(),
            1 << 16,
        );
        for name in ["gen_ai.input.messages", "gen_ai.output.messages"] {
            match exchange.upstream_span().attribute(name) {
                Some(span::Value::Text(text)) => {
                    assert!(text.len() <= 64 << 10, "{name}: {}", text.len());
                    serde_json::from_str::<Value>(text).unwrap();
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}

#[test]
fn many_small_items_are_not_built() {
    let host = host(json!({}));
    let body = format!(r#"{{"model":"m","messages":[{}0]}}"#, "0,".repeat(400_000));
    let exchange = send(&host, CHAT, body.as_bytes(), 1 << 16);
    let left_out = exchange.span(Hook::Request).attribute("genai.left_out");
    assert_eq!(left_out, Some(&1.into()));
    let event = format!(
        "data: {{\"id\":\"i\",\"x\":[{}0]}}\n\ndata: [DONE]\n\n",
        "0,".repeat(400_000)
    );
    let exchange = chat(&host, "text/event-stream", event.as_bytes());
    assert_eq!(result(&exchange), "stream");
    assert_eq!(told(&exchange, "gen_ai.response.id"), Value::Null);
}

#[test]
fn json_that_is_too_deep_is_malformed() {
    let host = host(json!({}));
    let body = format!(r#"{{"model":"m","messages":{}"#, "[".repeat(100_000));
    let exchange = send(&host, CHAT, body.as_bytes(), 1 << 16);
    let told = exchange.span(Hook::Request).attribute("genai.result");
    assert_eq!(told, Some(&"malformed".into()));
    let closed = format!(
        r#"{{"model":"m","messages":{}{}}}"#,
        "[".repeat(1000),
        "]".repeat(1000)
    );
    send(&host, CHAT, closed.as_bytes(), 1 << 16);
}

#[test]
fn what_cannot_be_read_is_let_by() {
    let host = host(json!({}));
    let mut exchange = send(&host, CHAT, br#"{"model":"m","messages":[]}"#, 99);
    for (kind, encoding, expected) in [
        ("application/json", "br", "encoded"),
        ("text/html", "identity", "other"),
    ] {
        let head = http::Response::builder()
            .header("content-type", kind)
            .header("content-encoding", encoding);
        exchange.response(head.body("<html>").unwrap());
        assert_eq!(result(&exchange), expected);
    }
}

#[test]
fn a_reply_that_is_no_json_is_malformed() {
    let host = host(json!({}));
    for body in ["{\"id\": \"i\"", "null", "{\"id\": nonsense}", "\0"] {
        let exchange = chat(&host, "application/json", body.as_bytes());
        assert_eq!(result(&exchange), "malformed", "{body}");
    }
}

#[test]
fn a_stream_without_end_takes_no_more_room() {
    let host = host(json!({ "max_bytes": 65536 }));
    let mut exchange = send(&host, CHAT, br#"{"model":"m","messages":[]}"#, 99);
    let head = http::Response::builder().header("content-type", "text/event-stream");
    exchange.response(head.body("").unwrap());
    // Choices, calls and parts that no model has, texts and lines without end.
    let events = (0..3000).map(|n: u64| {
        let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let call = json!({ "index": n, "id": "c", "function": { "name": "n", "arguments": "x".repeat(100) } });
        let choice = json!({ "index": n % 500, "delta": { "content": "x".repeat(500), "tool_calls": [call] } });
        format!("data: {}\n\n", json!({ "id": "i", "choices": [choice] }))
    });
    let line = format!("data: {}", "x".repeat(70_000));
    let pieces = events.chain([
        line.clone(),
        line,
        "\n\ndata: {\"id\":\"last\"}\n\ndata: [DONE]\n\n".into(),
    ]);
    exchange.stream_response(pieces);
    let span = exchange.upstream_span();
    let len = match span.attribute("gen_ai.output.messages") {
        Some(span::Value::Text(text)) => text.len(),
        other => panic!("{other:?}"),
    };
    assert!(len <= 64 << 10, "{len}");
    assert_eq!(told(&exchange, "gen_ai.response.id"), "last");
}

#[test]
fn counts_that_are_none_are_not_told() {
    let host = host(json!({ "prices": { "m": { "input": 1, "output": 1 } } }));
    let usage =
        json!({ "prompt_tokens": -5, "completion_tokens": "many", "prompt_tokens_details": [] });
    let body = json!({ "model": "m", "usage": usage }).to_string();
    let exchange = chat(&host, "application/json", body.as_bytes());
    assert_eq!(told(&exchange, "gen_ai.usage.input_tokens"), Value::Null);
    assert_eq!(told(&exchange, "gen_ai.usage.cost"), Value::Null);
    let huge =
        json!({ "model": "m", "usage": { "prompt_tokens": i64::MAX, "completion_tokens": 1 } });
    let exchange = chat(&host, "application/json", huge.to_string().as_bytes());
    assert!(told(&exchange, "gen_ai.usage.cost").is_number());
}
