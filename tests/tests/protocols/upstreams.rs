//! Upstreams of HTTP/2, and gRPC from end to end.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use serde_json::{Value, json};
use weir::demo::broker::Broker;
use weir::demo::consumer::Consumer;
use weir_tests::client;
use weir_tests::http2::{
    self, Client, DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, RST_STREAM, Raw, Reply, frame,
    receive, run,
};
use weir_tests::trace::Trace;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

/// One listener, one route, and an upstream with these keys.
pub(super) fn config(upstream: Value) -> Value {
    let nobody = weir_tests::upstream::Upstream::hello();
    let mut config = weir_tests::config::config(&nobody);
    config["upstreams"]["up"] = upstream;
    config
}

pub(super) fn start(upstream: Value) -> Weir {
    Weir::start(&config(upstream).to_string())
}

/// With a second upstream, whose idle connections may stay for long.
fn start_beside_a_patient_one(upstream: Value) -> Weir {
    let mut config = config(upstream);
    let keys = json!({ "endpoints": ["http://127.0.0.1:9"], "timeouts": { "idle": "1h" } });
    config["upstreams"]["patient"] = keys;
    let route = json!({ "match": { "path": "/patient" }, "upstream": "patient" });
    config["routes"].as_array_mut().expect("routes").push(route);
    Weir::start(&config.to_string())
}

#[test]
fn a_connection_of_http2_that_was_idle_for_too_long_is_not_used_again() {
    let upstream = http2::Upstream::hello();
    let keys = json!({
        "endpoints": [upstream.url()],
        "protocol": "h2",
        "timeouts": { "idle": "1ms" },
    });
    let weir = start_beside_a_patient_one(keys);
    // From one request to the next it is idle for longer.
    for _ in 0..5 {
        assert_eq!(weir.get("/", &[]).text(), "hello");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(upstream.connections(), 5);
}

#[test]
fn connections_that_nobody_uses_are_closed_by_their_own_upstreams_deadline() {
    for protocol in ["h1", "h2"] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let weir = start_beside_a_patient_one(json!({
            "endpoints": [format!("http://{address}")],
            "protocol": protocol,
            "timeouts": { "idle": "1s" },
        }));
        let proxy = weir.proxy();
        let asking = std::thread::spawn(move || client::get(proxy, "/", &[]).status);
        let mut upstream = http2::Raw(listener.accept().expect("weir connects").0);
        if protocol == "h2" {
            let mut preface = [0; http2::PREFACE.len()];
            upstream.0.read_exact(&mut preface).expect("a preface");
            // Settings, and once it is asked for, `:status: 200` on the first stream, as its end.
            let settings = http2::frame(4, 0, 0, &[]);
            upstream.0.write_all(&settings).expect("send");
            while upstream.read().expect("a frame").0 != 1 {}
            let answer = http2::frame(1, 5, 1, &[0x88]);
            upstream.0.write_all(&answer).expect("send");
        } else {
            let mut head = [0; 1024];
            let len = upstream.0.read(&mut head).expect("a head");
            assert!(head[..len].ends_with(b"\r\n\r\n"));
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            upstream.0.write_all(answer).expect("send");
        }
        assert_eq!(asking.join().expect("a client"), 200);
        let patience = Some(Duration::from_mins(1));
        upstream.0.set_read_timeout(patience).expect("a timeout");
        let mut last = Vec::new();
        upstream.0.read_to_end(&mut last).expect("weir closes");
    }
}

#[test]
fn requests_share_a_connection_of_http2() {
    let upstream = http2::Upstream::hello();
    let weir = start(json!({ "endpoints": [upstream.url()], "protocol": "h2" }));
    run(async {
        let client = Client::open(weir.proxy()).await;
        let all = (0..50).map(|_| client.get("/a?b=c"));
        for answer in futures_join(all).await {
            assert_eq!(answer.expect("a response").text(), "hello");
        }
    });
    assert_eq!(
        weir.get("/a?b=c", &["connection: x-mine", "x-mine: 1"])
            .text(),
        "hello"
    );
    assert_eq!(upstream.connections(), 1);
    assert_eq!(
        weir.count("weir_upstream_connects_total{upstream=\"up\"}"),
        1
    );
    let seen = upstream.seen();
    assert_eq!(seen.len(), 51);
    for seen in seen {
        assert_eq!(seen.uri, "http://test/a?b=c");
        assert_eq!(seen.headers["te"], "trailers");
        for name in ["host", "connection", "transfer-encoding", "x-mine"] {
            assert_eq!(seen.headers.get(name), None, "{name}");
        }
    }
}

