//! Upstreams with TLS: what is spoken over it, who is believed, and who Weir says that it is.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use serde_json::json;
use weir_tests::client;
use weir_tests::http2::{self, Reply};
use weir_tests::tls::{Authority, Identity, Valid};
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use super::upstreams::{config, start};

fn hello(_: &http2::Seen) -> Reply {
    Reply {
        body: b"hello",
        ..Reply::default()
    }
}

/// An upstream with TLS that speaks HTTP/1.1 alone, and answers `old`.
fn http1_with_tls(tls: Arc<rustls::ServerConfig>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let tls = Arc::clone(&tls);
            std::thread::spawn(move || {
                let session = rustls::ServerConnection::new(tls).expect("a session");
                let mut stream = rustls::StreamOwned::new(session, stream);
                let mut head = Vec::new();
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() {
                    head.push(byte[0]);
                    if head.ends_with(b"\r\n\r\n") {
                        head.clear();
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nold";
                        if stream.write_all(answer).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

#[test]
fn an_upstream_with_tls_is_spoken_to_in_the_version_that_it_chooses() {
    let authority = Authority::default();
    let identity = authority.issue(&["127.0.0.1"]);
    let new = http2::Upstream::new(Some(identity.server(&["h2", "http/1.1"], None)), hello);
    let old = http1_with_tls(identity.server(&["http/1.1"], None));
    let silent = http1_with_tls(identity.server(&[], None));
    for (address, protocol, body) in [
        (new.address(), "auto", "hello"),
        (new.address(), "h2", "hello"),
        (old, "auto", "old"),
        (old, "h1", "old"),
        (silent, "auto", "old"),
    ] {
        let weir = start(json!({
            "endpoints": [format!("https://{address}")],
            "protocol": protocol,
            "tls": { "ca": authority.pem() },
        }));
        for _ in 0..3 {
            let response = weir.get("/", &[]);
            assert_eq!(
                (response.status, response.text()),
                (200, body.to_owned()),
                "{protocol}"
            );
        }
        assert_eq!(
            weir.count("weir_upstream_connects_total{upstream=\"up\"}"),
            1,
            "{address} {protocol}"
        );
        let asked = "GET /api/upstreams HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let endpoint =
            client::send(weir.admin(), asked).json()["upstreams"][0]["endpoints"][0].clone();
        assert_eq!(endpoint["tls"], true);
        // The authority's certificates last long.
        assert!(
            endpoint["certificate_expires"].as_i64() > Some(4_000_000_000),
            "{endpoint}"
        );
    }
    assert_eq!(new.seen()[0].uri, "https://test/");
}

#[test]
fn an_upstream_that_cannot_be_believed_is_a_502() {
    let authority = Authority::default();
    let identity = authority.issue(&["other.example"]);
    let upstream = http2::Upstream::new(Some(identity.server(&["h2"], None)), hello);
    let endpoint = format!("https://{}", upstream.address());
    let stranger = Authority::new("Strangers");
    let plain = http2::Upstream::hello();
    for upstream in [
        json!({ "endpoints": [endpoint], "tls": { "ca": authority.pem() } }),
        json!({ "endpoints": [endpoint], "tls": {
            "ca": stranger.pem(), "server_name": "other.example",
        }}),
        json!({ "endpoints": [endpoint], "protocol": "h1", "tls": {
            "ca": authority.pem(), "server_name": "other.example",
        }}),
        json!({ "endpoints": [format!("https://{}", plain.address())], "tls": {
            "ca": authority.pem(),
        }}),
    ] {
        let weir = start(upstream.clone());
        assert_eq!(weir.get("/", &[]).status, 502, "{upstream}");
        let failed = weir.count("weir_upstream_failures_total{upstream=\"up\",reason=\"tls\"}");
        assert_eq!(failed, 1, "{upstream}");
    }
    assert_eq!(upstream.seen().len(), 0);
    let weir = start(json!({ "endpoints": [endpoint], "tls": {
        "ca": authority.pem(), "server_name": "other.example",
    }}));
    assert_eq!(weir.get("/", &[]).text(), "hello");
}

#[test]
fn a_session_with_an_upstream_ends_with_the_certificate_that_was_shown() {
    let authority = Authority::default();
    let identity = authority.issue_valid(&["127.0.0.1"], Valid::Seconds(8));
    let address = http1_with_tls(identity.server(&["http/1.1"], None));
    // From one request to the next a connection is idle for longer.
    let weir = start(json!({
        "endpoints": [format!("https://{address}")],
        "tls": { "ca": authority.pem() },
        "timeouts": { "idle": "1ms" },
    }));
    let mut served = 0;
    eventually("it is refused", || {
        let status = weir.get("/", &[]).status;
        served += u32::from(status == 200);
        (status == 502).then_some(())
    });
    let made = weir.count("weir_upstream_connects_total{upstream=\"up\"}");
    assert!(served > 1 && made > 1, "{served} over {made}");
}

#[test]
fn an_upstream_that_asks_who_comes_is_shown_a_certificate() {
    let (authority, clients) = (Authority::default(), Authority::new("Clients"));
    let tls = authority
        .issue(&["127.0.0.1"])
        .server(&["h2"], Some(&clients));
    let upstream = http2::Upstream::new(Some(tls), hello);
    let endpoint = format!("https://{}", upstream.address());
    let with = |identity: &Identity| {
        json!({ "endpoints": [endpoint], "tls": {
            "ca": authority.pem(), "client_cert": identity.cert, "client_key": identity.key,
        }})
    };
    let weir = start(with(&clients.issue_client("weir", "spiffe://x/weir")));
    assert_eq!(weir.get("/", &[]).text(), "hello");
    let weir = start(with(
        &authority.issue_client("mallory", "spiffe://x/mallory"),
    ));
    assert_eq!(weir.get("/", &[]).status, 502);
}

#[test]
fn what_is_wrong_with_tls_to_upstreams_is_told() {
    let authority = Authority::default();
    let identity = authority.issue(&["a.example"]);
    let mut config = config(json!({ "endpoints": ["https://a.example"], "tls": {
        "ca": identity.key, "server_name": "not a name", "client_cert": identity.cert,
    }}));
    config["upstreams"]["plain"] = json!({
        "endpoints": ["http://a.example"], "tls": { "server_name": "b.example" },
        "upgrades": ["websocket", "h2c"],
    });
    let said = Weir::refusal(&config.to_string());
    for line in [
        "upstreams.up.tls.ca: holds no certificate",
        "upstreams.up.tls.server_name: must be a DNS name",
        "upstreams.up.tls.client_key: is missing",
        "upstreams.plain.tls: no endpoint of this upstream is `https`",
        "upstreams.plain.upgrades[1]: requests behind such an upgrade",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
}
