//! Filter 3, `disable_content_logging`: strips what users and models said, and keeps what it cost.
//!
//! Attributes come from plugins, so that no list of keys is ever whole: keys are judged by their
//! words. `gen_ai.input.*` and `gen_ai.output.*` go always. Else a key with a word of measure
//! (`llm.token_count.prompt`) stays, and one with a word of content (`gen_ai.prompt.0.content`)
//! goes.

use super::Rules;
use crate::config;

pub(super) fn add(config: &config::Filters, rules: &mut Rules) {
    if config.disable_content_logging {
        rules.keys.push(Box::new(|key| !is_content(key)));
    }
}

fn is_content(key: &str) -> bool {
    // Weir's own, on every hook's span: not worth a look.
    if key.starts_with("weir.hook.") {
        return false;
    }
    if key.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return is_content(&key.to_ascii_lowercase());
    }
    if key.starts_with("gen_ai.input.") || key.starts_with("gen_ai.output.") {
        return true;
    }
    let (mut content, mut of_tool, mut exchanged) = (false, false, false);
    for word in key.split(['.', '_', '-', ':', '/']) {
        match word {
            "token" | "tokens" | "count" | "cost" | "length" | "size" | "type" | "duration" => {
                return false;
            }
            "prompt" | "prompts" | "completion" | "completions" | "instruction"
            | "instructions" | "messages" | "content" | "contents" | "argument" | "arguments"
            | "body" | "raw" => content = true,
            "tool" | "tools" | "function" => of_tool = true,
            "result" | "results" | "response" | "definitions" | "parameters" => exchanged = true,
            _ => {}
        }
    }
    content
        || (of_tool && exchanged)
        || key
            .split('.')
            .any(|part| matches!(part, "input" | "output"))
}

#[cfg(test)]
mod tests {
    use super::is_content;

    #[test]
    fn content_goes() {
        for key in [
            "gen_ai.input.messages",
            "gen_ai.output.messages",
            "gen_ai.output.type",
            "gen_ai.input.token_like",
            "gen_ai.system_instructions",
            "gen_ai.prompt",
            "gen_ai.prompt.0.content",
            "gen_ai.completion.0.content",
            "gen_ai.request.instructions",
            "gen_ai.tool.call.arguments",
            "gen_ai.tool.call.result",
            "gen_ai.tool.definitions",
            "gen_ai.raw_request",
            "gen_ai.response.raw",
            "GenAI.Raw-Response",
            "llm.input_messages.0.message.content",
            "http.request.body",
            "traceloop.entity.input",
            "output.value",
        ] {
            assert!(is_content(key), "{key}");
        }
    }

    #[test]
    fn timing_tokens_model_provider_cost_and_status_stay() {
        for key in [
            "gen_ai.operation.name",
            "gen_ai.provider.name",
            "gen_ai.request.model",
            "gen_ai.response.model",
            "gen_ai.response.finish_reasons",
            "gen_ai.response.id",
            "gen_ai.usage.input_tokens",
            "gen_ai.usage.output_tokens",
            "gen_ai.usage.prompt_tokens",
            "gen_ai.usage.cost",
            "gen_ai.tool.name",
            "gen_ai.tool.call.id",
            "gen_ai.request.temperature",
            "llm.token_count.prompt",
            "http.request.body.size",
            "http.request.method",
            "http.response.status_code",
            "error.type",
            "exception.message",
            "weir.hook.decision",
            "weir.upstream.duration_ms",
        ] {
            assert!(!is_content(key), "{key}");
        }
    }
}
