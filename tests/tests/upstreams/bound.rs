//! `limits.connections`, over several workers.

use std::collections::HashSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::json;
use weir_tests::client::{self, Connection};
use weir_tests::http2;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

const GET: &str = "GET / HTTP/1.1\r\nhost: test\r\n\r\n";

/// Three workers, and an upstream with at most so many connections.
fn start(url: String, connections: usize, timeout: &str, protocol: &str) -> Weir {
    let mut config = crate::config(
        &[url],
        json!({
            "limits": { "connections": connections },
            "timeouts": { "connect": timeout },
            "protocol": protocol,
        }),
    );
    config["workers"] = json!(3);
    Weir::start(&config.to_string())
}

/// From where connections to a port are open, as the kernel has it.
fn open(port: u16) -> HashSet<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    let here = format!(":{port:04X}");
    let from = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (local, remote, state) = (words.next()?, words.next()?, words.next()?);
        (local.ends_with(&here) && state == "01").then(|| remote.to_owned())
    };
    table.lines().filter_map(from).collect()
}

/// The most connections that an upstream saw open at once.
#[derive(Clone, Default)]
struct Most(Arc<AtomicUsize>, Arc<AtomicUsize>);

impl Most {
    /// Of this address from now on.
    fn watch(&self, address: SocketAddr) {
        self.1.store(address.port().into(), Ordering::SeqCst);
    }

    fn look(&self) {
        let port = self.1.load(Ordering::SeqCst);
        let port = u16::try_from(port).expect("a port");
        // The table changes while it is read: one that closes and the next may both be in it. What is
        // there before and after was open at once.
        let open = open(port).intersection(&open(port)).count();
        self.0.fetch_max(open, Ordering::SeqCst);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// An upstream that looks at its connections with each request.
fn watched() -> (Upstream, Most) {
    let most = Most::default();
    let seen = most.clone();
    let upstream = Upstream::new(move |_, stream| {
        seen.look();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    most.watch(upstream.address());
    (upstream, most)
}

/// So many clients, each with so many requests over a connection of its own, all at once.
fn load(address: SocketAddr, clients: usize, requests: usize) {
    let clients: Vec<_> = (0..clients)
        .map(|_| {
            thread::spawn(move || {
                let mut connection = Connection::open(address);
                for _ in 0..requests {
                    connection.send(GET);
                    let response = connection.receive().expect("a response");
                    assert_eq!(response.status, 200, "{}", response.text());
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("all its requests were answered");
    }
}

#[test]
fn the_upstream_never_sees_more_and_every_request_ends() {
    for connections in [1, 2, 4] {
        let (upstream, most) = watched();
        let weir = start(upstream.url(), connections, "30s", "auto");
        load(weir.proxy(), 24, 25);
        assert_eq!(upstream.seen().len(), 24 * 25);
        assert!((1..=connections).contains(&most.get()), "{}", most.get());
        let failures = "weir_upstream_failures_total{upstream=\"up\",reason=\"overload\"}";
        assert_eq!(weir.count(failures), 0);
    }
}

#[test]
fn what_one_worker_keeps_idle_is_given_to_another() {
    let (upstream, most) = watched();
    let weir = start(upstream.url(), 1, "30s", "auto");
    for _ in 0..30 {
        // Each connection may come to another worker, and the last one's is still there.
        let mut connection = Connection::open(weir.proxy());
        connection.send(GET);
        assert_eq!(connection.receive().expect("a response").status, 200);
    }
    assert_eq!(most.get(), 1);
    assert!(upstream.connections() > 1);
}

#[test]
fn connections_that_many_requests_share_are_bounded_and_passed_on_too() {
    for connections in [1, 2] {
        let most = Most::default();
        let seen = most.clone();
        let upstream = http2::Upstream::new(None, move |_| {
            seen.look();
            http2::Reply::default()
        });
        most.watch(upstream.address());
        let weir = start(upstream.url(), connections, "30s", "h2");
        for _ in 0..20 {
            assert_eq!(client::get(weir.proxy(), "/", &[]).status, 200);
        }
        load(weir.proxy(), 24, 25);
        assert_eq!(upstream.seen().len(), 20 + 24 * 25);
        assert!((1..=connections).contains(&most.get()), "{}", most.get());
        assert!(upstream.connections() > connections);
    }
}

#[test]
fn a_tunnel_has_its_place_until_it_ends() {
    let upstream = Upstream::new(|seen, stream| {
        let switched: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
            upgrade: websocket\r\n\r\n";
        let plain: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let asked = seen.header("upgrade").is_some();
        let _ = stream.write_all(if asked { switched } else { plain });
    });
    let weir = start(upstream.url(), 1, "300ms", "auto");
    let mut tunnel = Connection::open(weir.proxy());
    tunnel.send(
        "GET /ws HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    );
    assert_eq!(tunnel.receive_head().expect("a head").status, 101);
    // On whichever worker.
    for _ in 0..5 {
        assert_eq!(client::get(weir.proxy(), "/", &[]).status, 503);
    }
    drop(tunnel);
    eventually("its place is free", || {
        (client::get(weir.proxy(), "/", &[]).status == 200).then_some(())
    });
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn an_endpoint_that_refuses_connections_keeps_no_place() {
    let weir = start(crate::dead(), 1, "30s", "auto");
    for _ in 0..10 {
        assert_eq!(client::get(weir.proxy(), "/", &[]).status, 502);
    }
}
