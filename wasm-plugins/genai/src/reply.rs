//! What a model replied: whole, or event by event. Both providers' forms become one.

mod stream;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::call::Api;
use crate::json::Members;
use crate::messages::{self, MOST, Room};
use crate::price::Usage;

/// Most choices, and parts of one, that are told apart.
const MAX_CHOICES: usize = 128;
const MAX_PARTS: usize = 128;

/// What is known of a reply so far.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) id: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) service_tier: Option<String>,
    pub(crate) fingerprint: Option<String>,
    pub(crate) usage: Usage,
    /// What the provider calls the error.
    pub(crate) error: Option<String>,
    /// A stream has said that it is at its end.
    pub(crate) ended: bool,
    choices: BTreeMap<u64, Choice>,
    /// Whether what was said is kept, and how much of it may still be.
    keeps: bool,
    room: usize,
}

#[derive(Debug, Default)]
struct Choice {
    finish: Option<String>,
    parts: BTreeMap<u64, Part>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Reasoning(String),
    Call {
        id: Value,
        name: Value,
        arguments: String,
    },
    /// In the form of the conventions already.
    Done(Vec<Value>),
}

impl Reply {
    pub(crate) fn new(keeps: bool) -> Self {
        Self {
            keeps,
            room: MOST,
            ..Self::default()
        }
    }

    /// Members of a whole reply that are read.
    pub(crate) fn wants(member: &str) -> bool {
        matches!(
            member,
            "id" | "model"
                | "usage"
                | "choices"
                | "content"
                | "output"
                | "stop_reason"
                | "status"
                | "incomplete_details"
                | "error"
                | "service_tier"
                | "system_fingerprint"
        )
    }

    pub(crate) fn read(&mut self, api: Api, members: &Members) {
        self.read_by(api, |name| members.get(name));
    }

