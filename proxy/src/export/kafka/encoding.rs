//! From a record to a message: decode, filter, encode, into buffers that are used again.

use http::HeaderValue;
use rdkafka::message::{Header, OwnedHeaders};

use crate::config::{self, Format};
use crate::filter::Filters;
use crate::trace::{context, json, otlp, record};

/// Where a `traceparent` has the trace id.
const TRACE_ID: std::ops::Range<usize> = 3..35;

pub(super) struct Encoder {
    format: Format,
    filters: Filters,
    traceparent: HeaderValue,
    payload: Vec<u8>,
}

/// A trace on its way to a topic.
pub(super) struct Message<'b> {
    /// The trace id, as lower-case hex.
    pub(super) key: &'b [u8],
    pub(super) payload: &'b [u8],
    pub(super) headers: OwnedHeaders,
}

impl Encoder {
    pub(super) fn new(config: &config::Kafka) -> Self {
        Self {
            format: config.format,
            filters: Filters::new(&config.filters),
            traceparent: HeaderValue::from_static(""),
            payload: Vec::new(),
        }
    }

    /// `None` where sampling leaves the trace out.
    pub(super) fn encode(&mut self, record: &[u8]) -> Result<Option<Message<'_>>, record::Error> {
        let trace = record::read(record)?;
        let Some(selection) = self.filters.select(&trace) else {
            return Ok(None);
        };
        self.payload.clear();
        let (content_type, encode): (_, fn(&_, &_, &mut _)) = match self.format {
            Format::Json => ("application/json", json::encode),
            Format::OtlpJson => ("application/json", otlp::encode_json),
            Format::OtlpProtobuf => ("application/x-protobuf", otlp::encode_protobuf),
        };
        encode(&trace, &selection, &mut self.payload);
        let head = &trace.head;
        self.traceparent = context::traceparent(head.trace_id, trace.root().id, head.flags);
        let traceparent = self.traceparent.as_bytes();
        let headers = OwnedHeaders::new_with_capacity(3)
            .insert(header("content-type", content_type.as_bytes()))
            .insert(header("weir-version", env!("CARGO_PKG_VERSION").as_bytes()))
            .insert(header("traceparent", traceparent));
        Ok(Some(Message {
            key: &traceparent[TRACE_ID],
            payload: &self.payload,
            headers,
        }))
    }
}

fn header<'a>(key: &'a str, value: &'a [u8]) -> Header<'a, &'a [u8]> {
    Header {
        key,
        value: Some(value),
    }
}
