//! Endpoints that keep failing are left out, and taken back.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;

use crate::{Mortal, dead, errors, send, start, urls};

const FAILING: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";

#[test]
fn one_of_three_that_fails_is_left_out_within_five_failures() {
    let (one, two, bad) = (
        Upstream::hello(),
        Upstream::hello(),
        Upstream::answering(FAILING),
    );
    let weir = start(
        &urls(&[&one, &bad, &two]),
        json!({ "retries": { "attempts": 0 }, "ejection": { "time": "5m" } }),
    );
    let statuses = send(&weir, "POST", 1000);
    assert_eq!(errors(&statuses), 5);
    assert_eq!(bad.seen().len(), 5);
    let metrics = weir.metrics();
    assert!(
        metrics.contains("weir_endpoint_ejections_total{"),
        "{metrics}"
    );
    let label = format!("upstream=\"up\",endpoint=\"{}\"", bad.address());
    assert_eq!(
        weir.count(&format!("weir_endpoint_ejections_total{{{label}}}")),
        1
    );
    assert_eq!(
        weir.count(&format!("weir_endpoint_available{{{label}}}")),
        0
    );
    let ready = weir.ready();
    assert_eq!(ready["status"], "ready");
    assert_eq!(ready["upstreams"][0]["name"], "up");
    assert_eq!(ready["upstreams"][0]["state"], "degraded");
    let endpoints = ready["upstreams"][0]["endpoints"]
        .as_array()
        .expect("endpoints");
    let out: Vec<_> = endpoints
        .iter()
        .filter(|one| one["state"] == "ejected")
        .collect();
    assert_eq!(out.len(), 1);
    assert_eq!(out[0]["endpoint"], bad.address().to_string());
}

#[test]
fn one_alone_that_is_down_is_told_of_in_the_log_and_not_for_each_request() {
    let weir = start(&[dead()], json!({}));
    assert_eq!(send(&weir, "GET", 200), [502; 200]);
    weir.says("endpoint gives no response");
    let log = weir.log();
    let told: Vec<_> = (log.iter())
        .filter(|line| line["message"] == "endpoint gives no response")
        .collect();
    // One each ten seconds.
    assert!(told.len() < 100, "{told:#?}");
    assert_eq!(told[0]["level"], "WARN");
    assert_eq!(told[0]["upstream"], "up");
    let error = told[0]["error"].as_str().expect("a cause");
    assert!(error.starts_with("cannot connect: "), "{error}");
    assert!(error.contains("refused"), "{error}");
    assert_eq!(told[0]["count"], 1);
}

#[test]
fn one_that_frames_a_response_in_two_ways_is_not_left_out_for_that() {
    let doubled = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let (well, doubling) = (Upstream::hello(), Upstream::answering(doubled));
    let weir = start(
        &urls(&[&well, &doubling]),
        json!({ "ejection": { "failures": 1, "time": "5m" } }),
    );
    let statuses = send(&weir, "GET", 20);
    assert!(errors(&statuses) > 1, "{statuses:?}");
    assert_eq!(errors(&statuses), doubling.seen().len());
    let label = format!("upstream=\"up\",endpoint=\"{}\"", doubling.address());
    let available = format!("weir_endpoint_available{{{label}}}");
    assert_eq!(weir.count(&available), 1);
}

#[test]
fn one_that_is_killed_under_load_is_left_out_and_taken_back() {
    let (mut one, two, three) = (Mortal::start(), Mortal::start(), Mortal::start());
    let weir = start(
        &[one.url(), two.url(), three.url()],
        json!({ "ejection": { "time": "200ms" } }),
    );
    assert_eq!(errors(&send(&weir, "GET", 300)), 0);
    assert_eq!(one.served(), 100);
    one.kill();
    // Connections were cut and new ones are refused: all that can be seen of it are further tries.
    assert_eq!(errors(&send(&weir, "GET", 600)), 0);
    assert_eq!(one.served(), 100);
    let label = format!("upstream=\"up\",endpoint=\"{}\"", one.address);
    assert!(weir.count(&format!("weir_endpoint_ejections_total{{{label}}}")) >= 1);
    one.revive();
    eventually("the endpoint serves again", || {
        assert_eq!(errors(&send(&weir, "GET", 30)), 0);
        (one.served() > 100).then_some(())
    });
    eventually("it is available", || {
        (weir.count(&format!("weir_endpoint_available{{{label}}}")) == 1).then_some(())
    });
}