#[test]
fn a_host_that_is_none_or_left_out_is_no_fault_of_an_upstream_of_http2() {
    let upstreams = [http2::Upstream::hello(), http2::Upstream::hello()];
    let endpoints = upstreams.each_ref().map(http2::Upstream::url);
    let weir = start(json!({
        "endpoints": endpoints,
        "protocol": "h2",
        "ejection": { "failures": 1, "time": "5m" },
    }));
    for host in ["a:b:c", "[", "]", "a%41"] {
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
        assert_eq!(client::send(weir.proxy(), request).status, 400, "{host}");
    }
    for _ in 0..4 {
        let answer = client::send(weir.proxy(), "GET /a HTTP/1.0\r\n\r\n");
        assert_eq!(answer.text(), "hello");
    }
    for upstream in upstreams {
        let seen = upstream.seen();
        assert_eq!(seen.len(), 2, "both serve");
        let named = |seen: &http2::Seen| seen.uri == format!("{}/a", upstream.url());
        assert!(seen.iter().all(named), "{seen:?}");
    }
}

/// Waits for all of them, side by side.
pub(super) async fn futures_join<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|cx| {
        for (future, done) in &mut pending {
            if done.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(cx)
            {
                *done = Some(output);
            }
        }
        if pending.iter().all(|(_, done)| done.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    pending.into_iter().filter_map(|(_, done)| done).collect()
}

#[test]
fn bodies_and_trailers_pass_from_http1_to_http2_and_back() {
    let upstream = http2::Upstream::new(None, |seen| {
        let mut trailers = HeaderMap::new();
        trailers.insert(
            "x-sum",
            seen.body.len().to_string().parse().expect("a value"),
        );
        Reply {
            head: Response::builder()
                .header("trailer", "x-sum")
                .body(())
                .expect("a head"),
            body: b"ok",
            trailers: Some(trailers),
            ..Reply::default()
        }
    });
    let weir = start(json!({ "endpoints": [upstream.url()], "protocol": "h2" }));
    let mut client = weir_tests::client::Connection::open(weir.proxy());
    client.send(
        "POST / HTTP/1.1\r\nhost: test\r\nte: trailers\r\nconnection: te\r\ntrailer: x-end\r\n\
         transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-end: 1\r\n\r\n",
    );
    let head = client.receive_head().expect("a head");
    assert_eq!(head.status, 200);
    assert_eq!(head.header("transfer-encoding"), Some("chunked"));
    assert_eq!(client.read_chunk().as_deref(), Some(&b"ok"[..]));
    let mut trailers = Vec::new();
    assert_eq!(client.read_chunk_and_trailers(&mut trailers), None);
    assert_eq!(String::from_utf8_lossy(&trailers), "x-sum: 3\r\n");
    let seen = upstream.seen().remove(0);
    assert_eq!(seen.body, b"abc");
    assert_eq!(seen.trailers.expect("trailers")["x-end"], "1");
}

#[test]
fn an_upstream_that_goes_away_after_each_response_fails_no_request() {
    let upstream = http2::Upstream::new(None, |_| Reply {
        body: b"hello",
        leave: true,
        ..Reply::default()
    });
    let weir = start(json!({ "endpoints": [upstream.url()], "protocol": "h2" }));
    for _ in 0..20 {
        assert_eq!(weir.get("/", &[]).text(), "hello");
    }
    assert!(upstream.connections() > 1);
}

/// Refuses so many streams before it answers.
fn refusing(times: usize) -> http2::Upstream {
    let left = AtomicUsize::new(times);
    http2::Upstream::new(None, move |_| {
        let fewer = |left: usize| left.checked_sub(1);
        let refuse = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer);
        Reply {
            body: b"hello",
            refuse: refuse.is_ok(),
            ..Reply::default()
        }
    })
}

