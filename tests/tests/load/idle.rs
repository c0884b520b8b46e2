//! Connections on which nothing happens: there may be many, each takes little, and others are served.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use serde_json::json;
use socket2::{Domain, Socket, Type};
use weir_tests::client::Connection;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::start;

/// What a client says before it falls silent.
const SAID: [&[u8]; 3] = [
    b"",
    b"GET / HTTP/1.1\r\nhost: test\r\n\r\n",
    // The preface, and its settings.
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
];

/// Most connections of the test.
const MOST: u64 = 50_000;

/// Connections from one address of the client: its ports are fewer than those of the test.
const FROM_ONE: u64 = 10_000;

/// Most bytes of memory that one takes.
const EACH: u64 = 24 << 10;

/// How many connections this process and Weir may have: the limit of both is the same. It is raised
/// where that is allowed.
fn allowed() -> u64 {
    // Weir keeps an eighth, and has some files.
    let wanted = (MOST + 300) * 8 / 7 + 8;
    if limit(&format!("{wanted}:{wanted}")) {
        return MOST;
    }
    let limits = std::fs::read_to_string("/proc/self/limits").expect("limits");
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let hard = line.and_then(|line| line.split_whitespace().nth(1));
    let hard: u64 = hard.and_then(|hard| hard.parse().ok()).unwrap_or(wanted);
    let hard = hard.min(wanted);
    assert!(limit(&format!("{hard}:")));
    let most = MOST.min(hard / 8 * 7 - 300);
    if most < MOST {
        // Past what keeps the output of tests that pass.
        let why =
            format!("tested with {most} idle connections, not {MOST}: {hard} files may be open");
        let _ = writeln!(std::io::stderr(), "{why}");
    }
    most
}

/// Sets how many files this process may have open.
fn limit(files: &str) -> bool {
    let output = Command::new("prlimit")
        .args(["--pid", &std::process::id().to_string()])
        .arg(format!("--nofile={files}"))
        .output();
    output.expect("prlimit runs").status.success()
}

#[test]
fn thousands_that_are_idle_take_little_memory_and_others_are_served() {
    let count = allowed();
    let upstream = Upstream::hello();
    let listener = json!({ "balance": "exact", "timeouts": { "head": "10m" } });
    let weir = start(&upstream, 2, listener);
    assert_eq!(weir.get("/", &[]).text(), "hello");
    let before = weir.resident_bytes();
    let idle: Vec<TcpStream> = (0..count)
        .map(|number| {
            let mut stream = connect(&weir, number / FROM_ONE);
            // Each kind is a third, HTTP/2 the last: it is asked after a time whether it is there.
            let kind = number * SAID.len() as u64 / count;
            let said = SAID[usize::try_from(kind).expect("three")];
            stream.write_all(said).expect("weir reads");
            if kind == 1 {
                let mut connection = Connection::over(stream.try_clone().expect("a clone"));
                assert_eq!(connection.receive().expect("a response").text(), "hello");
            }
            if number % 1000 == 0 {
                assert_eq!(weir.get("/", &[]).text(), "hello");
            }
            stream
        })
        .collect();
    eventually("all are open", || {
        (weir.count("weir_connections_open") == count).then_some(())
    });
    assert_eq!(weir.count("weir_accept_pauses_total"), 0);
    let grown = weir.resident_bytes().saturating_sub(before);
    assert!(grown < count * EACH, "{} bytes each", grown / count);
    let mut client = Connection::over(connect(&weir, 0));
    for _ in 0..100 {
        client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
        assert_eq!(client.receive().expect("a response").text(), "hello");
    }
    drop((idle, client));
    eventually("all have ended", || {
        (weir.count("weir_connections_open") == 0).then_some(())
    });
    assert_eq!(weir.get("/", &[]).text(), "hello");
}

/// From one of the addresses that a machine has for itself.
fn connect(weir: &Weir, from: u64) -> TcpStream {
    let host = u8::try_from(from + 1).expect("few addresses");
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let local = SocketAddr::from(([127, 0, 1, host], 0));
    socket.bind(&local.into()).expect("an address");
    socket.connect(&weir.proxy().into()).expect("weir accepts");
    socket.into()
}
