//! Bodies that are on their way while a plugin is loaded anew: all of an exchange goes through the plugin that it
//! began with, by the instance that saw its head.

use std::net::TcpListener;

use serde_json::{Value, json};
use weir_tests::abi::Abi;
use weir_tests::client::Connection;
use weir_tests::config::config;
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

const HEAD: &str = "POST / HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n";
const RESPONSE: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// What is left of a chunked body.
fn rest(connection: &mut Connection) -> String {
    let (mut body, mut trailers) = (Vec::new(), Vec::new());
    while let Some(piece) = connection.read_chunk_and_trailers(&mut trailers) {
        body.extend(piece);
    }
    String::from_utf8(body).expect("text")
}

/// A request by a client of its own, and what the upstream and the client have of it.
fn exchange(weir: &Weir, listener: &TcpListener) -> (String, String) {
    let mut client = Connection::open(weir.proxy());
    client.send(format!("{HEAD}3\r\nnew\r\n0\r\n\r\n"));
    let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
    upstream.read_head().expect("a head");
    let request = rest(&mut upstream);
    upstream.send(format!("{RESPONSE}4\r\nsaid\r\n0\r\n\r\n"));
    client.receive_head().expect("a head");
    (request, rest(&mut client))
}

#[test]
fn a_body_on_its_way_ends_with_the_plugin_that_it_began_with() {
    for abi in Abi::BOTH {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let with = |plugin: Value| {
            let mut config = config(&Upstream::hello());
            config["upstreams"]["up"]["endpoints"] = json!([format!("http://{address}")]);
            config["plugins"]["work"] = plugin;
            config["routes"][0]["plugins"] = json!(["work"]);
            config.to_string()
        };
        let pieces = |work: &str| {
            let config = json!({ "request": work, "response": work });
            json!({ "module": abi.guest("pieces"), "config": config, "isolation": "shared" })
        };
        let weir = Weir::start(&with(pieces("upper")));
        let mut client = Connection::open(weir.proxy());
        client.send(format!("{HEAD}3\r\none\r\n"));
        let mut upstream = Connection::over(listener.accept().expect("weir connects").0);
        upstream.read_head().expect("a head");
        assert_eq!(upstream.read_chunk().expect("a piece"), b"ONE");

        // The same module with another configuration.
        assert_eq!(weir.reload(&with(pieces("double"))).status, 200);
        let doubled = ("newnew".to_owned(), "saidsaid".to_owned());
        assert_eq!(exchange(&weir, &listener), doubled);
        client.send("3\r\ntwo\r\n");
        assert_eq!(upstream.read_chunk().expect("a piece"), b"TWO");
        client.send("0\r\n\r\n");
        assert_eq!(rest(&mut upstream), "");
        upstream.send(format!("{RESPONSE}5\r\nthree\r\n"));
        client.receive_head().expect("a head");
        assert_eq!(client.read_chunk().expect("a piece"), b"THREE");

        // Another module.
        let wrap = json!({ "request": 1000, "response": 1000 });
        let wrap = json!({ "module": abi.guest("wrap"), "config": wrap });
        assert_eq!(weir.reload(&with(wrap)).status, 200);
        upstream.send("4\r\nfour\r\n");
        assert_eq!(client.read_chunk().expect("a piece"), b"FOUR");
        upstream.send("0\r\n\r\n");
        assert_eq!(rest(&mut client), "");
        assert!(!weir.logged("plugin failed"), "{:#?}", weir.log());
    }
}
