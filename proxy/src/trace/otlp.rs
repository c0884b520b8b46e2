//! `format: otlp_json` and `otlp_protobuf`: one trace as one OTLP `ExportTraceServiceRequest`.
use super::Trace;
use crate::filter::Selection;

/// Appends OTLP/JSON of what `selection` leaves of `trace`.
pub fn encode_json(_trace: &Trace<'_>, _selection: &Selection<'_>, _out: &mut Vec<u8>) {}

/// Appends OTLP protobuf of what `selection` leaves of `trace`.
pub fn encode_protobuf(_trace: &Trace<'_>, _selection: &Selection<'_>, _out: &mut Vec<u8>) {}
