//! The judgement of a plugin's configuration by the plugin's own JSON Schema.
//!
//! The schema is a guest's word: it may be none, refer to itself without end, or tell of as many
//! alternatives as take for ever to try. One that cannot be used judges nothing; the guest itself judges
//! in `configure` anyway.

use jsonschema::PatternOptions;
use serde_json::Value as Json;

use super::load::Finding;
use super::schema;
use super::tree::Node;

/// Longest schema that is used, in bytes.
const SCHEMA_BYTES: usize = 256 << 10;

/// How often a schema may look at a value of the configuration, and how deep it may get there.
const LOOKS: u32 = 20_000;
const DEPTH: u32 = 64;

/// Most faults that are told, and most bytes of what is said of one.
const FINDINGS: usize = 64;
const TEXT: usize = 512;

/// Compiled patterns take at most so many bytes.
const PATTERN_BYTES: usize = 1 << 20;

/// What a configuration has that the schema does not allow, by path within the configuration. No
/// message quotes a value.
pub fn misfits(schema: &str, config: &Json) -> Vec<Finding> {
    if schema.len() > SCHEMA_BYTES {
        return Vec::new();
    }
    let Ok(document) = serde_json::from_str::<Json>(schema) else {
        return Vec::new();
    };
    let mut looks = Looks {
        document: &document,
        left: LOOKS,
    };
    if looks.at(&document, config, DEPTH).is_none() {
        return Vec::new();
    }
    let patterns = PatternOptions::regex()
        .size_limit(PATTERN_BYTES)
        .dfa_size_limit(PATTERN_BYTES);
    let validator = jsonschema::options()
        .with_pattern_options(patterns)
        .build(&document);
    let Ok(validator) = validator else {
        return Vec::new();
    };
    let tree = Node::of_json(config);
    let (faults, _) = schema::judge(&tree, &validator, &document);
    let findings = faults.into_iter().map(|(path, fault)| Finding {
        code: fault.code,
        path,
        message: plain(&fault.message),
        hint: fault.hint.as_deref().map(plain),
    });
    findings.take(FINDINGS).collect()
}

/// What may be shown of a text with a guest's words in it.
fn plain(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(TEXT)];
    text.replace(char::is_control, "\u{fffd}")
}

/// Goes the ways that a judgement may go, and gives up where there are too many.
struct Looks<'s> {
    document: &'s Json,
    left: u32,
}

