//! The `OpenAPI` document of the API, made of the table of its operations and the types of their answers.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::configuration::Faulty;
use super::operations::{ALL, Answer, FILTER, Kind, Operation, Parameter, entry};

/// The document.
pub(super) fn document() -> Value {
    let settings = || {
        SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
    };
    let mut answers = settings().for_serialize().into_generator();
    let mut bodies = settings().into_generator();
    let problem = |description: &str| {
        let schema = json!({ "$ref": "#/components/schemas/Problem" });
        let content = json!({ "application/problem+json": { "schema": schema } });
        json!({ "description": description, "content": content })
    };
    let mut paths = Map::new();
    for entry in ALL.into_iter().map(entry) {
        let answer = match entry.answer {
            Answer::Json(schema) => {
                json!({ "application/json": { "schema": schema(&mut answers) } })
            }
            Answer::Events(schema) => {
                json!({ "text/event-stream": { "schema": schema(&mut answers) } })
            }
        };
        let mut responses = json!({ "200": { "description": "It is so.", "content": answer } });
        let guarded = [
            (401, "`admin.token` is required."),
            (403, "Not from this host or site, or read-only."),
            (500, "Weir could not look it up."),
        ];
        for (status, description) in guarded {
            responses[status.to_string()] = problem(description);
        }
        for status in entry.problems {
            responses[status.to_string()] = problem(meaning(*status));
        }
        if entry.operation == Operation::Save {
            // Faults are told one by one.
            let schema = answers.subschema_for::<Faulty>();
            responses["422"]["content"]["application/json"] = json!({ "schema": schema });
        }
        let filter = match entry.operation {
            Operation::Traces | Operation::Tail => FILTER,
            // Its time is required.
            Operation::Histogram => &FILTER[2..],
            _ => &[],
        };
        let segments = entry
            .path
            .split('/')
            .filter(|segment| segment.starts_with('{'));
        let parameters: Vec<Value> = segments
            .map(|name| {
                let name = name.trim_matches(['{', '}']);
                json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
            })
            .chain(entry.parameters.iter().chain(filter).map(parameter))
            .collect();
        let mut operation = json!({
            "operationId": format!("{:?}", entry.operation),
            "summary": entry.summary,
            "parameters": parameters,
            "responses": responses,
        });
        if let Some(schema) = entry.body {
            let content = json!({ "application/json": { "schema": schema(&mut bodies) } });
            operation["requestBody"] = json!({ "required": true, "content": content });
        }
        let method = entry.method.as_str().to_lowercase();
        let path = paths.entry(format!("/api/{}", entry.path));
        path.or_insert_with(|| json!({}))[method] = operation;
    }
    let mut schemas = answers.take_definitions(true);
    schemas.extend(bodies.take_definitions(true));
    schemas.insert(
        "Problem".to_owned(),
        json!({
            "type": "object",
            "description": "RFC 9457.",
            "required": ["type", "title", "status", "detail"],
            "properties": {
                "type": { "type": "string" },
                "title": { "type": "string" },
                "status": { "type": "integer" },
                "detail": { "type": "string" },
            },
        }),
    );
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Weir's admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What the console shows and changes. It may change with any version before 1.0.",
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{}, { "token": [] }],
        "paths": paths,
    })
}

fn parameter(of: &Parameter) -> Value {
    let schema = match of.kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Number => json!({ "type": "number", "minimum": 0 }),
        Kind::Whole => json!({ "type": "integer", "format": "int64", "minimum": 0 }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::List => json!({ "type": "array", "items": { "type": "string" } }),
    };
    json!({
        "name": of.name,
        "in": "query",
        "required": of.required,
        "description": of.description,
        "schema": schema,
    })
}

fn meaning(status: u16) -> &'static str {
    match status {
        400 => "A parameter or the body cannot be read.",
        404 => "There is no such thing here.",
        409 => {
            "Not as Weir is configured: without a store, without a file, or the file was changed meanwhile."
        }
        413 => "The body is too large.",
        415 => "The body is not JSON.",
        422 => "The configuration would have faults, or cannot be edited so.",
        429 => "Too many follow traces live already.",
        _ => "A problem.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_document_refers_to_is_in_it() {
        let document = document();
        let text = document.to_string();
        let references = text.split("\"$ref\":\"#").skip(1);
        let pointers: Vec<&str> = references
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert!(pointers.len() > 20);
        for pointer in pointers {
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
        let paths = document["paths"].as_object().expect("paths");
        assert_eq!(paths.len(), ALL.len());
    }

    #[test]
    fn whatever_is_answered_is_described() {
        let document = document();
        for (path, operations) in document["paths"].as_object().expect("paths") {
            for operation in operations.as_object().expect("operations").values() {
                let content = operation["responses"]["200"]["content"].as_object();
                for (kind, of) in content.expect("content") {
                    let reference = of["schema"]["$ref"].as_str();
                    let schema = reference.map_or(&of["schema"], |of| {
                        let pointer = of.trim_start_matches('#');
                        document.pointer(pointer).expect("a schema")
                    });
                    let members = schema["required"].as_array().map_or(0, Vec::len);
                    assert!(members > 0, "{path} as {kind}: {schema}");
                }
            }
        }
    }
}
