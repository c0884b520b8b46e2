//! OTLP/HTTP: `POST /v1/traces`, `/v1/metrics`, `/v1/logs`, as protobuf or JSON.

use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::body::{self, Encoding, Limits, Patience};
use super::intake::Export;
use super::refusal::Refusal;
use super::reply::Reply;
use super::{Current, Local, Protocol, cors};
use crate::config::otlp::{Http, Otlp};
use crate::otlp::Signal;
use crate::otlp::status::{self, Status};

/// What is said where some items are too large for any message.
const TOO_LARGE: &str = "larger than a Kafka message may be (`max_message_bytes`)";

impl Local {
    /// Answers a request, whatever it is.
    pub(super) async fn http(
        &self,
        current: &Current,
        config: &Http,
        request: Request<Incoming>,
    ) -> Response<Reply> {
        let cors = config.cors.as_ref();
        let origin = cors::origin(cors, request.headers());
        let mut response = match cors {
            Some(cors) if cors::is_preflight(&request) => {
                let mut response = answer(StatusCode::NO_CONTENT, None, Vec::new());
                if origin.is_some() {
                    cors::preflight(cors, response.headers_mut());
                }
                response
            }
            _ => self.exported(current, config, request).await,
        };
        if let Some(origin) = origin {
            cors::allow(origin, response.headers_mut());
        }
        response
    }

    async fn exported(
        &self,
        current: &Current,
        config: &Http,
        request: Request<Incoming>,
    ) -> Response<Reply> {
        let (head, mut body) = request.into_parts();
        let protocol = protocol(&head.headers);
        let Some(signal) = signal(head.uri.path()) else {
            body::drain(&head, body).await;
            return refused(&Refusal::NotFound, protocol);
        };
        if head.method != Method::POST {
            body::drain(&head, body).await;
            return refused(&Refusal::Method, protocol);
        }
        let cell = self
            .cells()
            .of(signal, protocol.unwrap_or(Protocol::HttpProtobuf));
        cell.requests.inc();
        let taken = self.take(current, config, (signal, protocol), &head, &mut body);
        match taken.await {
            Ok(rejected) => {
                cell.acknowledged.inc();
                let response = status::Response {
                    signal,
                    rejected: (rejected > 0).then_some((rejected, TOO_LARGE)),
                };
                let body = match protocol {
                    Some(Protocol::HttpJson) => response.json(),
                    _ => response.protobuf(),
                };
                answer(StatusCode::OK, protocol, body)
            }
            Err(refusal) => {
                cell.refused[refusal.index()].inc();
                if refusal != Refusal::Incomplete {
                    body::drain(&head, body).await;
                }
                refused(&refusal, protocol)
            }
        }
    }

    async fn take(
        &self,
        current: &Current,
        config: &Http,
        (signal, protocol): (Signal, Option<Protocol>),
        head: &Parts,
        body: &mut Incoming,
    ) -> Result<u64, Refusal> {
        if !current.admits(&head.headers) {
            return Err(Refusal::Unauthenticated);
        }
        let protocol = protocol.ok_or(Refusal::MediaType)?;
        let encoding = Encoding::of(&head.headers)?;
        let Otlp {
            queue_size,
            queue_bytes,
            ..
        } = current.config;
        let place = self.shared.lane(signal).enter(queue_size);
        let mut place = place.map_err(|_| Refusal::QueueFull)?;
        let limits = Limits {
            body: config.max_body_bytes,
            place: &mut place,
            queue: queue_bytes,
            patience: Patience::default(),
        };
        let body = body::read(head, body, encoding, limits).await?;
        let export = Export {
            signal,
            protocol,
            body,
            place,
            deadline: None,
        };
        self.export(current, export).await
    }
}

fn signal(path: &str) -> Option<Signal> {
    match path {
        "/v1/traces" => Some(Signal::Traces),
        "/v1/metrics" => Some(Signal::Metrics),
        "/v1/logs" => Some(Signal::Logs),
        _ => None,
    }
}

/// By the media type, whatever parameters it has.
fn protocol(headers: &HeaderMap) -> Option<Protocol> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let media_type = value.split(';').next()?.trim();
    if media_type.eq_ignore_ascii_case("application/x-protobuf")
        || media_type.eq_ignore_ascii_case("application/protobuf")
    {
        Some(Protocol::HttpProtobuf)
    } else if media_type.eq_ignore_ascii_case("application/json") {
        Some(Protocol::HttpJson)
    } else {
        None
    }
}

/// In the request's own media type; JSON where it has none of ours.
fn refused(refusal: &Refusal, protocol: Option<Protocol>) -> Response<Reply> {
    let message = refusal.message();
    let status = Status {
        code: refusal.grpc(),
        message: &message,
        retry: refusal.retry(),
    };
    let (protocol, body) = match protocol {
        Some(Protocol::HttpProtobuf) => (Protocol::HttpProtobuf, status.protobuf()),
        _ => (Protocol::HttpJson, status.json()),
    };
    let mut response = answer(refusal.http(), Some(protocol), body);
    let headers = response.headers_mut();
    if let Some(retry) = refusal.retry() {
        headers.insert(RETRY_AFTER, HeaderValue::from(retry.as_secs()));
    }
    match refusal {
        Refusal::Method => _ = headers.insert(ALLOW, HeaderValue::from_static("POST")),
        Refusal::Unauthenticated => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Refusal::Encoding => {
            let accepted = HeaderValue::from_static("gzip, zstd, deflate");
            headers.insert(http::header::ACCEPT_ENCODING, accepted);
        }
        _ => {}
    }
    response
}

fn answer(status: StatusCode, protocol: Option<Protocol>, body: Vec<u8>) -> Response<Reply> {
    let mut response = Response::new(Reply::new(body));
    *response.status_mut() = status;
    let media_type = match protocol {
        Some(Protocol::HttpJson) => Some("application/json"),
        Some(_) => Some("application/x-protobuf"),
        None => None,
    };
    if let Some(media_type) = media_type {
        let media_type = HeaderValue::from_static(media_type);
        response.headers_mut().insert(CONTENT_TYPE, media_type);
    }
    response
}
