//! A client of gRPC's that sends exactly the stream it is given.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client;
use http::{HeaderMap, Request};
use tokio::net::TcpStream;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub http: u16,
    pub headers: HeaderMap,
    pub data: Vec<u8>,
    /// Those of the head where there were no others.
    pub trailers: HeaderMap,
}

impl Answer {
    /// `grpc-status`.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn status(&self) -> u8 {
        let status = self.trailers.get("grpc-status").expect("a status");
        status.to_str().expect("text").parse().expect("a number")
    }

    pub fn trailer(&self, name: &str) -> &str {
        let value = self.trailers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// A message with gRPC's prefix.
///
/// # Panics
///
/// When it is longer than gRPC can say.
pub fn frame(compressed: bool, message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(message.len()).expect("a length");
    [&[u8::from(compressed)][..], &len.to_be_bytes()[..], message].concat()
}

/// Calls a method over a connection of its own.
///
/// # Panics
///
/// When the connection breaks.
pub fn call(address: SocketAddr, path: &str, headers: &[(&str, &str)], stream: Vec<u8>) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut request = Request::post(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(()).expect("a request");
    runtime.block_on(async {
        let socket = TcpStream::connect(address).await.expect("connect");
        let (send, connection) = client::handshake(socket).await.expect("HTTP/2");
        let driver = tokio::spawn(connection);
        let mut send = send.ready().await.expect("ready");
        let (response, mut body) = send.send_request(request, false).expect("send");
        // An answer may come, and end the stream, before all is sent.
        let _ = body.send_data(Bytes::from(stream), true);
        let (head, mut body) = response.await.expect("an answer").into_parts();
        let mut data = Vec::new();
        while let Some(piece) = body.data().await {
            let piece = piece.expect("data");
            body.flow_control()
                .release_capacity(piece.len())
                .expect("open");
            data.extend_from_slice(&piece);
        }
        let trailers = body.trailers().await.expect("trailers");
        driver.abort();
        Answer {
            http: head.status.as_u16(),
            trailers: trailers.unwrap_or_else(|| head.headers.clone()),
            headers: head.headers,
            data,
        }
    })
}
