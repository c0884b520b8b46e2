//! Exporters against a real broker: arrival, formats, security, and the words of trouble.

mod partitions;
mod refusals;
mod shown;

use std::time::{Duration, Instant};

use indexmap::IndexMap;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tempfile::TempDir;
use weir::config::{Acks, Compression, Exporter, Format, Kafka as Config, Sasl, Secret, Tls};
use weir::demo::consumer::Message;
use weir::export::Exporters;
use weir::export::status::{Reason, Status};
use weir::health::State;
use weir::trace::recorder::Recorder;
use weir::trace::{Kind, SpanIndex, Status as SpanStatus, TraceId, record};
use weir_tests::kafka::{Kafka, PASSWORD, USER, settings as config, shared, unique};
use weir_tests::wait::eventually;

fn tls(kafka: &Kafka) -> Option<Tls> {
    Some(Tls {
        ca_cert: Some(Secret::new(kafka.ca())),
        client: None,
    })
}

fn sasl(mechanism: &'static str, password: &str) -> Option<Sasl> {
    Some(Sasl {
        mechanism,
        username: Secret::new(USER.to_owned()),
        password: Secret::new(password.to_owned()),
    })
}

fn start(config: Config) -> Exporters {
    let exporter = Exporter::Kafka(Box::new(config));
    Exporters::start(&IndexMap::from([("kafka".to_owned(), exporter)]), None)
}

fn status(exporters: &Exporters) -> Status {
    exporters.status().remove(0)
}

fn wait_until_connected(exporters: &Exporters) {
    eventually("it is connected", || {
        (status(exporters).state == State::Ok).then_some(())
    });
}

/// The exporter's complaint, once it has one.
fn complaint(exporters: &Exporters) -> String {
    eventually("it says what is wrong", || match status(exporters).state {
        State::Degraded(message) => Some(message),
        _ => None,
    })
}

fn hand_over(exporters: &Exporters, count: usize) -> Vec<TraceId> {
    let handoff = exporters.handoff();
    let mut recorder = Recorder::default();
    (0..count)
        .map(|_| {
            let now = Instant::now();
            recorder.begin(None, now);
            recorder.rename(SpanIndex::ROOT, "GET /orders");
            let hook = recorder.span("plugin.auth.prehook", Kind::Plugin, SpanIndex::ROOT, now);
            recorder.attribute(hook, "weir.hook.decision", "continue");
            recorder.end(hook, SpanStatus::Ok, "", now);
            recorder.end(SpanIndex::ROOT, SpanStatus::Ok, "", now);
            handoff.append(|out| {
                record::write(&recorder, out);
                true
            });
            recorder.trace_id()
        })
        .collect()
}

/// Sends traces by `config`, and gives their ids and what arrived.
fn deliver(config: Config) -> (Vec<TraceId>, Vec<Message>) {
    let topic = config.topic.clone();
    let exporters = start(config);
    let ids = hand_over(&exporters, 250);
    let messages = shared().read(&topic, ids.len());
    let status = exporters.shutdown(Instant::now() + Duration::from_secs(10));
    assert_eq!(status[0].delivered, 250, "{status:?}");
    (ids, messages)
}

fn assert_arrived(config: Config) {
    let (ids, messages) = deliver(config);
    for (id, message) in ids.iter().zip(&messages) {
        assert_eq!(message.key, id.to_string().as_bytes());
    }
}

fn topic() -> String {
    let topic = unique("traces");
    shared().create_topic(&topic, &[]);
    topic
}

#[test]
fn json_arrives_with_key_and_headers() {
    let (ids, messages) = deliver(config(shared().address(), &topic()));
    for (id, message) in ids.iter().zip(&messages) {
        assert_eq!(message.key, id.to_string().as_bytes());
        assert_eq!(message.header("content-type"), Some("application/json"));
        assert_eq!(
            message.header("weir-version"),
            Some(env!("CARGO_PKG_VERSION"))
        );
        let trace: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(trace["TraceID"], id.to_string());
        let root = trace["RootSpan"]["SpanID"].as_str().unwrap();
        let traceparent = message.header("traceparent").unwrap();
        assert!(
            traceparent.starts_with(&format!("00-{id}-{root}-")),
            "{traceparent}"
        );
    }
}

