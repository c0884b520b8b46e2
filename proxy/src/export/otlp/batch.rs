//! From records to requests: decode, filter, encode, and put many traces into one.
//!
//! A request is a list of resources with their spans, so traces are put one behind the other: in
//! protobuf as they are, in JSON with commas. A batch remembers of which records it was made, so
//! that it can be made anew in parts.

use std::sync::Arc;
use std::time::Instant;

use crate::config::{OtlpExporter, OtlpProtocol};
use crate::export::source::Place;
use crate::filter::Filters;
use crate::trace::split::{self, Encode};
use crate::trace::{TraceId, otlp, record};

/// Around the resources of a request in JSON.
const OPEN: &[u8] = br#"{"resourceSpans":["#;
const CLOSE: &[u8] = b"]}";

/// A trace that was taken and is not settled.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) place: Place,
    /// A copy: of a chunk, sampling may leave one trace in a hundred.
    pub(super) record: Arc<[u8]>,
}

/// Traces that are sent together.
#[derive(Default)]
pub(super) struct Batch {
    entries: Vec<Entry>,
    spans: usize,
    /// What is between the brackets of the request.
    bytes: Vec<u8>,
    /// Bytes of the records.
    records: usize,
    /// When the first came.
    since: Option<Instant>,
}

/// How large a batch may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) spans: usize,
    pub(super) bytes: usize,
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn spans(&self) -> usize {
        self.spans
    }

    /// Bytes of the request.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + OPEN.len() + CLOSE.len()
    }

    /// Bytes of memory.
    pub(super) fn held(&self) -> usize {
        self.bytes.len() + self.records
    }

    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }
}

/// A trace as a part of a request.
pub(super) struct Piece<'e> {
    bytes: &'e [u8],
    spans: usize,
}

pub(super) struct Encoder {
    filters: Filters,
    encode: Encode,
    is_json: bool,
    buffer: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(config: &OtlpExporter) -> Self {
        let is_json = config.to.protocol == OtlpProtocol::HttpJson;
        Self {
            filters: Filters::new(&config.filters),
            encode: if is_json {
                otlp::encode_json
            } else {
                otlp::encode_protobuf
            },
            is_json,
            buffer: Vec::new(),
        }
    }

    /// A request without anything in it.
    pub(super) fn empty(&self) -> Vec<u8> {
        self.request(&Batch::default())
    }

    /// A trace; `None` where sampling leaves it out.
    pub(super) fn piece(&mut self, record: &[u8]) -> Result<Option<Piece<'_>>, record::Error> {
        let trace = record::read(record)?;
        let Some(selection) = self.filters.select(&trace) else {
            return Ok(None);
        };
        self.buffer.clear();
        (self.encode)(&trace, &selection, &mut self.buffer);
        let spans = selection.spans(&trace).count();
        let bytes = if self.is_json {
            let inner = self.buffer.strip_prefix(OPEN);
            inner
                .and_then(|inner| inner.strip_suffix(CLOSE))
                .expect("a request has these brackets")
        } else {
            &self.buffer
        };
        Ok(Some(Piece { bytes, spans }))
    }

    /// The batch as it is sent.
    pub(super) fn request(&self, batch: &Batch) -> Vec<u8> {
        if self.is_json {
            [OPEN, &batch.bytes, CLOSE].concat()
        } else {
            batch.bytes.clone()
        }
    }

    /// The same traces as two batches.
    pub(super) fn halves(&mut self, batch: Batch) -> [Batch; 2] {
        let mut entries = batch.entries;
        let second = entries.split_off(entries.len() / 2);
        [entries, second].map(|entries| {
            let mut half = Batch::default();
            for entry in entries {
                // It was encoded before: it decodes, and sampling does not change its mind.
                if let Ok(Some(piece)) = self.piece(&entry.record) {
                    half.push(entry, &piece);
                }
            }
            half
        })
    }

    /// One trace as several requests of at most so many bytes; `None` where that cannot be done.
    pub(super) fn parts(&self, record: &[u8], limit: usize) -> Option<Vec<Vec<u8>>> {
        let mut trace = record::read(record).ok()?;
        let selection = self.filters.select(&trace)?;
        split::split(&mut trace, &selection, self.encode, limit)
    }

    /// A trace as OTLP/JSON, for people, with its id.
    pub(super) fn json(&self, record: &[u8]) -> Option<(TraceId, Vec<u8>)> {
        let trace = record::read(record).ok()?;
        let selection = self.filters.select(&trace)?;
        let mut json = Vec::new();
        otlp::encode_json(&trace, &selection, &mut json);
        Some((trace.head.trace_id, json))
    }
}

