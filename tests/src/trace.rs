//! A trace of `format: json`, as tests look at it.

use serde_json::Value;

/// One trace.
#[derive(Clone, Debug)]
pub struct Trace(pub Value);

impl Trace {
    /// # Panics
    ///
    /// When it is no JSON.
    pub fn new(json: &[u8]) -> Self {
        Self(serde_json::from_slice(json).expect("a trace is JSON"))
    }

    pub fn spans(&self) -> &[Value] {
        self.0["Spans"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The names of all spans, in order.
    pub fn names(&self) -> Vec<&str> {
        let names = self.spans().iter().map(|span| span["Name"].as_str());
        names.map(Option::unwrap_or_default).collect()
    }

    /// The root's.
    pub fn root(&self) -> &Value {
        &self.0["RootSpan"]
    }

    /// The first span of a name.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn span(&self, name: &str) -> &Value {
        let span = self.spans().iter().find(|span| span["Name"] == name);
        span.unwrap_or_else(|| panic!("no span {name}: {:#}", self.0))
    }

    /// The name of a span's parent; empty where that is not in this trace.
    pub fn parent(&self, name: &str) -> &str {
        let id = &self.span(name)["ParentID"];
        let parent = self.spans().iter().find(|span| span["SpanID"] == *id);
        parent
            .and_then(|parent| parent["Name"].as_str())
            .unwrap_or_default()
    }

    /// One attribute of the first span of a name.
    pub fn attribute(&self, name: &str, key: &str) -> &Value {
        &self.span(name)["Attributes"][key]
    }
}

/// How long a span lasted, in milliseconds.
///
/// # Panics
///
/// When it has no times.
pub fn lasted(span: &Value) -> f64 {
    let of_day = |key: &str| {
        let time = span[key].as_str().expect("a time").trim_end_matches('Z');
        let (_, time) = time.split_once('T').expect("a date before it");
        let parts = time.split(':').map(str::parse::<f64>);
        parts.fold(0.0, |sum, part| 60.0 * sum + part.expect("a number"))
    };
    (of_day("EndTime") - of_day("StartTime")).rem_euclid(86_400.0) * 1e3
}