#[test]
fn otlp_json_arrives() {
    let mut config = config(shared().address(), &topic());
    config.format = Format::OtlpJson;
    let (ids, messages) = deliver(config);
    for (id, message) in ids.iter().zip(&messages) {
        assert_eq!(message.header("content-type"), Some("application/json"));
        let trace: ExportTraceServiceRequest = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(trace_id(&trace), id.0);
    }
}

#[test]
fn otlp_protobuf_arrives() {
    let mut config = config(shared().address(), &topic());
    config.format = Format::OtlpProtobuf;
    let (ids, messages) = deliver(config);
    for (id, message) in ids.iter().zip(&messages) {
        assert_eq!(
            message.header("content-type"),
            Some("application/x-protobuf")
        );
        let trace = ExportTraceServiceRequest::decode(&message.payload[..]).unwrap();
        assert_eq!(trace_id(&trace), id.0);
    }
}

fn trace_id(request: &ExportTraceServiceRequest) -> &[u8] {
    &request.resource_spans[0].scope_spans[0].spans[0].trace_id
}

#[test]
fn every_compression_arrives() {
    for compression in [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let mut config = config(shared().address(), &topic());
        config.compression = compression;
        assert_arrived(config);
    }
}

#[test]
fn tls_with_a_private_authority_arrives() {
    let mut config = config(shared().listener("SSL"), &topic());
    config.tls = tls(shared());
    assert_arrived(config);
}

#[test]
fn mutual_tls_arrives() {
    let mut config = config(shared().listener("MTLS"), &topic());
    let (certificate, key) = shared().client();
    config.tls = Some(Tls {
        ca_cert: Some(Secret::new(shared().ca())),
        client: Some((certificate, Secret::new(key))),
    });
    assert_arrived(config);
}

#[test]
fn every_sasl_mechanism_arrives() {
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        for (listener, tls) in [("SASL_PLAINTEXT", None), ("SASL_SSL", tls(shared()))] {
            let mut config = config(shared().listener(listener), &topic());
            config.tls = tls;
            config.sasl = sasl(mechanism, PASSWORD);
            assert_arrived(config);
        }
    }
}

#[test]
fn a_missing_topic_is_said_and_gets_what_was_queued_once_it_is_there() {
    let topic = unique("later");
    let exporters = start(config(shared().address(), &topic));
    assert_eq!(
        complaint(&exporters),
        format!("kafka plugin: topic \"{topic}\" does not exist")
    );
    let ids = hand_over(&exporters, 20);
    shared().create_topic(&topic, &[]);
    assert_eq!(shared().read(&topic, 20).len(), ids.len());
    wait_until_connected(&exporters);
}

#[test]
fn a_missing_topic_is_created_where_that_is_asked_for() {
    let mut config = config(shared().address(), &unique("created"));
    config.auto_create_topic = true;
    let topic = config.topic.clone();
    let exporters = start(config);
    wait_until_connected(&exporters);
    hand_over(&exporters, 20);
    assert_eq!(shared().read(&topic, 20).len(), 20);
}

#[test]
fn a_topic_deleted_and_made_again_gets_all_that_follows() {
    let topic = topic();
    let exporters = start(config(shared().address(), &topic));
    hand_over(&exporters, 20);
    shared().read(&topic, 20);
    shared().delete_topic(&topic);
    let ids = hand_over(&exporters, 20);
    assert_eq!(
        eventually("the loss is seen", || {
            let complaint = complaint(&exporters);
            complaint.contains("does not exist").then_some(complaint)
        }),
        format!("kafka plugin: topic \"{topic}\" does not exist")
    );
    shared().create_topic(&topic, &[]);
    let messages = shared().read(&topic, ids.len());
    for (id, message) in ids.iter().zip(&messages) {
        assert_eq!(message.key, id.to_string().as_bytes());
    }
    wait_until_connected(&exporters);
}

