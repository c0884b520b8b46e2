use proptest::prelude::*;

use super::fuzz::trace_record;
use super::*;
use crate::trace::attributes::Attributes;
use crate::trace::recorder::{MAX_BYTES, Recorder};
use crate::trace::testing::{ANCHOR, Call, Fixture, calls, recorded, records};
use crate::trace::{Level, PluginLog, Span, SpanId, SpanIndex, Status, Trace, Value};

fn decoded(record: &[u8]) -> Trace<'_> {
    read(record).expect("a record that was just written")
}

type Pairs<'r> = Vec<(&'r str, Value<'r>)>;

/// An event: name, time and attributes.
type Noted<'r> = (&'r str, u64, Pairs<'r>);

fn noted<'r>(trace: &'r Trace<'r>, span: &Span<'r>) -> Vec<Noted<'r>> {
    let events = trace.events_of(span).iter();
    let noted = events.map(|event| (event.name, event.time, event.attributes.pairs().collect()));
    noted.collect()
}

/// What was recorded, put together plainly: attributes and events by span.
fn model(calls: &[Call]) -> Vec<(Pairs<'_>, Vec<Noted<'_>>)> {
    fn set<'r>(attributes: &mut Pairs<'r>, key: &'r str, value: Value<'r>) {
        attributes.retain(|(of, _)| *of != key);
        attributes.push((key, value));
    }
    let mut spans = vec![(Vec::new(), Vec::new())];
    for call in calls {
        let count = spans.len();
        match call {
            Call::Span(..) => spans.push((Vec::new(), Vec::new())),
            Call::Attribute(span, key, value) => {
                set(&mut spans[span.index(count)].0, key, value.as_value());
            }
            Call::Template(span, pairs) => {
                for (key, value) in pairs {
                    set(&mut spans[span.index(count)].0, key, value.as_value());
                }
            }
            Call::Event(span, name, pairs, time) => {
                let mut attributes = Vec::new();
                for (key, value) in pairs {
                    set(&mut attributes, key, value.as_value());
                }
                let noted = (name.as_str(), time * 1000, attributes);
                spans[span.index(count)].1.push(noted);
            }
            _ => {}
        }
    }
    spans
}

#[test]
fn spans_that_a_fork_began_are_behind_those_of_the_trace() {
    let mut fixture = Fixture::new(None);
    let hook = fixture.span("hook", Kind::Plugin, SpanIndex::ROOT, 1);
    let (early, late) = (fixture.at(2), fixture.at(9));
    let mut side = Recorder::default();
    side.fork(&fixture.recorder);
    side.attribute(hook, "of", "the hook");
    let call = side.span("call", Kind::HttpClient, hook, early);
    side.attribute(call, "of", "the call");
    side.event(call, "sent", &[("n", Value::Integer(1))], early);
    // Meanwhile the trace goes on, of which the fork learns only then.
    let after = fixture.span("after", Kind::Plugin, hook, 3);
    side.catch_up(&fixture.recorder);
    let within = side.span("within", Kind::Retry, call, early);
    side.attribute(after, "of", "what came after");
    side.request_header("host", &["a"]);
    side.plugin_log(within, "p", Level::Warn, "log", early);
    side.attribute(within, "of", "the call within");
    side.mark_error(within, "broke");
    side.end(within, Status::Error, "", late);
    side.end(call, Status::Ok, "", late);
    assert!(side.has_ended(call));
    fixture.recorder.absorb(&side);
    let record = fixture.finish();
    let trace = decoded(&record);

    let told: Vec<_> = trace.spans[1..]
        .iter()
        .map(|span| {
            let parent = span.parent.map(SpanIndex::get);
            let of = span.attributes.pairs().map(|(_, value)| value).next();
            (span.name, parent, of, span.status, span.message, span.end)
        })
        .collect();
    let text = |text| Some(Value::Text(text));
    assert_eq!(
        told,
        [
            ("hook", Some(0), text("the hook"), Status::Unset, "", 1000),
            (
                "after",
                Some(1),
                text("what came after"),
                Status::Unset,
                "",
                3000
            ),
            ("call", Some(1), text("the call"), Status::Ok, "", 9000),
            (
                "within",
                Some(3),
                text("the call within"),
                Status::Error,
                "broke",
                9000
            ),
        ]
    );
    let event = vec![("sent", 2000, vec![("n", Value::Integer(1))])];
    assert_eq!(noted(&trace, &trace.spans[3]), event);
    assert_eq!(trace.request_headers, [("host", "a")]);
    assert_eq!(trace.plugin_logs[0].span, SpanIndex(4));
}

