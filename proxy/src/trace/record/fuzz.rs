//! What must hold of records, whatever their bytes.

use super::read;
use crate::filter::Selection;
use crate::trace::{json, otlp};

/// Reads a record and writes it as exporters do.
///
/// # Panics
///
/// Where the bytes make something panic.
pub fn trace_record(bytes: &[u8]) {
    let Ok(trace) = read(bytes) else {
        return;
    };
    for span in &trace.spans {
        span.attributes.pairs().for_each(drop);
        for event in trace.events_of(span) {
            event.attributes.pairs().for_each(drop);
        }
    }
    let selection = Selection::all();
    let mut out = Vec::new();
    json::encode(&trace, &selection, &mut out);
    otlp::encode_json(&trace, &selection, &mut out);
    otlp::encode_protobuf(&trace, &selection, &mut out);
}
