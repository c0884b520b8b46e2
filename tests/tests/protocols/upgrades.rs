//! Connections that are switched to another protocol, and those that are not.

use std::net::{Shutdown, TcpListener};
use std::time::Duration;

use serde_json::{Value, json};
use weir::demo::broker::Broker;
use weir::demo::consumer::Consumer;
use weir_tests::client::Connection;
use weir_tests::trace::Trace;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

const ASK: &str = "GET /chat HTTP/1.1\r\nhost: test\r\nconnection: keep-alive, Upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-key: abc\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-accept: xyz\r\n\r\n";

/// A listener in the place of an upstream, and Weir in front of it.
fn start(upstream: Value, exporters: Value) -> (TcpListener, Weir) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut config = weir_tests::config::config(&Upstream::hello());
    config["upstreams"]["up"] = json!({ "endpoints": [format!("http://{address}")] });
    if let Some(keys) = upstream.as_object() {
        let all = config["upstreams"]["up"].as_object_mut().expect("keys");
        all.extend(keys.clone());
    }
    config["exporters"] = exporters;
    (listener, Weir::start(&config.to_string()))
}

/// A tunnel, as its two ends.
fn open(listener: &TcpListener, weir: &Weir) -> (Connection, Connection) {
    let mut client = Connection::open(weir.proxy());
    client.send(ASK);
    let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
    let head = upstream.read_head().expect("a head");
    assert!(head.contains(&"connection: upgrade".to_owned()), "{head:?}");
    assert!(head.contains(&"upgrade: websocket".to_owned()), "{head:?}");
    assert!(
        head.contains(&"sec-websocket-key: abc".to_owned()),
        "{head:?}"
    );
    upstream.send(SWITCH);
    let head = client.receive_head().expect("a head");
    assert_eq!(head.status, 101);
    assert_eq!(head.header("connection"), Some("upgrade"));
    assert_eq!(head.header("upgrade"), Some("websocket"));
    assert_eq!(head.header("sec-websocket-accept"), Some("xyz"));
    (client, upstream)
}

#[test]
fn a_switched_connection_carries_bytes_both_ways_until_both_have_ended() {
    let broker = Broker::start(&["weir-traces"]).expect("a broker");
    let exporters = json!({ "traces": { "kafka": {
        "brokers": [broker.bootstrap_servers()], "topic": "weir-traces", "flush_interval_ms": 10,
    }}});
    let (listener, weir) = start(json!({}), exporters);
    let (mut client, mut upstream) = open(&listener, &weir);
    for round in 0..3 {
        client.send([round; 3]);
        assert_eq!(upstream.read_exactly(3), [round; 3]);
        upstream.send([round; 5]);
        assert_eq!(client.read_exactly(5), [round; 5]);
    }
    let large = vec![7; 1 << 20];
    let copy = large.clone();
    let sending = std::thread::spawn(move || {
        upstream.send(&copy);
        upstream
    });
    assert_eq!(client.read_exactly(1 << 20), large);
    let mut upstream = sending.join().expect("the upstream");

    // One half is closed; the other goes on.
    client.stream().shutdown(Shutdown::Write).expect("close");
    assert_eq!(upstream.read_to_end(), b"");
    upstream.send("after");
    assert_eq!(client.read_exactly(5), b"after");
    assert_eq!(weir.count("weir_requests_active{route=\"all\"}"), 1);
    drop(upstream);
    assert_eq!(client.read_to_end(), b"");

    let consumer = Consumer::new(broker.bootstrap_servers(), "weir-traces").expect("a consumer");
    let message = eventually("the trace arrives", || {
        consumer
            .recv(Duration::from_millis(100))
            .expect("the topic can be read")
    });
    let trace = Trace::new(&message.payload);
    let attributes = &trace.root()["Attributes"];
    assert_eq!(attributes["http.response.status_code"], 101);
    assert_eq!(attributes["weir.tunnel.received_bytes"], 9);
    assert_eq!(attributes["weir.tunnel.sent_bytes"], 15 + (1 << 20) + 5);
    assert_eq!(trace.root()["Status"], "unset");
    eventually("it is counted", || {
        let ended = weir.count("weir_requests_total{route=\"all\",status=\"1xx\"}");
        (ended == 1 && weir.count("weir_connections_open") == 0).then_some(())
    });
}

#[test]
fn bytes_behind_either_head_are_not_lost() {
    let (listener, weir) = start(json!({}), json!({}));
    let mut client = Connection::open(weir.proxy());
    client.send(format!("{ASK}early"));
    let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
    upstream.read_head().expect("a head");
    upstream.send(format!("{SWITCH}first"));
    assert_eq!(client.receive_head().expect("a head").status, 101);
    assert_eq!(client.read_exactly(5), b"first");
    assert_eq!(upstream.read_exactly(5), b"early");
}

