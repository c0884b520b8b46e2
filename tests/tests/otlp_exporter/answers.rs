//! What becomes of traces by what a collector answers.

use std::collections::HashSet;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderMap, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use weir_tests::http2::{self, Reply, Upstream as Http2};
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::{
    TAKEN, answer, ask, attribute, collector, count, counted, exporting, ids, json_to, requests,
    spans, state,
};

#[test]
fn what_a_collector_cannot_take_now_is_sent_again_as_it_was() {
    static ANSWERED: AtomicUsize = AtomicUsize::new(0);
    let refusals = [
        "429 Too Many Requests",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway Timeout",
    ];
    let collector =
        collector(
            move |_| match refusals.get(ANSWERED.fetch_add(1, Ordering::SeqCst)) {
                Some(status) => answer(status, "", ""),
                None => TAKEN.to_owned(),
            },
        );
    let weir = Weir::start(&exporting(json_to(&collector)).to_string());
    ask(&weir, "/", "again");
    eventually("it is delivered", || {
        (count(&weir, "delivered") == 1).then_some(())
    });
    let requests = requests(&collector);
    assert_eq!(requests.len(), 5);
    assert!(requests.iter().all(|request| *request == requests[0]));
    assert_eq!(count(&weir, "retried"), 4);
    assert_eq!(counted(&weir, "dropped", "refused"), 0);
    state(&weir, "ok");
    let last = &weir.ready()["exporters"][0]["last_error"]["message"];
    let expected = format!(
        "otlp: cannot deliver to {}/v1/traces: HTTP 504 Gateway Timeout",
        collector.url()
    );
    assert_eq!(*last, expected);
}

/// A `google.rpc.Status` of UNAVAILABLE, `later`, with a `RetryInfo` of 3600 seconds.
const IN_AN_HOUR: &str =
    "CA4SBWxhdGVyGjEKKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29vZ2xlLnJwYy5SZXRyeUluZm8SBQoDCJAc";

/// The same, of 0 and of 1 second.
const AT_ONCE: &str =
    "CA4SBWxhdGVyGi4KKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29vZ2xlLnJwYy5SZXRyeUluZm8SAgoA";
const IN_A_SECOND: &str =
    "CA4SBWxhdGVyGjAKKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29vZ2xlLnJwYy5SZXRyeUluZm8SBAoCCAE=";

/// Whether it is a request of gRPC with something in it.
fn has_spans(seen: &http2::Seen) -> bool {
    seen.body.len() > 5 + 40
}

/// Success, or UNAVAILABLE with these details.
fn grpc_answer(details: Option<&str>) -> Reply {
    let mut trailers = HeaderMap::new();
    let status = if details.is_some() { "14" } else { "0" };
    trailers.insert("grpc-status", status.parse().expect("a value"));
    if let Some(details) = details {
        let details = details.parse().expect("a value");
        trailers.insert("grpc-status-details-bin", details);
    }
    let head = Response::builder().header("content-type", "application/grpc");
    Reply {
        head: head.body(()).expect("a head"),
        body: b"\0\0\0\0\0",
        trailers: Some(trailers),
        leave: false,
        refuse: false,
    }
}

/// Its own waits would have doubled into hours meanwhile.
#[test]
fn a_collector_that_asks_for_a_short_time_is_asked_again_after_it() {
    const REFUSALS: usize = 25;
    let (over_http, over_grpc) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let http = collector(move |_| match over_http.fetch_add(1, Ordering::SeqCst) {
        REFUSALS.. => TAKEN.to_owned(),
        number => {
            let header = format!("retry-after: {}\r\n", u8::from(number == 0));
            answer("429 Too Many Requests", &header, "")
        }
    });
    let grpc = Http2::new(None, move |seen| {
        if !has_spans(seen) {
            return grpc_answer(None);
        }
        grpc_answer(match over_grpc.fetch_add(1, Ordering::SeqCst) {
            0 => Some(IN_A_SECOND),
            REFUSALS.. => None,
            _ => Some(AT_ONCE),
        })
    });
    let mut config = exporting(json_to(&http));
    config["exporters"]["grpc"]["otlp"] = json!({
        "endpoint": grpc.url(),
        "compression": "none",
        "flush_interval": "1ms",
        "retry_backoff": "1ms",
    });
    for name in ["out", "grpc"] {
        config["exporters"][name]["otlp"]["retry_backoff_max"] = json!("10h");
    }
    let weir = Weir::start(&config.to_string());
    ask(&weir, "/", "soon");
    for name in ["out", "grpc"] {
        let count =
            |what: &str| weir.count(&format!("weir_export_{what}_total{{exporter=\"{name}\"}}"));
        eventually(&format!("{name} has delivered"), || {
            (count("delivered") == 1).then_some(())
        });
        assert_eq!(count("retried"), REFUSALS as u64, "{name}");
    }
    let over_http = requests(&http);
    let over_grpc: Vec<Vec<u8>> = grpc
        .seen()
        .into_iter()
        .filter(has_spans)
        .map(|seen| seen.body)
        .collect();
    assert_eq!(
        (over_http.len(), over_grpc.len()),
        (REFUSALS + 1, REFUSALS + 1)
    );
    assert!(over_http.iter().all(|request| *request == over_http[0]));
    assert!(over_grpc.iter().all(|request| *request == over_grpc[0]));
}

