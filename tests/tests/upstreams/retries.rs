//! Further tries: which are made, which never, and what traces say of them.

use std::io::Write as _;
use std::net::Shutdown;

use serde_json::json;
use weir_tests::client::{self, Connection};
use weir_tests::config::exporter;
use weir_tests::kafka::shared;
use weir_tests::upstream::Upstream;
use weir_tests::weir::Weir;

use crate::{config, dead, errors, send, start, urls};

const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// Reads a request and cuts the connection.
fn cutting() -> Upstream {
    Upstream::new(|_, stream| {
        let _ = stream.shutdown(Shutdown::Both);
    })
}

/// Without ejection, so that every second request meets the failing endpoint first, and with a
/// budget for each of them.
fn patient(upstreams: &[&Upstream]) -> Weir {
    let keys = json!({
        "ejection": { "enabled": false },
        "retries": { "budget_percent": 100 },
    });
    start(&urls(upstreams), keys)
}

#[test]
fn a_request_without_body_is_tried_again_where_it_may_be_repeated() {
    for bad in [cutting(), Upstream::answering(BUSY)] {
        let good = Upstream::hello();
        let weir = patient(&[&bad, &good]);
        assert_eq!(send(&weir, "GET", 10), vec![200; 10]);
        assert_eq!(good.seen().len(), 10);
        assert_eq!(bad.seen().len(), 5);
        assert_eq!(
            weir.count("weir_upstream_retries_total{upstream=\"up\"}"),
            5
        );
    }
}

#[test]
fn a_post_that_was_sent_is_never_sent_again() {
    for bad in [cutting(), Upstream::answering(BUSY)] {
        let good = Upstream::hello();
        let weir = patient(&[&bad, &good]);
        assert_eq!(errors(&send(&weir, "POST", 10)), 5);
        assert_eq!((bad.seen().len(), good.seen().len()), (5, 5));
        assert_eq!(
            weir.count("weir_upstream_retries_total{upstream=\"up\"}"),
            0
        );
    }
}

#[test]
fn a_body_that_was_not_begun_goes_to_another_endpoint() {
    let good = Upstream::hello();
    let weir = start(
        &[dead(), good.url()],
        json!({ "ejection": { "enabled": false } }),
    );
    for _ in 0..6 {
        let request = "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\n\r\nbody";
        assert_eq!(client::send(weir.proxy(), request).status, 200);
    }
    assert!(good.seen().iter().all(|seen| seen.body == b"body"));
    assert_eq!(good.seen().len(), 6);
}

#[test]
fn a_body_that_was_sent_is_not_sent_again() {
    let (bad, good) = (cutting(), Upstream::hello());
    let weir = patient(&[&bad, &good]);
    let mut failed = 0;
    for _ in 0..6 {
        let request = "PUT / HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\n\r\nbody";
        failed += usize::from(client::send(weir.proxy(), request).status == 502);
    }
    assert_eq!(failed, 3);
    assert_eq!(bad.seen().len() + good.seen().len(), 6);
}

#[test]
fn what_has_begun_to_stream_is_cut_and_not_tried_again() {
    let breaking = Upstream::new(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
        let _ = stream.shutdown(Shutdown::Both);
    });
    let weir = patient(&[&breaking, &breaking]);
    let response = Connection::open(weir.proxy())
        .send("GET / HTTP/1.1\r\nhost: test\r\n\r\n")
        .receive()
        .expect("a response");
    assert!(!response.complete);
    assert_eq!(breaking.seen().len(), 1);
}

#[test]
fn tries_are_limited_for_each_request_and_may_be_none() {
    let all = [cutting(), cutting(), cutting(), cutting()];
    let all: Vec<&Upstream> = all.iter().collect();
    let calls = |attempts: u32| {
        let before: usize = all.iter().map(|one| one.seen().len()).sum();
        let keys = json!({
            "ejection": { "enabled": false },
            "retries": { "attempts": attempts, "budget_percent": 100 },
        });
        let weir = start(&urls(&all), keys);
        assert_eq!(send(&weir, "GET", 1), [502]);
        all.iter().map(|one| one.seen().len()).sum::<usize>() - before
    };
    assert_eq!(calls(0), 1);
    assert_eq!(calls(1), 2);
    assert_eq!(calls(2), 3);
    // Four endpoints are four tries; each is asked once.
    assert_eq!(calls(10), 4);
}

#[test]
fn each_try_has_a_span_under_the_call_and_a_traceparent_of_its_own() {
    let (bad, good) = (Upstream::answering(BUSY), Upstream::hello());
    let mut config = config(
        &urls(&[&bad, &good]),
        json!({ "ejection": { "enabled": false } }),
    );
    let topic = shared().topic();
    config["exporters"] = json!({ "traces": exporter(shared(), &topic) });
    let weir = Weir::start(&config.to_string());
    assert_eq!(send(&weir, "GET", 2), [200, 200]);
    let traces = shared().traces(&topic, 2);
    let retried = traces.iter().find(|trace| trace.spans().len() == 3);
    let spans = retried.expect("one of the two was tried again").spans();
    let (call, retry) = (&spans[1], &spans[2]);
    assert_eq!(call["Kind"], "http.client");
    assert_eq!(retry["Kind"], "retry");
    assert_eq!(retry["Name"], "GET");
    assert_eq!(retry["ParentID"], call["SpanID"]);
    assert_eq!(
        (&call["Status"], &retry["Status"]),
        (&json!("ok"), &json!("ok"))
    );
    assert_eq!(retry["Attributes"]["http.request.resend_count"], 1);
    assert_eq!(retry["Attributes"]["server.port"], good.address().port());
    assert_eq!(retry["Attributes"]["http.response.status_code"], 200);
    assert_eq!(call["Attributes"]["http.response.status_code"], 200);
    let event = &call["Events"][0];
    assert_eq!(event["Name"], "retry");
    assert_eq!(event["Attributes"]["error.type"], "503");
    assert_eq!(event["Attributes"]["server.port"], bad.address().port());
    let parents = |upstream: &Upstream| -> Vec<String> {
        let seen = upstream.seen();
        let parents = seen.iter().filter_map(|seen| seen.header("traceparent"));
        parents.map(str::to_owned).collect()
    };
    let id = |span: &serde_json::Value| span["SpanID"].as_str().expect("an id").to_owned();
    assert!(parents(&bad)[0].contains(&id(call)));
    let retry = id(retry);
    assert!(parents(&good).iter().any(|parent| parent.contains(&retry)));
}
