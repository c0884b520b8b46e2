use serde_json::json;
use weir_sdk::http::{Request as Sent, Response as Received};
use weir_sdk::testing::Host;

use super::*;

#[test]
fn each_hook_copies_one_header() {
    let host = Host::<BenchHeader>::new(json!(null)).unwrap();
    let mut exchange = host.request(
        Sent::get("/")
            .header("user-agent", "curl")
            .body(())
            .unwrap(),
    );
    assert_eq!(exchange.request_headers()["x-bench"], "curl");
    let response = Received::builder()
        .header("content-type", "text/plain")
        .body("")
        .unwrap();
    assert_eq!(
        exchange.response(response).headers()["x-bench"],
        "text/plain"
    );
}

#[test]
fn what_is_absent_is_set_all_the_same() {
    let names = json!({"read": "x-in", "set": "x-out"});
    let host = Host::<BenchHeader>::new(json!({"request": names, "response": names})).unwrap();
    let mut exchange = host.request(Sent::new(()));
    assert_eq!(exchange.request_headers()["x-out"], "-");
    assert_eq!(exchange.response(Received::new("")).headers()["x-out"], "-");
}
