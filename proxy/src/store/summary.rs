//! What a list says of a trace.

use schemars::JsonSchema;
use serde::Serialize;

use crate::trace::{Status, Trace, Value};

/// One line of a list of traces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Summary {
    /// Its place in the store: later ones are greater.
    pub id: i64,
    pub trace_id: String,
    pub request_id: String,
    /// Microseconds since the Unix epoch.
    pub start_us: i64,
    pub duration_ns: i64,
    /// Time spent waiting for the upstream.
    pub upstream_ns: i64,
    pub method: String,
    pub path: String,
    /// Name of the route; empty where none took it.
    pub route: String,
    /// `None` where the client left before a response.
    pub status: Option<u16>,
    /// Whether the request ended in error.
    pub failed: bool,
    /// What the first span that ended in error says.
    pub error: String,
    /// The plugin that answered instead of the upstream.
    pub short_circuit: String,
    /// Names of plugins whose hooks ran, each once.
    pub plugins: Vec<String>,
    /// Model of a call to generative AI.
    pub model: String,
    pub spans: u32,
    /// Of its record.
    pub bytes: i64,
}

/// What is shown of a method that a client made up.
const LONG_METHOD: usize = 32;

impl Summary {
    /// Of a trace whose record has so many bytes.
    pub fn of(trace: &Trace<'_>, bytes: usize) -> Self {
        let root = trace.root();
        let mut summary = Self {
            trace_id: trace.head.trace_id.to_string(),
            request_id: trace.head.request_id.to_owned(),
            start_us: whole(trace.head.anchor / 1000),
            duration_ns: whole(root.end - root.start),
            failed: trace.head.failed,
            spans: u32::try_from(trace.spans.len()).unwrap_or(u32::MAX),
            bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
            ..Self::default()
        };
        let (method, route) = root.name.split_once(' ').unwrap_or((root.name, ""));
        summary.method = method.to_owned();
        summary.route = route.to_owned();
        for pair in root.attributes.pairs() {
            match pair {
                ("url.path", Value::Text(path)) => summary.path = path.to_owned(),
                ("http.request.method_original", Value::Text(method)) => {
                    summary.method = method.get(..LONG_METHOD).unwrap_or(method).to_owned();
                }
                ("http.response.status_code", Value::Integer(status)) => {
                    summary.status = u16::try_from(status).ok();
                }
                ("weir.upstream.duration_ms", Value::Float(time)) => {
                    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
                    let time = (time * 1e6) as i64;
                    summary.upstream_ns = time;
                }
                _ => {}
            }
        }
        for span in &trace.spans {
            if let Some(plugin) = span.plugin() {
                if !summary.plugins.iter().any(|known| known == plugin) {
                    summary.plugins.push(plugin.to_owned());
                }
                if span.message == "short-circuit" {
                    summary.short_circuit = plugin.to_owned();
                }
            }
            if summary.error.is_empty() && span.status == Status::Error {
                summary.error = if span.message.is_empty() {
                    span.name.to_owned()
                } else {
                    span.message.to_owned()
                };
            }
        }
        let mut all = trace.spans.iter().flat_map(|span| span.attributes.pairs());
        let model = all.find_map(|pair| match pair {
            ("gen_ai.request.model", Value::Text(model)) => Some(model),
            _ => None,
        });
        summary.model = model.unwrap_or_default().to_owned();
        summary
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
