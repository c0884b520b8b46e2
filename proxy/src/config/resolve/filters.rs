//! What of a trace goes to an exporter, of whichever kind it is.

use super::Resolver;
use crate::config::fault::Code;
use crate::config::path::Path;
use crate::config::raw::filters as keys;
use crate::config::{Filters, PluginSpanFilter, Sampling, normal_name};

/// The keys of every exporter about what of a trace goes to it.
pub(super) struct RawFilters {
    pub(super) plugin_span_filter: Option<keys::PluginSpanFilter>,
    pub(super) request_headers: Vec<String>,
    pub(super) redact_headers: bool,
    pub(super) disable_content_logging: bool,
    pub(super) excluded_attributes: Vec<String>,
    pub(super) sampling: keys::Sampling,
}

impl Resolver<'_> {
    pub(super) fn filters(&mut self, at: &Path, raw: RawFilters) -> Filters {
        Filters {
            plugin_span_filter: self.span_filter(at, raw.plugin_span_filter),
            request_headers: raw
                .request_headers
                .iter()
                .map(|h| h.to_lowercase())
                .collect(),
            redact_headers: raw.redact_headers,
            disable_content_logging: raw.disable_content_logging,
            excluded_attributes: raw.excluded_attributes,
            sampling: Sampling {
                ratio: raw.sampling.ratio,
                keep_errors: raw.sampling.keep.errors,
                keep_slower_than: raw.sampling.keep.slower_than.map(|time| time.0),
            },
        }
    }

    fn span_filter(
        &mut self,
        at: &Path,
        raw: Option<keys::PluginSpanFilter>,
    ) -> Option<PluginSpanFilter> {
        let raw = raw?;
        let at = at.key("plugin_span_filter").key("plugins");
        for (index, name) in raw.plugins.iter().enumerate() {
            let same = |plugin: &String| normal_name(plugin) == normal_name(name);
            if !self.names.plugins.iter().any(same) {
                let message = format!("no plugin has the name `{name}`");
                self.fault(Code::IdleFilter, &at.index(index), message);
            }
        }
        Some(PluginSpanFilter {
            include: raw.mode == keys::FilterMode::Include,
            plugins: raw.plugins.iter().map(|name| normal_name(name)).collect(),
        })
    }
}
