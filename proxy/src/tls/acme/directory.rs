//! The requests to a directory: one connection each, by the TLS of its configuration.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::tls::client::Client;

/// Longest wait for an answer, with all that leads to it.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Most bytes of an answer.
const MOST: usize = 1 << 20;

/// See the module's documentation.
pub(super) struct Http(pub(super) Arc<Client>);

type Failed = Box<dyn std::error::Error + Send + Sync>;

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = Arc::clone(&self.0);
        Box::pin(async move {
            let answered = tokio::time::timeout(TIMEOUT, send(&client, request)).await;
            let answered = answered
                .unwrap_or_else(|_| Err("the directory did not answer within 30 seconds".into()));
            answered.map_err(|error| {
                Error::Other(format!("the directory cannot be asked: {error}").into())
            })
        })
    }
}

async fn send(
    client: &Client,
    mut request: Request<BodyWrapper<Bytes>>,
) -> Result<BytesResponse, Failed> {
    let uri = request.uri().clone();
    let authority = uri
        .authority()
        .filter(|_| uri.scheme() == Some(&Scheme::HTTPS));
    let authority = authority.ok_or_else(|| format!("`{uri}` is no URL of https"))?;
    let host = authority.host();
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(443))).await?;
    let stream = client.connect(host, stream, true).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let _connection = Aborted(tokio::spawn(connection).abort_handle());
    let target = uri.path_and_query().cloned();
    *request.uri_mut() = Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    let host = HeaderValue::from_str(authority.as_str())?;
    request.headers_mut().insert(HOST, host);
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, MOST)
        .collect()
        .await
        .map_err(io::Error::other)?;
    let body = Box::new(body.to_bytes());
    Ok(BytesResponse { parts, body })
}

/// Ends a connection with what it was for.
struct Aborted(AbortHandle);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}