#[test]
fn a_stream_that_is_refused_is_asked_for_once_more_and_not_for_ever() {
    // Nothing was done with it, whatever its method.
    for method in ["GET", "POST", "PATCH"] {
        let upstream = refusing(1);
        let weir = start(json!({ "endpoints": [upstream.url()], "protocol": "h2" }));
        let request = format!("{method} / HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(client::send(weir.proxy(), request).text(), "hello");
        let seen = upstream.seen();
        assert_eq!(seen.len(), 2);
        assert!(seen.iter().all(|seen| seen.method == method), "{seen:?}");
    }

    let upstream = refusing(usize::MAX);
    let weir = start(json!({ "endpoints": [upstream.url()], "protocol": "h2" }));
    for asked in 1..=3 {
        assert_eq!(weir.get("/", &[]).status, 502);
        assert_eq!(upstream.seen().len(), 2 * asked);
    }
    // A body is not kept to be sent again.
    let request = "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 2\r\n\r\nok";
    assert_eq!(client::send(weir.proxy(), request).status, 502);
    assert_eq!(upstream.seen().len(), 7);
    assert_eq!(upstream.connections(), 1, "the connection is kept");
    let metric = "weir_upstream_failures_total{upstream=\"up\",reason=\"protocol\"}";
    assert_eq!(weir.count(metric), 4, "{}", weir.metrics());
}

#[test]
fn a_stream_that_is_refused_may_be_another_endpoints() {
    let (refusing, other) = (refusing(usize::MAX), http2::Upstream::hello());
    let endpoints = [refusing.url(), other.url()];
    let weir = start(json!({ "endpoints": endpoints, "protocol": "h2" }));
    for _ in 0..4 {
        assert_eq!(weir.get("/", &[]).text(), "hello");
    }
    assert_eq!(other.seen().len(), 4);
    assert!(!refusing.seen().is_empty());
}

#[test]
fn a_grpc_call_passes_with_its_trailers_and_has_its_status_on_the_trace() {
    let broker = Broker::start(&["weir-traces"]).expect("a broker");
    let upstream = http2::Upstream::new(None, |seen| {
        let mut trailers = HeaderMap::new();
        let status = if seen.uri.ends_with("Missing") {
            "5"
        } else {
            "14"
        };
        trailers.insert("grpc-status", status.parse().expect("a value"));
        trailers.insert("grpc-message", "no".parse().expect("a value"));
        Reply {
            head: Response::builder()
                .header("content-type", "application/grpc")
                .body(())
                .expect("a head"),
            body: b"\0\0\0\0\x01x",
            trailers: Some(trailers),
            ..Reply::default()
        }
    });
    let mut config = config(json!({ "endpoints": [upstream.url()], "protocol": "h2" }));
    config["exporters"]["traces"] = json!({ "kafka": {
        "brokers": [broker.bootstrap_servers()], "topic": "weir-traces", "flush_interval_ms": 10,
    }});
    let weir = Weir::start(&config.to_string());
    let consumer = Consumer::new(broker.bootstrap_servers(), "weir-traces").expect("a consumer");
    for (method, status, root) in [("Missing", 5, "unset"), ("Broken", 14, "error")] {
        run(async {
            let client = Client::open(weir.proxy()).await;
            let request = Request::post(format!("http://test/shop.Orders/{method}"))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(());
            let mut sender = client.sender.clone().ready().await.expect("ready");
            let (response, mut body) = sender
                .send_request(request.expect("a request"), false)
                .expect("sent");
            body.send_data(Bytes::from_static(b"\0\0\0\0\x01y"), true)
                .expect("sent");
            let answer = receive(response.await.expect("a head"))
                .await
                .expect("a response");
            assert_eq!(answer.body, b"\0\0\0\0\x01x");
            let trailers = answer.trailers.expect("trailers");
            assert_eq!(trailers["grpc-status"], status.to_string());
            assert_eq!(trailers["grpc-message"], "no");
        });
        let message = eventually("the trace arrives", || {
            consumer
                .recv(Duration::from_millis(100))
                .expect("the topic can be read")
        });
        let trace = Trace::new(&message.payload);
        let attributes = &trace.root()["Attributes"];
        assert_eq!(attributes["network.protocol.version"], "2");
        assert_eq!(attributes["rpc.system"], "grpc");
        assert_eq!(attributes["rpc.service"], "shop.Orders");
        assert_eq!(attributes["rpc.method"], method);
        assert_eq!(attributes["rpc.grpc.status_code"], status);
        assert_eq!(trace.root()["Status"], root);
        let call = trace.span("POST");
        assert_eq!(call["Attributes"]["rpc.grpc.status_code"], status);
        assert_eq!(call["Status"], "error");
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_slow_client_holds_an_upstream_of_http2_back_and_no_other_client() {
    let large: &'static [u8] = vec![b'x'; 64 << 20].leak();
    let upstream = http2::Upstream::new(None, move |seen| Reply {
        body: if seen.uri.ends_with("/large") {
            large
        } else {
            b"hello"
        },
        ..Reply::default()
    });
    let weir = start(json!({ "endpoints": [upstream.url()], "protocol": "h2" }));
    let before = weir.resident_bytes();
    let mut slow: Vec<_> = (0..10)
        .map(|_| weir_tests::client::Connection::open(weir.proxy()))
        .collect();
    for client in &mut slow {
        client.send("GET /large HTTP/1.1\r\nhost: test\r\n\r\n");
        client.receive_head().expect("a head");
        client.read_chunk().expect("a piece");
    }
    for _ in 0..20 {
        assert_eq!(weir.get("/", &[]).text(), "hello");
    }
    assert_eq!(upstream.connections(), 1);
    let grown = weir.resident_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more are in use");
    // One of them goes on reading, past all that was on its way.
    let mut read = 0;
    while read < large.len() / 2 {
        read += slow[0].read_chunk().expect("a piece").len();
    }
}

/// In front of an upstream of HTTP/2 that answers each request by the frames that are made for its stream.
fn answering(frames: impl Fn(u32) -> Vec<u8> + Send + 'static) -> Weir {
    start(json!({ "endpoints": [speaking(frames)], "protocol": "h2" }))
}

/// The URL of such an upstream, which never opens a window.
pub(super) fn speaking(frames: impl Fn(u32) -> Vec<u8> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            stream.write_all(&frame(4, 0, 0, &[])).expect("settings");
            stream.read_exact(&mut [0; PREFACE.len()]).expect("HTTP/2");
            let mut raw = Raw(stream);
            while let Some((kind, _, id, _)) = raw.read() {
                if kind == HEADERS && raw.0.write_all(&frames(id)).is_err() {
                    break;
                }
            }
        }
    });
    format!("http://{address}")
}

