//! Five thousand clients that are slow on purpose, in each way there is: all are closed at their
//! deadlines, and others see no error meanwhile.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use weir_tests::client::{self, Connection};
use weir_tests::tls::Authority;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

/// Lets this process, and those that it starts, have so many files open.
fn allow_files(count: u32) {
    let status = Command::new("prlimit")
        .args(["--pid", &std::process::id().to_string()])
        .arg(format!("--nofile={count}:"))
        .status()
        .expect("prlimit");
    assert!(status.success(), "{count} open files are not allowed here");
}

/// What a client begins with, and goes on with as slowly as it can.
struct Slow {
    begun: &'static [u8],
    drop: &'static [u8],
}

fn slow_clients(weir: &Weir) -> Vec<(SocketAddr, Slow, usize)> {
    let [plain, tls, proxied, _] = weir.proxies() else {
        panic!("four listeners")
    };
    let slow = |begun, drop| Slow { begun, drop };
    vec![
        (*plain, slow(b"", b""), 1000),
        (*plain, slow(b"GET / HTTP/1.1\r\nhost: a\r\nx:", b"y"), 1400),
        (*plain, slow(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b""), 300),
        (
            *plain,
            slow(
                b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc",
                b"",
            ),
            200,
        ),
        (
            *plain,
            slow(
                b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab",
                b"",
            ),
            100,
        ),
        (*tls, slow(b"", b""), 400),
        (*tls, slow(b"\x16\x03\x01\x02\x00\x01", b""), 600),
        (*proxied, slow(b"", b""), 300),
        (*proxied, slow(b"PROXY TCP4 10.0.0.1 ", b"1"), 700),
    ]
}

#[test]
fn five_thousand_slow_clients_are_closed_and_others_see_no_error() {
    allow_files(12_000);
    let upstream = Upstream::hello();
    let authority = Authority::default();
    let identity = authority.issue(&["a.example"]);
    let timeouts = "timeouts: { handshake: 1s, head: 1s, body: 1s, send: 1s }";
    let weir = Weir::start(&format!(
        "workers: 2\nadmin: {{ address: '127.0.0.1:0' }}\ntrusted_proxies: [127.0.0.1]\n\
         listeners:\n\
         - {{ address: '127.0.0.1:0', {timeouts} }}\n\
         - {{ address: '127.0.0.1:0', {timeouts}, tls: {{ certificates: [{}] }} }}\n\
         - {{ address: '127.0.0.1:0', {timeouts}, proxy_protocol: true }}\n\
         - {{ address: '127.0.0.1:0' }}\n\
         upstreams: {{ api: {{ endpoints: ['{}'] }} }}\n\
         routes: [{{ name: all, upstream: api }}]\n",
        identity.json(),
        upstream.url()
    ));
    let others = weir.proxies()[3];
    let mut open: Vec<(TcpStream, &'static [u8])> = Vec::new();
    for (address, slow, count) in slow_clients(&weir) {
        for index in 0..count {
            let mut stream = TcpStream::connect(address).expect("weir accepts");
            let _ = stream.write_all(slow.begun);
            open.push((stream, slow.drop));
            if index % 100 == 0 {
                assert_eq!(client::get(others, "/", &[]).text(), "hello");
            }
        }
    }
    assert_eq!(open.len(), 5000);
    for (stream, drop) in &mut open {
        // Those whose time has come are gone already.
        let _ = stream.write_all(drop);
    }
    let mut client = Connection::open(others);
    for _ in 0..500 {
        client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
        assert_eq!(client.receive().expect("a response").text(), "hello");
    }
    drop(client);
    for (stream, _) in &mut open {
        stream
            .set_read_timeout(Some(Duration::from_mins(1)))
            .expect("a timeout");
        let mut sink = [0; 1024];
        // Until Weir has closed, in whatever way.
        loop {
            match stream.read(&mut sink) {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("it stays open"),
                Ok(0) | Err(_) => break,
            }
        }
    }
    eventually("all are closed on Weir's side too", || {
        (weir.count("weir_connections_open") == 0).then_some(())
    });
    assert_eq!(weir.get("/", &[]).text(), "hello");
    assert!(weir.resident_bytes() < 512 << 20);
}
