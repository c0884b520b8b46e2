//! B3, the propagation format of Zipkin, in one field (`b3`) or several (`x-b3-*`).

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Context, SAMPLED};
use crate::hex;
use crate::trace::{SpanId, TraceId};

const SINGLE: HeaderName = HeaderName::from_static("b3");
const TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const SAMPLE: HeaderName = HeaderName::from_static("x-b3-sampled");
const FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// In which fields it is sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Single,
    Multi,
}

/// The context of a request, in whichever form; `None` where it has none that is valid.
pub fn parse(headers: &HeaderMap) -> Option<Context> {
    match only(headers, &SINGLE) {
        Some(single) => parse_single(single),
        None => parse_multi(headers),
    }
}

/// Puts the context in the place of what the request came with.
#[expect(clippy::missing_panics_doc, reason = "it cannot")]
pub fn write(form: Form, trace: TraceId, span: SpanId, flags: u8, headers: &mut HeaderMap) {
    for name in [SINGLE, TRACE, SPAN, PARENT, SAMPLE, FLAGS] {
        headers.remove(name);
    }
    let sampled = if flags & SAMPLED == 0 { b'0' } else { b'1' };
    let mut value = *b"00000000000000000000000000000000-0000000000000000-0";
    hex::write(&trace.0, &mut value[..32]);
    hex::write(&span.0, &mut value[33..49]);
    value[50] = sampled;
    let digits = |bytes: &[u8]| {
        HeaderValue::from_bytes(bytes).expect("digits and dashes may stand in a header")
    };
    match form {
        Form::Single => {
            headers.insert(SINGLE, digits(&value));
        }
        Form::Multi => {
            headers.insert(TRACE, digits(&value[..32]));
            headers.insert(SPAN, digits(&value[33..49]));
            headers.insert(SAMPLE, digits(&value[50..]));
        }
    }
}

fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.as_bytes()),
        _ => None,
    }
}

/// `trace-span`, `trace-span-sampled` or `trace-span-sampled-parent`.
fn parse_single(value: &[u8]) -> Option<Context> {
    let mut parts = value.split(|byte| *byte == b'-');
    let (trace, span) = (parts.next()?, parts.next()?);
    let flags = match parts.next() {
        Some(b"0") => 0,
        None | Some(b"1" | b"d") => SAMPLED,
        Some(_) => return None,
    };
    if let Some(parent) = parts.next() {
        span_id(parent)?;
    }
    if parts.next().is_some() {
        return None;
    }
    context(trace, span, flags)
}

fn parse_multi(headers: &HeaderMap) -> Option<Context> {
    let (trace, span) = (only(headers, &TRACE)?, only(headers, &SPAN)?);
    let debug = only(headers, &FLAGS) == Some(b"1");
    let flags = match only(headers, &SAMPLE) {
        Some(b"0" | b"false") if !debug => 0,
        _ => SAMPLED,
    };
    context(trace, span, flags)
}

fn context(trace: &[u8], span: &[u8], flags: u8) -> Option<Context> {
    Some(Context {
        trace_id: trace_id(trace)?,
        parent: span_id(span)?,
        flags,
        state: String::new(),
    })
}

/// 32 digits, or 16, which are the lower half.
fn trace_id(digits: &[u8]) -> Option<TraceId> {
    let id: [u8; 16] = match digits.len() {
        32 => hex::read(digits)?,
        16 => {
            let lower: [u8; 8] = hex::read(digits)?;
            let mut id = [0; 16];
            id[8..].copy_from_slice(&lower);
            id
        }
        _ => return None,
    };
    (id != [0; 16]).then_some(TraceId(id))
}

fn span_id(digits: &[u8]) -> Option<SpanId> {
    let id: [u8; 8] = (digits.len() == 16).then(|| hex::read(digits))??;
    (id != [0; 8]).then_some(SpanId(id))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "80f198ee56343ba864fe8b2a57d3eff7";

    fn of(fields: &[(&'static str, &str)]) -> Option<Context> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        parse(&headers)
    }

    #[test]
    fn both_forms_are_read() {
        let single = |rest: &str| format!("{ID}-e457b5a2e4d86bd1{rest}");
        for (rest, flags) in [
            ("", 1),
            ("-1", 1),
            ("-d", 1),
            ("-0", 0),
            ("-1-05e3ac9a4f6e3b90", 1),
        ] {
            let context = of(&[("b3", &single(rest))]).unwrap();
            assert_eq!(context.trace_id.to_string(), ID);
            assert_eq!(context.parent.to_string(), "e457b5a2e4d86bd1");
            assert_eq!(context.flags, flags, "{rest}");
        }
        let span = ("x-b3-spanid", "e457b5a2e4d86bd1");
        let multi = of(&[("x-b3-traceid", ID), span, ("x-b3-sampled", "0")]).unwrap();
        assert_eq!((multi.trace_id.to_string().as_str(), multi.flags), (ID, 0));
        let short = of(&[("x-b3-traceid", "64fe8b2a57d3eff7"), span]).unwrap();
        assert_eq!(
            short.trace_id.to_string(),
            "000000000000000064fe8b2a57d3eff7"
        );
        assert_eq!(short.flags, 1);
    }

    #[test]
    fn what_is_not_valid_is_no_context() {
        for value in [
            "0",
            "1",
            "d",
            "",
            &format!("{ID}-"),
            &format!("{ID}-e457b5a2e4d86bd"),
            &format!("{ID}-e457b5a2e4d86bd1-2"),
            &format!("{ID}-e457b5a2e4d86bd1-1-x"),
            &format!("{ID}-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90-1"),
            "00000000000000000000000000000000-e457b5a2e4d86bd1",
            "80f198ee56343ba864fe8b2a57d3eff7-0000000000000000",
        ] {
            assert_eq!(of(&[("b3", value)]), None, "{value}");
        }
        assert_eq!(of(&[("x-b3-traceid", ID)]), None);
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else_is_left() {
        for form in [Form::Single, Form::Multi] {
            for flags in [0, SAMPLED] {
                let (trace, span) = (TraceId([7; 16]), SpanId([9; 8]));
                let mut headers = HeaderMap::new();
                headers.insert("x-b3-flags", "1".parse().unwrap());
                headers.insert("x-b3-parentspanid", "05e3ac9a4f6e3b90".parse().unwrap());
                write(form, trace, span, flags, &mut headers);
                let read = parse(&headers).unwrap();
                assert_eq!(
                    (read.trace_id, read.parent, read.flags),
                    (trace, span, flags)
                );
                assert_eq!(headers.len(), if form == Form::Single { 1 } else { 3 });
            }
        }
    }

    proptest! {
        #[test]
        fn no_field_makes_it_panic(value in "[0-9a-fd-]{0,80}") {
            of(&[("b3", &value)]);
            of(&[("x-b3-traceid", &value), ("x-b3-spanid", &value)]);
        }
    }
}
