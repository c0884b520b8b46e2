//! W3C Trace Context: what callers send and what Weir sends on.

use super::{SpanId, TraceId};

/// The `sampled` flag.
pub const SAMPLED: u8 = 0x01;

/// A valid incoming `traceparent` with its `tracestate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    pub trace_id: TraceId,
    /// The caller's span.
    pub parent: SpanId,
    pub flags: u8,
    /// Empty where there is none.
    pub state: String,
}
impl Context { pub fn from_headers(_: &http::HeaderMap) -> Option<Self> { None } }
pub fn traceparent(t: TraceId, s: SpanId, _f: u8) -> http::HeaderValue { http::HeaderValue::try_from(format!("00-{t}-{s}-01")).unwrap() }
