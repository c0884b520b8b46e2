//! How long bodies are waited for that plugins keep back.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;
use weir_tests::client::Connection;
use weir_tests::config::config;
use weir_tests::upstream::Upstream;
use weir_tests::weir::guest;

use crate::Stand;

#[test]
fn an_upstream_that_sends_is_not_cut_for_what_a_plugin_keeps_back() {
    let chains = [json!(["pieces"]), json!(["wrap", "pieces"])];
    let stands = chains.map(|chain| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let hello = Upstream::hello();
        let mut config = config(&hello);
        config["upstreams"]["up"]["endpoints"] = json!([format!("http://{address}")]);
        config["upstreams"]["up"]["timeouts"] = json!({ "body": "2s" });
        let collect = json!({ "response": "collect" });
        config["plugins"]["pieces"] = json!({ "module": guest("pieces"), "config": collect });
        let wrap = json!({ "module": guest("wrap"), "config": { "response": 1000 } });
        config["plugins"]["wrap"] = wrap;
        config["routes"][0]["plugins"] = chain;
        (Stand::with(hello, config), listener)
    });
    // None waits while another is started.
    let mut exchanges = stands.map(|(stand, listener)| {
        let mut client = Connection::open(stand.weir.proxy());
        client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
        let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
        upstream.read_head().expect("a head");
        upstream.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        (stand, client, upstream)
    });
    // Longer than it may be silent, and never silent for so long.
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(500));
        for (_, _, upstream) in &mut exchanges {
            upstream.send("3\r\none\r\n");
        }
    }
    let all = "one".repeat(6);
    let expected = [all.clone(), format!("<{all}>")];
    for ((_stand, client, upstream), expected) in exchanges.iter_mut().zip(expected) {
        upstream.send("0\r\n\r\n");
        let response = client.receive().expect("a response");
        assert_eq!(response.text(), expected);
        assert!(response.complete);
    }
}

#[test]
fn a_client_is_not_slow_because_a_plugin_is() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let hello = Upstream::hello();
    let mut config = config(&hello);
    config["listeners"][0]["timeouts"] = json!({ "body": "1s" });
    config["listeners"][0]["min_body_rate"] = "1GiB".into();
    config["upstreams"]["up"]["endpoints"] = json!([format!("http://{address}")]);
    // Longer than the client may be waited for, until it is stopped and passed over.
    config["plugins"]["pieces"] = json!({
        "module": guest("pieces"),
        "config": { "request": { "work": "spin", "at": 2 } },
        "limits": { "cpu_time": "2500ms" },
        "on_error": "continue",
    });
    config["routes"][0]["plugins"] = json!(["pieces"]);
    let stand = Stand::with(hello, config);
    let mut client = Connection::open(stand.weir.proxy());
    client.send("POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send("1\r\na\r\n");
    let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
    upstream.read_head().expect("a head");
    assert_eq!(upstream.read_chunk().as_deref(), Some(&b"a"[..]));
    for piece in ["b", "c"] {
        client.send(format!("1\r\n{piece}\r\n"));
        assert_eq!(upstream.read_chunk().as_deref(), Some(piece.as_bytes()));
    }
    client.send("0\r\n\r\n");
    assert_eq!(upstream.read_chunk().as_deref(), Some(&b""[..]));
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(client.receive().expect("a response").status, 200);
}