#[test]
fn any_answer_but_101_is_an_ordinary_response() {
    let (listener, weir) = start(json!({}), json!({}));
    let mut client = Connection::open(weir.proxy());
    client.send(ASK);
    let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
    for status in ["200 OK", "426 Upgrade Required", "403 Forbidden"] {
        upstream.read_head().expect("a head");
        upstream.send(format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nno"));
        let response = client.receive().expect("a response");
        assert_eq!(response.text(), "no");
        assert_eq!(response.header("upgrade"), None);
        // Both connections are used again.
        client.send(ASK);
    }
    upstream.read_head().expect("a head");
    upstream.send(SWITCH);
    assert_eq!(client.receive_head().expect("a head").status, 101);
}

#[test]
fn bytes_behind_an_upgrade_that_is_refused_are_no_tunnels() {
    for status in ["200 OK", "403 Forbidden", "426 Upgrade Required"] {
        let (listener, weir) = start(json!({}), json!({}));
        let mut client = Connection::open(weir.proxy());
        client.send(format!(
            "{ASK}GET /smuggled HTTP/1.1\r\nhost: test\r\nx-forwarded-for: 1.2.3.4\r\n\r\n"
        ));
        let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
        let head = upstream.read_head().expect("a head");
        assert_eq!(head[0], "GET /chat HTTP/1.1");
        upstream.send(format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nno"));
        assert_eq!(client.receive().expect("a response").text(), "no");
        // They are the client's next request, which is made as any: not the very bytes.
        let head = upstream.read_head().expect("a head");
        assert_eq!(head[0], "GET /smuggled HTTP/1.1", "{status}");
        let forwarded = head
            .iter()
            .filter(|line| line.starts_with("x-forwarded-for"));
        let forwarded: Vec<_> = forwarded.collect();
        assert_eq!(forwarded, ["x-forwarded-for: 127.0.0.1"], "{status}");
        upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes");
        assert_eq!(client.receive().expect("a response").text(), "yes");
    }
}

#[test]
fn a_switch_that_nobody_asked_for_is_a_502() {
    let (listener, weir) = start(json!({ "upgrades": ["websocket", "chat/2"] }), json!({}));
    let to = |protocol: &str| {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n"
        )
    };
    for (request, answer) in [
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", to("websocket")),
        (ASK, "HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned()),
        (ASK, to("chat/2")),
        (ASK, to("h2c")),
        (ASK, to("websocket\r\nupgrade: h2c")),
    ] {
        let mut client = Connection::open(weir.proxy());
        client.send(request);
        let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
        upstream.read_head().expect("a head");
        upstream.send(&answer);
        assert_eq!(
            client.receive().expect("a response").status,
            502,
            "{answer}"
        );
        assert_eq!(
            upstream.read_to_end(),
            b"",
            "its connection is not used again"
        );
    }
}

#[test]
fn a_protocol_other_than_websocket_is_switched_to_where_it_is_allowed() {
    let (listener, weir) = start(json!({ "upgrades": ["chat/2"] }), json!({}));
    // Its name is compared in any case.
    for answered in ["chat/2", "Chat/2"] {
        let mut client = Connection::open(weir.proxy());
        client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: chat/2\r\n\r\n");
        let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
        upstream.read_head().expect("a head");
        upstream.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {answered}\r\n\r\n"
        ));
        let head = client.receive_head().expect("a head");
        assert_eq!((head.status, head.header("upgrade")), (101, Some(answered)));
        client.send("ping");
        assert_eq!(upstream.read_exactly(4), b"ping");
        upstream.send("pong");
        assert_eq!(client.read_exactly(4), b"pong");
    }
}

#[test]
fn protocols_that_are_not_allowed_are_not_asked_for() {
    let (listener, weir) = start(json!({ "upgrades": ["chat/2"] }), json!({}));
    for (headers, asked) in [
        ("connection: upgrade\r\nupgrade: websocket", None),
        (
            "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: x",
            None,
        ),
        ("upgrade: chat/2", None),
        (
            "connection: upgrade\r\nupgrade: chat/2",
            Some("upgrade: chat/2"),
        ),
    ] {
        let mut client = Connection::open(weir.proxy());
        client.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{headers}\r\n\r\n"));
        let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
        let head = upstream.read_head().expect("a head");
        let found = head.iter().find(|line| line.starts_with("upgrade:"));
        assert_eq!(found.map(String::as_str), asked, "{headers}");
        assert!(!head.iter().any(|line| line.starts_with("http2-settings")));
        // Cut, so that the next one comes over a connection of its own.
        upstream.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(client.receive().expect("a response").status, 200);
    }
}

#[test]
fn a_tunnel_in_which_nothing_passes_ends_at_its_deadline() {
    let (listener, weir) = start(json!({ "timeouts": { "tunnel": "300ms" } }), json!({}));
    let (mut client, mut upstream) = open(&listener, &weir);
    assert_eq!(client.read_to_end(), b"");
    assert_eq!(upstream.read_to_end(), b"");
    eventually("it is counted", || {
        (weir.count("weir_requests_aborted_total{route=\"all\"}") == 1).then_some(())
    });
}

#[test]
fn a_client_that_leaves_a_tunnel_ends_it() {
    let (listener, weir) = start(json!({}), json!({}));
    let (client, mut upstream) = open(&listener, &weir);
    drop(client);
    assert_eq!(upstream.read_to_end(), b"");
    drop(upstream);
    eventually("it has ended", || {
        let active = weir.count("weir_requests_active{route=\"all\"}");
        (active == 0 && weir.count("weir_connections_open") == 0).then_some(())
    });
}

#[test]
fn a_drain_waits_for_a_tunnel_no_longer_than_its_grace() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut config = weir_tests::config::config(&Upstream::hello());
    config["upstreams"]["up"] = json!({ "endpoints": [format!("http://{address}")] });
    config["shutdown_grace"] = json!("1s");
    let mut weir = Weir::start(&config.to_string());
    let (mut client, mut upstream) = open(&listener, &weir);
    weir.signal("TERM");
    client.send("still");
    assert_eq!(upstream.read_exactly(5), b"still");
    assert_eq!(client.read_to_end(), b"");
    assert_eq!(weir.wait().code(), Some(0));
}
