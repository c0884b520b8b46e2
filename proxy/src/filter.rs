//! 9 — What of a trace leaves Weir: plugin spans, request headers, content, attributes, sampling.
//!
//! Each exporter has its [`Filters`]; [`Filters::select`] looks at a finished trace and gives the
//! [`Selection`] that an encoder then follows, so that nothing is copied to be filtered. Workers
//! hold one [`Capture`], made from the filters of all exporters, by which nothing is recorded that
//! every exporter would drop.
//!
//! A filter is a file below with an `add` function, and a line in [`REGISTRY`]. It reads its part
//! of the configuration and adds the [`Rules`] it needs; an exporter without it pays nothing. No
//! rule does I/O, and none sees attribute values: keys alone decide.

mod attributes;
mod capture;
mod content;
mod headers;
mod plugin_spans;
mod sampling;

pub use capture::Capture;
pub(crate) use headers::is_credential;

use std::ops::Range;

use smallvec::SmallVec;

use crate::config;
use crate::trace::attributes::Attributes;
use crate::trace::{Outcome, Span, SpanId, SpanIndex, Trace};

const REGISTRY: &[fn(&config::Filters, &mut Rules)] = &[
    plugin_spans::add,
    headers::add,
    content::add,
    attributes::add,
    sampling::add,
];

/// Stands for a header's value where that is a credential.
pub const REDACTED: &str = "REDACTED";

type Rule<In, Out> = Box<dyn Fn(&In) -> Out + Send + Sync>;

/// What filters have to say, by what it is about. Rules of a sort are all asked; the strictest
/// answer holds.
#[derive(Default)]
struct Rules {
    /// Is this trace sent at all?
    traces: Vec<Rule<Outcome, bool>>,
    /// Do the spans of this plugin stay?
    plugins: Vec<Rule<str, bool>>,
    /// Does an attribute with this key stay, on a span or an event?
    keys: Vec<Rule<str, bool>>,
    /// How much of this request header, by lower-case name, is shown?
    headers: Vec<Rule<str, Disclosure>>,
}

/// How much of a request header is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Disclosure {
    Hidden,
    /// The name, and [`REDACTED`] for the value.
    Redacted,
    Shown,
}

impl Rules {
    const NONE: Self = Self {
        traces: Vec::new(),
        plugins: Vec::new(),
        keys: Vec::new(),
        headers: Vec::new(),
    };

    fn keeps_trace(&self, outcome: &Outcome) -> bool {
        self.traces.iter().all(|rule| rule(outcome))
    }

    fn keeps_plugin(&self, name: &str) -> bool {
        self.plugins.iter().all(|rule| rule(name))
    }

    fn keeps_key(&self, key: &str) -> bool {
        self.keys.iter().all(|rule| rule(key))
    }

    fn header(&self, name: &str) -> Disclosure {
        let answers = self.headers.iter().map(|rule| rule(name));
        answers.min().unwrap_or(Disclosure::Shown)
    }
}

/// The filters of one exporter.
pub struct Filters(Rules);

impl Filters {
    pub fn new(config: &config::Filters) -> Self {
        let mut rules = Rules::default();
        for add in REGISTRY {
            add(config, &mut rules);
        }
        Self(rules)
    }

