//! The judge of cases: what was expected beside what was seen.

use http::HeaderMap;
use serde_json::{Map, Value};

use super::{Difference, Expect, Observed};

/// Most characters of a text that is shown.
const SHOWN: usize = 400;

pub(super) fn differences(expect: &Expect, observed: &Observed) -> Vec<Difference> {
    let mut found = Found(Vec::new());
    if expect.refused.is_some() || observed.refused.is_some() {
        found.part(
            "refused",
            expect.refused.as_deref(),
            observed.refused.as_ref(),
        );
        // Where a configuration was refused nothing else has happened.
        return found.0;
    }
    found.part(
        "failure",
        expect.failure.as_deref(),
        observed.failure.as_ref(),
    );
    if let Some(action) = expect.action {
        found.compare("action", &word(action), Some(&word(observed.action)));
    }
    if let Some(upstream) = &expect.upstream {
        let seen = observed.upstream.as_ref().map(|name| name.as_str().into());
        found.compare("upstream", &upstream.as_str().into(), seen.as_ref());
    }
    found.request(expect, observed);
    found.response(expect, observed);
    for (place, attributes) in &expect.spans {
        let place_name = word(place);
        let span = observed.spans.get(place);
        for (key, expected) in attributes {
            let what = format!("spans.{}.{key}", text(&place_name));
            match span {
                Some(span) => found.compare(&what, expected, span.get(key)),
                None if expected.is_null() => {}
                None => found.add(&what, expected, "the hook was not called".into()),
            }
        }
    }
    if let Some(calls) = &expect.calls
        && *calls != observed.calls
    {
        let got = match &*observed.calls {
            [] => "none".into(),
            calls => calls.join("\n"),
        };
        found.add("calls", &calls.join("\n").into(), got);
    }
    for line in &expect.logs {
        if !observed.logs.iter().any(|seen| seen.contains(line)) {
            let seen = match &*observed.logs {
                [] => "no line".into(),
                lines => lines.join("\n"),
            };
            found.add("logs", &line.as_str().into(), seen);
        }
    }
    found.0
}

/// Whether each expected value is of a kind that can be compared.
pub(super) fn check(expect: &Expect) -> Result<(), String> {
    let bodies = expect.request.body.iter().chain(&expect.response.body);
    let bodies = bodies.map(|body| ("body", body));
    let headers = (expect.request.headers.iter())
        .chain(&expect.response.headers)
        .chain(expect.spans.values().flatten())
        .map(|(name, value)| (name.as_str(), value));
    for (name, value) in bodies.chain(headers) {
        let known = match value {
            Value::Object(object) => {
                object.len() == 1 && object.get("contains").is_some_and(Value::is_string)
            }
            Value::Array(values) => values.iter().all(|value| scalar(value).is_some()),
            _ => true,
        };
        if !known {
            return Err(format!(
                "expect: `{name}` is to be a text, a number, a list of texts, null or {{contains: …}}, not {value}"
            ));
        }
    }
    Ok(())
}

/// A value that is written as one text in a header.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

struct Found(Vec<Difference>);

impl Found {
    fn add(&mut self, what: &str, expected: &Value, got: String) {
        self.0.push(Difference {
            what: what.into(),
            expected: shown(&match expected {
                Value::Null => "nothing".into(),
                Value::Object(object) => format!("… {} …", text(&object["contains"])),
                expected => text(expected),
            }),
            got: shown(&got),
        });
    }

    fn compare(&mut self, what: &str, expected: &Value, got: Option<&Value>) {
        if !fits(expected, got) {
            self.add(what, expected, got.map_or_else(|| "nothing".into(), text));
        }
    }

