//! What each worker has for itself.

use serde_json::json;
use weir_tests::client::{Connection, Response};
use weir_tests::upstream::Upstream;
use weir_tests::weir::{Weir, guest};

use crate::{config, urls};

fn ask(connection: &mut Connection, path: &str) -> Response {
    connection.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
    connection.receive().expect("a response")
}

#[test]
fn two_workers_have_connections_to_upstreams_and_instances_of_plugins_of_their_own() {
    let upstream = Upstream::hello();
    let mut config = config(&urls(&[&upstream]), json!({}));
    config["workers"] = json!(2);
    // One client connection each.
    config["listeners"][0]["balance"] = json!("exact");
    config["plugins"] = json!({ "memo": { "module": guest("memo") } });
    config["routes"][0]["plugins"] = json!(["memo"]);
    let weir = Weir::start(&config.to_string());
    let paths = [["/a", "/b"], ["/c", "/d"]];
    let mut clients = paths.map(|_| Connection::open(weir.proxy()));
    for round in 0..2 {
        for (client, paths) in clients.iter_mut().zip(paths) {
            assert_eq!(ask(client, paths[round]).text(), "hello");
        }
    }
    assert_eq!(upstream.connections(), 2, "each is kept by its worker");
    // What an instance has in its memory is of its own worker's requests, and of all of them.
    for (own, client) in clients.iter_mut().enumerate() {
        let told = ask(client, "/told").text();
        for (worker, paths) in paths.iter().enumerate() {
            for path in paths {
                let has = told.contains(&format!("request{path}"));
                assert_eq!(has, worker == own, "{path}: {told}");
            }
        }
    }
}
