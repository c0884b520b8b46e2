//! What was said, to a model and by it, is nowhere in a topic that is to be without it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use weir_tests::config::config;
use weir_tests::kafka::shared;
use weir_tests::trace::Trace;

use super::{FIRST_CHUNK, call, folders, genai, model, play, span, strict};
use crate::Stand;

/// Members of bodies whose texts are names, degrees or reasons: traces may have them.
const NAMES: [&str; 19] = [
    "code",
    "detail",
    "effort",
    "encoding_format",
    "finish_reason",
    "id",
    "model",
    "object",
    "previous_response_id",
    "reason",
    "reasoning_effort",
    "role",
    "service_tier",
    "status",
    "stop",
    "stop_reason",
    "stop_sequences",
    "system_fingerprint",
    "type",
];

/// Attributes that say what was said.
const SAYING: [&str; 4] = [
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.tool.definitions",
];

/// Adds all texts of a value but those of members that are left out, and those that such a text of JSON has.
fn texts(of: &Value, left_out: &[&str], found: &mut BTreeSet<String>) {
    match of {
        Value::String(text) => {
            found.insert(text.clone());
            if let Some(inner) = text.starts_with(['[', '{']).then_some(text)
                && let Ok(inner) = serde_json::from_str(inner)
            {
                texts(&inner, left_out, found);
            }
        }
        Value::Array(items) => {
            for item in items {
                texts(item, left_out, found);
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                if !left_out.contains(&name.as_str()) {
                    texts(value, left_out, found);
                }
            }
        }
        _ => {}
    }
}

/// What was said in an exchange, as its bodies have it and put together, but for what is too short to be
/// told from anything else.
fn said(folder: &Path) -> BTreeSet<String> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let events = read("response.sse");
    let bodies = [read("request.json"), read("response.json")];
    let bodies = bodies.iter().map(String::as_str);
    let events = events
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    let mut said = BTreeSet::new();
    for text in bodies.chain(events) {
        // A stream may be cut in an event.
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        texts(&value, &NAMES, &mut said);
    }
    let span = span(folder);
    for name in SAYING {
        texts(&span["attributes"][name], &NAMES, &mut said);
    }
    let said = said.iter().map(|text| text.trim());
    let said = said.filter(|text| text.chars().count() > 2);
    said.map(str::to_owned).collect()
}

/// Which of what was said a trace has.
fn has<'s>(trace: &Trace, said: &'s BTreeSet<String>) -> Vec<&'s String> {
    let mut landed = BTreeSet::new();
    texts(&trace.0, &[], &mut landed);
    said.iter()
        .filter(|said| landed.iter().any(|text| text.contains(*said)))
        .collect()
}

/// The call has all else that is expected of it, and no more.
fn assert_measured(trace: &Trace, folder: &Path, is_left_out: impl Fn(&str) -> bool) {
    let what = folder.display();
    let told = call(trace)["Attributes"].as_object().expect("attributes");
    let span = span(folder);
    let expected = span["attributes"].as_object().expect("attributes");
    let is_genais = |name: &str| name.starts_with("gen_ai.") || name.starts_with("openai.");
    let told_of = told.keys().map(String::as_str);
    let told_of: BTreeSet<_> = told_of
        .filter(|name| is_genais(name) && *name != FIRST_CHUNK)
        .collect();
    let names = expected.keys().map(String::as_str);
    let kept: BTreeSet<_> = names
        .filter(|name| is_genais(name) && !is_left_out(name))
        .collect();
    assert_eq!(told_of, kept, "{what}");
    for name in kept {
        assert_eq!(told[name], expected[name], "{what}: {name}");
    }
}

#[test]
fn nothing_that_was_said_in_recorded_exchanges_lands_where_it_is_stripped() {
    let upstream = model();
    let mut config = config(&upstream);
    config["plugins"]["genai"] = genai(json!({}));
    config["routes"][0]["plugins"] = json!(["genai"]);
    let strict = strict(&mut config);
    let telling = Stand::with(upstream, config);
    let silent = Stand::before(model(), &[("genai", genai(json!({ "content": false })))]);
    let folders = folders();
    for folder in &folders {
        play(&telling, folder);
        play(&silent, folder);
    }
    let topics = [&telling.topic, &strict, &silent.topic];
    let [told, stripped, silent] = topics.map(|topic| shared().traces(topic, folders.len()));
    for (index, folder) in folders.iter().enumerate() {
        let what = folder.display();
        let said = said(folder);
        // What is embedded is no message.
        let is_told = !folder.ends_with("openai-embeddings");
        assert_eq!(!has(&told[index], &said).is_empty(), is_told, "{what}");

        assert!(!said.is_empty(), "{what}");
        for trace in [&stripped[index], &silent[index]] {
            let none: [&String; 0] = [];
            assert_eq!(has(trace, &said), none, "{what}");
        }
        assert_measured(&silent[index], folder, |name| SAYING.contains(&name));
        assert_measured(&stripped[index], folder, |name| {
            SAYING.contains(&name) || name.starts_with("gen_ai.output.")
        });
        let stripped = &stripped[index];
        let name = call(stripped)["Name"].as_str().expect("a name");
        assert_eq!(stripped.spans().len(), 2, "{what}");
        assert_eq!(stripped.parent(name), stripped.root()["Name"], "{what}");
    }
}