    /// A text that is to be there, in part, or not at all.
    fn part(&mut self, what: &str, expected: Option<&str>, got: Option<&String>) {
        let fits = match (expected, got) {
            (Some(part), Some(text)) => text.contains(part),
            (None, None) => true,
            _ => false,
        };
        if !fits {
            let expected = expected.map_or(Value::Null, Into::into);
            self.add(
                what,
                &expected,
                got.cloned().unwrap_or_else(|| "nothing".into()),
            );
        }
    }

    fn request(&mut self, expect: &Expect, observed: &Observed) {
        let Some((url, headers)) = &observed.request else {
            return;
        };
        if let Some(expected) = &expect.request.url {
            let seen = if expected.starts_with('/') {
                let uri = url.parse::<http::Uri>().ok();
                let path = uri.as_ref().and_then(http::Uri::path_and_query);
                path.map_or_else(|| url.clone(), ToString::to_string)
            } else {
                url.clone()
            };
            self.compare("request.url", &expected.as_str().into(), Some(&seen.into()));
        }
        self.headers("request", &expect.request.headers, headers);
        self.body(
            "request",
            expect.request.body.as_ref(),
            &observed.request_body,
        );
    }

    fn response(&mut self, expect: &Expect, observed: &Observed) {
        let expected = &expect.response;
        let Some(response) = &observed.response else {
            return;
        };
        if let Some(status) = expected.status {
            let seen = response.status().as_u16();
            self.compare("response.status", &status.into(), Some(&seen.into()));
        }
        self.headers("response", &expected.headers, response.headers());
        self.body("response", expected.body.as_ref(), response.body());
    }

    fn body(&mut self, of: &str, expected: Option<&Value>, seen: &[u8]) {
        let Some(expected) = expected else { return };
        // As in a header.
        let expected = scalar(expected).map_or_else(|| expected.clone(), Value::from);
        let seen = String::from_utf8_lossy(seen);
        let seen = (!seen.is_empty()).then(|| Value::from(&*seen));
        let fits_empty = seen.is_none() && expected.as_str() == Some("");
        if !fits_empty {
            self.compare(&format!("{of}.body"), &expected, seen.as_ref());
        }
    }

    fn headers(&mut self, of: &str, expected: &Map<String, Value>, headers: &HeaderMap) {
        for (name, expected) in expected {
            let values: Vec<String> = headers
                .get_all(name)
                .iter()
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
                .collect();
            let seen: Option<Value> = match (&*values, expected) {
                ([], _) => None,
                (values, Value::Array(_)) => Some(values.into()),
                (values, _) => Some(values.join(", ").into()),
            };
            // What is in a header is text, however a number was written in the file.
            let expected = match expected {
                Value::Array(values) => values.iter().filter_map(scalar).collect(),
                other => scalar(other).map_or_else(|| other.clone(), Value::from),
            };
            self.compare(&format!("{of}.headers.{name}"), &expected, seen.as_ref());
        }
    }
}

fn fits(expected: &Value, got: Option<&Value>) -> bool {
    match (expected, got) {
        (Value::Null, got) => got.is_none(),
        (_, None) => false,
        (Value::Object(object), Some(got)) => {
            let part = object["contains"].as_str().unwrap_or_default();
            text(got).contains(part)
        }
        (Value::Number(expected), Some(Value::Number(got))) => expected.as_f64() == got.as_f64(),
        (expected, Some(got)) => expected == got,
    }
}

fn word(value: impl Into<Word>) -> Value {
    value.into().0.into()
}

/// An enum's word in the file.
struct Word(&'static str);

impl From<super::Action> for Word {
    fn from(action: super::Action) -> Self {
        Self(match action {
            super::Action::Continue => "continue",
            super::Action::Respond => "respond",
            super::Action::Reroute => "reroute",
            super::Action::Fail => "fail",
        })
    }
}

impl From<&super::Place> for Word {
    fn from(place: &super::Place) -> Self {
        Self(match place {
            super::Place::PreRequest => "pre_request",
            super::Place::Request => "request",
            super::Place::Response => "response",
            super::Place::Upstream => "upstream",
        })
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}
