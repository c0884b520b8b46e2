//! Which traces are shown.

use std::time::Duration;

use super::decode::Trace;
use crate::config::normal_name;

pub(super) struct Filter<'a> {
    pub(super) route: Option<&'a str>,
    pub(super) status: Option<StatusRange>,
    pub(super) plugin: Option<&'a str>,
    pub(super) slower_than: Option<Duration>,
    pub(super) errors: bool,
}

/// Status codes from one to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StatusRange(u64, u64);

impl StatusRange {
    /// Of `404`, `5xx` or `400-499`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let class = text.strip_suffix("xx").filter(|class| class.len() == 1);
        let range = if let Some(class) = class {
            let class: Option<u64> = class.parse().ok();
            class.map(|class| Self(class * 100, class * 100 + 99))
        } else {
            let (from, to) = text.split_once('-').unwrap_or((text, text));
            from.parse()
                .ok()
                .zip(to.parse().ok())
                .map(|(from, to)| Self(from, to))
        };
        range
            .filter(|Self(from, to)| (100..600).contains(from) && (from..&600).contains(&to))
            .ok_or_else(|| "a status such as `404`, `5xx` or `400-499`".to_owned())
    }
}

impl Filter<'_> {
    pub(super) fn matches(&self, trace: &Trace) -> bool {
        let route = self.route.is_none_or(|wanted| {
            let route = trace
                .attribute("http.route")
                .and_then(|route| route.as_str());
            let of_name = trace.root().name.split_once(' ').map(|(_, route)| route);
            [route, of_name]
                .into_iter()
                .flatten()
                .any(|route| like(wanted, route))
        });
        let status = self.status.is_none_or(|StatusRange(from, to)| {
            trace
                .status()
                .is_some_and(|status| (from..=to).contains(&status))
        });
        let plugin = self.plugin.is_none_or(|wanted| {
            let wanted = normal_name(wanted);
            trace
                .spans()
                .any(|span| plugin_of(span.name) == Some(&*wanted))
        });
        let (start, end) = trace.times();
        let lasted = Duration::from_nanos(u64::try_from(end - start).unwrap_or_default());
        let slow = self.slower_than.is_none_or(|least| lasted >= least);
        let failed =
            !self.errors || trace.root().is_error || trace.spans().any(|span| span.is_error);
        route && status && plugin && slow && failed
    }
}

/// The plugin of `plugin.<name>.<hook>`.
fn plugin_of(span: &str) -> Option<&str> {
    span.strip_prefix("plugin.")?
        .rsplit_once('.')
        .map(|(name, _)| name)
}

/// Whether a pattern, in which `*` is any run of characters, matches, or is the very text.
fn like(pattern: &str, text: &str) -> bool {
    if pattern == text {
        return true;
    }
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut last = None;
    for piece in pieces {
        if let Some(before) = last.replace(piece) {
            let Some(at) = rest.find(before) else {
                return false;
            };
            rest = &rest[at + str::len(before)..];
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ALL: Filter<'static> = Filter {
        route: None,
        status: None,
        plugin: None,
        slower_than: None,
        errors: false,
    };

    fn trace() -> Trace {
        let root = json!({
            "Name": "GET /v1/*",
            "StartTime": "2026-01-01T00:00:00.000Z",
            "EndTime": "2026-01-01T00:00:00.250Z",
            "Status": "ok",
            "Attributes": { "http.route": "/v1/*", "http.response.status_code": 404 },
        });
        let hook = json!({ "Name": "plugin.key-auth.prehook", "Status": "error",
            "StartTime": "2026-01-01T00:00:00.000Z", "EndTime": "2026-01-01T00:00:00.001Z" });
        Trace(json!({ "TraceID": "a", "RootSpan": root, "Spans": [root, hook] }))
    }

    #[test]
    fn each_filter_looks_at_its_own() {
        let trace = &trace();
        let status = |text| Filter {
            status: StatusRange::parse(text).ok(),
            ..ALL
        };
        let route = |route| Filter {
            route: Some(route),
            ..ALL
        };
        let plugin = |plugin| Filter {
            plugin: Some(plugin),
            ..ALL
        };
        let slow = |millis| Filter {
            slower_than: Some(Duration::from_millis(millis)),
            ..ALL
        };
        for shown in [
            ALL,
            status("404"),
            status("4xx"),
            status("400-404"),
            route("/v1/*"),
            route("/v*"),
            plugin("key-auth"),
            plugin("Key Auth"),
            slow(250),
            Filter {
                errors: true,
                ..ALL
            },
        ] {
            assert!(shown.matches(trace));
        }
        for hidden in [
            status("5xx"),
            status("200-299"),
            route("/v2/*"),
            route("/v1"),
            plugin("auth"),
            slow(251),
        ] {
            assert!(!hidden.matches(trace));
        }
    }

    #[test]
    fn statuses_that_are_none_are_refused() {
        for wrong in ["", "x", "6xx", "404-400", "99", "0xx", "200-"] {
            assert!(StatusRange::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn patterns_match_as_a_whole() {
        assert!(like("*", "anything"));
        assert!(like("/a/*/c*", "/a/b/cd"));
        assert!(like("a*b*c", "a-b-b-c"));
        assert!(!like("/a/*/c", "/a/b/cd"));
        assert!(!like("/a", "/a/b"));
        assert!(!like("ab*ba", "aba"));
    }
}
