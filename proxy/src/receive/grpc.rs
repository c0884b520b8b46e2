//! OTLP/gRPC: the unary `Export` of the three services. All of gRPC that this takes is a prefix of
//! five bytes before a message, and trailers behind it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::body::{self, Encoding, Limits, Patience};
use super::intake::Export;
use super::refusal::Refusal;
use super::reply::Reply;
use super::{Current, Local, Protocol};
use crate::config::otlp::{Grpc, Otlp};
use crate::otlp::Signal;
use crate::otlp::status::{self, Status};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// What is said where some items are too large for any message.
const TOO_LARGE: &str = "larger than a Kafka message may be (`max_message_bytes`)";

impl Local {
    /// Answers a request, whatever it is.
    pub(super) async fn grpc(
        &self,
        current: &Current,
        config: &Grpc,
        request: Request<Incoming>,
    ) -> Response<Reply> {
        if request.method() != Method::POST || !is_grpc(request.headers()) {
            let mut response = Response::new(Reply::default());
            *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return response;
        }
        let Some(signal) = signal(request.uri().path()) else {
            return refused(&Refusal::NotFound);
        };
        let cell = self.cells().of(signal, Protocol::Grpc);
        cell.requests.inc();
        match self.take_grpc(current, config, signal, request).await {
            Ok(rejected) => {
                cell.acknowledged.inc();
                let response = status::Response {
                    signal,
                    rejected: (rejected > 0).then_some((rejected, TOO_LARGE)),
                };
                succeeded(&response.protobuf())
            }
            Err(refusal) => {
                cell.refused[refusal.index()].inc();
                refused(&refusal)
            }
        }
    }

