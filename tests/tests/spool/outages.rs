//! A broker that is away, for a while or at the start, and ends that come meanwhile.

use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;
use weir_tests::kafka::{Kafka, shared};
use weir_tests::wait::eventually;

use crate::{Arrivals, Spooled, kill};
use weir_tests::load::{Load, ask_all, slow_upstream, upstream};

/// A broker that a test stops and starts.
struct Broker {
    folder: TempDir,
    kafka: Option<Kafka>,
    port: String,
}

impl Broker {
    fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let kafka = Kafka::start(&folder, &[]);
        let port = kafka.address().rsplit_once(':').expect("a port").1;
        Self {
            port: port.to_owned(),
            folder,
            kafka: Some(kafka),
        }
    }

    fn kafka(&self) -> &Kafka {
        self.kafka.as_ref().expect("it runs")
    }

    fn stop(&mut self) {
        self.kafka.take().expect("it runs").stop();
    }

    fn start_again(&mut self) {
        let port = format!("--port={}", self.port);
        self.kafka = Some(Kafka::start(&self.folder, &[port]));
    }
}

#[test]
fn a_broker_that_is_away_at_the_start_gets_everything_over_restarts_with_any_number_of_workers() {
    let mut broker = Broker::start();
    let topic = broker.kafka().topic();
    let mut spooled = Spooled::new(&upstream()).to(broker.kafka(), &topic);
    broker.stop();
    let mut seen = Vec::new();
    for (run, workers) in [4, 1, 3, 2].into_iter().enumerate() {
        spooled.config["workers"] = json!(workers);
        let weir = spooled.start();
        let load = Load::start(weir.proxy(), 6, &format!("run{run}"));
        eventually("requests are answered", || {
            (load.ended() >= 200).then_some(())
        });
        let message = eventually("it says what is wrong", || {
            let exporter = weir.ready()["exporters"][0].clone();
            (exporter["state"] == "degraded").then(|| exporter["message"].to_string())
        });
        assert!(message.contains("connection refused"), "{message}");
        kill(weir);
        seen.extend(load.join());
    }
    spooled.config["workers"] = json!(1);
    let weir = spooled.start();
    broker.start_again();
    let mut arrivals = Arrivals::of(broker.kafka(), &topic);
    arrivals.wait_for(&seen);
    assert_eq!(arrivals.doubled(), 0);
    // Runs come one after the other.
    let runs: Vec<&str> = arrivals.firsts().iter().map(|id| &id[..4]).collect();
    assert!(runs.is_sorted());
    eventually("what was delivered is removed", || {
        (spooled.files(".seg").len() <= 2).then_some(())
    });
    assert_eq!(weir.ready()["spool"]["state"], "ok");
}

#[test]
fn a_broker_that_stops_at_load_and_comes_back_gets_everything() {
    let mut broker = Broker::start();
    let topic = broker.kafka().topic();
    // A broker takes its time to stop and start: let there not be too much to read afterwards.
    let upstream = slow_upstream(Duration::from_millis(2));
    let spooled = Spooled::new(&upstream).to(broker.kafka(), &topic);
    let weir = spooled.start();
    let load = Load::start(weir.proxy(), 4, "outage");
    let more = |count: usize| {
        let until = load.ended() + count;
        eventually("requests are answered", || {
            (load.ended() >= until).then_some(())
        });
    };
    more(300);
    broker.stop();
    more(300);
    broker.start_again();
    more(300);
    let seen = load.join();
    let mut arrivals = Arrivals::of(broker.kafka(), &topic);
    arrivals.wait_for(&seen);
    eventually("it is well", || {
        (weir.ready()["exporters"][0]["state"] == "ok").then_some(())
    });
    assert_eq!(
        weir.count(r#"weir_export_dropped_total{exporter="traces",reason="shutdown"}"#),
        0
    );
}

#[test]
fn sigterm_leaves_to_the_next_run_what_was_not_acknowledged() {
    let topic = shared().topic();
    let mut spooled = Spooled::new(&upstream()).to(shared(), &topic);
    let brokers = spooled.config["exporters"]["traces"]["kafka"]["brokers"].take();
    spooled.config["exporters"]["traces"]["kafka"]["brokers"] = json!(["127.0.0.1:1"]);
    let mut weir = spooled.start();
    let seen = ask_all(weir.proxy(), 30, "term");
    let asked = Instant::now();
    weir.signal("TERM");
    assert_eq!(weir.wait().code(), Some(0));
    // It does not wait in vain for most of its grace of 30 s.
    assert!(asked.elapsed().as_secs() < 20);
    assert!(!weir.logged("not delivered before the end"));

    spooled.config["exporters"]["traces"]["kafka"]["brokers"] = brokers;
    let _weir = spooled.start();
    let mut arrivals = Arrivals::of(shared(), &topic);
    arrivals.wait_for(&seen);
    assert_eq!(arrivals.ids, seen);
}

#[test]
fn sigterm_delivers_what_a_broker_takes() {
    let topic = shared().topic();
    let mut spooled = Spooled::new(&upstream()).to(shared(), &topic);
    // Longer than the test may last: only the end sends them.
    spooled.config["exporters"]["traces"]["kafka"]["flush_interval_ms"] = json!(900_000);
    spooled.config["exporters"]["traces"]["kafka"]["batch_size"] = json!(1000);
    let mut weir = spooled.start();
    eventually("it is connected", || {
        (weir.ready()["exporters"][0]["state"] == "ok").then_some(())
    });
    let seen = ask_all(weir.proxy(), 30, "term");
    weir.signal("TERM");
    assert_eq!(weir.wait().code(), Some(0));
    let mut arrivals = Arrivals::of(shared(), &topic);
    arrivals.wait_for(&seen);
    assert_eq!(spooled.files(".seg"), Vec::<String>::new());
}
