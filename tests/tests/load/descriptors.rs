//! A process that may open no more: clients wait, and all that serves those who are there goes on.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::{Command, Stdio};

use serde_json::json;
use tempfile::TempDir;
use weir_tests::client::Connection;
use weir_tests::config::exporter;
use weir_tests::kafka::shared;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::{Weir, binary};

use crate::config;

const GET: &str = "GET / HTTP/1.1\r\nhost: test\r\n\r\n";

const WAITS: &str = "connections wait to be accepted";

/// Lets a process have so many descriptors more than it has. Gives the limit.
fn leave(weir: &Weir, more: u64) -> u64 {
    let most = weir.count("weir_descriptors_open") + more;
    let status = Command::new("prlimit")
        .arg(format!("--pid={}", weir.id()))
        .arg(format!("--nofile={most}:"))
        .status()
        .expect("prlimit runs");
    assert!(status.success());
    assert_eq!(weir.count("weir_descriptors_max"), most);
    most
}

fn until_paused(weir: &Weir, paused: u64) {
    eventually("accepting pauses or goes on", || {
        (weir.count("weir_accept_paused") == paused).then_some(())
    });
}

/// Each request to it needs a new connection.
fn closing() -> Upstream {
    Upstream::new(|_, stream| {
        let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
        let _ = stream.write_all(answer);
    })
}

#[test]
fn while_descriptors_run_out_upstreams_the_spool_and_kafka_still_get_theirs() {
    let (upstream, folder, topic) = (
        closing(),
        TempDir::new().expect("a folder"),
        shared().topic(),
    );
    let mut config = config(&upstream, 2, json!({}));
    config["data_dir"] = json!(folder.path());
    let weir = Weir::start(&config.to_string());
    let mut kept: Vec<_> = (0..4).map(|_| Connection::open(weir.proxy())).collect();
    let ask = |connection: &mut Connection| {
        let answer = connection.send(GET).receive().expect("a response");
        assert_eq!(answer.text(), "hello");
    };
    kept.iter_mut().for_each(ask);

    let most = leave(&weir, 300);
    let connect = |_| TcpStream::connect(weir.proxy()).expect("the kernel takes it");
    let idle: Vec<_> = (0..500).map(connect).collect();
    until_paused(&weir, 1);
    // But for what a worker had accepted already when it was asked to wait, an eighth is free.
    let open = weir.count("weir_descriptors_open");
    assert!(open < most - most / 8 + 10, "{open} of {most}");
    assert!(weir.count("weir_connections_open") < 300);
    for _ in 0..10 {
        kept.iter_mut().for_each(ask);
    }
    // An exporter that is new needs connections to the brokers, and a cursor on the disk.
    config["exporters"]["traces"] = exporter(shared(), &topic);
    assert_eq!(weir.reload(&config.to_string()).status, 200);
    ask(&mut kept[0]);
    assert_eq!(shared().traces(&topic, 1).len(), 1);
    assert_eq!(weir.count("weir_accept_paused"), 1);

    drop(idle);
    until_paused(&weir, 0);
    assert_eq!(weir.get("/", &[]).text(), "hello");
    kept.iter_mut().for_each(ask);
    assert!(weir.count("weir_accept_pauses_total") > 0);
    let told = weir.log().into_iter();
    let told = told.filter(|line| line.to_string().contains(WAITS));
    assert_eq!(told.count(), 1, "{:#?}", weir.log());
}

#[test]
fn who_waits_is_served_as_others_leave() {
    let upstream = Upstream::hello();
    let weir = Weir::start(&config(&upstream, 1, json!({})).to_string());
    leave(&weir, 60);
    let mut waiting: Vec<_> = (0..200).map(|_| Connection::open(weir.proxy())).collect();
    until_paused(&weir, 1);
    // Each of them is answered, in the order in which they came, once those before have left.
    for mut client in waiting.drain(..) {
        let answer = client.send(GET).receive().expect("a response");
        assert_eq!(answer.text(), "hello");
    }
    until_paused(&weir, 0);
}

#[test]
fn the_soft_limit_is_raised_to_the_hard_one() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("weir.yaml");
    let config = config(&Upstream::hello(), 1, json!({})).to_string();
    std::fs::write(&file, config).expect("written");
    // It becomes Weir, as the process that it is.
    let mut weir = Command::new("prlimit")
        .arg("--nofile=300:5000")
        .arg(binary())
        .args(["run", "--no-watch", "--config"])
        .arg(&file)
        .stderr(Stdio::null())
        .spawn()
        .expect("prlimit runs");
    eventually("both limits are the hard one", || {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", weir.id())).ok()?;
        let mut lines = limits.lines();
        let line = lines.find_map(|line| line.strip_prefix("Max open files"))?;
        let words: Vec<_> = line.split_whitespace().collect();
        (words[..2] == ["5000", "5000"]).then_some(())
    });
    weir.kill().expect("it runs");
    weir.wait().expect("it ends");
}
