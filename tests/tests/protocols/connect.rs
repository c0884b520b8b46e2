//! CONNECT: refused as it is, and WebSocket as a stream of HTTP/2 (RFC 8441).

use std::net::TcpListener;

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use serde_json::{Value, json};
use weir_tests::client::Connection;
use weir_tests::http2::{Client, receive, run};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::websocket::{accept, ask, open};
use weir_tests::weir::Weir;

use crate::start;

/// A listener in the place of an upstream, and Weir in front of it.
fn front(more: Value) -> (TcpListener, Weir) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let upstream = json!({ "endpoints": [format!("http://{address}")] });
    (listener, before(upstream, more))
}

/// Weir in front of an upstream with these keys.
fn before(upstream: Value, more: Value) -> Weir {
    let mut config = crate::config(&Upstream::hello(), more);
    config["upstreams"]["up"] = upstream;
    config["access_log"] = json!({ "path": "access.log" });
    config["routes"] = json!([
        { "match": { "path": "/fixed" }, "respond": { "status": 200, "body": "here" } },
        { "name": "all", "upstream": "up", "plugins": [] },
    ]);
    Weir::start(&config.to_string())
}

async fn connect(
    client: &Client,
    request: Request<()>,
) -> (Response<RecvStream>, SendStream<Bytes>) {
    let mut sender = client.sender.clone().ready().await.expect("room");
    let (response, stream) = sender.send_request(request, false).expect("a stream");
    (response.await.expect("a response"), stream)
}

fn find<'h>(head: &'h [String], name: &str) -> Option<&'h str> {
    head.iter().find_map(|line| line.strip_prefix(name))
}

/// Takes a connection, reads what is asked, and switches.
fn switch(listener: TcpListener, accept_of: fn(&str) -> String) -> (Connection, Vec<String>) {
    let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
    let head = upstream.read_head().expect("a head");
    let key = find(&head, "sec-websocket-key: ").expect("a key");
    upstream.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {}\r\nsec-websocket-protocol: chat\r\n\r\n",
        accept_of(key)
    ));
    (upstream, head)
}

async fn piece(stream: &mut RecvStream) -> Bytes {
    let piece = stream.data().await.expect("a piece").expect("no error");
    let _ = stream.flow_control().release_capacity(piece.len());
    piece
}

#[test]
fn websocket_passes_as_a_stream_of_http2_beside_others() {
    let (listener, weir) = front(json!({ "timeouts": { "head": "300ms" } }));
    let upstream = std::thread::spawn(move || switch(listener, accept));
    run(async {
        let client = open(weir.proxy()).await;
        let request = ask("https://a.example/chat?x=y", "websocket");
        let (response, mut stream) = connect(&client, request).await;
        assert_eq!(response.status(), 200);
        let headers = response.headers();
        assert_eq!(headers["sec-websocket-protocol"], "chat");
        for absent in ["sec-websocket-accept", "upgrade", "connection"] {
            assert_eq!(headers.get(absent), None, "{absent}");
        }
        let (mut upstream, head) = upstream.join().expect("the upstream");
        assert_eq!(head[0], "GET /chat?x=y HTTP/1.1");
        assert_eq!(find(&head, "host: "), Some("a.example"));
        assert_eq!(find(&head, "connection: "), Some("upgrade"));
        assert_eq!(find(&head, "upgrade: "), Some("websocket"));
        assert_eq!(find(&head, "sec-websocket-version: "), Some("13"));
        assert_eq!(find(&head, "content-length: "), None);

        let mut received = response.into_body();
        for round in 0..3u8 {
            stream
                .send_data(vec![round; 3].into(), false)
                .expect("send");
            let mut side = tokio::task::spawn_blocking(move || {
                assert_eq!(upstream.read_exactly(3), [round; 3]);
                upstream.send([round; 5]);
                upstream
            });
            upstream = (&mut side).await.expect("the upstream");
            assert_eq!(piece(&mut received).await, vec![round; 5]);
        }
        // A connection with nothing under way is told to go; one with a tunnel is not.
        let idle = Client::open(weir.proxy()).await;
        idle.connection.await.expect("no panic").expect("no error");
        let fixed = client.get("/fixed").await.expect("a response");
        assert_eq!(fixed.text(), "here");
        // One half is closed; the other goes on.
        stream.send_data(Bytes::new(), true).expect("send");
        tokio::task::spawn_blocking(move || {
            assert_eq!(upstream.read_to_end(), b"");
            upstream.send("after");
        })
        .await
        .expect("the upstream");
        assert_eq!(piece(&mut received).await, "after");
        while let Some(end) = received.data().await {
            assert_eq!(end.expect("no error"), "");
        }
    });
    eventually("it is counted", || {
        let ended = weir.count("weir_requests_total{route=\"all\",status=\"2xx\"}");
        (ended == 1).then_some(())
    });
}

