//! The PROXY protocol to upstreams: every connection begins with its client, and is no other's.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Child;
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;
use weir_tests::client::{self, Connection};
use weir_tests::http2::{Client, run};
use weir_tests::nginx;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::start;

const GET: &str = "GET / HTTP/1.1\r\nhost: test\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Answers with the client and the listener that its connection began with, and with the connection's
/// number.
struct Echo {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Echo {
    fn start(listen: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let client = "$proxy_protocol_addr:$proxy_protocol_port";
        let listener = "$proxy_protocol_server_addr:$proxy_protocol_server_port";
        let location = format!("return 200 '{client} {listener} $connection';");
        let (child, port) = nginx::start(folder.path(), listen, &location);
        Self {
            child,
            port,
            _folder: folder,
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that knows its own address.
struct Known {
    connection: Connection,
    address: SocketAddr,
}

impl Known {
    fn open(weir: &Weir) -> Self {
        let stream = TcpStream::connect(weir.proxy()).expect("weir listens");
        Self {
            address: stream.local_addr().expect("an address"),
            connection: Connection::over(stream),
        }
    }

    /// What the upstream says of its connection: which addresses it began with, and its number.
    fn ask(&mut self) -> (String, String) {
        let response = self.connection.send(GET).receive().expect("a response");
        assert_eq!(response.status, 200, "{}", response.text());
        let text = response.text();
        let (addresses, number) = text.rsplit_once(' ').expect("a number");
        (addresses.to_owned(), number.to_owned())
    }
}

#[test]
fn nginx_is_told_of_each_client_and_clients_share_no_connection() {
    for version in ["v1", "v2"] {
        let echo = Echo::start("proxy_protocol");
        let weir = start(&[echo.url()], json!({ "proxy_protocol": version }));
        let mut clients: Vec<_> = (0..10).map(|_| Known::open(&weir)).collect();
        let mut numbers = vec![String::new(); clients.len()];
        for round in 0..3 {
            for (client, known) in clients.iter_mut().zip(&mut numbers) {
                let (addresses, number) = client.ask();
                assert_eq!(addresses, format!("{} {}", client.address, weir.proxy()));
                // A client's own is used again.
                if round > 0 {
                    assert_eq!(number, *known);
                }
                *known = number;
            }
        }
        numbers.sort();
        numbers.dedup();
        assert_eq!(numbers.len(), clients.len());
    }
}

#[test]
fn many_clients_at_once_are_never_taken_for_one_another() {
    let echo = Echo::start("proxy_protocol");
    let mut config = crate::config(
        &[echo.url()],
        json!({
            "proxy_protocol": "v1",
            "limits": { "connections": 4 },
            "timeouts": { "connect": "30s" },
        }),
    );
    config["workers"] = json!(2);
    let weir = Weir::start(&config.to_string());
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = Known::open(&weir);
                for _ in 0..20 {
                    let expected = format!("{} {}", client.address, weir.proxy());
                    assert_eq!(client.ask().0, expected);
                }
            });
        }
    });
}

#[test]
fn streams_of_a_client_share_its_connection() {
    let echo = Echo::start("http2 proxy_protocol");
    let weir = start(
        &[echo.url()],
        json!({ "proxy_protocol": "v2", "protocol": "h2" }),
    );
    let mut other = Known::open(&weir);
    let (addresses, others) = other.ask();
    assert!(addresses.starts_with(&other.address.to_string()));
    run(async {
        let client = Client::open(weir.proxy()).await;
        let mut numbers = Vec::new();
        for _ in 0..5 {
            let answer = client.get("/").await.expect("a response");
            let text = answer.text();
            assert!(!text.starts_with(&other.address.to_string()), "{text}");
            numbers.push(text);
        }
        numbers.dedup();
        assert_eq!(numbers.len(), 1, "{numbers:?}");
        assert!(!numbers[0].ends_with(&format!(" {others}")));
    });
    assert_eq!(other.ask().1, others);
}

/// What version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of IPv4 addresses, or of none, off a connection.
fn header(stream: &mut TcpStream) -> Option<(SocketAddr, SocketAddr)> {
    let mut head = [0; 16];
    stream.read_exact(&mut head).expect("a header");
    assert_eq!(&head[..12], SIGNATURE);
    match head[12..] {
        [0x20, 0, 0, 0] => None,
        [0x21, 0x11, 0, 12] => {
            let mut rest = [0; 12];
            stream.read_exact(&mut rest).expect("addresses");
            let ip = |at: usize| Ipv4Addr::new(rest[at], rest[at + 1], rest[at + 2], rest[at + 3]);
            let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
            let address = |ip_at, port_at| SocketAddr::from((ip(ip_at), port(port_at)));
            Some((address(0, 8), address(4, 10)))
        }
        _ => panic!("{head:?}"),
    }
}

/// The bytes of a request's head.
fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        bytes.extend(byte);
    }
    String::from_utf8(bytes).expect("text")
}

/// A raw upstream, and Weir in front of it with these keys of the whole.
fn raw(keys: Value, whole: Value) -> (TcpListener, Weir) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let mut config = crate::config(&[url], keys);
    let whole = whole.as_object().expect("keys").clone();
    config.as_object_mut().expect("keys").extend(whole);
    (listener, Weir::start(&config.to_string()))
}