    async fn take_grpc(
        &self,
        current: &Current,
        config: &Grpc,
        signal: Signal,
        request: Request<Incoming>,
    ) -> Result<u64, Refusal> {
        let (head, body) = request.into_parts();
        let headers = &head.headers;
        if !current.admits(headers) {
            return Err(Refusal::Unauthenticated);
        }
        let encoding = headers
            .get(ENCODING)
            .map_or(Some(Encoding::Identity), |name| {
                Encoding::named(name.as_bytes())
            })
            .ok_or(Refusal::Encoding)?;
        let Otlp {
            queue_size,
            queue_bytes,
            ..
        } = current.config;
        let place = self.shared.lane(signal).enter(queue_size);
        let mut place = place.map_err(|_| Refusal::QueueFull)?;
        let limits = Limits {
            body: config.max_body_bytes + PREFIX,
            place: &mut place,
            queue: queue_bytes,
            patience: Patience::default(),
        };
        let read = body::read(&head, body, Encoding::Identity, limits).await;
        let frame = read.map_err(|refusal| match refusal {
            Refusal::TooLarge(_) => Refusal::TooLarge(config.max_body_bytes),
            refusal => refusal,
        })?;
        let body = message(frame, encoding, config.max_body_bytes).await?;
        place
            .grow_to(body.capacity(), queue_bytes)
            .map_err(|_| Refusal::QueueFull)?;
        let export = Export {
            signal,
            protocol: Protocol::Grpc,
            body,
            place,
            deadline: headers.get(TIMEOUT).and_then(timeout),
        };
        self.export(current, export).await
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .map_or(&b""[..], |value| value.as_bytes());
    let media_type = value.split(|byte| *byte == b';').next();
    let media_type = media_type.unwrap_or_default().trim_ascii();
    media_type.eq_ignore_ascii_case(b"application/grpc")
        || media_type.eq_ignore_ascii_case(b"application/grpc+proto")
}

fn signal(path: &str) -> Option<Signal> {
    match path {
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Some(Signal::Traces),
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Some(Signal::Metrics),
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Some(Signal::Logs),
        _ => None,
    }
}

/// The one message of a stream.
pub(super) async fn message(
    mut frame: Vec<u8>,
    encoding: Encoding,
    limit: usize,
) -> Result<Vec<u8>, Refusal> {
    let Some([compressed, len @ ..]) = frame.first_chunk::<PREFIX>() else {
        return Err(Refusal::Framing("the stream has no message"));
    };
    let len = u32::from_be_bytes(*len) as usize;
    if len > limit {
        return Err(Refusal::TooLarge(limit));
    }
    if frame.len() != PREFIX + len {
        return Err(Refusal::Framing(
            "the stream has not exactly one whole message",
        ));
    }
    match (compressed, encoding) {
        (0, _) => {
            frame.drain(..PREFIX);
            Ok(frame)
        }
        (1, Encoding::Identity) => Err(Refusal::Framing(
            "a message is compressed, and no grpc-encoding says how",
        )),
        (1, encoding) => {
            let body = Bytes::from(frame).slice(PREFIX..);
            body::decode(body, encoding, limit).await
        }
        _ => Err(Refusal::Framing(
            "a message is neither compressed nor uncompressed",
        )),
    }
}

/// A `grpc-timeout`: at most eight digits and a unit.
fn timeout(value: &HeaderValue) -> Option<Duration> {
    let value = value.to_str().ok()?;
    let (number, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let number: u64 = (number.len() <= 8).then(|| number.parse().ok())??;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

fn succeeded(response: &[u8]) -> Response<Reply> {
    let mut data = Vec::with_capacity(PREFIX + response.len());
    data.push(0);
    // Responses are short.
    let len = u32::try_from(response.len()).unwrap_or(u32::MAX);
    data.extend_from_slice(&len.to_be_bytes());
    data.extend_from_slice(response);
    let mut trailers = HeaderMap::new();
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    answer(Reply::new(data).with_trailers(trailers))
}

/// An answer that is all trailers.
fn refused(refusal: &Refusal) -> Response<Reply> {
    let mut response = answer(Reply::default());
    let headers = response.headers_mut();
    let message = match refusal {
        Refusal::NotFound => "no such method: OTLP has Export of its three services".into(),
        Refusal::Encoding => "grpc-encoding must be gzip, zstd or deflate, or not there".into(),
        refusal => refusal.message(),
    };
    headers.insert(STATUS, HeaderValue::from(u16::from(refusal.grpc())));
    // Nothing is in it that a header cannot have.
    if let Ok(message) = HeaderValue::try_from(percent_encoded(&message)) {
        headers.insert(MESSAGE, message);
    }
    let status = Status {
        code: refusal.grpc(),
        message: &message,
        retry: refusal.retry(),
    };
    let details = STANDARD_NO_PAD.encode(status.protobuf());
    if let Ok(details) = HeaderValue::try_from(details) {
        headers.insert(DETAILS, details);
    }
    if *refusal == Refusal::Encoding {
        let accepted = HeaderValue::from_static("identity,gzip,zstd,deflate");
        headers.insert(ACCEPT_ENCODING, accepted);
    }
    response
}

fn answer(reply: Reply) -> Response<Reply> {
    let mut response = Response::new(reply);
    let media_type = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

/// As gRPC wants a message in a header.
fn percent_encoded(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for byte in message.bytes() {
        if (0x20..0x7f).contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coding::Coding;

    fn frame(compressed: u8, message: &[u8]) -> Vec<u8> {
        let len = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[compressed], &len[..], message].concat()
    }

    #[tokio::test]
    async fn a_stream_has_one_message() {
        let one = message(frame(0, b"all"), Encoding::Coded(Coding::Gzip), 10).await;
        assert_eq!(one, Ok(b"all".to_vec()));
        for wrong in [
            Vec::new(),
            vec![0, 0, 0],
            frame(0, b"all")[..6].to_vec(),
            [frame(0, b"a"), frame(0, b"b")].concat(),
            frame(2, b"all"),
            frame(1, b"all"),
        ] {
            let refusal = message(wrong, Encoding::Identity, 10).await.unwrap_err();
            assert_eq!(refusal.grpc(), 13);
        }
        let large = message(frame(0, b"all"), Encoding::Identity, 2).await;
        assert_eq!(large, Err(Refusal::TooLarge(2)));
    }

    #[test]
    fn timeouts_have_a_unit() {
        for (text, expected) in [
            ("10S", Some(Duration::from_secs(10))),
            ("250m", Some(Duration::from_millis(250))),
            ("99999999H", Some(Duration::from_hours(99_999_999))),
            ("100", None),
            ("S", None),
            ("123456789S", None),
        ] {
            assert_eq!(timeout(&HeaderValue::from_static(text)), expected, "{text}");
        }
    }

    #[test]
    fn media_types_of_grpc_may_have_parameters() {
        for (media_type, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; charset=utf-8", true),
            ("Application/gRPC+Proto ;a=b", true),
            ("application/grpc+json", false),
            ("application/grpc-web", false),
            ("application/x-protobuf", false),
        ] {
            let media_type = HeaderValue::from_static(media_type);
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, media_type.clone())]);
            assert_eq!(is_grpc(&headers), expected, "{media_type:?}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn messages_are_escaped() {
        assert_eq!(percent_encoded("50% off\n"), "50%25 off%0A");
    }
}
