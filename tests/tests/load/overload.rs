//! A worker with more work than it can do refuses what is new, until it has caught up.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};
use weir_tests::client::{self, Connection, Response};
use weir_tests::config::exporter;
use weir_tests::http2::{Client, run};
use weir_tests::kafka::shared;
use weir_tests::upstream::Upstream;
use weir_tests::wait::eventually;
use weir_tests::weir::{Weir, guest};

use crate::config;

const SHED: &str = "weir_requests_shed_total";

/// So many hooks that loop keep the worker late: each has its turn of a millisecond before the next.
const BURNERS: usize = 14;

/// One worker, and on `/burn` a plugin that loops until it is stopped.
fn stand(upstream: &Upstream, overload: Value) -> Value {
    let mut config = config(upstream, 1, json!({}));
    config["overload"] = overload;
    config["plugins"]["burner"] = json!({
        "module": guest("hostile"),
        "config": { "mode": "loop", "in": "on-request", "header": "x-harm" },
        "limits": { "cpu_time": "500ms", "wall_time": "1m" },
    });
    config["routes"] = json!([
        { "name": "burn", "match": { "path": "/burn" }, "upstream": "up", "plugins": ["burner"] },
        { "name": "other", "upstream": "up" },
    ]);
    config
}

fn burn(weir: &Weir) -> Vec<JoinHandle<u16>> {
    let address = weir.proxy();
    let burner = |_| thread::spawn(move || client::get(address, "/burn", &["x-harm: yes"]).status);
    (0..BURNERS).map(burner).collect()
}

/// Waits for their ends: they were stopped, or refused.
fn end(burners: Vec<JoinHandle<u16>>) {
    for burner in burners {
        let status = burner.join().expect("an answer");
        assert!(matches!(status, 500 | 503), "{status}");
    }
}

/// Asks until it is answered so; gives the answer, and how often it asked.
fn until(weir: &Weir, status: u16) -> (Response, usize) {
    let mut asked = 0;
    let answer = eventually("it is answered so", || {
        asked += 1;
        let answer = weir.get("/", &[]);
        assert!(matches!(answer.status, 200 | 503), "{}", answer.status);
        (answer.status == status).then_some(answer)
    });
    (answer, asked)
}

/// Answers at once, but `/slow` when it is told to.
fn upstream() -> (Upstream, mpsc::Sender<()>) {
    let (go_on, told) = mpsc::channel::<()>();
    let told = Mutex::new(told);
    let upstream = Upstream::new(move |seen, stream| {
        if seen.target == "/slow" {
            let _ = told.lock().expect("lock").recv();
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    });
    (upstream, go_on)
}

#[test]
fn an_overloaded_worker_refuses_what_is_new_and_takes_it_again() {
    let (upstream, go_on) = upstream();
    let topic = shared().topic();
    let mut config = stand(&upstream, json!({ "lateness": "5ms" }));
    config["exporters"]["traces"] = exporter(shared(), &topic);
    config["access_log"] = json!({ "path": "access.log" });
    let weir = Weir::start(&config.to_string());
    let mut before = Connection::open(weir.proxy());
    before.send("GET /slow HTTP/1.1\r\nhost: test\r\n\r\n");
    eventually("the upstream has it", || {
        (upstream.seen().len() == 1).then_some(())
    });

    let burners = burn(&weir);
    let (refused, asked) = until(&weir, 503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    let kind = refused.header("content-type");
    assert_eq!(kind, Some("application/problem+json"));
    assert_eq!(refused.json()["detail"], "the server is overloaded");
    // Whoever looks after Weir is not refused, nor is what was there before.
    assert_eq!(client::get(weir.admin(), "/healthz", &[]).status, 200);
    assert_eq!(client::get(weir.admin(), "/readyz", &[]).status, 200);
    go_on.send(()).expect("the upstream waits");
    assert_eq!(before.receive().expect("a response").text(), "hello");
    end(burners);
    let (_, again) = until(&weir, 200);

    // Each is in the trace and in the access log.
    let all = 1 + BURNERS + asked + again;
    let traces = shared().traces(&topic, all);
    let shed = traces.iter().map(|trace| &trace.root()["Attributes"]);
    let shed: Vec<_> = shed.filter(|root| root["weir.shed"] == true).collect();
    assert_eq!(shed.len() as u64, weir.count(SHED));
    assert!(!shed.is_empty());
    for root in &shed {
        assert_eq!(root["http.response.status_code"], 503);
        assert_eq!(root["error.type"], "503");
        assert!(root["url.path"].is_string());
    }
    let lines = eventually("all lines are written", || {
        let log = std::fs::read_to_string(weir.folder().join("access.log")).ok()?;
        (log.lines().count() == all).then_some(log)
    });
    let lines = lines.lines().map(serde_json::from_str::<Value>);
    let refused = lines.filter(|line| line.as_ref().expect("JSON")["status"] == 503);
    assert_eq!(refused.count(), shed.len());
    let late = "weir_worker_lateness_seconds_count{worker=\"0\"}";
    assert!(weir.count(late) > 0);
}

#[test]
fn switched_off_nothing_is_refused_until_a_reload_switches_it_on() {
    let (upstream, _go_on) = upstream();
    let weir = Weir::start(&stand(&upstream, json!({ "enabled": false })).to_string());
    let burners = burn(&weir);
    while burners.iter().any(|burner| !burner.is_finished()) {
        assert_eq!(weir.get("/", &[]).status, 200);
    }
    for burner in burners {
        assert_eq!(burner.join().expect("an answer"), 500);
    }
    assert_eq!(weir.count(SHED), 0);

    let on = stand(&upstream, json!({ "lateness": "5ms" })).to_string();
    assert_eq!(weir.reload(&on).status, 200);
    let burners = burn(&weir);
    let refused = run(async {
        let client = Client::open(weir.proxy()).await;
        while burners.iter().any(|burner| !burner.is_finished()) {
            let answer = client.get("/").await.expect("a response");
            if answer.status() == 503 {
                return Some(answer);
            }
        }
        None
    });
    let refused = refused.expect("it is refused while they burn");
    assert_eq!(refused.head.headers()["retry-after"], "1");
    end(burners);
    until(&weir, 200);
    assert!(weir.count(SHED) > 0);
}

#[test]
fn whoever_waits_for_a_turn_gets_it_whoever_leaves_meanwhile() {
    let (upstream, _go_on) = upstream();
    let weir = Weir::start(&stand(&upstream, json!({ "lateness": "5ms" })).to_string());
    let burners = burn(&weir);
    while burners.iter().any(|burner| !burner.is_finished()) {
        let clients = (0..10).map(|_| {
            let mut client = Connection::open(weir.proxy());
            client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
            client
        });
        let clients: Vec<_> = clients.collect();
        // Every other one leaves.
        let stay = clients.into_iter().step_by(2);
        for mut client in stay {
            let status = client.receive().expect("a response").status;
            assert!(matches!(status, 200 | 503), "{status}");
        }
    }
    end(burners);
    let (answer, _) = until(&weir, 200);
    assert_eq!(answer.text(), "hello");
}
