//! A connection to a collector, and one request over it after the other: gRPC's unary call or a POST,
//! by hyper. What the answer means is not known here.

use std::io::{self, Write as _};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::cause;
use super::verdict::Answer;
use crate::config::{Destination, OtlpCompression, OtlpProtocol, Protocol};
use crate::filter::REDACTED;
use crate::tls::Alpn;
use crate::transport::Stream;

/// Most bytes of an answer. A collector has little to say.
const MAX_ANSWER: usize = 1 << 20;

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// What is shorter is no secret, but may be anywhere in a text.
const SHORTEST_SECRET: usize = 4;

/// Longest wait for a connection to say why it broke.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The compression level of zstd: its own default.
const ZSTD_LEVEL: i32 = 3;

pub(crate) struct Client<'c> {
    config: &'c Destination,
    /// Of every request.
    headers: HeaderMap,
    connection: Option<Connection>,
}

struct Connection {
    sender: Sender,
    /// Reads and writes; ends with what went wrong.
    task: JoinHandle<Result<(), hyper::Error>>,
    /// What requests are for.
    target: Uri,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl<'c> Client<'c> {
    pub(crate) fn new(config: &'c Destination) -> Self {
        Self {
            config,
            headers: headers(config),
            connection: None,
        }
    }

    /// A header more of each request, in place of one of the same name.
    pub(crate) fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// A text without what is in the headers of the configuration, should a collector repeat it.
    pub(crate) fn hide(&self, mut text: String) -> String {
        for (_, value) in &self.config.headers {
            let value = value.expose().trim();
            // Of `Bearer TOKEN` the token alone, too.
            let token = value.rsplit(' ').next().unwrap_or_default();
            for secret in [value, token] {
                if secret.len() >= SHORTEST_SECRET && text.contains(secret) {
                    text = text.replace(secret, REDACTED);
                }
            }
        }
        text
    }

    /// What is sent of a request: compressed, and with gRPC's prefix.
    pub(crate) fn body(&self, request: Vec<u8>) -> Bytes {
        let is_grpc = self.config.protocol == OtlpProtocol::Grpc;
        let compressed = self.config.compression != OtlpCompression::None;
        let message = compress(self.config.compression, request);
        if !is_grpc {
            return message.into();
        }
        // No request is as long as gRPC can say.
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let prefix = [&[u8::from(compressed)][..], &length.to_be_bytes()].concat();
        [prefix, message].concat().into()
    }

    /// Sends a body and reads the answer. The error says in words why there is none.
    pub(crate) async fn send(&mut self, body: &Bytes) -> Result<Answer, String> {
        let timeout = self.config.timeout;
        let exchange = tokio::time::timeout(timeout, self.exchange(body));
        let answer = exchange
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {timeout:?}")));
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    async fn exchange(&mut self, body: &Bytes) -> Result<Answer, String> {
        if let Some(connection) = self.connection.take_if(|connection| connection.is_open())
            && let Ok(answer) = self.over(connection, body).await
        {
            return Ok(answer);
        }
        // There is none, or it was closed while nobody looked.
        let connection = connect(self.config).await?;
        self.over(connection, body).await
    }

    /// Sends over a connection, which is kept if that went well.
    async fn over(&mut self, mut connection: Connection, body: &Bytes) -> Result<Answer, String> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = connection.target.clone();
        request.headers_mut().clone_from(&self.headers);
        let answer = match connection.send(request).await {
            Ok(response) => read(response).await,
            Err(error) => Err(cause::of(&error)),
        };
        match answer {
            Ok(answer) => {
                self.connection = Some(connection);
                Ok(answer)
            }
            Err(said) => Err(connection.why().await.unwrap_or(said)),
        }
    }
}

impl Connection {
    fn is_open(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => !sender.is_closed(),
            Sender::Http2(sender) => !sender.is_closed(),
        }
    }

