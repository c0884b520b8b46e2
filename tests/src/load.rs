//! Clients that send one request after the other, and note which responses they saw the end of.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::client::Connection;
use crate::upstream::{Seen, Upstream};

/// An upstream that answers in each way that a response can end: by its length, by a last chunk, by
/// its head.
pub fn upstream() -> Upstream {
    slow_upstream(Duration::ZERO)
}

/// As [`upstream`], with a time that each answer takes.
pub fn slow_upstream(time: Duration) -> Upstream {
    Upstream::new(move |seen: &Seen, stream: &mut TcpStream| {
        thread::sleep(time);
        let response: &[u8] = match seen.target.as_str() {
            "/chunked" => {
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
            }
            "/empty" => b"HTTP/1.1 204 No Content\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        };
        let _ = stream.write_all(response);
    })
}

const TARGETS: [&str; 3] = ["/length", "/chunked", "/empty"];

/// What is asked for by the request of this number of a client.
fn target(number: usize) -> &'static str {
    TARGETS[number % TARGETS.len()]
}

/// What was asked for by the request of this id.
///
/// # Panics
///
/// When it is not the id of a [`Load`] or of [`ask_all`].
pub fn target_of(id: &str) -> &'static str {
    let number = id
        .rsplit_once('-')
        .and_then(|(_, number)| number.parse().ok());
    target(number.expect("ids end with a number"))
}

/// Clients on connections of their own.
#[derive(Debug)]
pub struct Load {
    ended: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// So many clients, who go on until they are stopped or their connection breaks. Request ids
    /// begin with `name`.
    pub fn start(address: SocketAddr, clients: usize, name: &str) -> Self {
        Self::with(address, clients, name, &[])
    }

    /// As [`Load::start`], with header fields beside the id.
    pub fn with(address: SocketAddr, clients: usize, name: &str, fields: &[(&str, &str)]) -> Self {
        let fields: Vec<(String, String)> = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let (ended, stop): (Arc<AtomicUsize>, Arc<AtomicBool>) = Default::default();
        let clients = (0..clients)
            .map(|client| {
                let (ended, stop) = (Arc::clone(&ended), Arc::clone(&stop));
                // Made here, so that nobody comes once Weir has been killed.
                let mut connection = Connection::open(address);
                let (name, fields) = (format!("{name}-{client}"), fields.clone());
                thread::spawn(move || {
                    let mut seen = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let id = format!("{name}-{}", seen.len());
                        let mut headers = vec![("x-request-id", id.as_str())];
                        headers.extend(fields.iter().map(|(name, value)| (&**name, &**value)));
                        if !ask(&mut connection, target(seen.len()), &headers) {
                            break;
                        }
                        seen.push(id);
                        ended.fetch_add(1, Ordering::Relaxed);
                    }
                    seen
                })
            })
            .collect();
        Self {
            ended,
            stop,
            clients,
        }
    }

    /// Responses whose end was seen so far.
    pub fn ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }

    /// Stops the clients, and gives the ids of the responses whose end they saw.
    ///
    /// # Panics
    ///
    /// When a client panicked.
    pub fn join(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let clients = self.clients.into_iter();
        let seen = clients.map(|client| client.join().expect("a client"));
        seen.flatten().collect()
    }
}

/// Sends a request; says whether the response came to its end.
pub fn ask(connection: &mut Connection, target: &str, headers: &[(&str, &str)]) -> bool {
    let mut request = format!("GET {target} HTTP/1.1\r\nhost: test\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += "\r\n";
    if connection.stream().write_all(request.as_bytes()).is_err() {
        return false;
    }
    connection
        .receive()
        .is_some_and(|response| response.complete && response.status < 300)
}

/// Sends so many requests on one connection, all of which must be answered; gives their ids.
///
/// # Panics
///
/// When one is not answered.
pub fn ask_all(address: SocketAddr, count: usize, name: &str) -> Vec<String> {
    let mut connection = Connection::open(address);
    let ids: Vec<String> = (0..count).map(|index| format!("{name}-{index}")).collect();
    for (index, id) in ids.iter().enumerate() {
        let headers = [("x-request-id", id.as_str())];
        assert!(ask(&mut connection, target(index), &headers), "{id}");
    }
    ids
}