impl Looks<'_> {
    fn at(&mut self, of: &Json, value: &Json, depth: u32) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        let depth = depth.checked_sub(1)?;
        let Some(of) = of.as_object() else {
            return Some(());
        };
        for (key, part) in of {
            match (key.as_str(), part) {
                ("$ref", Json::String(target)) => {
                    let pointer = target.strip_prefix('#')?;
                    let document = self.document;
                    self.at(document.pointer(pointer)?, value, depth)?;
                }
                // What moves the meaning of references.
                ("$id" | "$anchor" | "$dynamicRef" | "$recursiveRef", _) => return None,
                ("allOf" | "anyOf" | "oneOf", Json::Array(parts)) => {
                    for part in parts {
                        self.at(part, value, depth)?;
                    }
                }
                ("not" | "if" | "then" | "else", part) => self.at(part, value, depth)?,
                ("dependentSchemas", Json::Object(parts)) => {
                    for part in parts.values() {
                        self.at(part, value, depth)?;
                    }
                }
                ("properties", Json::Object(parts)) => {
                    for (key, part) in parts {
                        if let Some(value) = value.get(key) {
                            self.at(part, value, depth)?;
                        }
                    }
                }
                ("patternProperties", Json::Object(parts)) => {
                    for part in parts.values() {
                        self.below(part, value, depth)?;
                    }
                }
                ("prefixItems" | "items", Json::Array(parts)) => {
                    for part in parts {
                        self.below(part, value, depth)?;
                    }
                }
                (
                    "additionalProperties"
                    | "unevaluatedProperties"
                    | "propertyNames"
                    | "items"
                    | "contains"
                    | "unevaluatedItems"
                    | "additionalItems",
                    part,
                ) => self.below(part, value, depth)?,
                _ => {}
            }
        }
        Some(())
    }

    /// At all that is in a value.
    fn below(&mut self, of: &Json, value: &Json, depth: u32) -> Option<()> {
        match value {
            Json::Array(values) => {
                for value in values {
                    self.at(of, value, depth)?;
                }
            }
            Json::Object(values) => {
                for value in values.values() {
                    self.at(of, value, depth)?;
                }
            }
            _ => {}
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(schema: &Json, config: &Json) -> Vec<String> {
        let found = misfits(&schema.to_string(), config);
        let line = |found: Finding| {
            let hint = found.hint.map(|hint| format!(" ({hint})"));
            let hint = hint.unwrap_or_default();
            format!("{} {}: {}{hint}", found.code, found.path, found.message)
        };
        found.into_iter().map(line).collect()
    }

    #[test]
    fn every_fault_is_told_with_its_path_and_no_value() {
        let schema = json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["requests"],
            "properties": {
                "requests": { "type": "integer", "minimum": 1 },
                "burst": { "type": ["integer", "null"], "minimum": 1 },
                "by": { "oneOf": [
                    { "const": "client", "description": "Those of one address." },
                    { "const": "all", "description": "All." },
                ] },
                "inner": { "$ref": "#/$defs/inner" },
            },
            "$defs": { "inner": { "type": "object", "properties": { "a": { "type": "string" } } } },
        });
        let config =
            json!({ "burst": 0, "by": "clinet", "requsts": "s3cret", "inner": { "a": 7 } });
        let mut told = said(&schema, &config);
        told.sort();
        let expected = [
            "WEIR-C004 requsts: unknown key (did you mean `requests`?)",
            "WEIR-C005 requests: is missing",
            "WEIR-C006 inner.a: must be a string, is a number (put it in quotes)",
            "WEIR-C007 burst: must be at least 1",
            "WEIR-C007 by: must be one of `client`, `all` (did you mean `client`?)",
        ];
        assert_eq!(told, expected);
        assert_eq!(said(&schema, &json!({ "requests": 1 })), [""; 0]);
    }

    #[test]
    fn a_schema_that_cannot_be_used_judges_nothing() {
        let mut doubling = json!({ "type": "string" });
        for _ in 0..40 {
            doubling = json!({ "anyOf": [doubling, { "$ref": "#/anyOf/0" }] });
        }
        let schemas = [
            json!({ "$ref": "#" }),
            json!({ "$ref": "https://example.com/schema" }),
            json!({ "$ref": "#/nowhere" }),
            json!({ "$id": "https://example.com/", "type": "string" }),
            json!({ "anyOf": [{ "$ref": "#" }, { "$ref": "#" }] }),
            json!({ "additionalProperties": { "$ref": "#/additionalProperties" } }),
            json!({ "type": 7 }),
            json!({ "properties": { "a": { "pattern": "(a{1000}){1000}", "type": "string" } } }),
            doubling,
        ];
        for schema in schemas {
            assert_eq!(said(&schema, &json!({ "a": 1 })), [""; 0], "{schema}");
        }
        assert!(misfits("no JSON", &json!({})).is_empty());
        let huge = format!(
            "{{\"type\": \"string\", \"title\": \"{}\"}}",
            "x".repeat(SCHEMA_BYTES)
        );
        assert!(misfits(&huge, &json!({})).is_empty());
    }

    #[test]
    fn a_schema_that_recurses_with_the_configuration_is_used() {
        let schema = json!({ "type": "object", "additionalProperties": { "$ref": "#" } });
        let config = json!({ "a": { "b": { "c": 1 } } });
        assert_eq!(
            said(&schema, &config),
            ["WEIR-C006 a.b.c: must be a mapping, is a number"]
        );
    }

    #[test]
    fn words_of_a_schema_are_shown_without_control_characters() {
        let schema = json!({ "properties": { "a": { "enum": ["\u{1b}[31m"] } } });
        let told = said(&schema, &json!({ "a": "b" }));
        assert_eq!(told, ["WEIR-C007 a: must be one of `\u{fffd}[31m`"]);
    }
}