#[test]
fn one_that_answers_500_is_tried_again_after_its_time_and_taken_back_once_it_is_well() {
    let good = Upstream::hello();
    let well: Arc<AtomicBool> = Arc::default();
    let told = Arc::clone(&well);
    let bad = Upstream::new(move |_, stream| {
        let well = told.load(Ordering::SeqCst);
        let status = if well { "200 OK" } else { "500 It Fails" };
        let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
    });
    let weir = start(
        &urls(&[&good, &bad]),
        json!({ "retries": { "attempts": 0 }, "ejection": { "time": "100ms" } }),
    );
    let label = format!("upstream=\"up\",endpoint=\"{}\"", bad.address());
    let ejections = || weir.count(&format!("weir_endpoint_ejections_total{{{label}}}"));
    let mut failed = 0;
    let ejected = eventually("it is left out, tried again and left out again", || {
        failed += errors(&send(&weir, "POST", 10));
        Some(ejections()).filter(|count| *count >= 3)
    });
    // Five at first, and then each first one.
    assert_eq!(failed as u64, 5 + ejected - 1);
    assert_eq!(bad.seen().len(), failed);
    well.store(true, Ordering::SeqCst);
    eventually("it serves", || {
        assert_eq!(errors(&send(&weir, "POST", 10)), 0);
        (bad.seen().len() > failed).then_some(())
    });
    let served = bad.seen().len();
    assert_eq!(errors(&send(&weir, "POST", 10)), 0);
    assert_eq!(bad.seen().len(), served + 5, "with its share as before");
    assert_eq!(ejections(), ejected);
}

#[test]
fn where_all_fail_not_all_are_left_out_and_tries_stay_within_the_budget() {
    let all =
        [FAILING; 3].map(|response| Upstream::answering(response.replace("500", "503").leak()));
    let weir = start(&urls(&[&all[0], &all[1], &all[2]]), json!({}));
    let statuses = send(&weir, "GET", 500);
    assert_eq!(errors(&statuses), 500);
    let calls: usize = all.iter().map(|one| one.seen().len()).sum();
    // Three are saved at the start.
    assert!((500..=603).contains(&calls), "{calls}");
    let available: u64 = all
        .iter()
        .map(|one| {
            let label = format!("upstream=\"up\",endpoint=\"{}\"", one.address());
            weir.count(&format!("weir_endpoint_available{{{label}}}"))
        })
        .sum();
    assert!(available >= 1);
    assert!(weir.count("weir_upstream_retries_total{upstream=\"up\"}") <= 103);
}

#[test]
fn ejection_may_be_switched_off() {
    let (good, bad) = (Upstream::hello(), Upstream::answering(FAILING));
    let weir = start(
        &urls(&[&good, &bad]),
        json!({ "ejection": { "enabled": false } }),
    );
    assert_eq!(errors(&send(&weir, "GET", 40)), 20);
}

#[test]
fn an_endpoint_alone_is_asked_whatever_it_did() {
    let bad = Upstream::answering(FAILING);
    let weir = start(&urls(&[&bad]), json!({}));
    send(&weir, "GET", 30);
    assert_eq!(bad.seen().len(), 30);
    let gone = start(&[dead()], json!({}));
    assert_eq!(send(&gone, "GET", 10), vec![502; 10]);
}

#[test]
fn state_outlives_a_reload() {
    let (good, bad) = (Upstream::hello(), Upstream::answering(FAILING));
    let config = crate::config(
        &urls(&[&good, &bad]),
        json!({ "retries": { "attempts": 0 }, "ejection": { "time": "5m" } }),
    );
    let weir = weir_tests::weir::Weir::start(&config.to_string());
    assert_eq!(errors(&send(&weir, "GET", 40)), 5);
    assert_eq!(weir.reload(&config.to_string()).status, 200);
    assert_eq!(errors(&send(&weir, "GET", 40)), 0);
}
