//! What an active check asks an endpoint, over HTTP/1.1 or HTTP/2: a path, or gRPC's health service.

use std::pin::pin;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, TE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::super::Endpoint;
use crate::config::{HttpCheck, Probe, Protocol};
use crate::transport::Stream;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Most bytes of an answer that are read.
const MOST: usize = 4096;

/// One check: what is wrong, if anything is.
pub(super) async fn check(endpoint: &Endpoint, probe: &Probe) -> Result<(), String> {
    let stream = endpoint
        .open(None)
        .await
        .map_err(|error| format!("cannot connect: {error}"))?;
    let (question, grpc) = match probe {
        Probe::Connect => return Ok(()),
        Probe::Http(http) => (path_question(http), false),
        Probe::Grpc(service) => (grpc_question(service), true),
    };
    let config = &endpoint.config;
    let http2 = grpc || config.protocol == Protocol::Http2;
    let stream = match &config.tls {
        None => Stream::Plain(stream),
        Some(tls) => {
            let encrypted = tls.connect(&config.host, stream, !http2).await;
            Stream::Tls(Box::new(
                encrypted.map_err(|error| error.to_string())?.into(),
            ))
        }
    };
    let io = TokioIo::new(stream);
    let question = addressed(question, endpoint, http2);
    if http2 {
        let executor = TokioExecutor::new();
        let (mut sender, connection) = http2::handshake(executor, io)
            .await
            .map_err(|error| error.to_string())?;
        until_answered(connection, async {
            judge(sender.send_request(question).await, probe).await
        })
        .await
    } else {
        let (mut sender, connection) = http1::handshake(io)
            .await
            .map_err(|error| error.to_string())?;
        until_answered(connection, async {
            judge(sender.send_request(question).await, probe).await
        })
        .await
    }
}

/// Runs the connection for as long as it takes to ask.
async fn until_answered(
    connection: impl Future,
    asked: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    let mut asked = pin!(asked);
    tokio::select! {
        biased;
        answer = &mut asked => answer,
        // It may have brought the answer before it ended.
        _ = connection => asked.await,
    }
}

async fn judge(answered: hyper::Result<Response<Incoming>>, probe: &Probe) -> Result<(), String> {
    let response = answered.map_err(|error| error.to_string())?;
    let status = response.status();
    match probe {
        Probe::Connect => Ok(()),
        Probe::Http(http) if http.expects(status) => Ok(()),
        Probe::Grpc(_) if status == StatusCode::OK => serving(response).await,
        Probe::Http(_) | Probe::Grpc(_) => Err(format!("status {}", status.as_u16())),
    }
}

fn path_question(http: &HttpCheck) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = http.path.clone().into();
    if let Some(host) = &http.host {
        request.headers_mut().insert(HOST, host.clone());
    }
    request
}

/// A call of `grpc.health.v1.Health/Check`.
fn grpc_question(service: &str) -> Request<Full<Bytes>> {
    let name = service.as_bytes();
    // `service` is the field 1; names are shorter than 128 bytes, as the configuration says.
    let mut message = Vec::new();
    if let Ok(len @ 1..) = u8::try_from(name.len()) {
        message.extend([0x0a, len]);
        message.extend(name);
    }
    let len = u32::try_from(message.len()).unwrap_or_default();
    let framed = [&[0][..], &len.to_be_bytes(), &message].concat();
    let mut request = Request::new(Full::from(framed));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("/grpc.health.v1.Health/Check");
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    request
}

/// To the endpoint, in the form that the version has.
fn addressed(
    mut request: Request<Full<Bytes>>,
    endpoint: &Endpoint,
    http2: bool,
) -> Request<Full<Bytes>> {
    let authority = endpoint.config.authority();
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static("weir-health"));
    if http2 {
        let host = headers.remove(HOST);
        let host = host.and_then(|host| host.to_str().ok().map(str::to_owned));
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        let scheme = if endpoint.config.tls.is_some() {
            http::uri::Scheme::HTTPS
        } else {
            http::uri::Scheme::HTTP
        };
        parts.scheme = Some(scheme);
        parts.authority = host.unwrap_or(authority).parse().ok();
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    } else {
        if !headers.contains_key(HOST) {
            let host = HeaderValue::from_str(&authority).ok();
            headers.insert(HOST, host.unwrap_or(HeaderValue::from_static("localhost")));
        }
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    request
}

/// Whether the health service says that all is well.
async fn serving(response: Response<Incoming>) -> Result<(), String> {
    let (head, mut body) = response.into_parts();
    let mut message = BytesMut::new();
    let mut trailers = HeaderMap::new();
    while !body.is_end_stream()
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|error| error.to_string())?;
        match frame.into_data() {
            Ok(data) if message.len() + data.len() <= MOST => message.extend_from_slice(&data),
            Ok(_) => return Err("an answer that is too large".to_owned()),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    let status = trailers.get(GRPC_STATUS).or(head.headers.get(GRPC_STATUS));
    match status.map(HeaderValue::as_bytes) {
        Some(b"0") => {}
        Some(status) => {
            return Err(format!("gRPC status {}", String::from_utf8_lossy(status)));
        }
        None => return Err("no gRPC status".to_owned()),
    }
    // A frame of five bytes, then the field 1 as a number: 1 is SERVING.
    match message.get(5..) {
        Some([0x08, 1, ..]) => Ok(()),
        Some([0x08, 2, ..]) => Err("not serving".to_owned()),
        Some([0x08, 3, ..]) => Err("the service is unknown".to_owned()),
        _ => Err("health is unknown".to_owned()),
    }
}