    /// A whole reply, of which `get` gives the members.
    fn read_by<'v>(&mut self, api: Api, get: impl Fn(&str) -> Option<&'v Value>) {
        let text = |name: &str| get(name).and_then(Value::as_str);
        keep(&mut self.id, text("id"));
        keep(&mut self.model, text("model"));
        keep(&mut self.service_tier, text("service_tier"));
        keep(&mut self.fingerprint, text("system_fingerprint"));
        if let Some(usage) = get("usage") {
            self.count(api, usage);
        }
        if let Some(error) = get("error").filter(|error| !error.is_null()) {
            self.fail(error);
        }
        match api {
            Api::Chat | Api::Completions => {
                for choice in get("choices")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                {
                    self.choice(choice);
                }
            }
            Api::Responses => {
                let reason = get("incomplete_details").and_then(|details| details.get("reason"));
                let reason = reason.and_then(Value::as_str).or_else(|| text("status"));
                // Of one that is made in the background.
                let is_under_way = matches!(reason, Some("queued" | "in_progress"));
                self.finish(0, reason.filter(|_| !is_under_way));
                for (place, item) in get("output")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .enumerate()
                {
                    self.item(place as u64, item);
                }
            }
            Api::Messages => {
                self.finish(0, text("stop_reason"));
                if let Some(content) = get("content") {
                    let said = messages::parts(content, &mut self.take_room());
                    self.done(0, 0, said);
                }
            }
            Api::Embeddings => {}
        }
    }

    /// An item of `output` of a response.
    fn item(&mut self, place: u64, item: &Value) {
        let said = match item.get("content") {
            Some(content) => messages::parts(content, &mut self.take_room()),
            None => messages::part(item, &mut self.take_room())
                .into_iter()
                .collect(),
        };
        self.done(0, place, said);
    }

    /// One of several replies, whole.
    fn choice(&mut self, choice: &Value) {
        let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
        self.finish(index, choice.get("finish_reason").and_then(Value::as_str));
        let mut room = self.take_room();
        let mut said = Vec::new();
        if let Some(text) = choice.get("text").and_then(Value::as_str) {
            said.extend(room.text(text));
        }
        if let Some(message) = choice.get("message") {
            let reasoning = message.get("reasoning_content").and_then(Value::as_str);
            if let Some(reasoning) = reasoning.filter(|_| room.part()) {
                said.push(json!({ "type": "reasoning", "content": room.cut(reasoning) }));
            }
            if let Some(content) = message.get("content") {
                said.extend(messages::parts(content, &mut room));
            }
            if let Some(refusal) = message.get("refusal").and_then(Value::as_str) {
                said.extend(room.text(refusal));
            }
            for call in message
                .get("tool_calls")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                said.extend(messages::part(call, &mut room));
            }
        }
        self.done(index, 0, said);
    }

    fn done(&mut self, choice: u64, place: u64, said: Vec<Value>) {
        if !self.keeps || said.is_empty() {
            return;
        }
        let len: usize = said.iter().map(|part| part.to_string().len()).sum();
        self.room = self.room.saturating_sub(len);
        if let Some(parts) = self.parts(choice)
            && (parts.len() < MAX_PARTS || parts.contains_key(&place))
        {
            parts.insert(place, Part::Done(said));
        }
    }

    fn take_room(&self) -> Room {
        Room(if self.keeps { self.room } else { 0 })
    }

    fn choice_of(&mut self, index: u64) -> Option<&mut Choice> {
        if self.choices.len() >= MAX_CHOICES && !self.choices.contains_key(&index) {
            return None;
        }
        Some(self.choices.entry(index).or_default())
    }

    fn parts(&mut self, choice: u64) -> Option<&mut BTreeMap<u64, Part>> {
        Some(&mut self.choice_of(choice)?.parts)
    }

    fn finish(&mut self, choice: u64, reason: Option<&str>) {
        if let Some(reason) = reason
            && let Some(choice) = self.choice_of(choice)
        {
            choice.finish = Some(short(reason).to_owned());
        }
    }

    /// `error` of a body or an event: an object, or, of some servers, a text.
    fn fail(&mut self, error: &Value) {
        let name = ["code", "type"]
            .iter()
            .find_map(|name| error.get(name).and_then(Value::as_str));
        // What the message says may be what a user said.
        self.error = Some(short(name.unwrap_or("_OTHER")).to_owned());
    }

    fn count(&mut self, api: Api, usage: &Value) {
        let at = |paths: &[&str]| {
            let mut found = paths
                .iter()
                .filter_map(|path| usage.pointer(path)?.as_i64());
            found.next().filter(|count| *count >= 0)
        };
        let set = |to: &mut Option<i64>, count: Option<i64>| *to = count.or(*to);
        let of = &mut self.usage;
        let input = at(&["/input_tokens", "/prompt_tokens"]);
        if api == Api::Messages {
            set(&mut of.cache_read, at(&["/cache_read_input_tokens"]));
            set(&mut of.cache_write, at(&["/cache_creation_input_tokens"]));
            // Anthropic counts apart what came from the cache or went there.
            let cached = of
                .cache_read
                .unwrap_or(0)
                .saturating_add(of.cache_write.unwrap_or(0));
            set(
                &mut of.input,
                input.map(|input| input.saturating_add(cached)),
            );
        } else {
            set(&mut of.input, input);
            let read = [
                "/prompt_tokens_details/cached_tokens",
                "/input_tokens_details/cached_tokens",
            ];
            set(&mut of.cache_read, at(&read));
        }
        set(
            &mut of.output,
            at(&["/output_tokens", "/completion_tokens"]),
        );
        let reasoning = [
            "/completion_tokens_details/reasoning_tokens",
            "/output_tokens_details/reasoning_tokens",
        ];
        set(&mut of.reasoning, at(&reasoning));
    }

    /// `gen_ai.response.finish_reasons`, by choice.
    pub(crate) fn finish_reasons(&self) -> Vec<String> {
        let reasons = self.choices.values().map(|choice| choice.finish.clone());
        reasons.flatten().collect()
    }

    /// `gen_ai.output.messages`; none where nothing was said.
    pub(crate) fn messages(&self) -> Option<String> {
        let mut room = Room(MOST);
        let mut messages = Vec::new();
        for choice in self
            .choices
            .values()
            .filter(|choice| !choice.parts.is_empty())
        {
            let mut parts = Vec::new();
            for part in choice.parts.values() {
                match part {
                    Part::Text(text) => parts.extend(room.text(text)),
                    Part::Reasoning(text) if room.part() => {
                        parts.push(json!({ "type": "reasoning", "content": room.cut(text) }));
                    }
                    Part::Call {
                        id,
                        name,
                        arguments,
                    } if room.part() => {
                        let arguments = Value::from(arguments.as_str());
                        parts.push(messages::tool_call(
                            Some(id),
                            Some(name),
                            &arguments,
                            &mut room,
                        ));
                    }
                    Part::Done(said) => {
                        let len: usize = said.iter().map(|part| part.to_string().len()).sum();
                        if len <= room.0 {
                            room.0 -= len;
                            parts.extend(said.iter().cloned());
                        }
                    }
                    Part::Reasoning(_) | Part::Call { .. } => {}
                }
            }
            let mut message = json!({ "role": "assistant", "parts": parts });
            if let Some(finish) = &choice.finish {
                message["finish_reason"] = finish.as_str().into();
            }
            messages.push(message);
        }
        (!messages.is_empty()).then(|| Value::from(messages).to_string())
    }

    /// Whether a stream has said that it is at its end, or why it has none.
    pub(crate) fn is_over(&self) -> bool {
        self.ended || self.error.is_some()
    }

    /// How much is known beside what was said: so many things at most.
    pub(crate) fn known(&self) -> usize {
        let Usage {
            input,
            output,
            cache_read,
            cache_write,
            reasoning,
        } = self.usage;
        let counts = [input, output, cache_read, cache_write, reasoning];
        let texts = [
            &self.id,
            &self.model,
            &self.service_tier,
            &self.fingerprint,
            &self.error,
        ];
        let finished = self.choices.values().filter(|one| one.finish.is_some());
        counts.into_iter().flatten().count()
            + texts.into_iter().flatten().count()
            + finished.count()
            + usize::from(self.ended)
    }

    /// About how much was said so far, in bytes.
    pub(crate) fn said(&self) -> usize {
        MOST - self.room
    }
}

fn keep(to: &mut Option<String>, text: Option<&str>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        *to = Some(short(text).to_owned());
    }
}

/// No more of a name than anyone would give.
pub(crate) fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(256)]
}
