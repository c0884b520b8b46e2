//! What must hold of trace context, whatever is in its fields.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Context, MAX_STATE_LEN, RANDOM, SAMPLED, TRACEPARENT, b3, parse, traceparent};

/// More fields than any that are looked at.
const MAX_FIELDS: usize = 100;

/// Reads both forms of trace context from fields, of which each is a line.
///
/// # Panics
///
/// Where what is sent on is not read as what came.
pub fn trace_context(bytes: &[u8]) {
    let headers = fields(bytes);
    if let Some(context) = parse(&headers) {
        is_valid(&context);
        let parent = traceparent(context.trace_id, context.parent, context.flags);
        let mut sent = HeaderMap::new();
        sent.insert(TRACEPARENT, parent);
        if !context.state.is_empty() {
            let state = HeaderValue::from_str(&context.state).expect("it came in a header");
            sent.insert("tracestate", state);
        }
        assert_eq!(parse(&sent), Some(context));
    }
    if let Some(context) = b3::parse(&headers) {
        is_valid(&context);
        for form in [b3::Form::Single, b3::Form::Multi] {
            let mut sent = headers.clone();
            let Context {
                trace_id,
                parent,
                flags,
                ..
            } = context;
            b3::write(form, trace_id, parent, flags, &mut sent);
            assert_eq!(b3::parse(&sent).as_ref(), Some(&context));
            assert_eq!(sent.contains_key("b3"), form == b3::Form::Single);
            assert!(!sent.contains_key("x-b3-flags"));
        }
    }
}

fn is_valid(context: &Context) {
    assert_ne!(context.trace_id.0, [0; 16]);
    assert_ne!(context.parent.0, [0; 8]);
    assert_eq!(context.flags & !(SAMPLED | RANDOM), 0);
    assert!(context.state.len() <= MAX_STATE_LEN);
}

/// The lines that may be fields of a head.
fn fields(bytes: &[u8]) -> HeaderMap {
    let lines = bytes.split(|byte| *byte == b'\n').take(MAX_FIELDS);
    let fields = lines.filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let name = HeaderName::from_bytes(name).ok()?;
        Some((name, HeaderValue::from_bytes(value).ok()?))
    });
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(name, value);
    }
    headers
}