/// By the side of one that is asked again and again: no clock is needed.
#[test]
fn a_collector_that_asks_for_an_hour_is_left_alone() {
    let impatient = collector(|_| answer("503 Service Unavailable", "", ""));
    let patient =
        collector(|_| answer("503 Service Unavailable", "retry-after: 3600\r\n", "later"));
    let grpc = Http2::new(None, |seen| {
        grpc_answer(has_spans(seen).then_some(IN_AN_HOUR))
    });
    let mut config = exporting(json_to(&impatient));
    config["exporters"]["patient"]["otlp"] = json_to(&patient);
    config["exporters"]["grpc"]["otlp"] = json!({
        "endpoint": grpc.url(),
        "flush_interval": "1ms",
        "retry_backoff": "1ms",
        "retry_backoff_max": "10ms",
    });
    let weir = Weir::start(&config.to_string());
    ask(&weir, "/", "later");
    let asked = || grpc.seen().iter().filter(|seen| has_spans(seen)).count();
    eventually("all have been asked, and one again and again", || {
        let once = requests(&patient).len() == 1 && asked() == 1;
        (once && requests(&impatient).len() >= 50).then_some(())
    });
    assert_eq!((requests(&patient).len(), asked()), (1, 1));
    let ready = weir.ready();
    let message = |index: usize| ready["exporters"][index]["message"].to_string();
    assert!(
        message(1).contains("HTTP 503 Service Unavailable"),
        "{ready}"
    );
    assert!(message(2).contains("gRPC UNAVAILABLE: later"), "{ready}");
}

/// What a collector receives that is sent dead letters as the page says.
fn sent_again(letters: &str) -> Value {
    let page = include_str!("../../../docs/otlp-out.md");
    let start = page.find("jq -r .payload").expect("the page says how");
    let script = page[start..].split("```").next().expect("a block");
    let mended = collector(|_| TAKEN.to_owned());
    let script = script.replace("http://localhost:4318", &mended.url());
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("dead-letters.jsonl"), letters).expect("written");
    let mut command = Command::new("sh");
    command.args(["-euc", &script]).current_dir(folder.path());
    let output = command.output().expect("jq and curl: `make services`");
    assert!(output.status.success(), "{output:?}");
    let mut all = requests(&mended);
    assert_eq!(all.len(), 1);
    assert_eq!(mended.seen()[0].target, "/v1/traces");
    all.remove(0)
}

