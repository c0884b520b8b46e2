//! What a request asks of a model, as attributes of the call.

use serde_json::Value;
use weir_sdk::span::upstream::set_attribute;

use crate::call::Api;
use crate::json::Members;
use crate::messages;
use crate::reply::short;

/// Members of a request that are read.
pub(crate) fn wants(member: &str) -> bool {
    wants_content(member)
        || matches!(
            member,
            "model"
                | "stream"
                | "max_tokens"
                | "max_completion_tokens"
                | "max_output_tokens"
                | "temperature"
                | "top_p"
                | "top_k"
                | "frequency_penalty"
                | "presence_penalty"
                | "seed"
                | "stop"
                | "stop_sequences"
                | "n"
                | "reasoning_effort"
                | "reasoning"
                | "previous_response_id"
                | "conversation"
                | "response_format"
                | "text"
                | "encoding_format"
                | "dimensions"
                | "service_tier"
        )
}

/// As [`wants`], without what was said.
pub(crate) fn wants_little(member: &str) -> bool {
    wants(member) && !wants_content(member)
}

fn wants_content(member: &str) -> bool {
    matches!(
        member,
        "messages" | "input" | "prompt" | "system" | "instructions" | "tools"
    )
}

/// The model that is asked for.
pub(crate) fn model(of: &Members) -> Option<&str> {
    let model = of.get("model")?.as_str()?;
    (!model.is_empty()).then(|| short(model))
}

/// Its parameters.
pub(crate) fn parameters(api: Api, of: &Members) {
    if of.get("stream") == Some(&Value::Bool(true)) {
        set_attribute("gen_ai.request.stream", true);
    }
    for (name, members) in [
        (
            "gen_ai.request.max_tokens",
            &["max_completion_tokens", "max_output_tokens", "max_tokens"][..],
        ),
        ("gen_ai.request.top_k", &["top_k"]),
        ("gen_ai.request.seed", &["seed"]),
        ("gen_ai.embeddings.dimension.count", &["dimensions"]),
    ] {
        let number = members.iter().find_map(|member| of.get(member)?.as_i64());
        if let Some(number) = number {
            set_attribute(name, number);
        }
    }
    if let Some(count) = of.get("n").and_then(Value::as_i64).filter(|n| *n != 1) {
        set_attribute("gen_ai.request.choice.count", count);
    }
    for member in [
        "temperature",
        "top_p",
        "frequency_penalty",
        "presence_penalty",
    ] {
        if let Some(number) = of.get(member).and_then(Value::as_f64) {
            set_attribute(&format!("gen_ai.request.{member}"), number);
        }
    }
    let stop = of.get("stop").or_else(|| of.get("stop_sequences"));
    let stop = list(stop);
    if !stop.is_empty() {
        set_attribute("gen_ai.request.stop_sequences", stop);
    }
    let format = list(of.get("encoding_format"));
    if !format.is_empty() {
        set_attribute("gen_ai.request.encoding_formats", format);
    }
    let within = |member: &str, path: &str| of.get(member).and_then(|value| value.pointer(path));
    let texts = [
        (
            "gen_ai.request.reasoning.level",
            of.get("reasoning_effort")
                .or_else(|| within("reasoning", "/effort")),
        ),
        (
            "gen_ai.request.previous_response.id",
            of.get("previous_response_id"),
        ),
        (
            "gen_ai.conversation.id",
            within("conversation", "/id").or_else(|| of.get("conversation")),
        ),
        (
            "gen_ai.output.type",
            within("response_format", "/type").or_else(|| within("text", "/format/type")),
        ),
        (
            "openai.request.service_tier",
            of.get("service_tier").filter(|_| api != Api::Messages),
        ),
    ];
    for (name, value) in texts {
        match value.and_then(Value::as_str) {
            Some("json_object" | "json_schema") if name == "gen_ai.output.type" => {
                set_attribute(name, "json");
            }
            Some("auto") if name == "openai.request.service_tier" => {}
            Some(text) => set_attribute(name, short(text)),
            None => {}
        }
    }
}

/// What was said to the model.
pub(crate) fn content(api: Api, of: &Members) {
    let member = match api {
        Api::Chat | Api::Messages => "messages",
        Api::Completions => "prompt",
        Api::Responses => "input",
        // They are no messages by the conventions.
        Api::Embeddings => return,
    };
    let system = of.get("system").or_else(|| of.get("instructions"));
    for (name, text) in [
        (
            "gen_ai.input.messages",
            of.get(member).and_then(messages::input),
        ),
        (
            "gen_ai.system_instructions",
            system.and_then(messages::instructions),
        ),
        (
            "gen_ai.tool.definitions",
            of.get("tools").and_then(messages::tools),
        ),
    ] {
        if let Some(text) = text {
            set_attribute(name, text);
        }
    }
}

/// A text, or texts.
fn list(of: Option<&Value>) -> Vec<String> {
    let texts = match of {
        Some(Value::Array(texts)) => texts.as_slice(),
        Some(text) => std::slice::from_ref(text),
        None => &[],
    };
    let texts = texts.iter().filter_map(Value::as_str);
    texts.map(|text| short(text).to_owned()).take(16).collect()
}