    async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                let authority = request.uri().authority().cloned();
                let host = authority.and_then(|of| HeaderValue::from_str(of.as_str()).ok());
                if let Some(host) = host {
                    request.headers_mut().insert(HOST, host);
                }
                let path = request.uri().path_and_query().cloned();
                *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// What broke the connection, where it is broken: a request may know only that it is.
    async fn why(self) -> Option<String> {
        let Self { sender, task, .. } = self;
        drop(sender);
        let ended = tokio::time::timeout(LAST_WORDS, task).await.ok()?;
        ended.ok()?.err().map(|error| cause::of(&error))
    }
}

async fn read(response: Response<Incoming>) -> Result<Answer, String> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await;
    let body = body.map_err(|error| cause::of(&*error))?;
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        trailers: body.trailers().cloned().unwrap_or_default(),
        body: body.to_bytes(),
    })
}

async fn connect(config: &Destination) -> Result<Connection, String> {
    let endpoint = &config.endpoint;
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await;
    let stream = stream.map_err(|error| cause::of(&error))?;
    stream
        .set_nodelay(true)
        .map_err(|error| cause::of(&error))?;
    let mut speaks_http2 = endpoint.protocol == Protocol::Http2;
    let (stream, scheme) = match &endpoint.tls {
        None => (Stream::Plain(stream), Scheme::HTTP),
        Some(tls) => {
            let stream = tls.connect(&endpoint.host, stream, false).await;
            let stream = stream.map_err(|error| cause::of(&error))?;
            let is_chosen = stream.get_ref().1.alpn_protocol() == Some(Alpn::Http2.id());
            if speaks_http2 && !is_chosen {
                return Err("TLS: the collector does not speak HTTP/2, which gRPC needs".to_owned());
            }
            speaks_http2 = is_chosen;
            (Stream::Tls(Box::new(stream.into())), Scheme::HTTPS)
        }
    };
    let io = TokioIo::new(stream);
    let target = target(config, scheme)?;
    let (sender, task) = if speaks_http2 {
        let made = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .handshake(io)
            .await;
        let (sender, connection) = made.map_err(|error| cause::of(&error))?;
        (Sender::Http2(sender), tokio::spawn(connection))
    } else {
        let made = http1::handshake(io).await;
        let (sender, connection) = made.map_err(|error| cause::of(&error))?;
        (Sender::Http1(sender), tokio::spawn(connection))
    };
    Ok(Connection {
        sender,
        task,
        target,
    })
}

fn target(config: &Destination, scheme: Scheme) -> Result<Uri, String> {
    let mut parts = http::uri::Parts::default();
    let is_default = config.endpoint.port == if scheme == Scheme::HTTPS { 443 } else { 80 };
    let authority = config.endpoint.authority();
    let host = authority.rsplit_once(':').map_or("", |(host, _)| host);
    let authority = if is_default { host } else { &authority };
    let wrong = |_| "the endpoint is no URL".to_owned();
    parts.authority = Some(Authority::try_from(authority).map_err(wrong)?);
    parts.path_and_query = Some(PathAndQuery::try_from(config.path.as_str()).map_err(wrong)?);
    parts.scheme = Some(scheme);
    Uri::from_parts(parts).map_err(|_| "the endpoint is no URL".to_owned())
}

fn headers(config: &Destination) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let agent = concat!("weir/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    for (name, value) in &config.headers {
        // Gone through once already, when the configuration was read.
        if let Some(value) = value_of(name, value.expose()) {
            headers.insert(name.clone(), value);
        }
    }
    let (kind, encoding) = match config.protocol {
        OtlpProtocol::Grpc => ("application/grpc", GRPC_ENCODING),
        OtlpProtocol::HttpProtobuf => ("application/x-protobuf", CONTENT_ENCODING),
        OtlpProtocol::HttpJson => ("application/json", CONTENT_ENCODING),
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    match config.compression {
        OtlpCompression::None => {}
        OtlpCompression::Gzip => _ = headers.insert(encoding, HeaderValue::from_static("gzip")),
        OtlpCompression::Zstd => _ = headers.insert(encoding, HeaderValue::from_static("zstd")),
    }
    if config.protocol == OtlpProtocol::Grpc {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        // At most eight digits: more than a day.
        let millis = config.timeout.as_millis().min(99_999_999);
        if let Ok(timeout) = HeaderValue::try_from(format!("{millis}m")) {
            headers.insert(GRPC_TIMEOUT, timeout);
        }
    }
    headers
}