#[test]
fn spans_that_were_absorbed_are_put_in_order_of_start() {
    let mut fixture = Fixture::new(None);
    let hook = fixture.span("hook", Kind::Plugin, SpanIndex::ROOT, 1);
    let (early, late) = (fixture.at(2), fixture.at(4));
    let mut side = Recorder::default();
    side.fork(&fixture.recorder);
    let call = side.span("call", Kind::HttpClient, hook, early);
    side.event(call, "sent", &[], early);
    side.plugin_log(call, "p", Level::Warn, "log", early);
    let within = side.span("within", Kind::Retry, call, late);
    side.attribute(within, "of", "the call within");
    let after = fixture.span("after", Kind::Plugin, hook, 3);
    let last = fixture.span("last", Kind::Plugin, after, 5);
    fixture.recorder.attribute(last, "of", "the last");
    fixture.recorder.absorb(&side);
    fixture.recorder.put_in_order();
    fixture
        .recorder
        .attribute(SpanIndex::ROOT, "of", "the root");
    let record = fixture.finish();
    let trace = decoded(&record);

    let told: Vec<_> = trace.spans[1..]
        .iter()
        .map(|span| {
            let of = span.attributes.pairs().map(|(_, value)| value).next();
            (span.name, span.parent.map(SpanIndex::get), of)
        })
        .collect();
    let text = |text| Some(Value::Text(text));
    assert_eq!(
        told,
        [
            ("hook", Some(0), None),
            ("call", Some(1), None),
            ("after", Some(1), None),
            ("within", Some(2), text("the call within")),
            ("last", Some(3), text("the last")),
        ]
    );
    assert_eq!(noted(&trace, &trace.spans[2]), [("sent", 2000, vec![])]);
    assert_eq!(trace.plugin_logs[0].span, SpanIndex(2));
}

#[test]
fn a_fork_has_no_more_spans_than_there_is_room_for() {
    let mut fixture = Fixture::new(None);
    let mut side = Recorder::default();
    side.fork(&fixture.recorder);
    let now = fixture.at(1);
    for _ in 0..2000 {
        let span = side.span("own", Kind::HttpClient, SpanIndex::ROOT, now);
        side.attribute(span, "key", true);
    }
    for _ in 0..1000 {
        fixture.span("other", Kind::Plugin, SpanIndex::ROOT, 1);
    }
    fixture.recorder.absorb(&side);
    let record = fixture.finish();
    let trace = decoded(&record);
    assert_eq!(trace.spans.len(), 1024);
    assert_eq!(trace.spans[1023].name, "own");
    // 977 when they were begun, and 1000 that others took the room of.
    assert_eq!(trace.head.dropped, 1977);
}

#[test]
fn a_trace_is_read_as_it_was_recorded() {
    let mut fixture = Fixture::new(None);
    fixture.recorder.set_request_id("r");
    fixture
        .recorder
        .rename_parts(SpanIndex::ROOT, &["GET", " ", "/x"]);
    let hook = fixture.span("plugin.a.prehook", Kind::Plugin, SpanIndex::ROOT, 1);
    fixture.end(hook, Status::Error, "broke", 3);
    fixture.end(SpanIndex::ROOT, Status::Ok, "", 5);
    let record = fixture.finish();
    let trace = decoded(&record);

    assert_eq!(trace.head.request_id, "r");
    assert_eq!(trace.head.anchor, ANCHOR);
    assert!(trace.head.failed);
    let expected = [
        Span {
            id: SpanId(1_u64.to_be_bytes()),
            parent: None,
            kind: Kind::HttpRequest,
            name: "GET /x",
            start: 0,
            end: 5000,
            status: Status::Ok,
            message: "",
            attributes: Attributes::default(),
            events: 0..0,
        },
        Span {
            id: SpanId(2_u64.to_be_bytes()),
            parent: Some(SpanIndex::ROOT),
            kind: Kind::Plugin,
            name: "plugin.a.prehook",
            start: 1000,
            end: 3000,
            status: Status::Error,
            message: "broke",
            attributes: Attributes::default(),
            events: 0..0,
        },
    ];
    assert_eq!(trace.spans, expected);
}

