//! What a worker may leave out from the start, because every exporter would drop it.

use std::borrow::Cow;

use http::HeaderMap;
use smallvec::SmallVec;

use super::{Disclosure, Filters, REDACTED, Rules, nearest_survivors};
use crate::config;
use crate::trace::recorder::Recorder;
use crate::trace::{SpanIndex, record};

/// The filters of all exporters together, at their laxest: what it lets through, some exporter
/// keeps. A record so holds nothing that may not leave.
///
/// A worker asks [`capture_headers`](Self::capture_headers) when a request comes in. Spans and
/// attributes are all recorded, for a hook's span is the parent of the next;
/// [`write`](Self::write) leaves out what no exporter keeps.
pub struct Capture {
    exporters: Vec<Filters>,
    local: Option<Local>,
    captures_headers: bool,
}

/// What the local store keeps.
struct Local {
    filters: Filters,
    /// Whether all that is recorded is to be kept as it is.
    takes_all: bool,
    /// Whether it makes headers be recorded that no exporter captures.
    adds_headers: bool,
}

impl Capture {
    /// From the filters of the enabled exporters.
    pub fn new<'c>(exporters: impl IntoIterator<Item = &'c config::Filters>) -> Self {
        Self::with_local(exporters, None)
    }

    /// As [`new`](Self::new), with the filters of the local store.
    pub fn with_local<'c>(
        exporters: impl IntoIterator<Item = &'c config::Filters>,
        local: Option<&config::Filters>,
    ) -> Self {
        let exporters: Vec<&config::Filters> = exporters.into_iter().collect();
        let all = exporters.iter().copied().chain(local);
        Self {
            captures_headers: all.into_iter().any(|of| !of.request_headers.is_empty()),
            local: local.map(|local| Local::new(local, &exporters)),
            exporters: exporters.into_iter().map(Filters::new).collect(),
        }
    }

    /// Is there no exporter and no store, so that nothing need be recorded?
    pub fn is_empty(&self) -> bool {
        self.exporters.is_empty() && self.local.is_none()
    }

    /// Does the local store keep traces?
    pub fn keeps_local(&self) -> bool {
        self.local.is_some()
    }

    /// Appends the finished trace to `out` as the local store is to have it.
    pub fn write_local(&self, recorder: &Recorder, out: &mut Vec<u8>) -> bool {
        match &self.local {
            Some(local) if local.takes_all => record::write(recorder, out),
            Some(local) => write_part(&[&local.filters.0], recorder, out),
            None => return false,
        }
        true
    }

    /// Records the request headers that some exporter captures; without their values where none
    /// of these may show them.
    pub fn capture_headers(&self, headers: &HeaderMap, recorder: &mut Recorder) {
        if !self.captures_headers {
            return;
        }
        for name in headers.keys() {
            match disclosure(self.rules(), name.as_str()) {
                Disclosure::Hidden => {}
                Disclosure::Redacted => recorder.request_header(name.as_str(), &[REDACTED]),
                Disclosure::Shown => {
                    let values: SmallVec<[Cow<'_, str>; 2]> = headers
                        .get_all(name)
                        .iter()
                        .map(|value| String::from_utf8_lossy(value.as_bytes()))
                        .collect();
                    recorder.request_header(name.as_str(), &values);
                }
            }
        }
    }

    /// Appends the finished trace to `out` as one record, without what no exporter keeps; `false`
    /// and nothing when all of them sample it out.
    pub fn write(&self, recorder: &Recorder, out: &mut Vec<u8>) -> bool {
        let outcome = recorder.outcome();
        let rules = self.exporters.iter().map(|filters| &filters.0);
        let takers = rules.filter(|rules| rules.keeps_trace(&outcome));
        let takers: SmallVec<[&Rules; 4]> = takers.collect();
        if takers.is_empty() {
            return false;
        }
        let takes_all = |rules: &&Rules| rules.plugins.is_empty() && rules.keys.is_empty();
        let adds_headers = self.local.as_ref().is_some_and(|local| local.adds_headers);
        let all_take = takers.len() == self.exporters.len() && !adds_headers;
        let same_headers = all_take || !self.captures_headers;
        if same_headers && takers.iter().any(takes_all) {
            record::write(recorder, out);
        } else {
            write_part(&takers, recorder, out);
        }
        true
    }

    fn rules(&self) -> impl Iterator<Item = &Rules> {
        let local = self.local.iter().map(|local| &local.filters);
        self.exporters.iter().chain(local).map(|filters| &filters.0)
    }
}

impl Local {
    fn new(local: &config::Filters, exporters: &[&config::Filters]) -> Self {
        let captured = |pattern| {
            exporters
                .iter()
                .any(|of| of.request_headers.contains(pattern))
        };
        let adds_headers = !local.request_headers.iter().all(captured);
        let keeps = |pattern| local.request_headers.contains(pattern);
        let same_headers = exporters
            .iter()
            .all(|of| of.redact_headers && of.request_headers.iter().all(keeps));
        let filters = Filters::new(local);
        Self {
            takes_all: same_headers && filters.0.keys.is_empty() && filters.0.traces.is_empty(),
            adds_headers,
            filters,
        }
    }
}

/// How much of a header the laxest shows.
fn disclosure<'a>(rules: impl Iterator<Item = &'a Rules>, name: &str) -> Disclosure {
    let answers = rules.map(|rules| rules.header(name));
    answers.max().unwrap_or(Disclosure::Hidden)
}

/// What those that take a trace keep of it.
fn write_part(takers: &[&Rules], recorder: &Recorder, out: &mut Vec<u8>) {
    let plugins: SmallVec<[Option<&str>; 32]> = recorder.spans().map(|(_, name)| name).collect();
    let keeps_span = |rules: &Rules, plugin: Option<&str>| {
        plugin.is_none_or(|plugin| rules.keeps_plugin(plugin))
    };
    let survivors = nearest_survivors(recorder.spans().map(|(parent, plugin)| {
        let keeps = takers.iter().any(|rules| keeps_span(rules, plugin));
        (parent, keeps)
    }));
    let keeps = |span: SpanIndex, key: &[u8]| {
        let key = &String::from_utf8_lossy(key);
        let plugin = plugins[span.get()];
        takers
            .iter()
            .any(|rules| keeps_span(rules, plugin) && rules.keeps_key(key))
    };
    record::write_part(
        recorder,
        &survivors,
        keeps,
        |name, value| match disclosure(takers.iter().copied(), name) {
            Disclosure::Hidden => None,
            Disclosure::Redacted => Some(REDACTED),
            Disclosure::Shown => Some(value),
        },
        out,
    );
}
