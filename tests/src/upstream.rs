//! An upstream that records the exact bytes it was sent and answers with the exact bytes of a test.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::client::read_line;

/// A request as the upstream saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub target: String,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    /// The first value of a field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }
}

type Handler = dyn Fn(&Seen, &mut TcpStream) + Send + Sync;

/// A running upstream; its threads end with the process.
#[derive(Clone)]
pub struct Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<usize>>,
}

impl Upstream {
    /// Answers each request with `200` and a small body.
    pub fn hello() -> Self {
        Self::answering(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello",
        )
    }

    /// Answers each request with these bytes.
    pub fn answering(response: &'static str) -> Self {
        Self::new(move |_, stream| {
            let _ = stream.write_all(response.as_bytes());
        })
    }

    /// Never answers what is asked for at `/never`, and all else with nothing; and how many wait there.
    pub fn silent() -> (Self, Arc<AtomicUsize>) {
        let waiting: Arc<AtomicUsize> = Arc::default();
        let counted = Arc::clone(&waiting);
        let upstream = Self::new(move |seen, stream| {
            if seen.target != "/never" {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                return;
            }
            counted.fetch_add(1, Ordering::SeqCst);
            // The connection is Weir's own for the request: it ends where that does.
            let _ = stream.read(&mut [0]);
            counted.fetch_sub(1, Ordering::SeqCst);
        });
        (upstream, waiting)
    }

    /// Answers as the handler does; where it shuts the stream down, the connection ends.
    ///
    /// # Panics
    ///
    /// When there is no port.
    pub fn new(handler: impl Fn(&Seen, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let upstream = Self {
            address: listener.local_addr().expect("an address"),
            seen: Arc::default(),
            connections: Arc::default(),
        };
        let (this, handler): (_, Arc<Handler>) = (upstream.clone(), Arc::new(handler));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (this, handler) = (this.clone(), Arc::clone(&handler));
                *this.connections.lock().expect("lock") += 1;
                thread::spawn(move || this.serve(&stream, &*handler));
            }
        });
        upstream
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As an entry of `endpoints`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    ///
    /// # Panics
    ///
    /// When a handler panicked.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("lock").clone()
    }

    /// How many connections were made so far.
    ///
    /// # Panics
    ///
    /// When a handler panicked.
    pub fn connections(&self) -> usize {
        *self.connections.lock().expect("lock")
    }

    fn serve(&self, stream: &TcpStream, handler: &Handler) {
        let mut reader = BufReader::new(stream.try_clone().expect("clone"));
        let mut writer = stream.try_clone().expect("clone");
        while let Some(seen) = read(&mut reader) {
            self.seen.lock().expect("lock").push(seen.clone());
            handler(&seen, &mut writer);
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Seen> {
    let line = read_line(reader)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut seen = Seen {
        method,
        target,
        headers,
        body: Vec::new(),
    };
    if let Some(len) = seen
        .header("content-length")
        .and_then(|len| len.parse().ok())
    {
        seen.body = vec![0; len];
        reader.read_exact(&mut seen.body).ok()?;
    } else if seen.header("transfer-encoding") == Some("chunked") {
        loop {
            let line = read_line(reader)?;
            let len = usize::from_str_radix(line.trim(), 16).ok()?;
            let mut chunk = vec![0; len + 2];
            reader.read_exact(&mut chunk).ok()?;
            if len == 0 {
                break;
            }
            seen.body.extend_from_slice(&chunk[..len]);
        }
    }
    Some(seen)
}