#[test]
fn the_last_value_of_a_key_wins_among_many() {
    let mut fixture = Fixture::new(None);
    let keys: Vec<String> = (0..200).map(|n| format!("key.number.{n}")).collect();
    for round in 0..3_i64 {
        for key in &keys {
            fixture.recorder.attribute(SpanIndex::ROOT, key, round);
        }
    }
    let record = fixture.finish();
    let trace = decoded(&record);
    let values: Vec<_> = trace.root().attributes.pairs().collect();
    let expected: Vec<_> = keys
        .iter()
        .map(|key| (key.as_str(), Value::Integer(2)))
        .collect();
    assert_eq!(values, expected);
}

#[test]
fn long_keys_values_and_lists_are_read() {
    let long = "é".repeat(40_000);
    for key in ["short", &long] {
        for value in [
            Value::Text(&long),
            Value::Text(&long[..130]),
            Value::Integer(i64::MIN),
            Value::Boolean(true),
            Value::Float(0.1),
            Value::List(vec![&long, "", &long[..200]]),
            Value::List(vec!["a"; 60]),
            Value::List(vec![]),
        ] {
            let mut fixture = Fixture::new(None);
            fixture.recorder.attribute(SpanIndex::ROOT, "before", true);
            fixture
                .recorder
                .attribute(SpanIndex::ROOT, key, value.clone());
            fixture.recorder.attribute(SpanIndex::ROOT, "behind", 1.5);
            let record = fixture.finish();
            let trace = decoded(&record);
            let pairs: Pairs<'_> = trace.root().attributes.pairs().collect();
            let (before, behind) = (Value::Boolean(true), Value::Float(1.5));
            assert_eq!(
                pairs,
                [("before", before), (key, value), ("behind", behind)]
            );
        }
    }
}

#[test]
fn what_does_not_fit_is_counted_and_the_rest_is_read() {
    let mut fixture = Fixture::new(None);
    let large = "x".repeat(MAX_BYTES / 2);
    for _ in 0..3 {
        fixture
            .recorder
            .attribute(SpanIndex::ROOT, "large", large.as_str());
        fixture.recorder.request_header("large", &[&large]);
    }
    let hook = fixture.span(&large, Kind::Plugin, SpanIndex::ROOT, 1);
    fixture.end(hook, Status::Error, &large, 2);
    let record = fixture.finish();
    assert!(
        record.len() < MAX_BYTES + 64 * 1024,
        "{} bytes",
        record.len()
    );
    let trace = decoded(&record);
    assert_eq!(trace.head.dropped, 5);
    assert_eq!(trace.spans[1].status, Status::Error);
}

#[test]
fn spans_past_the_bound_are_counted() {
    let mut fixture = Fixture::new(None);
    for _ in 0..2000 {
        fixture.span("x", Kind::Plugin, SpanIndex::ROOT, 1);
    }
    let record = fixture.finish();
    let trace = decoded(&record);
    assert_eq!(trace.spans.len() + trace.head.dropped as usize, 2001);
}

#[test]
fn other_versions_are_refused() {
    let mut record = Fixture::new(None).finish();
    record[0] = 9;
    assert_eq!(read(&record), Err(Error::Version(9)));
}

#[test]
fn a_recorder_begins_anew() {
    let mut fixture = recorded(&[]);
    fixture.recorder.attribute(SpanIndex::ROOT, "old", true);
    fixture.recorder.begin(None, fixture.at(0));
    let mut record = Vec::new();
    write(&fixture.recorder, &mut record);
    let trace = decoded(&record);
    assert_eq!(trace.spans.len(), 1);
    assert_eq!(trace.root().attributes, Attributes::default());
}

#[test]
fn a_silent_recorder_notes_which_spans_were_and_nothing_else() {
    let mut fixture = Fixture::new(None);
    fixture.recorder.silence();
    fixture.request(200);
    fixture.recorder.request_header("accept", &["*/*"]);
    let hook = fixture.hook("plugin.a.prehook", SpanIndex::ROOT, 10);
    let at = fixture.at(11);
    fixture.recorder.event(hook, "e", &[], at);
    fixture
        .recorder
        .plugin_log(hook, "a", Level::Info, "said", at);
    fixture.end(SpanIndex::ROOT, Status::Error, "broke", 20);
    let record = fixture.finish();
    let trace = decoded(&record);
    assert_eq!((trace.head.dropped, trace.head.failed), (0, true));
    assert_eq!(trace.spans.len(), 2);
    for span in &trace.spans {
        assert_eq!((span.start, span.end), (0, 0));
        assert_eq!((span.name, span.message), ("", ""));
        assert_eq!(span.attributes, Attributes::default());
    }
    assert_eq!((trace.events.len(), trace.request_headers.len()), (0, 0));
    assert_eq!(trace.plugin_logs, []);
}

