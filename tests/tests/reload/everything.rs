//! What may change beneath clients of TLS and HTTP/2, and a tunnel: certificate, endpoint, bounds, all in each
//! reload.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;
use weir_tests::client::Connection;
use weir_tests::http2;
use weir_tests::tls::{Authority, Dial, is};
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

use super::{Ask, Load};

/// Answers, and says on a connection that is switched what it hears.
fn echoing() -> Upstream {
    Upstream::new(|seen, stream| {
        if seen.target != "/socket" {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
            return;
        }
        let _ = stream.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        );
        let mut heard = [0; 64];
        while let Ok(len @ 1..) = stream.read(&mut heard) {
            let _ = stream.write_all(&heard[..len]);
        }
    })
}

/// A connection of TLS that is kept, or one for each request.
fn of_tls(
    address: SocketAddr,
    authority: &Arc<Authority>,
    keeps: bool,
) -> impl FnOnce() -> Ask + use<> {
    let authority = Arc::clone(authority);
    move || {
        let open = move || {
            let dial = Dial::to(&authority, "a.example");
            dial.connect(address).expect("a handshake")
        };
        let mut kept = keeps.then(&open);
        Box::new(move || {
            let answer = match &mut kept {
                Some(kept) => kept.get("/"),
                None => open().get("/"),
            };
            let answer = answer.expect("an answer");
            let whole = answer.starts_with("http/1.1 200") && answer.ends_with("hello");
            assert!(whole && !answer.contains("connection: close"), "{answer}");
        })
    }
}

/// Streams of one connection.
fn of_http2(address: SocketAddr) -> Ask {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let local = tokio::task::LocalSet::new();
    let client = local.block_on(&runtime, http2::Client::open(address));
    Box::new(move || {
        let answer = local
            .block_on(&runtime, client.get("/"))
            .expect("an answer");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
    })
}

#[test]
fn certificate_endpoint_and_bounds_change_beneath_all_kinds_of_clients() {
    let endpoints = [echoing(), echoing()];
    let authority = Arc::new(Authority::default());
    let certificates = [(); 2].map(|()| authority.issue(&["a.example"]));
    let config = |round: usize| {
        let certificate = certificates[round % 2].json();
        let bytes = 10 + round % 2;
        let config = json!({
            "workers": 2,
            "listeners": [
                { "address": "127.0.0.1:0", "tls": { "certificates": [certificate] } },
                { "address": "127.0.0.2:0", "max_body_bytes": format!("{bytes}B") },
            ],
            "admin": { "address": "127.0.0.1:0" },
            "upstreams": { "api": { "endpoints": [endpoints[round % 2].url()] } },
            "routes": [{ "upstream": "api" }],
            "overload": { "enabled": false },
        });
        config.to_string()
    };
    let weir = Weir::start(&config(0));
    let (tls, plain) = (weir.proxies()[0], weir.proxies()[1]);
    let mut socket = Connection::open(plain);
    socket.send(
        "GET /socket HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    );
    assert_eq!(socket.receive_head().expect("a head").status, 101);
    let kept = Load::by([(); 3].map(|()| of_tls(tls, &authority, true)));
    let fresh = Load::by([of_tls(tls, &authority, false)]);
    let streams = Load::by([(); 2].map(|()| move || of_http2(plain)));

    for round in 1..=20 {
        assert_eq!(weir.reload(&config(round)).status, 200);
        let asked = || endpoints.each_ref().map(|endpoint| endpoint.seen().len());
        let [new, old] = [round % 2, 1 - round % 2];
        let before = asked();
        for load in [&kept, &fresh, &streams] {
            load.goes_on_for(8);
        }
        assert!(asked()[new] > before[new], "{round}");
        let shown = Dial::to(&authority, "a.example").connect(tls);
        let shown = shown.expect("a handshake").certificate();
        assert!(is(&shown, &certificates[new]) && !is(&shown, &certificates[old]));
        let answer = Connection::open(plain)
            .send("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 11\r\n\r\nhello world")
            .receive()
            .expect("an answer");
        assert_eq!(answer.status, if new == 1 { 200 } else { 413 });
        assert_eq!(socket.send("ping").read_exactly(4), b"ping");
    }
    for load in [kept, fresh, streams] {
        load.assert_unharmed();
    }
}