const NO_ERROR: [u8; 4] = [0; 4];

/// The head of a response with this status alone, by HPACK's own table.
pub(super) fn ok(id: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, id, &[0x88])
}

#[test]
fn a_response_that_is_reset_without_an_error_is_cut_and_not_whole() {
    let weir = answering(|id| {
        let reset = frame(RST_STREAM, 0, id, &NO_ERROR);
        [ok(id), frame(DATA, 0, id, b"abc"), reset].concat()
    });
    for asked in [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nsome",
    ] {
        let seen = client::Connection::open(weir.proxy())
            .send(asked)
            .read_to_end();
        assert!(seen.starts_with(b"HTTP/1.1 200"), "{seen:?}");
        assert!(!seen.ends_with(b"0\r\n\r\n"), "it looks whole: {asked}");
    }
    run(async {
        let client = Client::open(weir.proxy()).await;
        let request = Request::get("http://test/").body(());
        let mut sender = client.sender.clone().ready().await.expect("ready");
        let sent = sender.send_request(request.expect("a request"), true);
        let mut body = sent.expect("sent").0.await.expect("a head").into_body();
        let mut end = body.data().await;
        while let Some(Ok(_)) = end {
            end = body.data().await;
        }
        assert!(matches!(end, Some(Err(_))), "it looks whole");
    });
}

#[test]
fn a_whole_response_may_be_followed_by_a_reset_without_an_error() {
    let weir = answering(|id| {
        let reset = frame(RST_STREAM, 0, id, &NO_ERROR);
        [ok(id), frame(DATA, END_STREAM, id, b"abc"), reset].concat()
    });
    for asked in [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        // The rest of it is not asked for any more (RFC 9113, section 8.1).
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nsome",
    ] {
        let mut client = client::Connection::open(weir.proxy());
        client.send(asked);
        let response = client.receive().expect("a whole response");
        assert_eq!(response.text(), "abc", "{asked}");
    }
}
