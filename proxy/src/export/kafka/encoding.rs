//! From a record to its message, or several: decode, filter, encode, into buffers that are used
//! again.

use http::HeaderValue;
use rdkafka::message::{Header, OwnedHeaders};

use crate::config::{self, Format};
use crate::export::prepared::{self, ContentType, Prepared};
use crate::filter::Filters;
use crate::otlp::Signal;
use crate::otlp::again::{self, Piece};
use crate::trace::split::{self, Encode};
use crate::trace::{context, json, otlp, record};

/// Where a `traceparent` has the trace id.
const TRACE_ID: std::ops::Range<usize> = 3..35;

/// What a message takes beside its payload: key, record headers, and the batch around it.
const OVERHEAD: usize = 400;

pub(super) struct Encoder {
    content_type: &'static str,
    encode: How,
    filters: Filters,
    /// Most bytes of a payload.
    limit: usize,
    /// The same of what cannot be made smaller.
    alone: usize,
    traceparent: HeaderValue,
    payload: Vec<u8>,
    pieces: Vec<Piece>,
}

/// What is made of a record.
#[derive(Clone, Copy)]
enum How {
    /// It is a trace.
    Encode(Encode),
    /// It is a message already, of a receiver's.
    Prepared(Signal),
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

/// Which of a trace's messages one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) index: usize,
    pub(super) count: usize,
}

impl Part {
    const WHOLE: Self = Self { index: 0, count: 1 };
}

/// What became of a trace.
pub(super) enum Encoded<'b> {
    SampledOut,
    Sent,
    /// It cannot be made small enough, or these parts of it cannot; all others were sent.
    TooLarge(Vec<(Part, Message<'b>)>),
}

impl Encoder {
    pub(super) fn new(config: &config::Kafka) -> Self {
        let (content_type, encode) = match config.format {
            Format::Json => ("application/json", How::Encode(json::encode)),
            Format::OtlpJson => ("application/json", How::Encode(otlp::encode_json)),
            Format::OtlpProtobuf => ("application/x-protobuf", How::Encode(otlp::encode_protobuf)),
            Format::Prepared(signal) => ("", How::Prepared(signal)),
        };
        let limit = payload_bytes(config.producer.max_message_bytes);
        Self {
            content_type,
            encode,
            filters: Filters::new(&config.filters),
            limit,
            alone: limit,
            traceparent: HeaderValue::from_static(""),
            payload: Vec::new(),
            pieces: Vec::new(),
        }
    }

    /// Makes no payload of more than so many bytes from now on, `alone` of what cannot be made
    /// smaller.
    pub(super) fn limit(&mut self, bytes: usize, alone: usize) {
        self.limit = bytes;
        self.alone = alone;
    }

    /// Whether records are messages already, so that one is all it takes to make another.
    pub(super) fn is_prepared(&self) -> bool {
        matches!(self.encode, How::Prepared(_))
    }

    /// By which way a record came.
    pub(super) fn origin(&self, record: &[u8]) -> prepared::Origin {
        match self.encode {
            How::Prepared(_) => prepared::origin(record),
            How::Encode(_) => 0,
        }
    }

    /// Gives each message to `send`, in order.
    pub(super) fn encode<'b>(
        &'b mut self,
        record: &'b [u8],
        mut send: impl FnMut(Message<'_>, Part),
    ) -> Result<Encoded<'b>, Error> {
        let encode = match self.encode {
            How::Encode(encode) => encode,
            How::Prepared(signal) => return self.prepared(signal, record, send),
        };
        let mut trace = record::read(record)?;
        let Some(selection) = self.filters.select(&trace) else {
            return Ok(Encoded::SampledOut);
        };
        self.payload.clear();
        encode(&trace, &selection, &mut self.payload);
        let head = &trace.head;
        self.traceparent = context::traceparent(head.trace_id, trace.root().id, head.flags);
        if self.payload.len() <= self.limit {
            send(self.message(&self.payload, self.headers(3)), Part::WHOLE);
            return Ok(Encoded::Sent);
        }
        let Some(parts) = split::split(&mut trace, &selection, encode, self.limit) else {
            let message = self.message(&self.payload, self.headers(3));
            return Ok(Encoded::TooLarge(vec![(Part::WHOLE, message)]));
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

    /// Gives a message of a receiver's to `send`: as it is, or in pieces.
    fn prepared<'b>(
        &'b mut self,
        signal: Signal,
        record: &'b [u8],
        mut send: impl FnMut(Message<'_>, Part),
    ) -> Result<Encoded<'b>, Error> {
        let Prepared {
            content_type,
            key,
            payload,
        } = prepared::read(record).ok_or(Error::Prepared)?;
        let message = |payload: &'b [u8]| Message {
            key,
            payload,
            headers: headers(content_type.as_str(), 2),
        };
        if payload.len() <= self.limit {
            send(message(payload), Part::WHOLE);
            return Ok(Encoded::Sent);
        }
        let limits = (self.limit, self.alone);
        let is_json = content_type == ContentType::Json;
        self.pieces = again::pieces(signal, payload, is_json, limits);
        let count = self.pieces.len();
        let mut too_large = Vec::new();
        for (index, piece) in self.pieces.iter().enumerate() {
            let part = Part { index, count };
            if piece.is_too_large {
                too_large.push((part, message(&piece.payload)));
            } else {
                send(message(&piece.payload), part);
            }
        }
        Ok(match (count, too_large.is_empty()) {
            // It is none of ours, and what is written of it is what it was.
            (0, _) => Encoded::TooLarge(vec![(Part::WHOLE, message(payload))]),
            (_, true) => Encoded::Sent,
            (_, false) => Encoded::TooLarge(too_large),
        })
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
