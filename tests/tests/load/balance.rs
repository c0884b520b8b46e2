//! `balance: exact`: each connection goes to the worker with the fewest, and is served there as any.

use std::io::Write as _;
use std::net::TcpStream;

use serde_json::json;
use weir_tests::client::Connection;
use weir_tests::tls::{Authority, Connection as Encrypted, Dial};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::{config, refused, start};

const GET: &str = "GET / HTTP/1.1\r\nhost: test\r\n\r\n";

/// A connection on which a request was answered.
fn open(weir: &Weir) -> Connection {
    let mut connection = Connection::open(weir.proxy());
    ask(&mut connection);
    connection
}

#[track_caller]
fn ask(connection: &mut Connection) {
    let answer = connection.send(GET).receive().expect("a response");
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
}

/// Connections that are open, by worker.
fn by_worker(weir: &Weir, workers: usize) -> Vec<u64> {
    let open = |worker| {
        weir.count(&format!(
            "weir_worker_connections_open{{worker=\"{worker}\"}}"
        ))
    };
    (0..workers).map(open).collect()
}

/// Waits until so many are open, and asserts that workers have equally many, but for one.
#[track_caller]
fn assert_balanced(weir: &Weir, workers: usize, connections: u64) {
    let open = eventually("all are counted", || {
        let open = by_worker(weir, workers);
        (open.iter().sum::<u64>() == connections).then_some(open)
    });
    let (most, least) = (open.iter().max(), open.iter().min());
    let differ = most.zip(least).map(|(most, least)| most - least);
    assert!(differ <= Some(1), "{open:?}");
}

#[test]
fn long_connections_are_shared_out_evenly_also_after_some_have_ended() {
    let upstream = Upstream::hello();
    let weir = start(&upstream, 3, json!({ "balance": "exact" }));
    let mut kept: Vec<_> = (0..31).map(|_| open(&weir)).collect();
    assert_balanced(&weir, 3, 31);
    kept.drain(..10);
    eventually("they have ended", || {
        (weir.count("weir_connections_open") == 21).then_some(())
    });
    kept.extend((0..10).map(|_| open(&weir)));
    assert_balanced(&weir, 3, 31);
    kept.iter_mut().for_each(ask);
    assert_eq!(weir.count("weir_connections_total"), 41);
    drop(kept);
    assert_balanced(&weir, 3, 0);
}

#[test]
fn a_connection_for_each_worker_gives_each_worker_one() {
    let upstream = Upstream::hello();
    let weir = start(&upstream, 8, json!({ "balance": "exact" }));
    // They come all at once.
    let mut kept: Vec<_> = (0..8).map(|_| Connection::open(weir.proxy())).collect();
    kept.iter_mut().for_each(ask);
    let open = eventually("all are counted", || {
        let open = by_worker(&weir, 8);
        (open.iter().sum::<u64>() == 8).then_some(open)
    });
    // The busiest may have 1.25 times the mean.
    assert_eq!(open, [1; 8]);
}

#[test]
fn a_reload_switches_it_on_and_off_and_what_is_open_counts() {
    let upstream = Upstream::hello();
    let balanced = |how| config(&upstream, 2, json!({ "balance": how })).to_string();
    let weir = Weir::start(&balanced("kernel"));
    let mut kept: Vec<_> = (0..20).map(|_| open(&weir)).collect();
    assert_eq!(weir.reload(&balanced("exact")).status, 200);
    // However the kernel has shared out the first, these level them.
    kept.extend((0..20).map(|_| open(&weir)));
    assert_balanced(&weir, 2, 40);
    assert_eq!(weir.reload(&balanced("kernel")).status, 200);
    kept.extend((0..20).map(|_| open(&weir)));
    kept.iter_mut().for_each(ask);
}

#[test]
fn the_proxy_protocol_and_tls_come_with_the_connection() {
    let upstream = Upstream::hello();
    let authority = Authority::default();
    let identity = authority.issue(&["a.example"]);
    let keys = json!({
        "balance": "exact",
        "proxy_protocol": true,
        "tls": { "certificates": [identity.json()] },
    });
    let mut config = config(&upstream, 3, keys);
    config["trusted_proxies"] = json!(["127.0.0.0/8"]);
    let weir = Weir::start(&config.to_string());
    let dial = Dial::to(&authority, "a.example");
    let tls = dial.config();
    let mut kept: Vec<Encrypted> = (0..10)
        .map(|number| {
            let mut stream = TcpStream::connect(weir.proxy()).expect("connect");
            let header = format!("PROXY TCP4 10.0.0.{number} 10.0.1.1 1 443\r\n");
            stream.write_all(header.as_bytes()).expect("weir reads");
            dial.connect_over(tls.clone(), stream).expect("TLS")
        })
        .collect();
    for connection in &mut kept {
        assert!(connection.get("/").expect("a response").ends_with("hello"));
    }
    assert_balanced(&weir, 3, 10);
    let clients = upstream.seen().into_iter().enumerate();
    for (number, seen) in clients {
        let client = format!("10.0.0.{number}");
        assert_eq!(seen.header("x-forwarded-for"), Some(client.as_str()));
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    }
}

#[test]
fn with_it_the_limit_of_connections_is_met_exactly() {
    let upstream = Upstream::hello();
    let keys = json!({ "balance": "exact", "max_connections": 7 });
    let weir = start(&upstream, 3, keys);
    let mut kept: Vec<_> = (0..7).map(|_| open(&weir)).collect();
    assert_eq!(Connection::open(weir.proxy()).read_to_end(), b"");
    eventually("it is counted", || {
        (refused(&weir, "limit") == 1).then_some(())
    });
    kept.iter_mut().for_each(ask);
    kept.pop();
    eventually("there is a place again", || {
        let mut connection = Connection::over(TcpStream::connect(weir.proxy()).ok()?);
        connection.stream().write_all(GET.as_bytes()).ok()?;
        (connection.receive()?.status == 200).then_some(())
    });
}

#[test]
fn what_waits_to_be_accepted_at_sigterm_is_answered_wherever_it_goes() {
    let upstream = Upstream::hello();
    let mut weir = start(&upstream, 3, json!({ "balance": "exact" }));
    let mut kept: Vec<_> = (0..10).map(|_| open(&weir)).collect();
    // Weir stands still: connections wait, and all go to workers that drain.
    weir.signal("STOP");
    let mut clients: Vec<_> = (0..300).map(|_| Connection::open(weir.proxy())).collect();
    clients.append(&mut kept);
    for client in &mut clients {
        client.send(GET);
    }
    weir.signal("TERM");
    weir.signal("CONT");
    for mut client in clients {
        assert_eq!(client.receive().expect("a response").status, 200);
        assert_eq!(client.read_to_end(), b"");
    }
    assert_eq!(weir.wait().code(), Some(0));
}

#[test]
fn a_listener_that_goes_leaves_what_others_accepted_to_end() {
    let upstream = Upstream::hello();
    let keys = json!({ "balance": "exact" });
    let weir = start(&upstream, 3, keys.clone());
    let mut kept: Vec<_> = (0..9).map(|_| open(&weir)).collect();
    let mut moved = config(&upstream, 3, keys);
    moved["listeners"][0]["address"] = json!("127.0.0.2:0");
    assert_eq!(weir.reload(&moved.to_string()).status, 200);
    for connection in &mut kept {
        let last = connection.send(GET).receive().expect("a response");
        assert_eq!(
            (last.status, last.header("connection")),
            (200, Some("close"))
        );
    }
    assert_balanced(&weir, 3, 0);
}