/// A header's value; gRPC has those of `-bin` headers as base64.
fn value_of(name: &HeaderName, value: &str) -> Option<HeaderValue> {
    let mut value = if name.as_str().ends_with("-bin") {
        HeaderValue::try_from(STANDARD.encode(value)).ok()?
    } else {
        HeaderValue::from_str(value).ok()?
    };
    value.set_sensitive(true);
    Some(value)
}

fn compress(compression: OtlpCompression, bytes: Vec<u8>) -> Vec<u8> {
    let compressed: io::Result<Vec<u8>> = match compression {
        OtlpCompression::None => Ok(bytes),
        OtlpCompression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&bytes).and_then(|()| encoder.finish())
        }
        OtlpCompression::Zstd => zstd::bulk::compress(&bytes, ZSTD_LEVEL),
    };
    compressed.expect("memory does not fail to be written to")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::export::testing;

    #[test]
    fn a_body_of_grpc_has_a_prefix_and_is_compressed() {
        let config = testing::otlp("127.0.0.1", 4317);
        let body = Client::new(&config.to).body(b"a request".to_vec());
        let (prefix, message) = body.split_at(5);
        assert_eq!(prefix[0], 1);
        assert_eq!(
            prefix[1..],
            u32::try_from(message.len()).unwrap().to_be_bytes()
        );
        let mut text = String::new();
        io::Read::read_to_string(&mut flate2::read::GzDecoder::new(message), &mut text).unwrap();
        assert_eq!(text, "a request");
        let config = Destination {
            compression: OtlpCompression::None,
            protocol: OtlpProtocol::HttpJson,
            ..config.to
        };
        assert_eq!(Client::new(&config).body(b"{}".to_vec()), "{}");
    }

    #[test]
    fn requests_are_for_the_endpoint_with_its_path() {
        let of = |host: &str, port| Destination {
            path: "/otlp/v1/traces".to_owned(),
            ..testing::otlp(host, port).to
        };
        for (config, scheme, expected) in [
            (
                of("tempo", 4318),
                Scheme::HTTP,
                "http://tempo:4318/otlp/v1/traces",
            ),
            (
                of("tempo", 443),
                Scheme::HTTPS,
                "https://tempo/otlp/v1/traces",
            ),
            (of("::1", 80), Scheme::HTTP, "http://[::1]/otlp/v1/traces"),
        ] {
            assert_eq!(target(&config, scheme).unwrap(), expected);
        }
    }

    #[test]
    fn no_header_of_the_configuration_is_shown() {
        let token = Secret::new("Bearer very-secret".to_owned());
        let binary = Secret::new("raw".to_owned());
        let config = Destination {
            headers: vec![
                (http::header::AUTHORIZATION, token),
                (HeaderName::from_static("tenant-bin"), binary),
            ],
            ..testing::otlp("127.0.0.1", 4317).to
        };
        let headers = headers(&config);
        assert_eq!(headers["authorization"], "Bearer very-secret");
        assert_eq!(headers["tenant-bin"], "cmF3");
        assert_eq!(headers["grpc-timeout"], "10000m");
        assert!(!format!("{headers:?} {config:?}").contains("very-secret"));
        let client = Client::new(&config);
        for said in [
            "no such token: very-secret",
            "`Bearer very-secret` is not known",
        ] {
            assert!(!client.hide(said.to_owned()).contains("very-secret"));
        }
        assert_eq!(client.hide("no token".to_owned()), "no token");
    }
}
