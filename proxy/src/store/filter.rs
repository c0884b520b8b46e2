//! Which traces somebody wants to see: the same judgement for a search and for those to come.

use std::borrow::Cow;

use super::Summary;
use crate::trace::{Trace, Value};

/// All that is given must hold. Made from the query of a URL.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Microseconds since the Unix epoch, both included.
    pub from: Option<i64>,
    pub to: Option<i64>,
    route: Option<String>,
    method: Option<String>,
    status: Vec<Statuses>,
    min_ns: Option<i64>,
    max_ns: Option<i64>,
    plugin: Option<String>,
    model: Option<String>,
    short_circuit: Option<bool>,
    failed: Option<bool>,
    /// Part of a path, or the beginning of a trace's or request's id.
    text: Option<String>,
    /// A key, and its value where that matters.
    attributes: Vec<(String, Option<String>)>,
}

/// `404`, `4xx`, or `none` for a client that left.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Statuses {
    One(u16),
    Class(u16),
    None,
}

/// A parameter that cannot be understood.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("`{parameter}` must be {expected}")]
pub struct Invalid {
    pub parameter: String,
    pub expected: &'static str,
}

impl Filter {
    /// Takes what it knows of a query's parameters, and leaves the others alone.
    pub fn parse<'q>(
        parameters: impl IntoIterator<Item = (&'q str, &'q str)>,
    ) -> Result<Self, Invalid> {
        let mut filter = Self::default();
        for (name, value) in parameters {
            if value.is_empty() {
                continue;
            }
            let invalid = |expected| Invalid {
                parameter: name.to_owned(),
                expected,
            };
            let time = || {
                value
                    .parse()
                    .map_err(|_| invalid("microseconds since 1970"))
            };
            let milliseconds = || {
                let number: f64 = value.parse().map_err(|_| invalid("milliseconds"))?;
                #[expect(clippy::cast_possible_truncation, reason = "saturates")]
                Ok((number * 1e6) as i64)
            };
            let boolean = || match value {
                "true" | "1" | "yes" => Ok(true),
                "false" | "0" | "no" => Ok(false),
                _ => Err(invalid("true or false")),
            };
            let text = || Some(value.to_owned());
            match name {
                "from" => filter.from = Some(time()?),
                "to" => filter.to = Some(time()?),
                "route" => filter.route = text(),
                "method" => filter.method = Some(value.to_ascii_uppercase()),
                "status" => {
                    for one in value.split(',') {
                        let status = Statuses::parse(one.trim());
                        filter.status.push(status.ok_or_else(|| {
                            invalid("a status such as 404, a class such as 5xx, or none")
                        })?);
                    }
                }
                "min_ms" => filter.min_ns = Some(milliseconds()?),
                "max_ms" => filter.max_ns = Some(milliseconds()?),
                "plugin" => filter.plugin = text(),
                "model" => filter.model = text(),
                "short_circuit" => filter.short_circuit = Some(boolean()?),
                "failed" => filter.failed = Some(boolean()?),
                "q" => filter.text = Some(value.trim().to_lowercase()),
                "attribute" => filter.attributes.push(match value.split_once('=') {
                    Some((key, value)) => (key.trim().to_owned(), Some(value.trim().to_owned())),
                    None => (value.trim().to_owned(), None),
                }),
                _ => {}
            }
        }
        Ok(filter)
    }

    /// Whether it has to see the whole trace, and not only its summary.
    pub fn wants_trace(&self) -> bool {
        !self.attributes.is_empty()
    }

    /// Judges by the summary alone.
    pub fn matches(&self, summary: &Summary) -> bool {
        let within = |value: i64, least: Option<i64>, most: Option<i64>| {
            least.is_none_or(|least| value >= least) && most.is_none_or(|most| value <= most)
        };
        let same =
            |wanted: &Option<String>, has: &str| wanted.as_ref().is_none_or(|wanted| wanted == has);
        within(summary.start_us, self.from, self.to)
            && within(summary.duration_ns, self.min_ns, self.max_ns)
            && same(&self.route, &summary.route)
            && same(&self.method, &summary.method)
            && same(&self.model, &summary.model)
            && (self.status.is_empty() || self.status.iter().any(|of| of.includes(summary.status)))
            && self.failed.is_none_or(|wanted| wanted == summary.failed)
            && self
                .short_circuit
                .is_none_or(|wanted| wanted != summary.short_circuit.is_empty())
            && self
                .plugin
                .as_ref()
                .is_none_or(|wanted| summary.plugins.contains(wanted))
            && self.text.as_ref().is_none_or(|text| {
                summary.trace_id.starts_with(text)
                    || summary.request_id.to_lowercase().starts_with(text)
                    || summary.path.to_lowercase().contains(text)
            })
    }

    /// Judges what [`matches`](Self::matches) could not see.
    pub fn matches_trace(&self, trace: &Trace<'_>) -> bool {
        self.attributes.iter().all(|(key, wanted)| {
            let all = trace.spans.iter().flat_map(|span| span.attributes.pairs());
            let mut values = all.filter(|(of, _)| of == key);
            values.any(|(_, value)| wanted.as_ref().is_none_or(|wanted| *wanted == text(&value)))
        })
    }
}

impl Statuses {
    fn parse(text: &str) -> Option<Self> {
        if text == "none" {
            return Some(Self::None);
        }
        if let Some(class) = text.strip_suffix("xx") {
            return class.parse().ok().map(Self::Class);
        }
        text.parse().ok().map(Self::One)
    }

    fn includes(self, status: Option<u16>) -> bool {
        match self {
            Self::One(one) => status == Some(one),
            Self::Class(class) => status.is_some_and(|status| status / 100 == class),
            Self::None => status.is_none(),
        }
    }
}

/// As people would write it.
fn text<'v>(value: &Value<'v>) -> Cow<'v, str> {
    match value {
        Value::Text(text) => Cow::Borrowed(text),
        Value::Boolean(value) => value.to_string().into(),
        Value::Integer(value) => value.to_string().into(),
        Value::Float(value) => value.to_string().into(),
        Value::List(texts) => texts.join(", ").into(),
    }
}
