//! Filter 1, `plugin_span_filter`: which plugins' spans stay. Other spans always do.

use super::Rules;
use crate::config;

pub(super) fn add(config: &config::Filters, rules: &mut Rules) {
    let Some(filter) = config.plugin_span_filter.clone() else {
        return;
    };
    rules.plugins.push(Box::new(move |name| {
        filter.plugins.iter().any(|listed| listed == name) == filter.include
    }));
}

#[cfg(test)]
mod tests {
    use super::super::Filters;
    use crate::config::{self, PluginSpanFilter};

    fn keeps(include: bool, plugins: &[&str], name: &str) -> bool {
        let filters = Filters::new(&config::Filters {
            plugin_span_filter: Some(PluginSpanFilter {
                include,
                plugins: plugins.iter().map(ToString::to_string).collect(),
            }),
            ..config::Filters::default()
        });
        filters.0.keeps_plugin(name)
    }

    #[test]
    fn include_keeps_the_listed_only() {
        assert!(keeps(true, &["cors", "key-auth"], "key-auth"));
        assert!(!keeps(true, &["cors"], "key-auth"));
        assert!(!keeps(true, &[], "key-auth"));
    }

    #[test]
    fn exclude_keeps_all_but_the_listed() {
        assert!(!keeps(false, &["cors", "key-auth"], "key-auth"));
        assert!(keeps(false, &["cors"], "key-auth"));
        assert!(keeps(false, &[], "key-auth"));
    }
}