fn without_a<'v>(name: &str, value: &'v str) -> Option<&'v str> {
    (name != "a").then_some(value)
}

proptest! {
    #[test]
    fn arbitrary_calls_are_read_as_they_were_recorded(calls in calls()) {
        let record = recorded(&calls).finish();
        let trace = decoded(&record);
        let model = model(&calls);
        prop_assert_eq!(trace.spans.len(), model.len());
        for (span, (attributes, events)) in trace.spans.iter().zip(&model) {
            prop_assert_eq!(&span.attributes.pairs().collect::<Pairs<'_>>(), attributes);
            prop_assert_eq!(&noted(&trace, span), events);
        }
        let headers: Vec<_> = calls.iter().filter_map(|call| match call {
            Call::Header(name, values) => Some((name.clone(), values.join(", "))),
            _ => None,
        }).collect();
        let read_headers: Vec<_> = trace.request_headers.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        prop_assert_eq!(read_headers, headers);
        let mut spans = 1;
        let mut lines = trace.plugin_logs.iter();
        for call in &calls {
            match call {
                Call::Span(..) => spans += 1,
                Call::Log(span, plugin, level, message, time) => {
                    let span = SpanIndex::from_usize(span.index(spans));
                    let expected = PluginLog { plugin, span, level: *level, message, time: time * 1000 };
                    prop_assert_eq!(lines.next(), Some(&expected));
                }
                _ => {}
            }
        }
        prop_assert_eq!(lines.next(), None);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        trace_record(&bytes);
        trace_record(&[&[VERSION], bytes.as_slice()].concat());
    }

    #[test]
    fn mutated_records_are_read_or_refused(
        record in records(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        len in any::<prop::sample::Index>(),
    ) {
        let mut record = record;
        for (at, byte) in changes {
            let at = at.index(record.len());
            record[at] = byte;
        }
        trace_record(&record[..len.index(record.len())]);
        trace_record(&record);
    }

    #[test]
    fn a_part_is_the_record_of_what_stays(calls in calls()) {
        let mut fixture = recorded(&calls);
        let whole = fixture.finish_by_ref();
        let whole = decoded(&whole);
        let stays = |span: &Span<'_>| span.plugin() != Some("a");
        let mut survivors = Vec::new();
        for (index, span) in whole.spans.iter().enumerate() {
            survivors.push(match span.parent {
                Some(parent) if !stays(span) => survivors[parent.get()],
                _ => SpanIndex::from_usize(index),
            });
        }
        let mut record = Vec::new();
        write_part(&fixture.recorder, &survivors, |_, key| key != b"a", without_a, &mut record);
        let trace = decoded(&record);

        let mut headers = whole.request_headers.clone();
        headers.retain(|(name, _)| *name != "a");
        prop_assert_eq!(&trace.request_headers, &headers);
        prop_assert_eq!(&trace.head, &whole.head);
        let kept: Vec<_> = (0..survivors.len()).filter(|&at| survivors[at].get() == at).collect();
        prop_assert_eq!(trace.spans.len(), kept.len());
        for (span, &at) in trace.spans.iter().zip(&kept) {
            let of = &whole.spans[at];
            let same = (span.id, span.name, span.message, span.kind, span.status, span.start, span.end);
            prop_assert_eq!(same, (of.id, of.name, of.message, of.kind, of.status, of.start, of.end));
            let parent = span.parent.map(|parent| trace.spans[parent.get()].id);
            let expected = of.parent.map(|parent| whole.spans[survivors[parent.get()].get()].id);
            prop_assert_eq!(parent, expected);
            let kept = of.attributes.pairs().filter(|(key, _)| *key != "a");
            prop_assert_eq!(span.attributes.pairs().collect::<Pairs<'_>>(), kept.collect::<Pairs<'_>>());
            let mut events = noted(&whole, of);
            for (_, _, attributes) in &mut events {
                attributes.retain(|(key, _)| *key != "a");
            }
            prop_assert_eq!(noted(&trace, span), events);
        }
        for (line, of) in trace.plugin_logs.iter().zip(&whole.plugin_logs) {
            prop_assert_eq!(line.message, of.message);
            let span = survivors[of.span.get()];
            prop_assert_eq!(trace.spans[line.span.get()].id, whole.spans[span.get()].id);
        }
        prop_assert_eq!(trace.plugin_logs.len(), whole.plugin_logs.len());
    }
}
