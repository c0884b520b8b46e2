//! HTTP/2: how a connection begins and ends, and streams side by side.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc;

use serde_json::json;
use tokio_rustls::TlsConnector;
use weir_tests::client::Connection;
use weir_tests::http2::{Client, PREFACE, Raw, frame, get_block_of, receive, run};
use weir_tests::tls::Dial;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;

use crate::{assert_serves, counted, dial, start, start_tls};

#[test]
fn http2_is_served_by_prior_knowledge_beside_http1() {
    let upstream = Upstream::hello();
    let weir = start(&upstream, json!({}));
    run(async {
        let client = Client::open(weir.proxy()).await;
        for _ in 0..3 {
            let answer = client.get("/a?b=c").await.expect("a response");
            assert_eq!((answer.status(), answer.text()), (200, "hello".to_owned()));
        }
    });
    assert_serves(&weir);
    assert_eq!(weir.count("weir_connections_total"), 2);
    assert_eq!(upstream.seen()[0].target, "/a?b=c");
    assert_eq!(upstream.seen()[0].header("host"), Some("test"));
}

#[test]
fn alpn_chooses_the_version() {
    let upstream = Upstream::hello();
    let (weir, authority) = start_tls(&upstream, json!({}));
    let old = Dial {
        alpn: &["http/1.1"],
        ..dial(&authority)
    };
    let mut old = old.connect(weir.proxy()).expect("a session");
    assert_eq!(old.alpn(), Some("http/1.1"));
    assert!(
        old.get("/")
            .expect("a response")
            .starts_with("http/1.1 200")
    );
    let none = dial(&authority).connect(weir.proxy());
    assert_eq!(none.expect("a session").alpn(), None);

    let new = Dial {
        alpn: &["http/1.1", "h2"],
        ..dial(&authority)
    };
    run(async {
        let stream = tokio::net::TcpStream::connect(weir.proxy()).await;
        let name = "a.example".try_into().expect("a name");
        let stream = TlsConnector::from(new.config())
            .connect(name, stream.expect("connect"))
            .await
            .expect("a session");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let client = Client::over(stream, &h2::client::Builder::new()).await;
        let answer = client.get("/").await.expect("a response");
        assert_eq!(answer.text(), "hello");
    });
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_protocol_that_is_not_offered_is_not_chosen() {
    let upstream = Upstream::hello();
    let (weir, authority) = start_tls(&upstream, json!({ "alpn": ["http/1.1"] }));
    let both = Dial {
        alpn: &["h2", "http/1.1"],
        ..dial(&authority)
    };
    let session = both.connect(weir.proxy()).expect("a session");
    assert_eq!(session.alpn(), Some("http/1.1"));
    let only = Dial {
        alpn: &["h2"],
        ..dial(&authority)
    };
    assert!(only.connect(weir.proxy()).is_err());
}

#[test]
fn http2_may_be_switched_off() {
    let upstream = Upstream::hello();
    let weir = start(&upstream, json!({ "http2": { "enabled": false } }));
    let mut client = Connection::open(weir.proxy());
    assert_eq!(client.send(PREFACE).read_to_end(), b"");
    eventually("it is counted", || {
        (counted(&weir, "weir_http_bad_requests_total", "malformed") == 1).then_some(())
    });
    assert_serves(&weir);
}

#[test]
fn a_preface_may_come_byte_by_byte_and_a_method_may_begin_like_it() {
    let upstream = Upstream::hello();
    let weir = start(&upstream, json!({}));
    let mut stream = TcpStream::connect(weir.proxy()).expect("connect");
    stream.set_nodelay(true).expect("no delay");
    let mut all = PREFACE.to_vec();
    all.extend(frame(4, 0, 0, &[]));
    all.extend(frame(1, 5, 1, &get_block_of("/")));
    for byte in all {
        stream.write_all(&[byte]).expect("send");
        std::thread::yield_now();
    }
    let mut raw = Raw(stream);
    loop {
        let (kind, _, stream, payload) = raw.read().expect("a frame");
        if (kind, stream) == (0, 1) && !payload.is_empty() {
            assert_eq!(payload, b"hello");
            break;
        }
    }

    for pieces in [
        &[
            "P",
            "OST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
        ][..],
        &["PR", "OPFIND / HTTP/1.1\r\n", "host: a\r\n\r\n"],
        &["PRI", " / HTTP/1.1\r\nhost: a\r\n\r\n"],
    ] {
        let mut client = Connection::open(weir.proxy());
        for piece in pieces {
            client.send(piece);
            std::thread::yield_now();
        }
        let answer = client.receive().expect("a response");
        assert_eq!(answer.status, 200, "{pieces:?}");
    }
    let methods: Vec<_> = upstream
        .seen()
        .into_iter()
        .map(|seen| seen.method)
        .collect();
    assert_eq!(methods, ["GET", "POST", "PROPFIND", "PRI"]);
}

#[test]
fn a_preface_that_stays_half_ends_at_the_heads_deadline() {
    let upstream = Upstream::hello();
    let weir = start(&upstream, json!({ "timeouts": { "head": "200ms" } }));
    let mut client = Connection::open(weir.proxy());
    assert_eq!(client.send(&PREFACE[..10]).read_to_end(), b"");
    eventually("it is counted", || {
        (counted(&weir, "weir_http_bad_requests_total", "timeout") == 1).then_some(())
    });
}

#[test]
fn streams_are_served_side_by_side() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let upstream = Upstream::new(move |seen, stream| {
        if seen.target == "/slow" {
            released.lock().expect("lock").recv().expect("the test");
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    let weir = start(&upstream, json!({}));
    run(async {
        let client = Client::open(weir.proxy()).await;
        let slow = client.get("/slow");
        let fast = async {
            for _ in 0..5 {
                let answer = client.get("/fast").await.expect("a response");
                assert_eq!(answer.text(), "ok");
            }
            release.send(()).expect("the upstream waits");
        };
        let (slow, ()) = tokio::join!(slow, fast);
        assert_eq!(slow.expect("a response").text(), "ok");
    });
    assert_eq!(weir.count("weir_connections_total"), 1);
}

#[test]
fn no_more_streams_are_allowed_than_configured() {
    let upstream = Upstream::hello();
    for (keys, most) in [(json!({}), 100), (json!({ "max_streams": 7 }), 7)] {
        let weir = start(&upstream, json!({ "http2": keys }));
        let mut raw = Raw::open(weir.proxy());
        let (kind, _, _, payload) = raw.read().expect("settings");
        assert_eq!(kind, 4);
        let settings: Vec<_> = payload
            .chunks(6)
            .map(|one| (one[1], u32::from_be_bytes([one[2], one[3], one[4], one[5]])))
            .collect();
        assert!(settings.contains(&(3, most)), "{settings:?}");
        assert!(settings.contains(&(6, 64 << 10)), "{settings:?}");
    }
}

#[test]
fn a_head_that_is_too_large_is_answered_with_431_and_others_are_served() {
    let upstream = Upstream::hello();
    let weir = start(&upstream, json!({}));
    run(async {
        let mut builder = h2::client::Builder::new();
        let client = Client::open_with(weir.proxy(), builder.max_frame_size(1 << 20)).await;
        let mut request = http::Request::get("http://test/large");
        for index in 0..9 {
            request = request.header(format!("x-{index}"), "y".repeat(8 << 10));
        }
        let answer = client.send(request.body(()).expect("a request")).await;
        assert_eq!(answer.expect("a response").status(), 431);
        assert_eq!(client.get("/").await.expect("a response").status(), 200);
    });
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn an_idle_connection_is_told_to_go_and_then_ends() {
    let upstream = Upstream::hello();
    let weir = start(&upstream, json!({ "timeouts": { "head": "1s" } }));
    let mut raw = Raw::open(weir.proxy());
    let mut kinds = Vec::new();
    // It neither acknowledges settings nor answers pings.
    while let Some((kind, ..)) = raw.read() {
        kinds.push(kind);
    }
    assert!(kinds.contains(&7), "no GOAWAY: {kinds:?}");
    eventually("it is closed", || {
        (weir.count("weir_connections_open") == 0).then_some(())
    });
}

#[test]
fn sigterm_sends_goaway_and_lets_streams_end() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let upstream = Upstream::new(move |_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n");
        released.lock().expect("lock").recv().expect("the test");
        let _ = stream.write_all(b"after.");
    });
    let mut weir = start(&upstream, json!({}));
    run(async {
        let client = Client::open(weir.proxy()).await;
        let idle = Client::open(weir.proxy()).await;
        let request = http::Request::get("http://test/").body(());
        let mut sender = client.sender.clone().ready().await.expect("ready");
        let (response, _) = sender
            .send_request(request.expect("a request"), true)
            .expect("sent");
        let response = response.await.expect("a head");
        weir.signal("TERM");
        idle.connection
            .await
            .expect("no panic")
            .expect("a clean end");
        release.send(()).expect("the upstream waits");
        let answer = receive(response).await.expect("the rest");
        assert_eq!(answer.text(), "after.");
        drop((sender, client.sender));
        client
            .connection
            .await
            .expect("no panic")
            .expect("a clean end");
    });
    assert_eq!(weir.wait().code(), Some(0));
}

#[test]
fn a_stream_that_the_client_resets_ends_the_call_to_the_upstream() {
    let (gone, is_gone) = mpsc::channel();
    let upstream = Upstream::new(move |_, stream| {
        // The connection is Weir's own: it ends where its request does.
        let _ = gone.send(stream.read(&mut [0]).unwrap_or(0));
    });
    let weir = start(&upstream, json!({}));
    run(async {
        let client = Client::open(weir.proxy()).await;
        let request = http::Request::get("http://test/").body(());
        let mut sender = client.sender.clone().ready().await.expect("ready");
        let (response, mut stream) = sender
            .send_request(request.expect("a request"), true)
            .expect("sent");
        while upstream.seen().is_empty() {
            tokio::task::yield_now().await;
        }
        stream.send_reset(h2::Reason::CANCEL);
        assert!(response.await.is_err());
        tokio::task::yield_now().await;
        tokio::task::spawn_blocking(move || is_gone.recv().expect("the upstream"))
            .await
            .expect("no panic");
    });
    eventually("it is counted", || {
        (weir.count("weir_requests_aborted_total{route=\"all\"}") == 1).then_some(())
    });
}
