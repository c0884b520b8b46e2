//! What was said, in the form of the semantic conventions (`gen_ai.input.messages` and its like): a
//! JSON text of messages with roles and parts. It is cut where it would be more than an attribute may
//! have: the last messages are kept, for those are new in each call.

use serde_json::{Map, Value, json};

/// Most bytes of such a text. The host takes 64 KiB.
pub(crate) const MOST: usize = 60 << 10;

/// Of what is around a text in JSON.
const EACH: usize = 64;

/// Takes texts while there is room.
pub(crate) struct Room(pub(crate) usize);

impl Room {
    /// As much of a text as there is room for, as it is written in JSON.
    pub(crate) fn cut<'t>(&mut self, text: &'t str) -> &'t str {
        for (at, char) in text.char_indices() {
            let len = match char {
                '"' | '\\' | '\n' | '\r' | '\t' => 2,
                char if char < ' ' => 6,
                char => char.len_utf8(),
            };
            if len > self.0 {
                self.0 = 0;
                return &text[..at];
            }
            self.0 -= len;
        }
        text
    }

    /// Room for the marks of another part.
    pub(crate) fn part(&mut self) -> bool {
        let fits = self.0 > EACH;
        self.0 = self.0.saturating_sub(EACH);
        fits
    }

    pub(crate) fn text(&mut self, text: &str) -> Option<Value> {
        (!text.is_empty() && self.part())
            .then(|| json!({ "type": "text", "content": self.cut(text) }))
    }

    /// A value as it is where there is room for it, else as a text that is cut.
    fn value(&mut self, value: &Value) -> Value {
        if let Value::String(text) = value {
            return self.cut(text).into();
        }
        let text = value.to_string();
        if text.len() <= self.0 {
            self.0 -= text.len();
            return value.clone();
        }
        Value::from(self.cut(&text))
    }
}

/// Messages of a request: of chat, of Anthropic's, of responses (`input`) and of completions
/// (`prompt`).
pub(crate) fn input(of: &Value) -> Option<String> {
    let mut room = Room(MOST);
    if let Value::String(text) = of {
        let parts = [room.text(text)?];
        return Some(json!([{ "role": "user", "parts": parts }]).to_string());
    }
    let mut messages = Vec::new();
    for message in of.as_array()?.iter().rev() {
        if !room.part() {
            break;
        }
        messages.extend(item(message, &mut room));
    }
    messages.reverse();
    (!messages.is_empty()).then(|| Value::from(messages).to_string())
}

/// `gen_ai.system_instructions`: a text, or blocks of it.
pub(crate) fn instructions(of: &Value) -> Option<String> {
    let parts = parts(of, &mut Room(MOST));
    (!parts.is_empty()).then(|| Value::from(parts).to_string())
}

/// `gen_ai.tool.definitions`, as they are, where there is room for all.
pub(crate) fn tools(of: &Value) -> Option<String> {
    let text = of.to_string();
    (of.as_array().is_some_and(|tools| !tools.is_empty()) && text.len() <= MOST).then_some(text)
}

/// A message, or what responses have beside messages.
fn item(of: &Value, room: &mut Room) -> Option<Value> {
    if let Value::String(text) = of {
        return Some(json!({ "role": "user", "parts": [room.text(text)?] }));
    }
    let text = |name: &str| of.get(name).and_then(Value::as_str);
    let kind = text("type").unwrap_or("message");
    let (role, parts) = match kind {
        "message" => {
            let role = text("role")?;
            let mut said = match of.get("content") {
                Some(content) if role == "tool" => {
                    vec![json!({
                        "type": "tool_call_response",
                        "id": of.get("tool_call_id"),
                        "response": room.value(content),
                    })]
                }
                Some(content) => parts(content, room),
                None => Vec::new(),
            };
            for call in of
                .get("tool_calls")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                said.extend(part(call, room));
            }
            (room.cut(role).to_owned(), said)
        }
        "function_call_output" => ("tool".to_owned(), vec![part(of, room)?]),
        _ => ("assistant".to_owned(), vec![part(of, room)?]),
    };
    Some(json!({ "role": role, "parts": parts }))
}

