//! Several endpoints of an upstream: which are chosen, checked, left out, and tried again.

mod balance;
mod bound;
mod ejection;
mod health;
mod proxy_protocol;
mod requests;
mod retries;
mod srv;
mod weights;
mod workers;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};
use weir_tests::client::Connection;
use weir_tests::service::nobody;
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

/// One worker, and an upstream `up` with these endpoints and keys.
fn config(endpoints: &[String], keys: Value) -> Value {
    let mut config = json!({
        "workers": 1,
        "listeners": [{ "address": "127.0.0.1:0" }],
        "admin": { "address": "127.0.0.1:0" },
        "upstreams": { "up": { "endpoints": endpoints } },
        "routes": [{ "name": "all", "upstream": "up" }],
    });
    for (key, value) in keys.as_object().expect("keys") {
        config["upstreams"]["up"][key] = value.clone();
    }
    config
}

fn start(endpoints: &[String], keys: Value) -> Weir {
    Weir::start(&config(endpoints, keys).to_string())
}

fn urls(upstreams: &[&Upstream]) -> Vec<String> {
    upstreams.iter().map(|upstream| upstream.url()).collect()
}

/// Sends so many requests over one connection; gives how many were answered with each status.
fn send(weir: &Weir, method: &str, count: usize) -> Vec<u16> {
    let mut connection = Connection::open(weir.proxy());
    let request = format!("{method} / HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n");
    (0..count)
        .map(|_| {
            connection.send(&request);
            connection.receive().expect("a response").status
        })
        .collect()
}

fn errors(statuses: &[u16]) -> usize {
    statuses.iter().filter(|status| **status >= 500).count()
}

/// A port on which nobody listens.
fn dead() -> String {
    format!("http://{}", nobody())
}

/// An upstream that can be killed, which resets its connections and refuses new ones, and started
/// again on the same port.
struct Mortal {
    address: SocketAddr,
    alive: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    acceptor: Option<thread::JoinHandle<()>>,
}

impl Mortal {
    fn start() -> Self {
        Self::at("127.0.0.1", 0)
    }

    fn at(ip: &str, port: u16) -> Self {
        let listener = TcpListener::bind((ip, port)).expect("a port");
        let mut this = Self {
            address: listener.local_addr().expect("an address"),
            alive: Arc::default(),
            served: Arc::default(),
            acceptor: None,
        };
        this.serve(listener);
        this
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    fn kill(&mut self) {
        self.alive.store(false, Ordering::SeqCst);
        // It wakes the acceptor, which then closes its socket.
        let _ = TcpStream::connect(self.address);
        self.acceptor
            .take()
            .expect("alive")
            .join()
            .expect("the acceptor ends");
    }

    fn revive(&mut self) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        socket.set_reuse_address(true).expect("an option");
        socket
            .bind(&self.address.into())
            .expect("the port is free again");
        socket.listen(128).expect("listen");
        self.serve(socket.into());
    }

    fn serve(&mut self, listener: TcpListener) {
        self.alive = Arc::new(AtomicBool::new(true));
        let (alive, served) = (Arc::clone(&self.alive), Arc::clone(&self.served));
        self.acceptor = Some(thread::spawn(move || {
            let mut open: Vec<TcpStream> = Vec::new();
            for stream in listener.incoming().flatten() {
                if !alive.load(Ordering::SeqCst) {
                    break;
                }
                open.push(stream.try_clone().expect("clone"));
                let (alive, served) = (Arc::clone(&alive), Arc::clone(&served));
                thread::spawn(move || answer(stream, &alive, &served));
            }
            for stream in open {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }));
    }
}

/// Answers each request without body on a connection.
fn answer(mut stream: TcpStream, alive: &AtomicBool, served: &AtomicUsize) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(len) => bytes.extend_from_slice(&buffer[..len]),
        }
        while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            bytes.drain(..end + 4);
            if !alive.load(Ordering::SeqCst) {
                return;
            }
            served.fetch_add(1, Ordering::SeqCst);
            let response = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            if stream.write_all(response).is_err() {
                return;
            }
        }
    }
}