#[test]
fn a_stream_that_is_reset_ends_the_tunnel() {
    let (listener, weir) = front(json!({}));
    let upstream = std::thread::spawn(move || switch(listener, accept));
    run(async {
        let client = open(weir.proxy()).await;
        let request = ask("http://a.example/chat", "websocket");
        let (_response, mut stream) = connect(&client, request).await;
        let (mut upstream, _) = upstream.join().expect("the upstream");
        stream.send_reset(h2::Reason::CANCEL);
        let rest = tokio::task::spawn_blocking(move || upstream.read_to_end()).await;
        assert_eq!(rest.expect("the upstream"), b"");
        eventually("it is counted", || {
            (weir.count("weir_requests_aborted_total{route=\"all\"}") == 1).then_some(())
        });
    });
}

#[test]
fn a_tunnel_in_which_nothing_passes_ends_at_its_deadline_and_no_other_stream_does() {
    // Over HTTP/2 from the client alone, and to the upstream too: that is another Weir then.
    for to_http2 in [false, true] {
        let (listener, behind) = front(json!({}));
        let (address, protocol) = if to_http2 {
            (behind.proxy(), "h2")
        } else {
            (listener.local_addr().expect("an address"), "h1")
        };
        let upstream = json!({
            "endpoints": [format!("http://{address}")],
            "protocol": protocol,
            "timeouts": { "tunnel": "300ms" },
        });
        let weir = before(upstream, json!({}));
        let switching = std::thread::spawn(move || switch(listener, accept));
        run(async {
            let client = open(weir.proxy()).await;
            let request = ask("http://a.example/chat", "websocket");
            let (response, _stream) = connect(&client, request).await;
            assert_eq!(response.status(), 200);
            let (mut upstream, _) = switching.join().expect("the upstream");
            let mut received = response.into_body();
            while let Some(Ok(piece)) = received.data().await {
                assert_eq!(piece, "", "nobody sent it");
            }
            let rest = tokio::task::spawn_blocking(move || upstream.read_to_end()).await;
            assert_eq!(rest.expect("the upstream"), b"");
            let fixed = client.get("/fixed").await.expect("a response");
            assert_eq!(fixed.text(), "here");
        });
        let end = eventually("it is logged", || {
            let log = std::fs::read_to_string(weir.folder().join("access.log")).ok()?;
            let lines = log.lines();
            let mut lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let line = lines.find(|line| line["path"] == "/chat")?;
            line["end"].as_str().map(str::to_owned)
        });
        assert_eq!(end, "tunnel_idle");
        let aborted = "weir_requests_aborted_total{route=\"all\"}";
        assert_eq!(weir.count(aborted), 1);
    }
}

#[test]
fn what_is_no_tunnel_is_never_taken_for_one() {
    let answers = [
        // Not understood: the key is answered wrongly.
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: AAAA\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno",
        "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno",
    ];
    for (answer, status) in answers.into_iter().zip([502, 502, 403]) {
        let (listener, weir) = front(json!({}));
        let upstream = std::thread::spawn(move || {
            let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
            upstream.read_head().expect("a head");
            upstream.send(answer);
            upstream
        });
        run(async {
            let client = open(weir.proxy()).await;
            let request = ask("http://a.example/chat", "websocket");
            let (response, _stream) = connect(&client, request).await;
            assert_eq!(response.status(), status, "{answer}");
            let text = receive(response).await.expect("a body").text();
            assert_eq!(text == "no", status == 403, "{text}");
        });
        upstream.join().expect("the upstream");
    }
    // Neither is what the configuration answers.
    let (_listener, weir) = front(json!({}));
    run(async {
        let client = open(weir.proxy()).await;
        let request = ask("http://a.example/fixed", "websocket");
        let (response, _stream) = connect(&client, request).await;
        assert_eq!(response.status(), 502);
    });
}

#[test]
fn connect_reaches_no_upstream() {
    let upstream = Upstream::hello();
    let weir = start(&upstream, json!({}));
    run(async {
        let client = open(weir.proxy()).await;
        // Protocols that may not be switched to, and none.
        let tcp = Request::connect("a.example:443")
            .body(())
            .expect("a request");
        for request in [ask("http://a.example/chat", "connect-udp"), tcp] {
            let (response, _stream) = connect(&client, request).await;
            assert_eq!(response.status(), 501);
            let body = receive(response).await.expect("a body");
            assert!(body.text().contains("\"status\":501"));
        }
        // The connection goes on.
        assert_eq!(client.get("/").await.expect("a response").text(), "hello");
    });
    let mut plain = Connection::open(weir.proxy());
    plain.send("CONNECT a.example:443 HTTP/1.1\r\nhost: a.example:443\r\n\r\n");
    assert_eq!(plain.receive().expect("a response").status, 501);
    assert_eq!(plain.read_to_end(), b"");
    assert_eq!(upstream.seen().len(), 1);
}
