//! How many requests may wait for an upstream's response, over all workers.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::json;
use weir_tests::client::Connection;
use weir_tests::upstream::{Seen, Upstream};
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::config;

fn ask(connection: &mut Connection, target: &str) {
    connection.send(format!("GET {target} HTTP/1.1\r\nhost: test\r\n\r\n"));
}

#[test]
fn the_limit_of_requests_holds_over_all_workers_whichever_they_come_to() {
    // Answers no `/held` until it is cut.
    let upstream = Upstream::new(|seen: &Seen, stream: &mut TcpStream| {
        if seen.target == "/held" {
            let _ = stream.read_to_end(&mut Vec::new());
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    });
    let mut config = config(&[upstream.url()], json!({ "max_requests": 2 }));
    config["workers"] = json!(2);
    config["listeners"][0]["balance"] = json!("exact");
    let config = config.to_string();
    let weir = Weir::start(&config);
    // One after the other, so that they take turns: the first and the third are of one worker.
    let mut clients: Vec<Connection> = Vec::new();
    for _ in 0..4 {
        let mut client = Connection::open(weir.proxy());
        ask(&mut client, "/");
        assert_eq!(client.receive().expect("a response").status, 200);
        clients.push(client);
    }
    let held = || {
        let seen = upstream.seen();
        seen.iter().filter(|seen| seen.target == "/held").count()
    };
    for client in [0, 2] {
        ask(&mut clients[client], "/held");
    }
    eventually("one worker's are both under way", || {
        (held() == 2).then_some(())
    });
    for client in [1, 3] {
        ask(&mut clients[client], "/");
        assert_eq!(clients[client].receive().expect("a response").status, 503);
    }
    // Those that are under way count for the configuration that follows.
    assert_eq!(weir.reload(&config).status, 200);
    assert_eq!(weir.get("/", &[]).status, 503);

    // One that leaves makes room for one.
    drop(clients.remove(0));
    eventually("there is room", || {
        (weir.get("/", &[]).status == 200).then_some(())
    });
    let mut another = Connection::open(weir.proxy());
    ask(&mut another, "/held");
    eventually("it is under way", || (held() == 3).then_some(()));
    assert_eq!(weir.get("/", &[]).status, 503);
}
