//! Filter 4, `excluded_attributes`: keys that never leave, by exact name.

use super::{Disclosure, Rules};
use crate::config;

/// What a captured request header is called where it is an attribute (OpenTelemetry's convention).
const HEADER_PREFIX: &str = "http.request.header.";

pub(super) fn add(config: &config::Filters, rules: &mut Rules) {
    let mut excluded = config.excluded_attributes.clone();
    if excluded.is_empty() {
        return;
    }
    let headers: Vec<String> = excluded
        .iter()
        .filter_map(|key| key.strip_prefix(HEADER_PREFIX))
        .map(str::to_owned)
        .collect();
    if !headers.is_empty() {
        rules.headers.push(Box::new(move |name| {
            if headers.iter().any(|header| header == name) {
                Disclosure::Hidden
            } else {
                Disclosure::Shown
            }
        }));
    }
    // By length first: nearly every comparison then is one of two numbers.
    excluded.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    rules.keys.push(Box::new(move |key| {
        excluded
            .binary_search_by(|listed| (listed.len(), listed.as_str()).cmp(&(key.len(), key)))
            .is_err()
    }));
}

#[cfg(test)]
mod tests {
    use super::super::{Disclosure, Filters};
    use crate::config;

    fn excluding(keys: &[&str]) -> Filters {
        Filters::new(&config::Filters {
            request_headers: vec!["*".to_owned()],
            excluded_attributes: keys.iter().map(ToString::to_string).collect(),
            ..config::Filters::default()
        })
    }

    #[test]
    fn exact_names_go() {
        let filters = excluding(&["url.path", "b", "a", "client.address"]);
        for key in ["url.path", "a", "b", "client.address"] {
            assert!(!filters.0.keeps_key(key), "{key}");
        }
        for key in ["url.pat", "url.paths", "URL.path", "", "server.address"] {
            assert!(filters.0.keeps_key(key), "{key}");
        }
    }

    #[test]
    fn a_header_goes_by_the_name_it_has_as_an_attribute() {
        let filters = excluding(&["http.request.header.host"]);
        assert_eq!(filters.0.header("host"), Disclosure::Hidden);
        assert_eq!(filters.0.header("accept"), Disclosure::Shown);
    }
}
