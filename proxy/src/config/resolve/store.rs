//! The local store: what it keeps follows from the exporters where it says nothing itself.

use indexmap::IndexMap;

use super::Resolver;
use crate::config::path::Path;
use crate::config::raw::store as keys;
use crate::config::units::ByteSize;
use crate::config::{Exporter, Filters, Store};

impl Resolver<'_> {
    /// `exporters` are those of the same configuration.
    pub(super) fn store(
        &mut self,
        raw: Option<keys::Store>,
        exporters: &IndexMap<String, Exporter>,
    ) -> Option<Store> {
        let raw = raw?;
        let at = Path::root().key("store");
        self.at_least(&at.key("max_bytes"), raw.max_bytes, ByteSize::mib(1));
        let max_age = self.positive(&at.key("max_age"), raw.max_age);
        let enabled = exporters.values().filter(|exporter| exporter.is_enabled());
        let filters: Vec<&Filters> = enabled.map(Exporter::filters).collect();
        let request_headers = match raw.request_headers {
            Some(patterns) => patterns.iter().map(|h| h.to_lowercase()).collect(),
            None => union(&filters),
        };
        let content = filters
            .iter()
            .any(|filters| filters.disable_content_logging);
        raw.enabled.then_some(Store {
            max_bytes: raw.max_bytes.0,
            max_age,
            max_traces_per_second: raw.max_traces_per_second,
            filters: Filters {
                request_headers,
                disable_content_logging: raw.disable_content_logging.unwrap_or(content),
                excluded_attributes: raw.excluded_attributes,
                ..Filters::default()
            },
        })
    }
}

/// The patterns of all, each once.
fn union(filters: &[&Filters]) -> Vec<String> {
    let mut patterns: Vec<String> = Vec::new();
    for pattern in filters.iter().flat_map(|filters| &filters.request_headers) {
        if !patterns.contains(pattern) {
            patterns.push(pattern.clone());
        }
    }
    patterns
}
