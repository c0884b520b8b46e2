//! Five thousand clients that are slow on purpose, in each way there is: all are closed at their
//! deadlines however they drip, and others see no error meanwhile.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use weir_tests::client::{self, Connection};
use weir_tests::http2::{PREFACE, frame, get_block_of};
use weir_tests::tls::Authority;
use weir_tests::upstream::Upstream;
use weir_tests::wait::{PATIENCE, eventually};
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

/// How long a client waits from one drop to the next: several fit into each deadline.
const PAUSE: Duration = Duration::from_millis(200);

/// What clients begin with, and how many do; they go on as slowly as they can.
struct Slow {
    address: SocketAddr,
    begun: Vec<u8>,
    /// Empty where they fall silent.
    drop: &'static [u8],
    count: usize,
}

fn slow_clients(weir: &Weir) -> Vec<Slow> {
    let [plain, tls, proxied, _] = weir.proxies() else {
        panic!("four listeners")
    };
    let slow = |address: &SocketAddr, begun: &[u8], drop, count| Slow {
        address: *address,
        begun: begun.to_vec(),
        drop,
        count,
    };
    let post = |rest: &str| format!("POST / HTTP/1.1\r\nhost: a\r\n{rest}").into_bytes();
    let head = frame(1, 0, 1, &get_block_of("/"));
    // A frame that will not have all of its bytes soon.
    let continued = [&[0, 0x3f, 0xff, 9, 0][..], &1_u32.to_be_bytes()].concat();
    let settings = frame(4, 0, 0, &[]);
    let unended = [PREFACE, &settings, &head].concat();
    let dripping = [&unended[..], &continued].concat();
    vec![
        slow(plain, b"", b"", 700),
        slow(plain, b"", b"G", 300),
        slow(plain, b"GET / HTTP/1.1\r\nhost: a\r\nx:", b"y", 900),
        slow(plain, PREFACE, b"", 200),
        slow(plain, &unended, b"", 200),
        slow(plain, &dripping, b"\0", 200),
        slow(plain, &post("content-length: 9\r\n\r\nabc"), b"", 100),
        slow(plain, &post("content-length: 9000\r\n\r\nabc"), b"d", 100),
        slow(
            plain,
            &post("transfer-encoding: chunked\r\n\r\n3000\r\nab"),
            b"c",
            100,
        ),
        slow(
            plain,
            &post("transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx:"),
            b"y",
            200,
        ),
        slow(tls, b"", b"", 300),
        slow(tls, b"\x16\x03\x01\x02\x00\x01", b"", 300),
        slow(tls, b"\x16\x03\x01\x02\x00\x01", b"\0", 400),
        slow(proxied, b"", b"", 300),
        slow(proxied, b"PROXY TCP4 10.0.0.1 ", b"1", 700),
    ]
}

/// A client that Weir has not closed yet.
struct Client {
    stream: TcpStream,
    drop: &'static [u8],
}

impl Client {
    /// Sends another drop; whether it cannot, or sees the end where it sends none.
    fn is_closed(&mut self) -> bool {
        let mut sink = [0; 1024];
        let read = loop {
            match self.stream.read(&mut sink) {
                // What it is told before the end.
                Ok(1..) => {}
                read => break read,
            }
        };
        let is_open = |error: &std::io::Error| error.kind() == ErrorKind::WouldBlock;
        let silent = self.drop.is_empty();
        match read {
            Ok(_) if silent => return true,
            Err(error) if !is_open(&error) => return true,
            _ => {}
        }
        // Weir may have said its end, and still read and forget what comes: for so long only.
        let written = self.stream.write(self.drop);
        written.is_err_and(|error| !is_open(&error))
    }
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
    let mut open: Vec<Client> = Vec::new();
    let (mut made, mut dripped) = (0, Instant::now());
    for slow in slow_clients(&weir) {
        for _ in 0..slow.count {
            let mut stream = TcpStream::connect(slow.address).expect("weir accepts");
            let _ = stream.write_all(&slow.begun);
            stream.set_nonblocking(true).expect("a socket");
            let drop = slow.drop;
            open.push(Client { stream, drop });
            made += 1;
            if dripped.elapsed() >= PAUSE {
                open.retain_mut(|client| !client.is_closed());
                dripped = Instant::now();
                assert_eq!(client::get(others, "/", &[]).text(), "hello");
            }
        }
    }
    assert_eq!(made, 5000);
    let mut client = Connection::open(others);
    let until = Instant::now() + PATIENCE;
    while !open.is_empty() {
        assert!(Instant::now() < until, "{} stay open", open.len());
        open.retain_mut(|client| !client.is_closed());
        for _ in 0..50 {
            client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
            assert_eq!(client.receive().expect("a response").text(), "hello");
        }
        std::thread::sleep(PAUSE);
    }
    drop(client);
    eventually("all are closed on Weir's side too", || {
        (weir.count("weir_connections_open") == 0).then_some(())
    });
    assert_eq!(weir.get("/", &[]).text(), "hello");
    assert!(weir.resident_bytes() < 512 << 20);
}
