//! What a worker may leave out from the start, because every exporter would drop it.

use std::borrow::Cow;

use http::HeaderMap;
use smallvec::SmallVec;

use super::{Disclosure, Filters, REDACTED, nearest_survivors};
use crate::config;
use crate::trace::record;
use crate::trace::recorder::Recorder;

/// The filters of all exporters together, at their laxest: what it lets through, some exporter
/// keeps. A record so holds nothing that may not leave.
///
/// A worker asks [`keeps_attribute`](Self::keeps_attribute) and
/// [`capture_headers`](Self::capture_headers) while it records. Spans are all recorded, for a hook's
/// span is the parent of the next; [`write`](Self::write) leaves out those that no exporter keeps.
pub struct Capture {
    exporters: Vec<Filters>,
    /// Does some exporter have no rule for keys?
    keeps_every_key: bool,
    /// Does some exporter have no rule for plugins?
    keeps_every_plugin: bool,
    captures_headers: bool,
}

impl Capture {
    pub fn new<'c>(exporters: impl IntoIterator<Item = &'c config::Filters>) -> Self {
        let mut captures_headers = false;
        let exporters: Vec<_> = exporters
            .into_iter()
            .inspect(|config| captures_headers |= !config.request_headers.is_empty())
            .map(Filters::new)
            .collect();
        Self {
            keeps_every_key: exporters.iter().any(|filters| filters.0.keys.is_empty()),
            keeps_every_plugin: exporters.iter().any(|filters| filters.0.plugins.is_empty()),
            captures_headers,
            exporters,
        }
    }

    /// Is there no exporter, so that nothing need be recorded?
    pub fn is_empty(&self) -> bool {
        self.exporters.is_empty()
    }

    /// Does some exporter keep attributes with this key?
    pub fn keeps_attribute(&self, key: &str) -> bool {
        self.keeps_every_key
            || self
                .exporters
                .iter()
                .any(|filters| filters.0.keeps_key(key))
    }

    /// Does some exporter keep the spans of this plugin?
    pub fn keeps_span(&self, plugin: &str) -> bool {
        self.keeps_every_plugin
            || self
                .exporters
                .iter()
                .any(|filters| filters.0.keeps_plugin(plugin))
    }

    /// Records the request headers that some exporter captures; without their values where none
    /// of these may show them.
    pub fn capture_headers(&self, headers: &HeaderMap, recorder: &mut Recorder) {
        if !self.captures_headers {
            return;
        }
        for name in headers.keys() {
            match self.disclosure(name.as_str()) {
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

    /// Appends the finished trace to `out` as one record, without the spans that no exporter keeps;
    /// `false` and nothing when all exporters sample it out.
    pub fn write(&self, recorder: &Recorder, out: &mut Vec<u8>) -> bool {
        let outcome = recorder.outcome();
        if !self
            .exporters
            .iter()
            .any(|filters| filters.0.keeps_trace(&outcome))
        {
            return false;
        }
        if self.keeps_every_plugin {
            record::write(recorder, out);
        } else {
            let survivors =
                nearest_survivors(recorder.spans().map(|(parent, plugin)| {
                    (parent, plugin.is_none_or(|name| self.keeps_span(name)))
                }));
            record::write_survivors(recorder, &survivors, out);
        }
        true
    }

    fn disclosure(&self, name: &str) -> Disclosure {
        let answers = self.exporters.iter().map(|filters| filters.0.header(name));
        answers.max().unwrap_or(Disclosure::Hidden)
    }
}
