//! W3C Trace Context (Level 2): what callers send and what Weir sends on.
//!
//! Reading is strict, as the recommendation wants it: a `traceparent` that is not valid, or comes
//! twice, starts a new trace, and a `tracestate` that is not valid is dropped alone.

pub mod b3;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::{SpanId, TraceId};
use crate::hex;

pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The `sampled` flag.
pub const SAMPLED: u8 = 0x01;

/// The flag of a trace id whose last seven bytes are random.
pub const RANDOM: u8 = 0x02;

/// Most characters of `tracestate` that are sent on.
const MAX_STATE_LEN: usize = 512;

/// Most list members a `tracestate` may have.
const MAX_MEMBERS: usize = 32;

/// A member longer than this is the first to go when a `tracestate` is too long.
const LARGE_MEMBER_LEN: usize = 128;

/// A valid incoming `traceparent` with its `tracestate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    pub trace_id: TraceId,
    /// The caller's span.
    pub parent: SpanId,
    /// Those of the flags that the recommendation names; others may not be sent on.
    pub flags: u8,
    /// Empty where there is none.
    pub state: String,
}

/// The context a request came with, if it came with a valid one.
pub fn parse(headers: &HeaderMap) -> Option<Context> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (trace_id, parent, flags) = parse_parent(value.as_bytes())?;
    Some(Context {
        trace_id,
        parent,
        flags,
        state: parse_state(headers).unwrap_or_default(),
    })
}

/// The `traceparent` to send on.
#[expect(clippy::missing_panics_doc, reason = "it cannot")]
pub fn traceparent(trace: TraceId, span: SpanId, flags: u8) -> HeaderValue {
    let mut value = *b"00-00000000000000000000000000000000-0000000000000000-00";
    hex::write(&trace.0, &mut value[3..35]);
    hex::write(&span.0, &mut value[36..52]);
    hex::write(&[flags], &mut value[53..]);
    HeaderValue::from_bytes(&value).expect("digits and dashes may stand in a header")
}

fn parse_parent(value: &[u8]) -> Option<(TraceId, SpanId, u8)> {
    let (value, rest) = value.split_at_checked(55)?;
    let [v, w, b'-', ids @ .., b'-', f, g] = value else {
        return None;
    };
    let [version] = hex::read(&[*v, *w])?;
    match (version, rest) {
        // Versions to come may have more fields, behind a dash.
        (0, []) | (1..=0xfe, [] | [b'-', ..]) => {}
        _ => return None,
    }
    let (trace_id, [b'-', parent @ ..]) = ids.split_at_checked(32)? else {
        return None;
    };
    let trace_id: [u8; 16] = hex::read(trace_id)?;
    let parent: [u8; 8] = hex::read(parent)?;
    let [flags] = hex::read(&[*f, *g])?;
    if trace_id == [0; 16] || parent == [0; 8] {
        return None;
    }
    Some((
        TraceId(trace_id),
        SpanId(parent),
        flags & (SAMPLED | RANDOM),
    ))
}

/// The list members of all `tracestate` headers, joined and cut to what is sent on.
fn parse_state(headers: &HeaderMap) -> Option<String> {
    let mut members: SmallVec<[&str; 8]> = SmallVec::new();
    for value in headers.get_all("tracestate") {
        for member in value.to_str().ok()?.split(',') {
            let member = member.trim_matches([' ', '\t']);
            if member.is_empty() {
                continue;
            }
            let (key, value) = member.split_once('=')?;
            let is_new = members.iter().all(|other| {
                let other = other.split_once('=').map(|(key, _)| key);
                other != Some(key)
            });
            if !(is_key(key) && is_value(value) && is_new && members.len() < MAX_MEMBERS) {
                return None;
            }
            members.push(member);
        }
    }
    let mut len = members.iter().map(|member| member.len() + 1).sum::<usize>();
    while len > MAX_STATE_LEN + 1 {
        let large = members
            .iter()
            .rposition(|member| member.len() > LARGE_MEMBER_LEN);
        let dropped = members.remove(large.unwrap_or(members.len() - 1));
        len -= dropped.len() + 1;
    }
    Some(members.join(","))
}

fn is_key(key: &str) -> bool {
    let may_start = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let may_follow = |byte: u8| may_start(byte) || b"_-*/@".contains(&byte);
    let bytes = key.as_bytes();
    key.len() <= 256
        && bytes.first().is_some_and(|byte| may_start(*byte))
        && bytes.iter().all(|byte| may_follow(*byte))
}

fn is_value(value: &str) -> bool {
    let may_stand = |byte: u8| matches!(byte, 0x20..=0x7e) && byte != b'=';
    // Commas part members and outer spaces were trimmed; neither can be here.
    (1..=256).contains(&value.len()) && value.bytes().all(may_stand)
}

#[cfg(test)]
mod tests;
