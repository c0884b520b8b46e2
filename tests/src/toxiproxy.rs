//! Toxiproxy between a client and a broker: what networks do to connections.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{self, Response};
use crate::kafka::Kafka;
use crate::service::{free_port, service};
use crate::wait::eventually;

/// A running Toxiproxy with one proxy; it ends with this.
#[derive(Debug)]
pub struct Toxiproxy {
    child: Child,
    api: SocketAddr,
    address: SocketAddr,
    _folder: TempDir,
}

impl Toxiproxy {
    /// One that leads nowhere yet.
    ///
    /// # Panics
    ///
    /// When it does not start: a missing service fails a test.
    pub fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let (child, api) = eventually("Toxiproxy listens", || {
            let log = File::create(folder.path().join("log")).expect("a log");
            let api = SocketAddr::from(([127, 0, 0, 1], free_port()));
            let mut child = Command::new(service("go/bin/server"))
                .args(["-host", "127.0.0.1", "-port", &api.port().to_string()])
                .stdout(log.try_clone().expect("a log"))
                .stderr(log)
                .stdin(Stdio::null())
                .spawn()
                .expect("Toxiproxy runs: see services/install.sh");
            // Where somebody else has taken the port meanwhile, it ends.
            let is_up = eventually("Toxiproxy listens or ends", || {
                let ended = child.try_wait().expect("wait").is_some();
                let connected = TcpStream::connect(api).is_ok();
                (ended || connected).then_some(!ended)
            });
            if !is_up {
                let _ = child.wait();
                return None;
            }
            Some((child, api))
        });
        let mut this = Self {
            child,
            api,
            address: api,
            _folder: folder,
        };
        let proxy = json!({ "name": "way", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1" });
        let made = this.post("/proxies", &proxy);
        let listen = made.json()["listen"].as_str().map(str::to_owned);
        let address = listen.and_then(|address| address.parse().ok());
        this.address = address.expect("an address");
        this
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Arguments of a broker whose listener `LINKED` is reached by this way only.
    pub fn arguments(&self) -> [String; 2] {
        let advertise = format!("--advertise=LINKED={}", self.address);
        ["--listener=LINKED".to_owned(), advertise]
    }

    /// Leads to a broker from now on.
    ///
    /// # Panics
    ///
    /// When Toxiproxy refuses.
    pub fn lead_to(&self, kafka: &Kafka) {
        let upstream = kafka.listener("LINKED");
        let listen = self.address.to_string();
        self.post(
            "/proxies/way",
            &json!({ "listen": listen, "upstream": upstream, "enabled": true }),
        );
    }

    /// Adds a toxic, such as `latency`, to requests (`upstream`) or answers (`downstream`).
    ///
    /// # Panics
    ///
    /// When Toxiproxy refuses.
    pub fn add(&self, kind: &str, stream: &str, attributes: &Value) {
        let toxic = json!({
            "name": "toxic", "type": kind, "stream": stream, "attributes": attributes,
        });
        self.post("/proxies/way/toxics", &toxic);
    }

    /// Takes the toxic away.
    ///
    /// # Panics
    ///
    /// When Toxiproxy refuses.
    pub fn remove(&self) {
        let answer = client::send(
            self.api,
            "DELETE /proxies/way/toxics/toxic HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n",
        );
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    fn post(&self, path: &str, body: &Value) -> Response {
        let body = body.to_string();
        let answer = client::send(
            self.api,
            format!(
                "POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n\r\n\
                 {body}",
                body.len()
            ),
        );
        assert!(answer.status < 300, "{}", answer.text());
        answer
    }
}

impl Drop for Toxiproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