#[test]
fn a_topic_that_takes_less_than_a_batch_gets_every_message() {
    let topic = unique("small");
    shared().create_topic(&topic, &[("max.message.bytes", "20000")]);
    let (ids, messages) = deliver(config(shared().address(), &topic));
    // What a refused batch held is sent again by itself: order holds for a key, not over all.
    let mut sent: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let mut arrived: Vec<String> = messages
        .iter()
        .map(|message| String::from_utf8_lossy(&message.key).into_owned())
        .collect();
    sent.sort();
    arrived.sort();
    assert_eq!(arrived, sent);
}

#[test]
fn a_broker_that_comes_up_late_gets_all_that_was_queued() {
    let folder = TempDir::new().unwrap();
    let kafka = Kafka::start(&folder, &[]);
    let address = kafka.address().to_owned();
    let topic = unique("late");
    kafka.create_topic(&topic, &[]);
    kafka.stop();

    let exporters = start(config(&address, &topic));
    let ids = hand_over(&exporters, 2000);
    assert_eq!(
        complaint(&exporters),
        format!(
            "kafka plugin: failed to connect/authenticate with broker: {address}: connection \
             refused"
        )
    );
    let port = address.rsplit_once(':').unwrap().1;
    let kafka = Kafka::start(&folder, &[format!("--port={port}")]);
    let messages = kafka.read(&topic, ids.len());
    for (id, message) in ids.iter().zip(&messages) {
        assert_eq!(message.key, id.to_string().as_bytes());
    }
    wait_until_connected(&exporters);
    assert_eq!(
        status(&exporters).dropped.map(|(_, count)| count),
        [0; Reason::ALL.len()]
    );
}

#[test]
fn every_kind_of_acknowledgement_delivers() {
    for acks in [Acks::None, Acks::One, Acks::All] {
        let mut config = config(shared().address(), &topic());
        config.producer.acks = acks;
        config.compression = Compression::Lz4;
        assert_arrived(config);
    }
}

#[test]
fn custom_properties_win_over_all_others() {
    let mut config = config("127.0.0.1:9", &topic());
    let mut custom = |name: &str, value: &str| {
        let value = Secret::new(value.to_owned());
        config.producer.custom_config.insert(name.to_owned(), value);
    };
    custom("bootstrap.servers", shared().address());
    assert_arrived(config);
}

#[test]
fn a_trace_that_is_too_large_arrives_in_parts() {
    for format in [Format::Json, Format::OtlpJson, Format::OtlpProtobuf] {
        let topic = topic();
        let mut config = config(shared().address(), &topic);
        config.format = format;
        config.producer.max_message_bytes = 20_000;
        let exporters = start(config);
        let mut recorder = Recorder::default();
        let now = Instant::now();
        recorder.begin(None, now);
        for _ in 0..100 {
            let hook = recorder.span("plugin.auth.prehook", Kind::Plugin, SpanIndex::ROOT, now);
            recorder.attribute(hook, "said", "x".repeat(1000).as_str());
            recorder.end(hook, SpanStatus::Ok, "", now);
        }
        recorder.end(SpanIndex::ROOT, SpanStatus::Ok, "", now);
        exporters.handoff().append(|out| {
            record::write(&recorder, out);
            true
        });
        let first = shared().read(&topic, 1).remove(0);
        let part = first.header("weir-part").expect("a part");
        let count: usize = part.strip_prefix("1/").expect("the first").parse().unwrap();
        assert!(count >= 6, "{count} parts");
        let messages = shared().read(&topic, count);
        let mut said = 0;
        for (index, message) in messages.iter().enumerate() {
            assert_eq!(
                message.header("weir-part"),
                Some(&*format!("{}/{count}", index + 1))
            );
            assert_eq!(message.key, recorder.trace_id().to_string().as_bytes());
            assert!(message.payload.len() < 20_000);
            let text = String::from_utf8_lossy(&message.payload);
            said += text.matches(&"x".repeat(1000)).count();
        }
        assert_eq!(said, 100);
        let status = exporters.shutdown(Instant::now() + Duration::from_secs(10));
        assert_eq!(
            status[0].delivered, 1,
            "a trace is counted once: {status:?}"
        );
    }
}
