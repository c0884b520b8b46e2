//! What was acknowledged is found in the topic, whatever is away or stopped.

use std::collections::HashSet;
use std::thread;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use weir::demo::consumer::Consumer;
use weir::otlp::Signal;
use weir_tests::service::nobody;
use weir_tests::wait::eventually;
use weir_tests::weir::Weir;

use crate::load::{Acknowledged, Load, wait_for};
use crate::ways::{Doors, PROTOCOLS, assert_later, items};
use crate::{Otlp, PROTOBUF, own_kafka, post, request, shared, spans};

#[test]
fn with_a_spool_a_dead_broker_delays_and_loses_nothing() {
    let folder = TempDir::new().expect("a folder");
    let kafka_folder = TempDir::new().expect("a folder");
    let (kafka, topics) = own_kafka(&kafka_folder);
    let address = kafka.address().to_owned();
    let port = address.rsplit_once(':').expect("a port").1.to_owned();
    kafka.stop();
    let mut otlp = Otlp::to(&address, topics, "otlp_protobuf");
    otlp.config["data_dir"] = json!(folder.path());
    otlp.config["spool"] = json!({ "segment_bytes": "2MiB" });
    let mut weir = otlp.start();
    let doors = Doors::of(&weir);
    let mut acknowledged = Acknowledged::default();
    for signal in Signal::ALL {
        for number in 0..20 {
            let protocol = PROTOCOLS[number % PROTOCOLS.len()];
            let names = vec![format!("{number} {protocol}")];
            let request = items(signal, &names);
            assert_eq!(doors.export(signal, protocol, &request), Ok(()));
            acknowledged[signal as usize].extend(names);
        }
    }
    let state = |weir: &Weir, wanted: &str| {
        let ready = weir.ready();
        assert_eq!(ready["status"], "ready");
        let mut lanes = Signal::ALL.iter().zip(0..);
        lanes.all(|(signal, index): (_, usize)| {
            let lane = &ready["receivers"][index];
            assert_eq!(lane["signal"], signal.as_str());
            lane["state"] == wanted
        })
    };
    eventually("it says that it cannot deliver", || {
        state(&weir, "degraded").then_some(())
    });
    assert_eq!(spooled(&weir), [20; 3]);
    // A stop in good order, with nothing delivered.
    weir.signal("TERM");
    assert!(weir.wait().success());
    let kafka = weir_tests::kafka::Kafka::start(&kafka_folder, &[format!("--port={port}")]);
    let weir = otlp.start();
    wait_for(kafka.address(), &otlp.topics, &acknowledged);
    eventually("it delivers again", || state(&weir, "ok").then_some(()));
    eventually("none waits any more", || {
        (spooled(&weir) == [0; 3]).then_some(())
    });
}

/// How many messages wait in the spool, by signal.
fn spooled(weir: &Weir) -> [u64; 3] {
    Signal::ALL.map(|signal| {
        let signal = signal.as_str();
        weir.count(&format!("weir_otlp_spool_messages{{signal=\"{signal}\"}}"))
    })
}

#[test]
fn without_a_spool_nothing_is_acknowledged_that_kafka_has_not() {
    let mut otlp = Otlp::to(
        &nobody().to_string(),
        ["traces", "metrics", "logs"].map(str::to_owned),
        "otlp_protobuf",
    );
    otlp.otlp()["queue_size"] = json!(PROTOCOLS.len());
    let weir = otlp.start();
    let doors = Doors::of(&weir);
    let counted = |name: &str, signal: Signal, labels: &str| {
        let signal = signal.as_str();
        weir.count(&format!("weir_otlp_{name}{{signal=\"{signal}\"{labels}}}"))
    };
    for signal in Signal::ALL {
        let waiting = PROTOCOLS.map(|protocol| {
            let request = items(signal, &["waits".to_owned()]);
            thread::spawn(move || doors.ask(signal, protocol, &request))
        });
        eventually("they wait", || {
            (counted("queue_requests", signal, "") == 3).then_some(())
        });
        for protocol in PROTOCOLS {
            let request = items(signal, &["refused".to_owned()]);
            assert_later(doors.ask(signal, protocol, &request), protocol, 429);
        }
        for (protocol, asking) in PROTOCOLS.into_iter().zip(waiting) {
            assert_later(asking.join().expect("no panic"), protocol, 503);
            for reason in ["queue_full", "not_delivered"] {
                let labels = format!(",protocol=\"{protocol}\",reason=\"{reason}\"");
                assert_eq!(counted("refused_total", signal, &labels), 1, "{labels}");
            }
        }
    }
}

