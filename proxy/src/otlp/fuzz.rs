//! What must hold of requests, whatever their bytes. Prost, which has been told nothing by the tables, is
//! the judge of what they mean.

use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use prost::Message as _;

use super::check::check;
use super::json::{self, Dialect};
use super::keys::Key;
use super::messages::{Plan, Sink};
use super::split::Tree;
use super::{Signal, again, read};
use crate::config::otlp::Format;

/// Reads a request in protobuf. The first byte chooses the signal, the second how large messages may be.
///
/// # Panics
///
/// Where prost refuses what was taken, JSON means something else, or a message is too large or a leaf of
/// the request not in exactly one.
pub fn otlp_protobuf(bytes: &[u8]) {
    let [first, size, request @ ..] = bytes else {
        return;
    };
    let signal = chosen(*first);
    let limit = 64 + 16 * usize::from(*size);
    // What a topic refused is not checked again.
    again::pieces(signal, request, false, (limit, limit));
    let Ok(counts) = check(signal.request(), request) else {
        return;
    };
    let known = canonical(signal, request);
    let json = as_json(signal, request, Dialect::Otlp);
    let read = read::read(signal.request(), &json).expect("what Weir writes it reads");
    // Compared as JSON, in which one NaN is like another.
    let text = |request: &[u8]| {
        let json = as_json(signal, request, Dialect::Otlp);
        String::from_utf8(json).expect("JSON is UTF-8")
    };
    assert_eq!(text(&canonical(signal, &read)), text(&known));
    if counts.is_empty {
        return;
    }
    for format in [Format::Protobuf, Format::Json, Format::JsonSnakeCase] {
        for keyed in [false, true] {
            let plan = Plan {
                signal,
                format,
                keyed,
                limit,
                alone: limit,
            };
            split(&plan, request);
        }
    }
}

/// Reads a request in JSON; the first byte chooses the signal.
///
/// # Panics
///
/// Where what is taken is not JSON, does not become valid protobuf, or is another request once written
/// and read again.
pub fn otlp_json(bytes: &[u8]) {
    let Some((first, json)) = bytes.split_first() else {
        return;
    };
    let signal = chosen(*first);
    // What a topic refused may be in either dialect.
    again::pieces(signal, json, true, (100, 100));
    let Ok(request) = read::read(signal.request(), json) else {
        return;
    };
    serde_json::from_slice::<serde::de::IgnoredAny>(json).expect("what is read is JSON");
    check(signal.request(), &request).expect("what Weir writes is well-formed");
    canonical(signal, &request);
    let written = as_json(signal, &request, Dialect::Otlp);
    let again = read::read(signal.request(), &written).expect("what Weir writes it reads");
    let again = as_json(signal, &again, Dialect::Otlp);
    assert_eq!(String::from_utf8(again), String::from_utf8(written));
}

fn chosen(byte: u8) -> Signal {
    Signal::ALL[usize::from(byte) % Signal::ALL.len()]
}

fn split(plan: &Plan, request: &[u8]) {
    let message = plan.signal.request();
    let (messages, refused) = messages(plan, request);
    let mut parts = Vec::new();
    for (_, payload) in &messages.0 {
        assert!(payload.len() <= plan.limit);
        let part = match plan.format {
            Format::Protobuf => Ok(payload.clone()),
            Format::Json => read::read(message, payload),
            Format::JsonSnakeCase => read::read_as(Dialect::SnakeCase, message, payload),
        };
        let part = part.expect("what Weir writes it reads");
        check(message, &part).expect("what Weir writes is well-formed");
        parts.push(part);
    }
    // JSON has one member only of a `oneof` that was written twice, and with it fewer leaves.
    if plan.format != Format::Protobuf {
        return;
    }
    let whole = Tree::new(message, request);
    let trees: Vec<Tree<'_>> = parts.iter().map(|part| Tree::new(message, part)).collect();
    let leaves: Vec<&[u8]> = trees.iter().flat_map(Tree::leaves).collect();
    assert_eq!(leaves.len() as u64 + refused, whole.len() as u64);
    // Keys change the order.
    if refused == 0 && !plan.keyed {
        assert_eq!(leaves, whole.leaves());
    }
}

/// What prost makes of a request, written in its own way.
pub(super) fn canonical(signal: Signal, bytes: &[u8]) -> Vec<u8> {
    match signal {
        Signal::Traces => ExportTraceServiceRequest::decode(bytes)
            .expect("prost reads it")
            .encode_to_vec(),
        Signal::Metrics => ExportMetricsServiceRequest::decode(bytes)
            .expect("prost reads it")
            .encode_to_vec(),
        Signal::Logs => ExportLogsServiceRequest::decode(bytes)
            .expect("prost reads it")
            .encode_to_vec(),
    }
}

pub(super) fn as_json(signal: Signal, bytes: &[u8], dialect: Dialect) -> Vec<u8> {
    let mut out = Vec::new();
    json::write(signal.request(), bytes, dialect, &mut out);
    out
}

/// The messages of a request, with their keys.
#[derive(Default)]
pub(super) struct Messages(pub(super) Vec<(Option<Key>, Vec<u8>)>);

impl Sink for Messages {
    type Error = std::convert::Infallible;

    fn put(&mut self, key: Option<&Key>, payload: &[u8]) -> Result<(), Self::Error> {
        self.0.push((key.copied(), payload.to_vec()));
        Ok(())
    }
}

/// What becomes of a request, and how many of its items are too large.
pub(super) fn messages(plan: &Plan, request: &[u8]) -> (Messages, u64) {
    let mut messages = Messages::default();
    let Ok(refused) = plan.messages(request, &mut messages);
    (messages, refused)
}