#[test]
fn what_is_refused_for_good_is_kept_and_takes_no_other_with_it() {
    let folder = TempDir::new().expect("a folder");
    let letters = folder.path().join("letters/out.jsonl");
    let is_poison = |request: &Value| {
        let spans = spans(request);
        spans
            .iter()
            .any(|span| attribute(span, "url.path") == Some("/poison"))
    };
    let collector = collector(move |request| {
        if is_poison(request) {
            let said = r#"{"code":3,"message":"no such path"}"#;
            answer(
                "400 Bad Request",
                "content-type: application/json\r\n",
                said,
            )
        } else {
            TAKEN.to_owned()
        }
    });
    let mut otlp = json_to(&collector);
    // All of them are in one request.
    otlp["flush_interval"] = json!("1h");
    otlp["dead_letter"] = json!({ "file": letters });
    let mut config = exporting(otlp);
    let mut weir = Weir::start(&config.to_string());
    state(&weir, "ok");
    for number in 0..7 {
        ask(&weir, "/good", &format!("good-{number}"));
    }
    ask(&weir, "/poison", "bad");
    ask(&weir, "/good", "good-7");
    eventually("all are taken by the exporter", || {
        (count(&weir, "taken") == 9).then_some(())
    });
    assert!(requests(&collector).is_empty());
    // What is gathered is sent at the end.
    weir.signal("TERM");
    assert!(weir.wait().success());
    let taken: HashSet<String> = requests(&collector)
        .iter()
        .filter(|request| !is_poison(request))
        .flat_map(ids)
        .collect();
    assert_eq!(taken.len(), 8, "{taken:?}");
    assert_eq!(ids(&requests(&collector)[0]).len(), 9);
    let lines = std::fs::read_to_string(&letters).expect("letters");
    let letter: Value = serde_json::from_str(lines.trim_end()).expect("one line");
    assert_eq!(letter["reason"], "refused");
    assert_eq!(letter["cause"], "HTTP 400 Bad Request: no such path");
    let payload: Value =
        serde_json::from_str(letter["payload"].as_str().expect("a text")).expect("OTLP/JSON");
    assert_eq!(ids(&payload), ["bad"]);
    assert_eq!(ids(&sent_again(&lines)), ["bad"]);
    // And counted; without a file, as dropped.
    config["exporters"]["out"]["otlp"]["flush_interval"] = json!("1ms");
    let weir = Weir::start(&config.to_string());
    ask(&weir, "/poison", "bad");
    eventually("it is counted", || {
        (counted(&weir, "dead_letters", "refused") == 1).then_some(())
    });
    let otlp = &mut config["exporters"]["out"]["otlp"];
    otlp.as_object_mut().expect("a map").remove("dead_letter");
    let weir = Weir::start(&config.to_string());
    ask(&weir, "/poison", "bad");
    eventually("it is counted", || {
        (counted(&weir, "dropped", "refused") == 1).then_some(())
    });
    weir.says("otlp: the collector refused traces for good");
    assert_eq!(count(&weir, "delivered"), 0);
}

#[test]
fn what_is_too_large_is_sent_in_smaller_requests_with_nothing_lost() {
    const MOST: usize = 6000;
    let collector = collector(|request| {
        if request.to_string().len() > MOST {
            answer("413 Payload Too Large", "", "")
        } else {
            TAKEN.to_owned()
        }
    });
    let mut otlp = json_to(&collector);
    otlp["flush_interval"] = json!("200ms");
    let mut config = exporting(otlp);
    // Spans of some 10 KB a trace: the root, the call, and two hooks of each.
    let chain: Vec<String> = (0..12).map(|index| format!("plugin-{index}")).collect();
    for name in &chain {
        config["plugins"][name] = json!({ "module": "builtin:request-id" });
    }
    config["routes"][0]["plugins"] = json!(chain);
    config["routes"].as_array_mut().expect("a list").insert(
        0,
        json!({ "name": "small", "match": { "path": "/small" }, "upstream": "up" }),
    );
    let weir = Weir::start(&config.to_string());
    for number in 0..4 {
        ask(&weir, "/small", &format!("small-{number}"));
        ask(&weir, "/large", &format!("large-{number}"));
    }
    eventually("all are delivered", || {
        (count(&weir, "delivered") == 8).then_some(())
    });
    assert_eq!(counted(&weir, "dropped", "too_large"), 0);
    let taken: Vec<Value> = requests(&collector)
        .into_iter()
        .filter(|request| request.to_string().len() <= MOST)
        .collect();
    let roots: HashSet<String> = taken.iter().flat_map(ids).collect();
    assert_eq!(roots.len(), 8);
    let all: HashSet<&str> = taken
        .iter()
        .flat_map(spans)
        .filter_map(|span| span["spanId"].as_str())
        .collect();
    assert_eq!(all.len(), 4 * 26 + 4 * 2);
}

#[test]
fn what_is_taken_in_part_is_counted_and_logged() {
    let collector = collector(|_| {
        let said = r#"{"partialSuccess":{"rejectedSpans":"1","errorMessage":"too old"}}"#;
        answer("200 OK", "content-type: application/json\r\n", said)
    });
    let weir = Weir::start(&exporting(json_to(&collector)).to_string());
    ask(&weir, "/", "part");
    eventually("it is counted", || {
        (count(&weir, "rejected_spans") == 1).then_some(())
    });
    eventually("it is delivered", || {
        (count(&weir, "delivered") == 1).then_some(())
    });
    weir.says("otlp: the collector took a request in part: too old");
    // It must not be sent again.
    assert_eq!(requests(&collector).len(), 1);
    state(&weir, "ok");
}