#[test]
fn without_a_spool_what_is_acknowledged_is_in_the_topic_already() {
    let otlp = Otlp::new("otlp_protobuf");
    let mut weir = otlp.start();
    let doors = Doors::of(&weir);
    let mut acknowledged = Acknowledged::default();
    for signal in Signal::ALL {
        for protocol in PROTOCOLS {
            let names = vec![protocol.to_owned()];
            let request = items(signal, &names);
            assert_eq!(doors.export(signal, protocol, &request), Ok(()));
            acknowledged[signal as usize].extend(names);
        }
    }
    weir.signal("KILL");
    weir.wait();
    wait_for(shared().address(), &otlp.topics, &acknowledged);
}

#[test]
fn a_topic_that_is_not_there_holds_up_no_other_signal() {
    let mut otlp = Otlp::new("otlp_protobuf");
    otlp.kafka()["logs_topic"] = json!("not-there");
    let weir = otlp.start();
    eventually("it says so", || {
        let ready = weir.ready();
        let logs = &ready["receivers"][2];
        let said = "kafka plugin: topic \"not-there\" does not exist";
        (logs["state"] == "degraded" && logs["message"] == said).then_some(())
    });
    let doors = Doors::of(&weir);
    for signal in [Signal::Traces, Signal::Metrics] {
        for protocol in PROTOCOLS {
            let request = items(signal, &["others".to_owned()]);
            assert_eq!(doors.export(signal, protocol, &request), Ok(()));
        }
    }
}

/// Names of the spans in a message of any format.
fn names(payload: &[u8]) -> Vec<String> {
    if payload.first() == Some(&b'{') {
        let value: Value = serde_json::from_slice(payload).expect("JSON");
        let of = |value: &Value, names: [&str; 2]| {
            let [camel, snake] = names.map(|name| value[name].as_array());
            camel.or(snake).cloned().unwrap_or_default()
        };
        let resources = of(&value, ["resourceSpans", "resource_spans"]);
        let scopes = resources
            .iter()
            .flat_map(|it| of(it, ["scopeSpans", "scope_spans"]));
        let spans: Vec<Value> = scopes.flat_map(|scope| of(&scope, ["spans"; 2])).collect();
        let name = |span: &Value| span["name"].as_str().expect("a name").to_owned();
        return spans.iter().map(name).collect();
    }
    let decoded = ExportTraceServiceRequest::decode(payload).expect("protobuf");
    spans(&decoded).map(|span| span.name.clone()).collect()
}

#[test]
fn what_was_acknowledged_is_parted_where_its_topic_takes_less() {
    for format in ["otlp_protobuf", "otlp_json", "otlp_json_snake_case"] {
        let folder = TempDir::new().expect("a folder");
        let mut otlp = Otlp::new(format);
        let topic = format!("{}-small", otlp.topics[0]);
        shared().create_topic(&topic, &[("max.message.bytes", "20000")]);
        otlp.kafka()["traces_topic"] = json!(topic);
        otlp.config["data_dir"] = json!(folder.path());
        let weir = otlp.start();
        let body = request(100, 3, 1000);
        let sent: HashSet<String> = spans(&body).map(|span| span.name.clone()).collect();
        let response = post(
            weir.otlp("http"),
            "/v1/traces",
            PROTOBUF,
            &[],
            &body.encode_to_vec(),
        );
        assert_eq!(response.status, 200);
        let consumer = Consumer::new(shared().address(), &topic).expect("the topic can be read");
        let mut arrived = HashSet::new();
        eventually("all spans arrive", || {
            let message = consumer.recv(std::time::Duration::from_millis(100));
            if let Some(message) = message.expect("the topic can be read") {
                arrived.extend(names(&message.payload));
            }
            (arrived == sent).then_some(())
        });
        let metrics = weir.metrics();
        assert!(!metrics.contains("weir_otlp_dropped_total{"), "{metrics}");
    }
}

#[test]
fn a_stop_in_good_order_loses_nothing_and_answers_what_has_come() {
    for has_spool in [true, false] {
        let folder = TempDir::new().expect("a folder");
        let mut otlp = Otlp::new("otlp_protobuf");
        if has_spool {
            otlp.config["data_dir"] = json!(folder.path());
            otlp.config["spool"] = json!({ "segment_bytes": "2MiB" });
        }
        otlp.config["workers"] = json!(2);
        let mut weir = otlp.start();
        // Once it listens no more, a connection is refused; what is let in is answered with success.
        let load = Load::start(&weir, "stop", &[]);
        load.wait_for(40);
        weir.signal("TERM");
        assert!(weir.wait().success());
        let mut acknowledged = Acknowledged::default();
        load.end(&mut acknowledged);
        // Nothing is left for another run.
        wait_for(shared().address(), &otlp.topics, &acknowledged);
    }
}
