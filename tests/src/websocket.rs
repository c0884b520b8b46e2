//! WebSocket as a stream of HTTP/2 (RFC 8441).

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use h2::ext::Protocol;
use http::Request;

use crate::http2::Client;

/// A request to switch to a protocol.
///
/// # Panics
///
/// When the target is none.
pub fn ask(target: &str, protocol: &'static str) -> Request<()> {
    let request = Request::connect(target)
        .extension(Protocol::from_static(protocol))
        .header("sec-websocket-version", "13")
        .header("origin", "https://a.example");
    request.body(()).expect("a request")
}

/// Connected, with what Weir allows known.
pub async fn open(address: SocketAddr) -> Client {
    let client = Client::open(address).await;
    while !client.sender.is_extended_connect_protocol_enabled() {
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    client
}

/// What RFC 6455 answers to a key, by another's code.
///
/// # Panics
///
/// When there is no `openssl`.
pub fn accept(key: &str) -> String {
    let mut child = Command::new("sh")
        .args(["-c", "openssl dgst -sha1 -binary | openssl base64"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sh");
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(text.as_bytes()).expect("write");
    drop(stdin);
    let output = child.wait_with_output().expect("openssl");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
