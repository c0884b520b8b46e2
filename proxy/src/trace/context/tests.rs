use proptest::prelude::*;

use super::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| {
            let value = HeaderValue::from_str(value).expect("a header value");
            (http::HeaderName::from_static(name), value)
        })
        .collect()
}

fn parse_value(parent: &str) -> Option<Context> {
    parse(&headers(&[("traceparent", parent)]))
}

fn state_of(states: &[&str]) -> String {
    let mut lines = vec![("traceparent", PARENT)];
    lines.extend(states.iter().map(|state| ("tracestate", *state)));
    parse(&headers(&lines)).expect("a valid traceparent").state
}

#[test]
fn a_valid_parent_is_taken() {
    let context = parse_value(PARENT).expect("valid");
    assert_eq!(
        context.trace_id.to_string(),
        "0af7651916cd43dd8448eb211c80319c"
    );
    assert_eq!(context.parent.to_string(), "b7ad6b7169203331");
    assert_eq!(context.flags, SAMPLED);
    assert_eq!(context.state, "");
}

#[test]
fn no_header_is_no_context() {
    assert_eq!(parse(&HeaderMap::new()), None);
    assert_eq!(parse(&headers(&[("tracestate", "a=1")])), None);
}

#[test]
fn two_parents_are_ignored() {
    let twice = headers(&[("traceparent", PARENT), ("traceparent", PARENT)]);
    assert_eq!(parse(&twice), None);
}

#[test]
fn a_parent_that_is_not_valid_is_ignored() {
    for parent in [
        "",
        "00",
        // Upper case, in each field.
        "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-B7AD6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0A",
        "0A-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        // All zero.
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        // The version that cannot be.
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        // Too short, too long, ill parted.
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-011",
        "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331_01",
        "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.x",
    ] {
        assert_eq!(parse_value(parent), None, "{parent}");
    }
}

#[test]
fn a_version_to_come_may_have_more_fields() {
    for tail in ["", "-", "-what-the-future-brings"] {
        let parent = format!("cc{}{tail}", &PARENT[2..]);
        assert!(parse_value(&parent).is_some(), "{parent}");
    }
}

#[test]
fn flags_without_a_name_are_not_sent_on() {
    let context = parse_value(&PARENT.replace("-01", "-ff")).expect("valid");
    assert_eq!(context.flags, SAMPLED | RANDOM);
}

#[test]
fn states_are_joined_in_order_and_trimmed() {
    assert_eq!(
        state_of(&["a=1 ,\tb=2", "", ",c=3,,", "0@d/e*_-=!~"]),
        "a=1,b=2,c=3,0@d/e*_-=!~"
    );
}

#[test]
fn a_state_that_is_not_valid_is_dropped_whole() {
    let long_key = format!("{}=1", "k".repeat(257));
    let long_value = format!("k={}", "v".repeat(257));
    let many = (0..33)
        .map(|n| format!("k{n}=1"))
        .collect::<Vec<_>>()
        .join(",");
    for state in [
        "a",
        "a=",
        "=1",
        "A=1",
        "a b=1",
        "_a=1",
        "a=1=2",
        "a=1,a=2",
        "a=1,b",
        "a=\tb",
        "a=ü",
        &long_key,
        &long_value,
        &many,
    ] {
        assert_eq!(state_of(&[state]), "", "{state}");
    }
    assert_eq!(state_of(&["a=1", "b"]), "");
}

#[test]
fn a_state_too_long_loses_large_members_then_the_last() {
    let large = format!("large={}", "v".repeat(200));
    let small = |n: usize| format!("k{n:02}={}", "v".repeat(96));
    let state = [
        small(0),
        large,
        small(1),
        small(2),
        small(3),
        small(4),
        small(5),
    ]
    .join(",");
    let expected = [small(0), small(1), small(2), small(3), small(4)].join(",");
    assert_eq!(state_of(&[&state]), expected);
    assert!(expected.len() <= MAX_STATE_LEN);
}

proptest! {
    #[test]
    fn what_is_written_is_read(trace in 1_u128.., span in 1_u64.., flags in 0_u8..4) {
        let (trace_id, parent) = (TraceId(trace.to_be_bytes()), SpanId(span.to_be_bytes()));
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", traceparent(trace_id, parent, flags));
        let context = Context { trace_id, parent, flags, state: String::new() };
        prop_assert_eq!(parse(&headers), Some(context));
    }

    #[test]
    fn near_misses_never_panic_and_are_only_taken_when_valid(
        at in 0_usize..55, byte in 0x20_u8..0x7f,
    ) {
        let mut parent = PARENT.as_bytes().to_vec();
        parent[at] = byte;
        let text = String::from_utf8(parent).expect("ASCII");
        if let Some(context) = parse_value(&text) {
            let sent = traceparent(context.trace_id, context.parent, context.flags);
            let sent = sent.to_str().expect("ASCII");
            prop_assert_eq!(&sent[3..53], &text[3..53]);
        }
    }

    #[test]
    fn any_state_gives_a_valid_one(values in proptest::collection::vec("[ -~\t]{0,300}", 0..4)) {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let once = state_of(&values);
        prop_assert!(once.len() <= MAX_STATE_LEN);
        prop_assert_eq!(&state_of(&[&once]), &once);
    }

    #[test]
    fn whole_members_are_kept_in_order(lens in proptest::collection::vec(1_usize..250, 1..32)) {
        let members: Vec<String> =
            lens.iter().enumerate().map(|(n, len)| format!("k{n}={}", "v".repeat(*len))).collect();
        let state = state_of(&[&members.join(",")]);
        prop_assert!(state.len() <= MAX_STATE_LEN);
        let mut rest = members.iter();
        for member in state.split(',').filter(|member| !member.is_empty()) {
            prop_assert!(rest.any(|other| other == member), "{} in order", member);
        }
    }
}
