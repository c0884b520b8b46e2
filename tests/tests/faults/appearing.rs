//! Messages that do not appear in the topic though nothing fails: by what it is told, and that it helps
//! what the page on trouble says.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, mpsc};

use serde_json::{Value, json};
use weir_tests::client::Connection;
use weir_tests::config::{config, exporter};
use weir_tests::kafka::{shared, unique};
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::{Weir, binary};

fn count(weir: &Weir, what: &str) -> u64 {
    weir.count(&format!(r#"{what}{{exporter="traces"}}"#))
}

/// One request for each id.
fn ask(weir: &Weir, ids: &[&str]) {
    for id in ids {
        let response = weir.get("/", &[&format!("x-request-id: {id}")]);
        assert_eq!((response.status, &*response.text()), (200, "hello"));
    }
}

/// Ids of the requests whose traces are the first in the topic.
fn arrived(topic: &str, count: usize) -> Vec<Value> {
    let traces = shared().traces(topic, count);
    traces
        .iter()
        .map(|trace| trace.0["RequestID"].clone())
        .collect()
}

fn exporting(topic: &str) -> Value {
    let mut config = config(&Upstream::hello());
    config["exporters"]["traces"] = exporter(shared(), topic);
    config
}

/// What a command prints that is given the configuration of a Weir.
fn run(weir: &Weir, words: &[&str]) -> String {
    let file = weir.folder().join("weir.yaml");
    let file = Path::to_str(&file).expect("a path");
    let mut command = Command::new(binary());
    let output = command.args(words).args(["--config", file]).output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_trace_is_taken_once_its_response_has_ended() {
    let (end, ended) = mpsc::channel();
    let ended = Mutex::new(ended);
    let upstream = Upstream::new(move |_, stream| {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let _ = write!(stream, "{head}5\r\nhello\r\n");
        let _ = ended.lock().expect("lock").recv();
        let _ = stream.write_all(b"0\r\n\r\n");
    });
    let topic = shared().topic();
    let mut config = config(&upstream);
    config["exporters"]["traces"] = exporter(shared(), &topic);
    config["routes"] = json!([
        { "name": "quick", "match": { "path": "/quick" }, "respond": { "body": "hello" } },
        { "name": "all", "upstream": "up" },
    ]);
    let weir = Weir::start(&config.to_string());
    let mut slow = Connection::open(weir.proxy());
    slow.send("GET / HTTP/1.1\r\nhost: test\r\nx-request-id: slow\r\n\r\n");
    assert_eq!(slow.receive_head().expect("a head").status, 200);
    assert_eq!(slow.read_chunk().expect("a chunk"), b"hello");
    assert_eq!(count(&weir, "weir_export_taken_total"), 0);

    // One that begins later and ends is not held up by it.
    weir.get("/quick", &["x-request-id: quick"]);
    assert_eq!(arrived(&topic, 1), ["quick"]);
    eventually("it is counted", || {
        (count(&weir, "weir_export_delivered_total") == 1).then_some(())
    });
    assert_eq!(count(&weir, "weir_export_taken_total"), 1);

    end.send(()).expect("the upstream waits");
    assert_eq!(slow.read_chunk().expect("the end"), b"");
    assert_eq!(arrived(&topic, 2), ["quick", "slow"]);
    eventually("it is taken", || {
        (count(&weir, "weir_export_taken_total") == 2).then_some(())
    });
}

#[test]
fn a_batch_that_waits_to_be_filled_is_counted_and_sent_at_a_stop() {
    let topic = shared().topic();
    let mut config = exporting(&topic);
    let kafka = &mut config["exporters"]["traces"]["kafka"];
    // Longer than the test may last.
    kafka["flush_interval_ms"] = json!(900_000);
    kafka["producer"] = json!({ "custom_config": { "statistics.interval.ms": 100 } });
    let mut weir = Weir::start(&config.to_string());
    eventually("it is connected", || {
        (weir.ready()["exporters"][0]["state"] == "ok").then_some(())
    });
    let ids = ["one", "two", "three"];
    ask(&weir, &ids);
    eventually("they wait in the client", || {
        (count(&weir, "weir_kafka_queue_messages") == 3).then_some(())
    });
    let exporter = weir.ready()["exporters"][0].clone();
    assert_eq!(exporter["client"]["queue_messages"], 3, "{exporter}");
    assert_eq!(
        (&exporter["state"], &exporter["delivered"]),
        (&json!("ok"), &json!(0))
    );
    weir.signal("TERM");
    assert!(weir.wait().success());
    assert_eq!(arrived(&topic, 3), ids);
}

#[test]
fn what_a_killed_process_without_a_data_dir_had_not_delivered_is_gone() {
    let topic = shared().topic();
    let mut config = exporting(&topic);
    let kafka = &mut config["exporters"]["traces"]["kafka"];
    let brokers = std::mem::replace(&mut kafka["brokers"], json!(["127.0.0.1:1"]));
    let mut weir = Weir::start(&config.to_string());
    ask(&weir, &["lost-1", "lost-2"]);
    eventually("it cannot deliver", || {
        (weir.ready()["exporters"][0]["state"] == "degraded").then_some(())
    });
    weir.signal("KILL");
    weir.wait();

    config["exporters"]["traces"]["kafka"]["brokers"] = brokers;
    let weir = Weir::start(&config.to_string());
    ask(&weir, &["next"]);
    // A topic keeps its order: nothing came before.
    assert_eq!(arrived(&topic, 1), ["next"]);
    eventually("it is counted", || {
        (count(&weir, "weir_export_delivered_total") == 1).then_some(())
    });
    assert_eq!(count(&weir, "weir_export_taken_total"), 1);
}

#[test]
fn a_reader_that_begins_at_the_end_shows_nothing_of_before() {
    let topic = shared().topic();
    let weir = Weir::start(&exporting(&topic).to_string());
    ask(&weir, &["one", "two", "three"]);
    assert_eq!(arrived(&topic, 3), ["one", "two", "three"]);
    let tail = ["traces", "tail", "--no-follow"];
    assert_eq!(run(&weir, &tail), "");
    let all = run(&weir, &[&tail[..], &["--from", "beginning"]].concat());
    assert_eq!(all.lines().count(), 3, "{all}");
}

#[test]
fn a_reader_of_another_topic_shows_nothing_and_the_configuration_names_the_right_one() {
    let (topic, other) = (unique("right"), unique("other"));
    shared().create_topic(&topic, &[]);
    shared().create_topic(&other, &[]);
    let weir = Weir::start(&exporting(&topic).to_string());
    ask(&weir, &["one", "two"]);
    eventually("both are delivered", || {
        (count(&weir, "weir_export_delivered_total") == 2).then_some(())
    });
    let tail = ["traces", "tail", "--no-follow", "--from", "beginning"];
    let of_other = run(&weir, &[&tail[..], &["--topic", &other]].concat());
    assert_eq!(of_other, "");

    run(&weir, &["check", "--connect"]);
    let printed = run(&weir, &["config", "print", "--sources"]);
    for right in [topic.as_str(), shared().address()] {
        assert!(printed.contains(&json!(right).to_string()), "{printed}");
    }
    assert!(!printed.contains(&other), "{printed}");
    let all = run(&weir, &tail);
    assert_eq!(all.lines().count(), 2, "{all}");
}
