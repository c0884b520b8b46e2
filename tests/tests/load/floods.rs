//! Clients that flood: each kind of flood is bounded and counted, and another client is answered.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;
use socket2::SockRef;
use weir_tests::client::{Connection, Response};
use weir_tests::http2::{Raw, frame, get_block_of};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::{refused, start};

const GET: &str = "GET / HTTP/1.1\r\nhost: test\r\n\r\n";

/// Threads that do the same again and again.
struct Flood {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Flood {
    fn start(address: SocketAddr, once: impl Fn(SocketAddr) + Send + Copy + 'static) -> Self {
        let stop: Arc<AtomicBool> = Arc::default();
        let one = |_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    once(address);
                }
            })
        };
        Self {
            threads: (0..3).map(one).collect(),
            stop,
        }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("the flood");
        }
    }
}

/// A connection that leaves no trace in the kernel once it is closed: ports are few.
fn connect(address: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect(address).ok()?;
    let short = Some(Duration::from_secs(5));
    stream.set_read_timeout(short).ok()?;
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .ok()?;
    Some(stream)
}

fn ask(connection: &mut Connection, times: usize) {
    for _ in 0..times {
        let answer: Response = connection.send(GET).receive().expect("a response");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// Another client is answered, on a connection that it has and on new ones, until `counted` says that
/// the flood was met, and after it.
fn assert_answered(kept: &mut Connection, elsewhere: SocketAddr, counted: impl Fn() -> bool) {
    let mut ask_both = || {
        ask(kept, 20);
        ask(&mut Connection::open(elsewhere), 1);
    };
    eventually("the flood is met", || {
        ask_both();
        counted().then_some(())
    });
    for _ in 0..10 {
        ask_both();
    }
}

#[test]
fn new_connections_beyond_the_limit() {
    let upstream = Upstream::hello();
    let mut config = crate::config(&upstream, 2, json!({ "max_connections": 100 }));
    let listeners = config["listeners"].as_array_mut().expect("listeners");
    listeners.push(json!({ "address": "127.0.0.2:0" }));
    let weir = Weir::start(&config.to_string());
    let mut kept = Connection::open(weir.proxy());
    ask(&mut kept, 1);
    let flood = Flood::start(weir.proxy(), |address| {
        // More of them than there may be, who stay for as long as it takes to make them.
        let held: Vec<_> = (0..200).filter_map(|_| connect(address)).collect();
        drop(held);
    });
    let other = weir.proxies()[1];
    assert_answered(&mut kept, other, || refused(&weir, "limit") > 1000);
    flood.end();
    eventually("they are gone", || {
        (weir.count("weir_connections_open") == 1).then_some(())
    });
}

#[test]
fn connections_that_are_closed_at_once() {
    let upstream = Upstream::hello();
    let weir = start(&upstream, 2, json!({ "balance": "exact" }));
    let mut kept = Connection::open(weir.proxy());
    ask(&mut kept, 1);
    let flood = Flood::start(weir.proxy(), |address| drop(connect(address)));
    assert_answered(&mut kept, weir.proxy(), || {
        weir.count("weir_connections_total") > 5000
    });
    flood.end();
    eventually("they are gone", || {
        (weir.count("weir_connections_open") == 1).then_some(())
    });
}

#[test]
fn streams_that_are_reset_at_once() {
    let (upstream, waiting) = Upstream::silent();
    let mut config = crate::config(&upstream, 2, json!({}));
    config["upstreams"]["up"]["timeouts"] = json!({ "response": "1h" });
    let weir = Weir::start(&config.to_string());
    let mut kept = Connection::open(weir.proxy());
    ask(&mut kept, 1);
    let flood = Flood::start(weir.proxy(), |address| {
        let mut raw = Raw::open(address);
        let mut reader = raw.0.try_clone().expect("clone");
        let reading = thread::spawn(move || {
            let mut sink = [0; 4096];
            while reader.read(&mut sink).is_ok_and(|len| len > 0) {}
        });
        for stream in (1..).step_by(2) {
            let mut pair = frame(1, 5, stream, &get_block_of("/never"));
            pair.extend(frame(3, 0, stream, &[0, 0, 0, 8]));
            if raw.0.write_all(&pair).is_err() {
                break;
            }
        }
        let _ = raw.0.shutdown(std::net::Shutdown::Both);
        reading.join().expect("the reader");
    });
    let cut = "weir_http_cuts_total{listener=\"127.0.0.1:0\",reason=\"flood\"}";
    assert_answered(&mut kept, weir.proxy(), || weir.count(cut) > 10);
    flood.end();
    eventually("all calls are cancelled", || {
        let active = weir.count("weir_requests_active{route=\"all\"}");
        (active == 0 && waiting.load(Ordering::SeqCst) == 0).then_some(())
    });
}

#[test]
fn heads_that_never_end() {
    let upstream = Upstream::hello();
    let mut config = crate::config(&upstream, 2, json!({ "timeouts": { "head": "1s" } }));
    let listeners = config["listeners"].as_array_mut().expect("listeners");
    listeners.push(json!({ "address": "127.0.0.2:0" }));
    let weir = Weir::start(&config.to_string());
    let other = weir.proxies()[1];
    let mut kept = Connection::open(other);
    ask(&mut kept, 1);
    let flood = Flood::start(weir.proxy(), |address| {
        let mut slow: Vec<_> = (0..300).filter_map(|_| connect(address)).collect();
        for piece in ["GET / HTTP/1.1\r\n", "host: a\r\nx:", "y"] {
            for stream in &mut slow {
                let _ = stream.write_all(piece.as_bytes());
            }
        }
        for mut stream in slow {
            // Until Weir closes it.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    let timeout = "weir_http_bad_requests_total{listener=\"127.0.0.1:0\",reason=\"timeout\"}";
    assert_answered(&mut kept, other, || weir.count(timeout) > 1000);
    // Where the flood goes others come in too.
    ask(&mut Connection::open(weir.proxy()), 1);
    flood.end();
}
