//! Methods that are another in lower case, and the one that may ask for the server as a whole: the same
//! over either version.

use http::{Request, Uri};
use serde_json::json;
use weir_tests::client;
use weir_tests::http2::{Client, run};
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

use crate::start;

/// The statuses of a request over HTTP/1.1 and over HTTP/2.
fn statuses(weir: &Weir, method: &str, target: &str) -> [u16; 2] {
    let request = format!("{method} {target} HTTP/1.1\r\nhost: test\r\n\r\n");
    let http1 = client::send(weir.proxy(), request).status;
    let http2 = run(async {
        let client = Client::open(weir.proxy()).await;
        let uri = Uri::builder().scheme("http").authority("test");
        let uri = uri.path_and_query(target).build().expect("a target");
        let request = Request::builder().method(method).uri(uri).body(());
        let answer = client.send(request.expect("a request")).await;
        answer.expect("a response").status()
    });
    [http1, http2]
}

#[test]
fn a_method_in_lower_case_is_refused_over_either_version() {
    let upstream = Upstream::hello();
    let weir = start(&upstream, json!({}));
    for method in ["get", "Get", "post", "propfind", "connect"] {
        assert_eq!(statuses(&weir, method, "/"), [400, 400], "{method}");
    }
    assert_eq!(upstream.connections(), 0);
    assert_eq!(statuses(&weir, "GET", "/"), [200, 200]);
}

/// Routes are chosen by a path, and it has none.
#[test]
fn options_of_the_whole_server_match_no_route_over_either_version() {
    let upstream = Upstream::hello();
    let weir = start(&upstream, json!({}));
    assert_eq!(statuses(&weir, "OPTIONS", "*"), [404, 404]);
    assert_eq!(statuses(&weir, "GET", "*"), [400, 400]);
    assert_eq!(upstream.connections(), 0);
    assert_eq!(statuses(&weir, "OPTIONS", "/"), [200, 200]);
}