    /// What the exporter gets of a trace; `None` when it is sampled out.
    pub fn select(&self, trace: &Trace<'_>) -> Option<Selection<'_>> {
        if !self.0.keeps_trace(&trace.outcome()) {
            return None;
        }
        let mut survivors = SmallVec::new();
        if !self.0.plugins.is_empty() {
            survivors.extend(nearest_survivors(trace.spans.iter().map(|span| {
                let keeps = span.plugin().is_none_or(|name| self.0.keeps_plugin(name));
                (span.parent, keeps)
            })));
        }
        Some(Selection {
            rules: &self.0,
            part: None,
            survivors,
        })
    }
}

/// For each span the nearest of itself and its ancestors that stays. The root always stays, so that
/// there is one.
fn nearest_survivors(
    spans: impl Iterator<Item = (Option<SpanIndex>, bool)>,
) -> SmallVec<[SpanIndex; 32]> {
    let mut survivors: SmallVec<[SpanIndex; 32]> = SmallVec::new();
    for (index, (parent, keeps)) in spans.enumerate() {
        let survivor = match parent {
            Some(parent) if !keeps => survivors[parent.get()],
            _ => SpanIndex::from_usize(index),
        };
        survivors.push(survivor);
    }
    survivors
}

/// What one exporter gets of one trace. Encoders ask it; it holds no part of the trace.
pub struct Selection<'f> {
    rules: &'f Rules,
    /// Which of the spans that stay, counted from the root; `None` is all of them.
    part: Option<Range<usize>>,
    /// By span, the nearest of itself and its ancestors that stays; empty when all spans stay.
    survivors: SmallVec<[SpanIndex; 32]>,
}

impl Selection<'static> {
    /// All there is.
    pub fn all() -> Self {
        static NONE: Rules = Rules::NONE;
        Self {
            rules: &NONE,
            part: None,
            survivors: SmallVec::new(),
        }
    }
}

impl Selection<'_> {
    /// Does an attribute with this key stay, on a span or an event?
    pub fn keeps(&self, key: &[u8]) -> bool {
        self.rules.keys.is_empty() || self.rules.keeps_key(&String::from_utf8_lossy(key))
    }

    /// Appends those attributes that stay, in the form they have.
    pub(crate) fn attributes(&self, of: &Attributes<'_>, out: &mut Vec<u8>) {
        if self.rules.keys.is_empty() {
            out.extend_from_slice(of.as_bytes());
            return;
        }
        for of in of.iter().filter(|of| self.keeps(of.key)) {
            out.extend_from_slice(of.as_field());
        }
    }

    /// The span itself when it stays, else the nearest ancestor that does.
    pub fn survivor(&self, span: SpanIndex) -> SpanIndex {
        self.survivors.get(span.get()).copied().unwrap_or(span)
    }

    /// The same, with only those of the spans that are left whose number is in `spans`.
    pub fn part(&self, spans: Range<usize>) -> Selection<'_> {
        Selection {
            rules: self.rules,
            part: Some(spans),
            survivors: self.survivors.clone(),
        }
    }

    /// Whether the root is among the spans; what is said once a trace goes with it.
    pub fn has_root(&self) -> bool {
        self.part.as_ref().is_none_or(|part| part.start == 0)
    }

    /// The spans that stay, in order, each with its new parent; the root's is the caller's span.
    pub fn spans<'t, 'r>(
        &self,
        trace: &'t Trace<'r>,
    ) -> impl Iterator<Item = (SpanIndex, &'t Span<'r>, Option<SpanId>)> {
        let spans = trace.spans.iter().enumerate();
        let staying = spans.filter_map(|(index, span)| {
            let index = SpanIndex::from_usize(index);
            (self.survivor(index) == index).then_some((index, span))
        });
        let part = self.part.clone().unwrap_or(0..usize::MAX);
        let staying = staying.skip(part.start).take(part.len());
        staying.map(|(index, span)| {
            let parent = match span.parent {
                Some(parent) => Some(trace.spans[self.survivor(parent).get()].id),
                None => trace.head.parent,
            };
            (index, span, parent)
        })
    }

    /// The request headers that stay, redacted where that is due.
    pub fn request_headers<'t>(
        &self,
        trace: &'t Trace<'_>,
    ) -> impl Iterator<Item = (&'t str, &'t str)> {
        let headers = trace.request_headers.iter();
        headers.filter_map(|&(name, value)| match self.rules.header(name) {
            Disclosure::Hidden => None,
            Disclosure::Redacted => Some((name, REDACTED)),
            Disclosure::Shown => Some((name, value)),
        })
    }
}

#[cfg(test)]
mod tests;
