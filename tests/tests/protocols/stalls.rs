//! Deadlines of upstreams that stall where their HTTP/2 or TLS lets them, and of tunnels: what the client gets,
//! and what is counted.

use std::io::Write as _;
use std::net::TcpListener;

use serde_json::{Value, json};
use weir_tests::client::Connection;
use weir_tests::http2::{DATA, frame};
use weir_tests::tls::Authority;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use super::lies::lying;
use super::upstreams::{config, ok, start};

fn failures(weir: &Weir, reason: &str) -> u64 {
    let name = "weir_upstream_failures_total";
    weir.count(&format!("{name}{{upstream=\"up\",reason=\"{reason}\"}}"))
}

/// To an upstream of HTTP/2, with these deadlines and no other that is short.
fn patient(url: &str, timeouts: &Value) -> Value {
    let mut all = json!({ "connect": "1h", "response": "1h", "body": "1h" });
    for (key, value) in timeouts.as_object().expect("keys") {
        all[key] = value.clone();
    }
    json!({ "endpoints": [url], "protocol": "h2", "timeouts": all })
}

/// What came was not the connection's end for those who come next.
fn assert_serves_on_the_same(weir: &Weir) {
    assert_eq!(weir.get("/", &[]).text(), "truth");
    let connects = "weir_upstream_connects_total{upstream=\"up\"}";
    assert_eq!(weir.count(connects), 1);
}

#[test]
fn a_handshake_of_tls_that_an_upstream_never_ends_is_a_504() {
    // The kernel takes the connection, and nobody says a word on it.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    for protocol in ["auto", "h1", "h2"] {
        let weir = start(json!({
            "endpoints": [format!("https://{address}")],
            "protocol": protocol,
            "tls": { "ca": Authority::default().pem() },
            "timeouts": { "connect": "300ms", "response": "1h" },
        }));
        assert_eq!(weir.get("/", &[]).status, 504, "{protocol}");
        assert_eq!(failures(&weir, "connect_timeout"), 1, "{protocol}");
        let connects = "weir_upstream_connects_total{upstream=\"up\"}";
        assert_eq!(weir.count(connects), 0, "{protocol}");
    }
}

#[test]
fn an_upstream_of_http2_that_never_answers_is_a_504_and_its_connection_stays() {
    let url = lying(|_, _| Vec::new());
    let weir = start(patient(&url, &json!({ "response": "300ms" })));
    for failed in 1..=2 {
        assert_eq!(weir.get("/", &[]).status, 504);
        assert_eq!(failures(&weir, "response_timeout"), failed);
        assert_serves_on_the_same(&weir);
    }
}

#[test]
fn an_upstream_of_http2_that_never_opens_its_window_is_a_504() {
    const LEN: usize = 1 << 30;
    let url = lying(|_, _| Vec::new());
    let weir = start(patient(&url, &json!({ "response": "300ms" })));
    let before = weir.peak_bytes();
    let mut client = Connection::open(weir.proxy());
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {LEN}\r\n\r\n"
    ));
    let mut upload = client.stream().try_clone().expect("clone");
    let uploading = std::thread::spawn(move || {
        // Until Weir closes: it does not take all of it.
        while upload.write_all(&[b'x'; 1 << 14]).is_ok() {}
    });
    assert_eq!(client.receive().expect("a response").status, 504);
    drop(client);
    uploading.join().expect("Weir closes the connection");
    assert_eq!(failures(&weir, "response_timeout"), 1);
    crate::assert_hardly_grown(&weir, before);
    assert_serves_on_the_same(&weir);
}

#[test]
fn an_upstream_of_http2_that_stalls_in_mid_body_has_its_response_cut() {
    let url = lying(|_, id| [ok(id), frame(DATA, 0, id, b"abc")].concat());
    let mut config = config(patient(&url, &json!({ "body": "300ms" })));
    config["access_log"] = json!({ "path": "access.log" });
    let weir = Weir::start(&config.to_string());
    let answer = weir.get("/", &[]);
    assert_eq!((answer.status, answer.complete), (200, false));
    assert_eq!(answer.body, b"abc");
    let end = eventually("it is logged", || {
        let log = std::fs::read_to_string(weir.folder().join("access.log")).ok()?;
        let line: Value = serde_json::from_str(log.lines().next()?).ok()?;
        line["end"].as_str().map(str::to_owned)
    });
    assert_eq!(end, "upstream_body_timeout");
    let aborted = "weir_requests_aborted_total{route=\"all\"}";
    assert_eq!(weir.count(aborted), 1);
    assert_serves_on_the_same(&weir);
}
