//! A client that sends exactly the bytes it is given.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A response, read to its end.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the body came to the end that its framing promised.
    pub complete: bool,
}

impl Response {
    /// The first value of a field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// When it is not.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// A connection that is kept, for one request after the other.
pub struct Connection {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Connection {
    /// # Panics
    ///
    /// When nobody listens.
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connect");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("read timeout");
        stream.set_nodelay(true).expect("no delay");
        let reader = BufReader::new(stream.try_clone().expect("clone"));
        Self { stream, reader }
    }

    /// The socket, to write pieces or to shut it down.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// # Panics
    ///
    /// When the connection is gone.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).expect("send");
        self
    }

    /// The next response; `None` where the connection was closed before one.
    pub fn receive(&mut self) -> Option<Response> {
        self.receive_to("GET")
    }

    /// As [`Connection::receive`], for a request with this method.
    ///
    /// # Panics
    ///
    /// On a response that is malformed.
    pub fn receive_to(&mut self, method: &str) -> Option<Response> {
        let mut line = String::new();
        self.reader
            .read_line(&mut line)
            .ok()
            .filter(|len| *len > 0)?;
        let status: u16 = line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .expect("a status line");
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).expect("a header");
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').expect("a field");
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut response = Response {
            status,
            headers,
            body: Vec::new(),
            complete: true,
        };
        if method == "HEAD" || status == 204 || status == 304 || status < 200 {
            return Some(response);
        }
        if let Some(len) = response.header("content-length") {
            let len: usize = len.parse().expect("a length");
            response.body = vec![0; len];
            response.complete = self.reader.read_exact(&mut response.body).is_ok();
        } else if response.header("transfer-encoding") == Some("chunked") {
            response.complete = self.read_chunks(&mut response.body).is_some();
        } else {
            response.complete = self.reader.read_to_end(&mut response.body).is_ok();
        }
        Some(response)
    }

    /// The next chunk of a chunked body; `None` where the connection broke off.
    pub fn read_chunk(&mut self) -> Option<Vec<u8>> {
        let mut line = String::new();
        self.reader
            .read_line(&mut line)
            .ok()
            .filter(|len| *len > 0)?;
        let len = usize::from_str_radix(line.trim(), 16).ok()?;
        let mut chunk = vec![0; len + 2];
        self.reader.read_exact(&mut chunk).ok()?;
        chunk.truncate(len);
        Some(chunk)
    }

    fn read_chunks(&mut self, body: &mut Vec<u8>) -> Option<()> {
        loop {
            let chunk = self.read_chunk()?;
            if chunk.is_empty() {
                return Some(());
            }
            body.extend(chunk);
        }
    }
}

/// Sends one request over a connection of its own.
///
/// # Panics
///
/// When there is no response.
pub fn send(address: SocketAddr, request: impl AsRef<[u8]>) -> Response {
    Connection::open(address)
        .send(request)
        .receive()
        .expect("a response")
}

/// `GET target` with further header lines, such as `"x-api-key: demo"`.
pub fn get(address: SocketAddr, target: &str, headers: &[&str]) -> Response {
    let mut request = format!("GET {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    for header in headers {
        request += header;
        request += "\r\n";
    }
    send(address, request + "\r\n")
}
