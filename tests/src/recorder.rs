//! An upstream that keeps every byte it was sent, whatever the bytes mean, and answers what it
//! understands of them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A running recorder; its threads end with the process.
#[derive(Clone)]
pub struct Recorder {
    address: SocketAddr,
    sent: Arc<Mutex<Vec<u8>>>,
    /// The same, of each connection.
    apart: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Recorder {
    /// Answers each request with an empty 200.
    ///
    /// # Panics
    ///
    /// When there is no port.
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let recorder = Self {
            address: listener.local_addr().expect("an address"),
            sent: Arc::default(),
            apart: Arc::default(),
        };
        let this = recorder.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let this = this.clone();
                thread::spawn(move || this.serve(stream));
            }
        });
        recorder
    }

    /// As an entry of `endpoints`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was sent so far, over all connections, and forgets it.
    ///
    /// # Panics
    ///
    /// When a thread of it panicked.
    pub fn take(&self) -> String {
        let bytes = std::mem::take(&mut *self.sent.lock().expect("lock"));
        bytes.into_iter().map(char::from).collect()
    }

    /// As [`Recorder::take`], of each connection by which something came.
    ///
    /// # Panics
    ///
    /// When a thread of it panicked.
    pub fn take_apart(&self) -> Vec<String> {
        self.take();
        let mut apart = self.apart.lock().expect("lock");
        let sent = apart.iter_mut().map(std::mem::take);
        let sent = sent.filter(|bytes| !bytes.is_empty());
        sent.map(|bytes| bytes.into_iter().map(char::from).collect())
            .collect()
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut open = Vec::new();
        let mut buffer = [0; 4096];
        let number = {
            let mut apart = self.apart.lock().expect("lock");
            apart.push(Vec::new());
            apart.len() - 1
        };
        while let Ok(len @ 1..) = stream.read(&mut buffer) {
            self.apart.lock().expect("lock")[number].extend_from_slice(&buffer[..len]);
            self.sent
                .lock()
                .expect("lock")
                .extend_from_slice(&buffer[..len]);
            open.extend_from_slice(&buffer[..len]);
            while let Some(end) = request_end(&open) {
                open.drain(..end);
                let response = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                if stream.write_all(response).is_err() {
                    return;
                }
            }
        }
    }
}

/// Where the first request in these bytes ends, if it does.
fn request_end(bytes: &[u8]) -> Option<usize> {
    let find = |what: &[u8]| bytes.windows(what.len()).position(|piece| piece == what);
    let head_end = find(b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..head_end]).to_ascii_lowercase();
    if head.contains("\r\ntransfer-encoding:") {
        let end = bytes[head_end - 2..]
            .windows(7)
            .position(|piece| piece == b"\r\n0\r\n\r\n")?;
        return Some(head_end - 2 + end + 7);
    }
    let len = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|len| len.trim().parse::<usize>().ok());
    let end = head_end + len.unwrap_or_default();
    (bytes.len() >= end).then_some(end)
}
