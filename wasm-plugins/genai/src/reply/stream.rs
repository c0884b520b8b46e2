//! A reply's events, as they come.

use serde_json::{Value, json};

use super::{MAX_PARTS, Part, Reply, keep};
use crate::call::Api;
use crate::json;

impl Reply {
    /// Takes the data of one event. What is no JSON is passed over.
    pub(crate) fn event(&mut self, api: Api, data: &[u8]) {
        if data == b"[DONE]" {
            self.ended = true;
            return;
        }
        let Some(event) = json::parse(data) else {
            return;
        };
        match api {
            Api::Chat | Api::Completions | Api::Embeddings => self.chunk(api, &event),
            Api::Responses => self.of_response(&event),
            Api::Messages => self.of_message(&event),
        }
    }

    /// `chat.completion.chunk` and `text_completion`.
    fn chunk(&mut self, api: Api, chunk: &Value) {
        let text = |name: &str| chunk.get(name).and_then(Value::as_str);
        keep(&mut self.id, text("id"));
        keep(&mut self.model, text("model"));
        keep(&mut self.service_tier, text("service_tier"));
        keep(&mut self.fingerprint, text("system_fingerprint"));
        if let Some(usage) = chunk.get("usage") {
            self.count(api, usage);
        }
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            self.fail(error);
        }
        for choice in chunk
            .get("choices")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
            self.finish(index, choice.get("finish_reason").and_then(Value::as_str));
            let said = |name: &str| choice.pointer(name).and_then(Value::as_str);
            self.say(index, 0, said("/delta/reasoning_content"), Part::Reasoning);
            for name in ["/text", "/delta/content", "/delta/refusal"] {
                self.say(index, 1, said(name), Part::Text);
            }
            let calls = choice
                .pointer("/delta/tool_calls")
                .and_then(Value::as_array);
            for call in calls.into_iter().flatten() {
                let place = call.get("index").and_then(Value::as_u64).unwrap_or(0);
                let place = place.saturating_add(2);
                if let Some(name) = call
                    .pointer("/function/name")
                    .filter(|name| name.is_string())
                {
                    self.call(index, place, call.get("id"), name);
                }
                let arguments = call.pointer("/function/arguments").and_then(Value::as_str);
                self.argue(index, place, arguments);
            }
        }
    }

    /// Anthropic's.
    fn of_message(&mut self, event: &Value) {
        let text = |name: &str| event.pointer(name).and_then(Value::as_str);
        let place = event.get("index").and_then(Value::as_u64).unwrap_or(0);
        match text("/type").unwrap_or_default() {
            "message_start" => {
                keep(&mut self.id, text("/message/id"));
                keep(&mut self.model, text("/message/model"));
                if let Some(usage) = event.pointer("/message/usage") {
                    self.count(Api::Messages, usage);
                }
            }
            "content_block_start" => match event.pointer("/content_block") {
                Some(block) if text("/content_block/name").is_some() => {
                    let name = block.get("name").unwrap_or(&Value::Null);
                    self.call(0, place, block.get("id"), name);
                }
                Some(_) => self.say(0, place, text("/content_block/text"), Part::Text),
                None => {}
            },
            "content_block_delta" => {
                self.say(0, place, text("/delta/text"), Part::Text);
                self.say(0, place, text("/delta/thinking"), Part::Reasoning);
                self.argue(0, place, text("/delta/partial_json"));
            }
            "message_delta" => {
                self.finish(0, text("/delta/stop_reason"));
                if let Some(usage) = event.get("usage") {
                    self.count(Api::Messages, usage);
                }
            }
            "message_stop" => self.ended = true,
            "error" => self.fail(event.get("error").unwrap_or(&Value::Null)),
            _ => {}
        }
    }

    /// Those of OpenAI's responses.
    fn of_response(&mut self, event: &Value) {
        let text = |name: &str| event.get(name).and_then(Value::as_str);
        let place = event
            .get("output_index")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        match text("type").unwrap_or_default() {
            "response.created" => {
                let text = |name: &str| event.pointer(name).and_then(Value::as_str);
                keep(&mut self.id, text("/response/id"));
                keep(&mut self.model, text("/response/model"));
            }
            "response.output_text.delta" | "response.refusal.delta" => {
                self.say(0, place, text("delta"), Part::Text);
            }
            "response.reasoning_summary_text.delta" => {
                self.say(0, place, text("delta"), Part::Reasoning);
            }
            "response.reasoning_summary_part.added" => {
                let part = event.get("summary_index").and_then(Value::as_u64);
                let is_further = part.is_some_and(|part| part > 0);
                self.say(0, place, is_further.then_some("\n"), Part::Reasoning);
            }
            "response.output_item.added" => {
                let name = event.pointer("/item/name").filter(|name| name.is_string());
                if let Some(name) = name {
                    self.call(0, place, event.pointer("/item/call_id"), name);
                }
            }
            "response.function_call_arguments.delta" => self.argue(0, place, text("delta")),
            "response.completed" | "response.incomplete" | "response.failed" => {
                self.ended = true;
                if let Some(response) = event.get("response") {
                    // It has all that the events had.
                    if response
                        .get("output")
                        .and_then(Value::as_array)
                        .is_some_and(|all| !all.is_empty())
                    {
                        self.choices.clear();
                        self.room = super::MOST;
                    }
                    self.read_by(Api::Responses, |name| response.get(name));
                }
            }
            // Its `type` is the event's where the error has no object of its own.
            "error" => match event.get("error") {
                Some(error) => self.fail(error),
                None => self.fail(&json!({ "code": event.get("code") })),
            },
            _ => {}
        }
    }

    /// Adds to a text.
    fn say(&mut self, choice: u64, place: u64, text: Option<&str>, new: fn(String) -> Part) {
        let Some(text) = self.room_for(text) else {
            return;
        };
        let Some(part) = self.part(choice, place, || new(String::new())) else {
            return;
        };
        match part {
            Part::Text(all) | Part::Reasoning(all) => all.push_str(text),
            Part::Call { .. } | Part::Done(_) => {}
        }
    }

    /// Begins a call of a tool.
    fn call(&mut self, choice: u64, place: u64, id: Option<&Value>, name: &Value) {
        if self.room_for(Some("")).is_some() {
            let (id, name) = (short(id), short(Some(name)));
            self.part(choice, place, || Part::Call {
                id,
                name,
                arguments: String::new(),
            });
        }
    }

    /// Adds to its arguments.
    fn argue(&mut self, choice: u64, place: u64, text: Option<&str>) {
        if let Some(text) = self.room_for(text)
            && let Some(parts) = self.parts(choice)
            && let Some(Part::Call { arguments, .. }) = parts.get_mut(&place)
        {
            arguments.push_str(text);
        }
    }

    fn part(&mut self, choice: u64, place: u64, new: impl FnOnce() -> Part) -> Option<&mut Part> {
        let parts = self.parts(choice)?;
        if parts.len() >= MAX_PARTS && !parts.contains_key(&place) {
            return None;
        }
        Some(parts.entry(place).or_insert_with(new))
    }

    /// As much of a text as there is room for.
    fn room_for<'t>(&mut self, text: Option<&'t str>) -> Option<&'t str> {
        let text = text.filter(|_| self.keeps && self.room > 0)?;
        let text = &text[..text.floor_char_boundary(self.room)];
        // An empty one may begin a part, which is no less to hold.
        self.room = self.room.saturating_sub(text.len().max(1));
        Some(text)
    }
}

fn short(value: Option<&Value>) -> Value {
    let text = value.and_then(Value::as_str);
    text.map_or(Value::Null, |text| super::short(text).into())
}