#[test]
fn the_header_comes_once_and_before_the_first_request() {
    let (listener, weir) = raw(json!({ "proxy_protocol": "v2" }), json!({}));
    let mut client = Known::open(&weir);
    client.connection.send(GET);
    let (mut upstream, _) = listener.accept().expect("weir connects");
    assert_eq!(header(&mut upstream), Some((client.address, weir.proxy())));
    for _ in 0..3 {
        assert!(head(&mut upstream).starts_with("GET / HTTP/1.1\r\n"));
        upstream.write_all(OK).expect("weir reads");
        assert_eq!(client.connection.receive().expect("a response").status, 200);
        client.connection.send(GET);
    }
    // The next client gets one of its own, though the first's is there.
    let mut next = Known::open(&weir);
    next.connection.send(GET);
    let (mut second, _) = listener.accept().expect("weir connects");
    assert_eq!(header(&mut second), Some((next.address, weir.proxy())));
}

#[test]
fn it_comes_before_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let weir = start(
        &[format!("https://{address}")],
        json!({ "proxy_protocol": "v2" }),
    );
    let mut client = Known::open(&weir);
    client.connection.send(GET);
    let (mut upstream, _) = listener.accept().expect("weir connects");
    assert_eq!(header(&mut upstream), Some((client.address, weir.proxy())));
    let mut hello = [0; 2];
    upstream.read_exact(&mut hello).expect("a record");
    assert_eq!(hello, [0x16, 3], "a ClientHello");
}

#[test]
fn who_the_client_is_was_told_by_those_in_front() {
    let proxied = json!({
        "trusted_proxies": ["127.0.0.1"],
        "listeners": [{ "address": "127.0.0.1:0", "proxy_protocol": true }],
    });
    let (listener, weir) = raw(json!({ "proxy_protocol": "v2" }), proxied);
    let mut client = Connection::open(weir.proxy());
    client
        .send("PROXY TCP4 192.0.2.7 192.0.2.1 4321 443\r\n")
        .send(GET);
    let (mut upstream, _) = listener.accept().expect("weir connects");
    let told = |source: &str, destination: &str| -> Option<(SocketAddr, SocketAddr)> {
        Some((source.parse().unwrap(), destination.parse().unwrap()))
    };
    let first = told("192.0.2.7:4321", "192.0.2.1:443");
    assert_eq!(header(&mut upstream), first);

    // By a field of a trusted proxy, which names no port: others that it names come by another.
    let (listener, weir) = raw(
        json!({ "proxy_protocol": "v2" }),
        json!({ "trusted_proxies": ["127.0.0.1"] }),
    );
    let mut proxy = Connection::open(weir.proxy());
    let local = weir.proxy().to_string();
    for ip in ["192.0.2.8", "192.0.2.9"] {
        proxy.send(format!(
            "GET / HTTP/1.1\r\nhost: test\r\nx-forwarded-for: {ip}\r\n\r\n"
        ));
        let (mut upstream, _) = listener.accept().expect("weir connects");
        assert_eq!(header(&mut upstream), told(&format!("{ip}:0"), &local));
        head(&mut upstream);
        upstream.write_all(OK).expect("weir reads");
        assert_eq!(proxy.receive().expect("a response").status, 200);
    }
}

#[test]
fn a_check_speaks_for_weir_itself() {
    let health = json!({ "path": "/health", "interval": "1h" });
    for version in ["v1", "v2"] {
        let keys = json!({ "proxy_protocol": version, "health": health });
        let (listener, _weir) = raw(keys, json!({}));
        let (mut upstream, _) = listener.accept().expect("weir connects");
        if version == "v1" {
            let mut line = [0; 15];
            upstream.read_exact(&mut line).expect("a header");
            assert_eq!(&line, b"PROXY UNKNOWN\r\n");
        } else {
            assert_eq!(header(&mut upstream), None);
        }
        assert!(head(&mut upstream).starts_with("GET /health HTTP/1.1\r\n"));
    }
}

#[test]
fn a_client_is_not_kept_waiting_by_another_that_is_idle() {
    let echo = Echo::start("proxy_protocol");
    let weir = start(
        &[echo.url()],
        json!({ "proxy_protocol": "v1", "limits": { "connections": 1 } }),
    );
    let mut clients = [Known::open(&weir), Known::open(&weir)];
    for _ in 0..5 {
        for client in &mut clients {
            let expected = format!("{} {}", client.address, weir.proxy());
            assert_eq!(client.ask().0, expected);
        }
    }
}

#[test]
fn a_reload_that_asks_for_it_leaves_no_old_connection_in_use() {
    let upstream = Upstream::hello();
    let echo = Echo::start("proxy_protocol");
    let weir = start(&[upstream.url()], json!({}));
    assert_eq!(client::get(weir.proxy(), "/", &[]).text(), "hello");
    let mut client = Known::open(&weir);
    assert_eq!(
        client.connection.send(GET).receive().expect("one").status,
        200
    );
    let to = |keys| crate::config(&[echo.url()], keys).to_string();
    // nginx closes a connection that begins without a header.
    assert_eq!(weir.reload(&to(json!({}))).status, 200);
    let refused = client.connection.send(GET).receive().expect("a response");
    assert_eq!(refused.status, 502);
    assert_eq!(
        weir.reload(&to(json!({ "proxy_protocol": "v1" }))).status,
        200
    );
    eventually("the new endpoint is used", || {
        let response = client.connection.send(GET).receive().expect("a response");
        (response.status == 200).then_some(())
    });
}
