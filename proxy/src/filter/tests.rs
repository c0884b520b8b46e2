use std::collections::HashSet;

use http::HeaderMap;
use proptest::prelude::*;

use super::*;
use crate::config::PluginSpanFilter;
use crate::trace::recorder::Recorder;
use crate::trace::testing::{self, Fixture, records};
use crate::trace::{Kind, record};

fn excluding(plugins: &[String]) -> config::Filters {
    config::Filters {
        plugin_span_filter: Some(PluginSpanFilter {
            include: false,
            plugins: plugins.to_vec(),
        }),
        ..config::Filters::default()
    }
}

fn capturing(patterns: &[&str], redact_headers: bool) -> config::Filters {
    config::Filters {
        request_headers: patterns.iter().map(ToString::to_string).collect(),
        redact_headers,
        ..config::Filters::default()
    }
}

fn headers(lines: &[(&'static str, &[u8])]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let value = http::HeaderValue::from_bytes(value).expect("a header value");
        headers.append(*name, value);
    }
    headers
}

/// Names and values that a capture records.
fn captured(exporters: &[config::Filters], headers: &HeaderMap) -> Vec<(String, String)> {
    let mut fixture = Fixture::new(None);
    Capture::new(exporters).capture_headers(headers, &mut fixture.recorder);
    let record = fixture.finish();
    let trace = record::read(&record).expect("a record");
    let headers = trace.request_headers.iter();
    headers
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn without_filters_all_but_headers_stays() {
    let record = testing::full();
    let trace = record::read(&record).expect("a record");
    let filters = Filters::new(&config::Filters::default());
    let selection = filters.select(&trace).expect("not sampled out");
    assert_eq!(selection.spans(&trace).count(), trace.spans.len());
    assert!(selection.keeps(b"gen_ai.input.messages"));
    assert_eq!(selection.request_headers(&trace).count(), 0);
    assert_eq!(Selection::all().request_headers(&trace).count(), 3);
}

#[test]
fn a_root_named_like_a_hook_stays() {
    let mut fixture = Fixture::new(None);
    fixture.recorder.rename(SpanIndex::ROOT, "plugin.a.prehook");
    fixture.recorder.set_kind(SpanIndex::ROOT, Kind::Plugin);
    let record = fixture.finish();
    let trace = record::read(&record).expect("a record");
    let filters = Filters::new(&excluding(&["a".to_owned()]));
    let selection = filters.select(&trace).expect("not sampled out");
    assert_eq!(selection.spans(&trace).count(), 1);
}

#[test]
fn an_error_on_a_span_that_is_dropped_still_keeps_the_trace() {
    let record = testing::error();
    let trace = record::read(&record).expect("a record");
    let mut config = excluding(&["hostile".to_owned()]);
    config.sampling.ratio = 0.0;
    assert!(Filters::new(&config).select(&trace).is_some());
    config.sampling.keep_errors = false;
    assert!(Filters::new(&config).select(&trace).is_none());
}

#[test]
fn a_selection_redacts_what_another_exporter_shows() {
    let record = testing::full();
    let trace = record::read(&record).expect("a record");
    let filters = Filters::new(&capturing(&["auth*", "accept"], true));
    let selection = filters.select(&trace).expect("not sampled out");
    let headers: Vec<_> = selection.request_headers(&trace).collect();
    assert_eq!(
        headers,
        [("accept", "text/html, */*"), ("authorization", REDACTED)]
    );
}

#[test]
fn headers_that_no_exporter_wants_are_not_captured() {
    let headers = headers(&[("accept", b"a"), ("x-a-id", b"1"), ("x-b", b"2")]);
    assert_eq!(captured(&[], &headers), []);
    assert_eq!(captured(&[capturing(&[], true)], &headers), []);
    let two = [capturing(&["x-*-id"], true), capturing(&["accept"], true)];
    assert_eq!(
        captured(&two, &headers),
        [pair("accept", "a"), pair("x-a-id", "1")]
    );
}

#[test]
fn values_are_joined_and_bytes_that_are_not_utf8_replaced() {
    let headers = headers(&[("accept", b"a"), ("accept", b"b"), ("x-raw", b"\xffz")]);
    let captured = captured(&[capturing(&["*"], true)], &headers);
    assert_eq!(
        captured,
        [pair("accept", "a, b"), pair("x-raw", "\u{fffd}z")]
    );
}

#[test]
fn credentials_are_captured_redacted_unless_an_exporter_that_wants_them_shows_them() {
    let headers = headers(&[
        ("authorization", b"Bearer canary"),
        ("x-api-key", b"canary"),
    ]);
    let strict = capturing(&["*"], true);
    let redacted = [pair("authorization", REDACTED), pair("x-api-key", REDACTED)];
    assert_eq!(captured(std::slice::from_ref(&strict), &headers), redacted);
    let lax = capturing(&["x-*"], false);
    let both = [pair("authorization", REDACTED), pair("x-api-key", "canary")];
    assert_eq!(captured(&[strict, lax], &headers), both);
}

#[test]
fn a_record_has_no_span_that_every_exporter_drops() {
    let mut recorder = Recorder::default();
    let now = std::time::Instant::now();
    recorder.begin(None, now);
    let mut parent = SpanIndex::ROOT;
    for name in ["plugin.a.prehook", "plugin.b.prehook", "plugin.c.prehook"] {
        parent = recorder.span(name, Kind::Plugin, parent, now);
    }
    let names = |exporters: &[config::Filters]| {
        let mut out = Vec::new();
        assert!(Capture::new(exporters).write(&recorder, &mut out));
        let trace = record::read(&out).expect("a record");
        trace
            .spans
            .iter()
            .skip(1)
            .map(|span| span.name.as_bytes()[7])
            .collect::<Vec<_>>()
    };
    let [ab, bc] = [["a", "b"], ["b", "c"]].map(|names| excluding(&names.map(str::to_owned)));
    assert_eq!(names(std::slice::from_ref(&ab)), b"c");
    assert_eq!(names(&[ab.clone(), bc]), b"ac");
    assert_eq!(names(&[ab, config::Filters::default()]), b"abc");
}

#[test]
fn a_record_has_no_attribute_that_every_exporter_strips() {
    let quiet = config::Filters {
        disable_content_logging: true,
        ..config::Filters::default()
    };
    let mut fixture = Fixture::new(None);
    fixture
        .recorder
        .attribute(SpanIndex::ROOT, "gen_ai.prompt", "canary");
    fixture
        .recorder
        .attribute(SpanIndex::ROOT, "gen_ai.usage.cost", 0.1);
    let has_canary = |exporters: &[config::Filters]| {
        let mut out = Vec::new();
        assert!(Capture::new(exporters).write(&fixture.recorder, &mut out));
        String::from_utf8_lossy(&out).contains("canary")
    };
    assert!(!has_canary(std::slice::from_ref(&quiet)));
    assert!(has_canary(&[quiet, config::Filters::default()]));
}

#[test]
fn a_record_shows_no_header_for_the_sake_of_an_exporter_that_samples_it_out() {
    let mut lax = capturing(&["*"], false);
    lax.sampling.ratio = 0.0;
    let capture = Capture::new([&lax, &capturing(&["auth*"], true)]);
    let mut fixture = Fixture::new(None);
    let headers = headers(&[("authorization", b"canary"), ("accept", b"canary")]);
    capture.capture_headers(&headers, &mut fixture.recorder);
    let mut out = Vec::new();
    assert!(capture.write(&fixture.recorder, &mut out));
    let trace = record::read(&out).expect("a record");
    assert_eq!(trace.request_headers, [("authorization", REDACTED)]);
}

/// Headers of what a capture writes for exporters, and for the local store.
fn both_headers(
    exporter: &config::Filters,
    local: &config::Filters,
    headers: &HeaderMap,
) -> [Vec<(String, String)>; 2] {
    let capture = Capture::with_local([exporter], Some(local));
    let mut fixture = Fixture::new(None);
    capture.capture_headers(headers, &mut fixture.recorder);
    let (mut exported, mut kept) = (Vec::new(), Vec::new());
    assert!(capture.write(&fixture.recorder, &mut exported));
    assert!(capture.write_local(&fixture.recorder, &mut kept));
    [exported, kept].map(|record| {
        let trace = record::read(&record).expect("a record");
        let headers = trace.request_headers.iter();
        headers.map(|(name, value)| pair(name, value)).collect()
    })
}

#[test]
fn what_the_store_alone_captures_stays_out_of_what_is_exported() {
    let headers = headers(&[("x-one", b"1"), ("x-two", b"2"), ("cookie", b"canary")]);
    let [exported, kept] = both_headers(
        &capturing(&["x-one"], true),
        &capturing(&["*"], true),
        &headers,
    );
    assert_eq!(exported, [pair("x-one", "1")]);
    let all = [
        pair("x-one", "1"),
        pair("x-two", "2"),
        pair("cookie", REDACTED),
    ];
    assert_eq!(kept, all);
}

#[test]
fn the_store_redacts_what_an_exporter_shows() {
    let headers = headers(&[("cookie", b"canary")]);
    let [exported, kept] = both_headers(
        &capturing(&["cookie"], false),
        &capturing(&["cookie"], true),
        &headers,
    );
    assert_eq!(exported, [pair("cookie", "canary")]);
    assert_eq!(kept, [pair("cookie", REDACTED)]);
}

#[test]
fn the_store_keeps_no_content_where_it_is_not_to() {
    let record = |local: &config::Filters| {
        let mut fixture = Fixture::new(None);
        let root = crate::trace::SpanIndex::ROOT;
        fixture
            .recorder
            .attribute(root, "gen_ai.input.messages", "canary");
        let capture = Capture::with_local([], Some(local));
        let mut out = Vec::new();
        assert!(capture.write_local(&fixture.recorder, &mut out));
        String::from_utf8_lossy(&out).contains("canary")
    };
    assert!(record(&config::Filters::default()));
    let quiet = config::Filters {
        disable_content_logging: true,
        ..config::Filters::default()
    };
    assert!(!record(&quiet));
}

#[test]
fn a_trace_that_every_exporter_samples_out_has_no_record() {
    let mut config = config::Filters::default();
    config.sampling.ratio = 0.0;
    let mut out = Vec::new();
    let fixture = Fixture::new(None);
    assert!(!Capture::new([&config]).write(&fixture.recorder, &mut out));
    assert!(!Capture::new([]).write(&fixture.recorder, &mut out));
    assert_eq!(out, b"");
    assert!(
        Capture::new([&config, &config::Filters::default()]).write(&fixture.recorder, &mut out)
    );
    assert!(!out.is_empty());
}

proptest! {
    #[test]
    fn whatever_is_dropped_the_tree_stays_connected(
        record in records(),
        dropped in proptest::collection::vec("[abc]", 0..4),
    ) {
        let trace = record::read(&record).expect("a record");
        let filters = Filters::new(&excluding(&dropped));
        let selection = filters.select(&trace).expect("not sampled out");
        let stays = |span: &Span<'_>| {
            span.parent.is_none() || span.plugin().is_none_or(|name| !dropped.iter().any(|of| of == name))
        };

        let kept: Vec<_> = selection.spans(&trace).map(|(_, span, _)| span.id).collect();
        let expected: Vec<_> =
            trace.spans.iter().filter(|span| stays(span)).map(|span| span.id).collect();
        prop_assert_eq!(&kept, &expected);

        let mut before = HashSet::new();
        for (_, span, parent) in selection.spans(&trace) {
            let mut ancestor = span.parent;
            while let Some(above) = ancestor.map(|index| &trace.spans[index.get()]) {
                if stays(above) {
                    break;
                }
                ancestor = above.parent;
            }
            let nearest = ancestor.map(|index| trace.spans[index.get()].id);
            prop_assert_eq!(parent, nearest);
            prop_assert!(parent.is_none_or(|parent| before.contains(&parent)));
            before.insert(span.id);
        }
        for line in &trace.plugin_logs {
            let span = &trace.spans[selection.survivor(line.span).get()];
            prop_assert!(before.contains(&span.id));
        }
    }
}
