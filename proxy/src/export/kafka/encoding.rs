//! From a record to its message, or several: decode, filter, encode, into buffers that are used
//! again.

use http::HeaderValue;
use rdkafka::message::{Header, OwnedHeaders};

use crate::config::{self, Format};
use crate::filter::Filters;
use crate::trace::split::{self, Encode};
use crate::trace::{context, json, otlp, record};

/// Where a `traceparent` has the trace id.
const TRACE_ID: std::ops::Range<usize> = 3..35;

/// What a message takes beside its payload: key, record headers, and the batch around it.
const OVERHEAD: usize = 400;

pub(super) struct Encoder {
    content_type: &'static str,
    encode: Encode,
    filters: Filters,
    /// Most bytes of a payload.
    limit: usize,
    traceparent: HeaderValue,
    payload: Vec<u8>,
}

/// A trace on its way to a topic, or a part of it.
pub(super) struct Message<'b> {
    /// The trace id, as lower-case hex.
    pub(super) key: &'b [u8],
    pub(super) payload: &'b [u8],
    pub(super) headers: OwnedHeaders,
}

/// Which of a trace's messages one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) index: usize,
    pub(super) count: usize,
}

/// What became of a trace.
pub(super) enum Encoded<'b> {
    SampledOut,
    Sent,
    /// It cannot be made small enough: here it is as one message.
    TooLarge(Message<'b>),
}

impl Encoder {
    pub(super) fn new(config: &config::Kafka) -> Self {
        let (content_type, encode): (_, Encode) = match config.format {
            Format::Json => ("application/json", json::encode),
            Format::OtlpJson => ("application/json", otlp::encode_json),
            Format::OtlpProtobuf => ("application/x-protobuf", otlp::encode_protobuf),
        };
        Self {
            content_type,
            encode,
            filters: Filters::new(&config.filters),
            limit: payload_bytes(config.producer.max_message_bytes),
            traceparent: HeaderValue::from_static(""),
            payload: Vec::new(),
        }
    }

    /// Makes no payload of more than so many bytes from now on.
    pub(super) fn limit(&mut self, bytes: usize) {
        self.limit = bytes;
    }

    /// Gives each message to `send`, in order.
    pub(super) fn encode(
        &mut self,
        record: &[u8],
        mut send: impl FnMut(Message<'_>, Part),
    ) -> Result<Encoded<'_>, record::Error> {
        let mut trace = record::read(record)?;
        let Some(selection) = self.filters.select(&trace) else {
            return Ok(Encoded::SampledOut);
        };
        self.payload.clear();
        (self.encode)(&trace, &selection, &mut self.payload);
        let head = &trace.head;
        self.traceparent = context::traceparent(head.trace_id, trace.root().id, head.flags);
        if self.payload.len() <= self.limit {
            let whole = Part { index: 0, count: 1 };
            send(self.message(&self.payload, self.headers(3)), whole);
            return Ok(Encoded::Sent);
        }
        let Some(parts) = split::split(&mut trace, &selection, self.encode, self.limit) else {
            let message = self.message(&self.payload, self.headers(3));
            return Ok(Encoded::TooLarge(message));
        };
        let count = parts.len();
        for (index, payload) in parts.iter().enumerate() {
            let headers = if count > 1 {
                let part = format!("{}/{count}", index + 1);
                self.headers(4).insert(header("weir-part", part.as_bytes()))
            } else {
                self.headers(3)
            };
            send(self.message(payload, headers), Part { index, count });
        }
        Ok(Encoded::Sent)
    }

    fn headers(&self, capacity: usize) -> OwnedHeaders {
        let version = env!("CARGO_PKG_VERSION").as_bytes();
        OwnedHeaders::new_with_capacity(capacity)
            .insert(header("content-type", self.content_type.as_bytes()))
            .insert(header("weir-version", version))
            .insert(header("traceparent", self.traceparent.as_bytes()))
    }

    fn message<'m>(&'m self, payload: &'m [u8], headers: OwnedHeaders) -> Message<'m> {
        Message {
            key: &self.traceparent.as_bytes()[TRACE_ID],
            payload,
            headers,
        }
    }
}

/// Most bytes of a payload in a message of so many.
pub(super) fn payload_bytes(message_bytes: usize) -> usize {
    message_bytes.saturating_sub(OVERHEAD).max(1)
}

pub(super) fn header<'a>(key: &'a str, value: &'a [u8]) -> Header<'a, &'a [u8]> {
    Header {
        key,
        value: Some(value),
    }
}