impl Piece<'_> {
    /// Whether it has room beside what is in a batch; in an empty one it always has.
    pub(super) fn fits(&self, batch: &Batch, limits: Limits) -> bool {
        batch.is_empty()
            || (batch.size() + 1 + self.bytes.len() <= limits.bytes
                && batch.spans + self.spans <= limits.spans)
    }
}

impl Batch {
    pub(super) fn push(&mut self, entry: Entry, piece: &Piece<'_>) {
        // Protobuf begins with a field's tag, JSON with a bracket, and then needs a comma.
        if piece.bytes.first() == Some(&b'{') && !self.bytes.is_empty() {
            self.bytes.push(b',');
        }
        self.bytes.extend_from_slice(piece.bytes);
        self.spans += piece.spans;
        self.records += entry.record.len();
        self.entries.push(entry);
        self.since.get_or_insert_with(Instant::now);
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest as Request;

    use super::*;
    use crate::export::testing;
    use crate::trace::recorder::Recorder;

    /// Records of so many traces, of two spans each.
    fn records(traces: usize) -> Vec<Arc<[u8]>> {
        let mut recorder = Recorder::default();
        let mut record = || {
            let mut bytes = Vec::new();
            testing::write(&mut recorder, &mut bytes);
            bytes.into()
        };
        (0..traces).map(|_| record()).collect()
    }

    fn batch(encoder: &mut Encoder, records: &[Arc<[u8]>]) -> Batch {
        let mut batch = Batch::default();
        for record in records {
            let entry = Entry {
                place: Place::of_record(0),
                record: Arc::clone(record),
            };
            let piece = encoder.piece(record);
            batch.push(entry, &piece.unwrap().unwrap());
        }
        batch
    }

    fn read(encoder: &Encoder, bytes: &[u8]) -> Request {
        if encoder.is_json {
            serde_json::from_slice(bytes).unwrap()
        } else {
            Request::decode(bytes).unwrap()
        }
    }

    fn spans(request: &Request) -> Vec<Vec<u8>> {
        let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
        let spans = scopes.flat_map(|scope| &scope.spans);
        spans.map(|span| span.span_id.clone()).collect()
    }

    fn encoders() -> [Encoder; 2] {
        [OtlpProtocol::Grpc, OtlpProtocol::HttpJson].map(|protocol| {
            let mut config = testing::otlp("127.0.0.1", 1);
            config.to.protocol = protocol;
            Encoder::new(&config)
        })
    }

    #[test]
    fn many_traces_are_one_request() {
        for mut encoder in encoders() {
            let batch = batch(&mut encoder, &records(5));
            assert_eq!((batch.len(), batch.spans()), (5, 10));
            let request = encoder.request(&batch);
            assert!(request.len() <= batch.size());
            let request = read(&encoder, &request);
            assert_eq!(request.resource_spans.len(), 5);
            assert_eq!(spans(&request).len(), 10);
        }
    }

    #[test]
    fn an_empty_request_is_one() {
        for encoder in encoders() {
            assert_eq!(read(&encoder, &encoder.empty()), Request::default());
        }
    }

    #[test]
    fn halves_have_all_of_it_in_order() {
        for mut encoder in encoders() {
            let batch = batch(&mut encoder, &records(5));
            let whole = spans(&read(&encoder, &encoder.request(&batch)));
            let halves = encoder.halves(batch);
            assert_eq!(halves.each_ref().map(Batch::len), [2, 3]);
            let halves = halves.map(|half| spans(&read(&encoder, &encoder.request(&half))));
            assert_eq!(halves.concat(), whole);
        }
    }

    #[test]
    fn a_batch_is_bounded_in_bytes_and_in_spans_but_takes_one_trace_at_least() {
        for mut encoder in encoders() {
            let records = records(3);
            let batch = batch(&mut encoder, &records[..2]);
            let size = batch.size();
            let piece = encoder.piece(&records[2]).unwrap().unwrap();
            let fits = |batch: &Batch, spans, bytes| piece.fits(batch, Limits { spans, bytes });
            assert!(fits(&batch, 6, 2 * size));
            assert!(!fits(&batch, 5, 2 * size));
            assert!(!fits(&batch, 6, size + 10));
            assert!(fits(&Batch::default(), 1, 1));
        }
    }

    #[test]
    fn a_large_trace_is_several_requests() {
        for mut encoder in encoders() {
            let records = records(1);
            let whole = batch(&mut encoder, &records);
            let limit = whole.size() - 30;
            let parts = encoder.parts(&records[0], limit).unwrap();
            assert!(parts.len() > 1 && parts.iter().all(|part| part.len() <= limit));
            let found: Vec<_> = parts
                .iter()
                .flat_map(|part| spans(&read(&encoder, part)))
                .collect();
            assert_eq!(found, spans(&read(&encoder, &encoder.request(&whole))));
            assert_eq!(encoder.parts(&records[0], 10), None);
        }
    }
}
