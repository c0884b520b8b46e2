//! The text of `/metrics`, as who asks wants it: `OpenMetrics`, with a recent trace beside the bucket of
//! durations that it fell into, or the older text of Prometheus.
//!
//! Exemplars are taken from the store of recent traces when somebody scrapes, so no request pays for
//! them, and each can be looked at in the console. Without a store there are none.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use http::HeaderMap;
use http::header::ACCEPT;

use super::api;
use crate::store::{Store, Summary};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Which lines have exemplars: those of a histogram whose traces have the same duration.
const BUCKET: &str = "weir_request_duration_seconds_bucket{";

/// The text to send, made of one in `OpenMetrics`' form, and its media type.
pub(super) async fn of(
    store: Option<Arc<Store>>,
    headers: &HeaderMap,
    text: String,
) -> (String, &'static str) {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let accept = accept.unwrap_or_default();
    if accept.contains("openmetrics") {
        let traces = api::recent(store).await;
        return (with_exemplars(&text, &traces), OPENMETRICS);
    }
    if accept.contains("text/plain") {
        return (classic(&text), CLASSIC);
    }
    (text, OPENMETRICS)
}

/// Adds to each bucket the newest trace that fell into it.
pub(super) fn with_exemplars(text: &str, traces: &[Summary]) -> String {
    if traces.is_empty() {
        return text.to_owned();
    }
    let mut routes: BTreeMap<String, Vec<&Summary>> = BTreeMap::new();
    for trace in traces {
        let route = escaped(&trace.route);
        routes.entry(route).or_default().push(trace);
    }
    let mut out = String::with_capacity(text.len() + 8 * 1024);
    let mut before = Bucket::default();
    for line in text.lines() {
        out += line;
        if let Some(bucket) = line.strip_prefix(BUCKET).and_then(Bucket::read) {
            if bucket.route != before.route {
                before = Bucket::default();
            }
            let (lower, bound) = (before.bound, bucket.bound);
            let within = |trace: &&&Summary| {
                let duration = seconds(trace.duration_ns);
                duration > lower && duration <= bound
            };
            let found = routes.get(bucket.route);
            // A trace of a run before this one is not among those that are counted.
            let found = found.filter(|_| bucket.count > before.count);
            if let Some(trace) = found.and_then(|of| of.iter().find(within)) {
                let _ = write!(
                    out,
                    " # {{trace_id=\"{}\"}} {} {:.3}",
                    trace.trace_id,
                    seconds(trace.duration_ns),
                    seconds(trace.start_us.saturating_mul(1000))
                );
            }
            before = bucket;
        }
        out.push('\n');
    }
    out
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floats")]
fn seconds(ns: i64) -> f64 {
    ns as f64 / 1e9
}

/// A line of a bucket.
#[derive(Default)]
struct Bucket<'l> {
    /// Upper, in seconds.
    bound: f64,
    /// As it is written.
    route: &'l str,
    /// With those of the buckets before.
    count: u64,
}

impl<'l> Bucket<'l> {
    fn read(line: &'l str) -> Option<Self> {
        let (labels, count) = line.rsplit_once("\"} ")?;
        let (bound, route) = labels.strip_prefix("le=\"")?.split_once("\",route=\"")?;
        Some(Self {
            bound: match bound {
                "+Inf" => f64::INFINITY,
                bound => bound.parse().ok()?,
            },
            route,
            count: count.parse().ok()?,
        })
    }
}

/// A label's value as it is written.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// The older form: a counter's family is named as its samples are, and nothing marks the end.
fn classic(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut help = "";
    for line in text.lines() {
        if line.starts_with("# HELP ") {
            help = line;
            continue;
        }
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').unwrap_or((family, ""));
            let suffix = if kind == "counter" { "_total" } else { "" };
            let said = help
                .strip_prefix("# HELP ")
                .and_then(|help| help.strip_prefix(name));
            if let Some(said) = said {
                let _ = writeln!(out, "# HELP {name}{suffix}{said}");
            }
            let _ = writeln!(out, "# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            out += line;
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP weir_requests Requests.
# TYPE weir_requests counter
weir_requests_total{route=\"a\\\"b\"} 2
# HELP weir_request_duration_seconds Durations.
# TYPE weir_request_duration_seconds histogram
weir_request_duration_seconds_sum{route=\"a\\\"b\"} 2.5
weir_request_duration_seconds_count{route=\"a\\\"b\"} 2
weir_request_duration_seconds_bucket{le=\"1.0\",route=\"a\\\"b\"} 1
weir_request_duration_seconds_bucket{le=\"2.0\",route=\"a\\\"b\"} 2
weir_request_duration_seconds_bucket{le=\"+Inf\",route=\"a\\\"b\"} 2
# EOF
";

    fn trace(id: &str, route: &str, duration_ns: i64) -> Summary {
        Summary {
            trace_id: id.to_owned(),
            route: route.to_owned(),
            duration_ns,
            start_us: 1_700_000_000_250_000,
            ..Summary::default()
        }
    }

    #[test]
    fn a_bucket_has_the_newest_trace_that_fell_into_it() {
        let traces = [
            trace("new", "a\"b", 1_500_000_000),
            trace("old", "a\"b", 1_400_000_000),
            trace("other", "other", 500_000_000),
            // Of a run before: nothing is counted there.
            trace("before", "a\"b", 3_000_000_000),
        ];
        let text = with_exemplars(TEXT, &traces);
        let marked: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("trace_id"))
            .collect();
        let expected = "weir_request_duration_seconds_bucket{le=\"2.0\",route=\"a\\\"b\"} 2 \
             # {trace_id=\"new\"} 1.5 1700000000.250";
        assert_eq!(marked, [expected]);
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_older_form_names_a_counter_as_its_samples() {
        let text = classic(TEXT);
        let start = "# HELP weir_requests_total Requests.\n# TYPE weir_requests_total counter\nweir_requests_total{";
        assert!(text.starts_with(start), "{text}");
        assert!(text.contains("# TYPE weir_request_duration_seconds histogram\n"));
        assert!(!text.contains("EOF"), "{text}");
    }
}