/// What a message has: a text, or parts.
pub(crate) fn parts(of: &Value, room: &mut Room) -> Vec<Value> {
    match of {
        Value::String(text) => room.text(text).into_iter().collect(),
        Value::Array(parts) => parts.iter().filter_map(|of| part(of, room)).collect(),
        _ => Vec::new(),
    }
}

/// A part, by the `type` that either provider gives it.
pub(crate) fn part(of: &Value, room: &mut Room) -> Option<Value> {
    if let Value::String(text) = of {
        return room.text(text);
    }
    let text = |name: &str| of.get(name).and_then(Value::as_str);
    let kind = text("type").unwrap_or("text");
    if let "text" | "input_text" | "output_text" | "refusal" = kind {
        return room.text(text("text").or_else(|| text("refusal"))?);
    }
    if !room.part() {
        return None;
    }
    Some(match kind {
        // OpenAI's chat, OpenAI's responses, Anthropic.
        "function" => {
            let function = of.get("function")?;
            let arguments = function.get("arguments").unwrap_or(&Value::Null);
            tool_call(of.get("id"), function.get("name"), arguments, room)
        }
        "function_call" => {
            let arguments = of.get("arguments").unwrap_or(&Value::Null);
            tool_call(of.get("call_id"), of.get("name"), arguments, room)
        }
        "tool_use" | "server_tool_use" => {
            let arguments = of.get("input").unwrap_or(&Value::Null);
            tool_call(of.get("id"), of.get("name"), arguments, room)
        }
        "tool_result" | "function_call_output" => {
            let response = of.get("content").or_else(|| of.get("output"));
            json!({
                "type": "tool_call_response",
                "id": of.get("tool_use_id").or_else(|| of.get("call_id")),
                "response": room.value(response.unwrap_or(&Value::Null)),
            })
        }
        "thinking" => json!({ "type": "reasoning", "content": room.cut(text("thinking")?) }),
        "reasoning" => {
            let summary = parts_text(of.get("summary")?);
            if summary.is_empty() {
                return None;
            }
            json!({ "type": "reasoning", "content": room.cut(&summary) })
        }
        "image_url" | "input_image" | "image" => image(of, room),
        // Files, sound and what is yet to come: that it was there.
        kind => json!({ "type": room.cut(kind) }),
    })
}

/// A call that the model asks for.
pub(crate) fn tool_call(
    id: Option<&Value>,
    name: Option<&Value>,
    arguments: &Value,
    room: &mut Room,
) -> Value {
    // They are a text of JSON, of which the model may have made none.
    let parsed = arguments
        .as_str()
        .and_then(|text| crate::json::parse(text.as_bytes()));
    let arguments = parsed
        .filter(Value::is_object)
        .unwrap_or_else(|| arguments.clone());
    json!({
        "type": "tool_call",
        "id": id,
        "name": name,
        "arguments": room.value(&arguments),
    })
}

/// Where an image is, or what it is; never its bytes.
fn image(of: &Value, room: &mut Room) -> Value {
    let url = of.get("image_url").map(|url| url.get("url").unwrap_or(url));
    let url = url.or_else(|| of.pointer("/source/url"));
    let url = url.and_then(Value::as_str).unwrap_or_default();
    let kind = match url.strip_prefix("data:") {
        Some(data) => data.split([';', ',']).next(),
        None if !url.is_empty() => {
            return json!({ "type": "uri", "modality": "image", "uri": room.cut(url) });
        }
        None => of.pointer("/source/media_type").and_then(Value::as_str),
    };
    let mut part = Map::new();
    part.insert("type".into(), "blob".into());
    part.insert("modality".into(), "image".into());
    if let Some(kind) = kind {
        part.insert("mime_type".into(), room.cut(kind).into());
    }
    part.into()
}

fn parts_text(of: &Value) -> String {
    let texts = of.as_array().into_iter().flatten();
    let texts = texts.filter_map(|part| part.get("text").and_then(Value::as_str));
    texts.collect::<Vec<_>>().join("\n")
}
