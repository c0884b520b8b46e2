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
        Self::over(TcpStream::connect(address).expect("connect"))
    }

    /// Takes a connection that is made already, of a client's or of an upstream's side.
    ///
    /// # Panics
    ///
    /// When it is gone.
    pub fn over(stream: TcpStream) -> Self {
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
        let mut response = self.receive_head()?;
        let status = response.status;
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

    /// The head of the next response, whose body is still to be read; `None` where the connection
    /// was closed before one.
    ///
    /// # Panics
    ///
    /// On a head that is malformed.
    pub fn receive_head(&mut self) -> Option<Response> {
        let mut lines = self.read_head()?.into_iter();
        let line = lines.next().expect("a head has a first line");
        let code = line.split(' ').nth(1);
        let status = code
            .and_then(|code| code.parse().ok())
            .expect("a status line");
        let field = |line: String| {
            let (name, value) = line.split_once(':').expect("a field");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Some(Response {
            status,
            headers: lines.map(field).collect(),
            body: Vec::new(),
            complete: true,
        })
    }

    /// The lines of the next head, of a request or of a response; `None` where the connection was
    /// closed before its end.
    pub fn read_head(&mut self) -> Option<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            match read_line(&mut self.reader)?.trim_end() {
                "" => return Some(lines),
                line => lines.push(line.to_owned()),
            }
        }
    }

    /// Reads until the other side closes, and gives what came.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // What came before the connection broke stays.
        let _ = self.reader.read_to_end(&mut bytes);
        bytes
    }

    /// Exactly so many bytes.
    ///
    /// # Panics
    ///
    /// When the connection ends before.
    pub fn read_exactly(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.reader.read_exact(&mut bytes).expect("enough bytes");
        bytes
    }

    /// The next chunk of a chunked body; `None` where the connection broke off.
    pub fn read_chunk(&mut self) -> Option<Vec<u8>> {
        let line = read_line(&mut self.reader)?;
        let len = usize::from_str_radix(line.trim(), 16).ok()?;
        let mut chunk = vec![0; len + 2];
        self.reader.read_exact(&mut chunk).ok()?;
        chunk.truncate(len);
        Some(chunk)
    }

    /// As [`Connection::read_chunk`]; at the end of the body, `None`, with the lines of its trailers.
    pub fn read_chunk_and_trailers(&mut self, trailers: &mut Vec<u8>) -> Option<Vec<u8>> {
        let line = read_line(&mut self.reader)?;
        let len = usize::from_str_radix(line.trim(), 16).ok()?;
        if len == 0 {
            loop {
                let line = read_line(&mut self.reader)?;
                if line.trim().is_empty() {
                    return None;
                }
                trailers.extend(line.as_bytes());
            }
        }
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

/// The next line of a head, with its end; `None` where there is no more. What is not UTF-8 is read as
/// ISO-8859-1.
pub(crate) fn read_line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    let len = reader.read_until(b'\n', &mut line).ok()?;
    let text = String::from_utf8(line).unwrap_or_else(|error| {
        let bytes = error.into_bytes();
        bytes.into_iter().map(char::from).collect()
    });
    (len > 0).then_some(text)
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
