//! From a record to its message, or several: decode, filter, encode, into buffers that are used
//! again.

use http::HeaderValue;
use rdkafka::message::{Header, OwnedHeaders};

use crate::config::{self, Format};
use crate::export::prepared;
use crate::filter::Filters;
use crate::trace::split::{self, Encode};
use crate::trace::{context, json, otlp, record};

/// Where a `traceparent` has the trace id.
const TRACE_ID: std::ops::Range<usize> = 3..35;

/// What a message takes beside its payload: key, record headers, and the batch around it.
const OVERHEAD: usize = 400;

pub(super) struct Encoder {
    content_type: &'static str,
    /// `None` where records are messages already.
    encode: Option<Encode>,
    filters: Filters,
    /// Most bytes of a payload.
    limit: usize,
    traceparent: HeaderValue,
    payload: Vec<u8>,
}

/// A trace on its way to a topic, or a part of it.
pub(super) struct Message<'b> {
    /// The trace id, as lower-case hex; what receivers make has none, or one of the same form.
    pub(super) key: Option<&'b [u8]>,
    pub(super) payload: &'b [u8],
    pub(super) headers: OwnedHeaders,
}

/// Why a record gives no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Trace(#[from] record::Error),
    #[error("no record of a receiver's")]
    Prepared,
}

/// What became of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoded {
    SampledOut,
    Sent,
}

impl Encoder {
    pub(super) fn new(config: &config::Kafka) -> Self {
        let (content_type, encode): (_, Option<Encode>) = match config.format {
            Format::Json => ("application/json", Some(json::encode)),
            Format::OtlpJson => ("application/json", Some(otlp::encode_json)),
            Format::OtlpProtobuf => ("application/x-protobuf", Some(otlp::encode_protobuf)),
            Format::Prepared => ("", None),
        };
        Self {
            content_type,
            encode,
            filters: Filters::new(&config.filters),
            limit: config.producer.max_message_bytes - OVERHEAD,
            traceparent: HeaderValue::from_static(""),
            payload: Vec::new(),
        }
    }

    /// Gives each message to `send`, and whether more of the same trace follow. What cannot be made
    /// small enough is given as it is, for librdkafka to refuse.
    pub(super) fn encode(
        &mut self,
        record: &[u8],
        mut send: impl FnMut(Message<'_>, bool),
    ) -> Result<Encoded, Error> {
        let Some(encode) = self.encode else {
            let prepared = prepared::read(record).ok_or(Error::Prepared)?;
            let content_type = prepared.content_type.as_str();
            let message = Message {
                key: prepared.key,
                payload: prepared.payload,
                headers: headers(content_type, 2),
            };
            send(message, false);
            return Ok(Encoded::Sent);
        };
        let mut trace = record::read(record)?;
        let Some(selection) = self.filters.select(&trace) else {
            return Ok(Encoded::SampledOut);
        };
        self.payload.clear();
        encode(&trace, &selection, &mut self.payload);
        let head = &trace.head;
        self.traceparent = context::traceparent(head.trace_id, trace.root().id, head.flags);
        let parts = (self.payload.len() > self.limit)
            .then(|| split::split(&mut trace, &selection, encode, self.limit))
            .flatten();
        let Some(parts) = parts else {
            send(self.message(&self.payload, self.headers(3)), false);
            return Ok(Encoded::Sent);
        };
        for (index, payload) in parts.iter().enumerate() {
            let part = format!("{}/{}", index + 1, parts.len());
            let headers = self.headers(4).insert(header("weir-part", part.as_bytes()));
            send(self.message(payload, headers), index + 1 < parts.len());
        }
        Ok(Encoded::Sent)
    }

    fn headers(&self, capacity: usize) -> OwnedHeaders {
        headers(self.content_type, capacity)
            .insert(header("traceparent", self.traceparent.as_bytes()))
    }

    fn message<'m>(&'m self, payload: &'m [u8], headers: OwnedHeaders) -> Message<'m> {
        Message {
            key: Some(&self.traceparent.as_bytes()[TRACE_ID]),
            payload,
            headers,
        }
    }
}

/// What every message has.
fn headers(content_type: &str, capacity: usize) -> OwnedHeaders {
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    OwnedHeaders::new_with_capacity(capacity)
        .insert(header("content-type", content_type.as_bytes()))
        .insert(header("weir-version", version))
}

fn header<'a>(key: &'a str, value: &'a [u8]) -> Header<'a, &'a [u8]> {
    Header {
        key,
        value: Some(value),
    }
}
