//! What each option of Rotel's becomes.

use super::*;
use crate::config::otlp::Format as OtlpFormat;
use crate::config::{Acks, Partitioner};
use crate::import::rotel;

fn drafted(text: &str) -> Draft {
    let mut draft = Draft::receiver();
    rotel::import(text, &mut draft).unwrap();
    draft
}

#[test]
fn rotels_defaults_are_written_out_where_weirs_differ() {
    let draft = drafted("rotel start --exporter kafka");
    let otlp = receiver(&draft, &[]);
    assert_eq!(addresses(&otlp), ["127.0.0.1:4317", "127.0.0.1:4318"]);
    assert_eq!(otlp.format, OtlpFormat::Protobuf);
    for (destination, topic) in [
        (&otlp.traces, "otlp_traces"),
        (&otlp.metrics, "otlp_metrics"),
        (&otlp.logs, "otlp_logs"),
    ] {
        let kafka = &destination.kafka;
        assert_eq!(kafka.topic, topic);
        assert!(!destination.keyed);
        assert_eq!(kafka.brokers, ["localhost:9092"]);
        assert_eq!(kafka.compression, Compression::None);
        assert_eq!(kafka.batch_size, 10_000);
        assert_eq!(kafka.flush_interval.as_millis(), 5);
        assert!(kafka.auto_create_topic);
        let producer = &kafka.producer;
        assert_eq!(producer.acks, Acks::One);
        assert_eq!(producer.client_id, "rotel");
        assert_eq!(producer.max_message_bytes, 1_000_000);
        assert_eq!(producer.retries, 2_147_483_647);
        assert_eq!(producer.message_timeout.as_millis(), 300_000);
        assert_eq!(producer.batch_bytes, 1_000_000);
        assert_eq!(producer.partitioner, Partitioner::ConsistentRandom);
    }
    for name in [
        "otlp-grpc-endpoint",
        "otlp-http-endpoint",
        "kafka-exporter-brokers",
        "kafka-exporter-traces-topic",
        "kafka-exporter-metrics-topic",
        "kafka-exporter-logs-topic",
        "kafka-exporter-format",
        "kafka-exporter-acks",
        "kafka-exporter-client-id",
    ] {
        let begin = format!("--{name}: was not given");
        assert!(has(&draft, &begin), "{begin}");
    }
    assert!(!draft.yaml().contains("listeners"));
}

#[test]
fn addresses_of_rotels_receiver_are_taken_over() {
    let draft = drafted(
        "ROTEL_OTLP_HTTP_ENDPOINT=0.0.0.0:14318\n\
         rotel start --exporter kafka --otlp-grpc-endpoint 0.0.0.0:14317 --otlp-http-traces-path /t",
    );
    let otlp = receiver(&draft, &[]);
    assert_eq!(addresses(&otlp), ["0.0.0.0:14317", "0.0.0.0:14318"]);
    assert!(has(&draft, "--otlp-http-traces-path: is no option"));
}

/// Each option of Rotel's Kafka exporter with a value that is not its default.
const OPTIONS: [(&str, &str); 24] = [
    ("brokers", "broker1:9092,broker2:9092"),
    ("traces-topic", "t"),
    ("metrics-topic", "m"),
    ("logs-topic", "l"),
    ("format", "json"),
    ("compression", "gzip"),
    ("request-timeout", "10s"),
    ("acks", "all"),
    ("client-id", "me"),
    ("max-message-bytes", "2000000"),
    ("linger-ms", "7"),
    ("retries", "9"),
    ("retry-backoff-ms", "200"),
    ("retry-backoff-max-ms", "2000"),
    ("message-timeout-ms", "60000"),
    ("request-timeout-ms", "20000"),
    ("batch-size", "500000"),
    ("partitioner", "murmur2"),
    ("partition-metrics-by-resource-attributes", "true"),
    ("partition-logs-by-resource-attributes", "true"),
    (
        "custom-config",
        "queue.buffering.max.kbytes=2048,socket.nagle.disable=true",
    ),
    ("sasl-username", "user"),
    ("sasl-mechanism", "SCRAM-SHA-256"),
    ("security-protocol", "SASL_SSL"),
];

fn assert_all_options(text: &str) {
    let draft = drafted(text);
    let otlp = receiver(&draft, &[(ROTEL_PASSWORD, "secret")]);
    assert_eq!(otlp.format, OtlpFormat::Json);
    for (destination, topic, keyed) in [
        (&otlp.traces, "t", false),
        (&otlp.metrics, "m", true),
        (&otlp.logs, "l", true),
    ] {
        assert_eq!(destination.kafka.topic, topic);
        assert_eq!(destination.keyed, keyed, "{topic}");
    }
    // As it is given to the exporter of traces; resources have a partitioner of their own.
    let kafka = otlp.traces.kafka;
    assert_eq!(kafka.brokers, ["broker1:9092", "broker2:9092"]);
    assert_eq!(kafka.compression, Compression::Gzip);
    assert!(kafka.tls.is_some());
    let sasl = kafka.sasl.unwrap();
    assert_eq!(
        (sasl.mechanism, sasl.username.expose()),
        ("SCRAM-SHA-256", "user")
    );
    assert_eq!(sasl.password.expose(), "secret");
    assert_eq!(kafka.flush_interval.as_millis(), 7);
    let producer = kafka.producer;
    assert_eq!(producer.acks, Acks::All);
    assert_eq!(producer.client_id, "me");
    assert_eq!(producer.max_message_bytes, 2_000_000);
    assert_eq!(producer.retries, 9);
    assert_eq!(producer.retry_backoff.as_millis(), 200);
    assert_eq!(producer.retry_backoff_max.as_millis(), 2000);
    assert_eq!(producer.message_timeout.as_millis(), 60_000);
    assert_eq!(producer.request_timeout.as_millis(), 20_000);
    assert_eq!(producer.batch_bytes, 500_000);
    assert_eq!(producer.partitioner, Partitioner::Murmur2);
    let custom = &producer.custom_config;
    assert_eq!(custom["queue.buffering.max.kbytes"].expose(), "2048");
    assert_eq!(custom["socket.nagle.disable"].expose(), "true");
    let begin = "--kafka-exporter-request-timeout: has no equal";
    assert!(has(&draft, begin), "{:?}", draft.findings());
    assert!(has(&draft, "--kafka-exporter-sasl-password: is not copied"));
    assert!(!draft.yaml().contains("hunter2"));
}

#[test]
fn the_page_on_moving_has_every_option_of_rotels() {
    let section = section("From Rotel's Kafka exporter");
    let names = OPTIONS.iter().map(|(name, _)| *name);
    for name in names.chain(["sasl-password"]) {
        assert!(section.contains(&format!("`{name}`")), "{name}");
    }
}

const ROTEL_PASSWORD: &str = "ROTEL_KAFKA_EXPORTER_SASL_PASSWORD";

#[test]
fn every_flag_of_rotel_is_taken_over() {
    let mut text = "rotel start --exporter kafka --kafka-exporter-sasl-password=hunter2".to_owned();
    for (name, value) in OPTIONS {
        text += &format!(" \\\n  --kafka-exporter-{name} \"{value}\"");
    }
    assert_all_options(&text);
}

#[test]
fn every_variable_of_rotel_is_taken_over() {
    let mut text = format!("# Rotel\nROTEL_EXPORTER=kafka\nexport {ROTEL_PASSWORD}='hunter2'\n");
    for (name, value) in OPTIONS {
        let name = name.to_uppercase().replace('-', "_");
        text += &format!("ROTEL_KAFKA_EXPORTER_{name}={value}\n");
    }
    assert_all_options(&text);
}

#[test]
fn the_examples_of_rotels_documentation_are_taken_over() {
    let secured = r#"
        rotel start --exporter kafka \
          --kafka-exporter-brokers "broker1:9092,broker2:9092" \
          --kafka-exporter-sasl-username "your-username" \
          --kafka-exporter-sasl-password "your-password" \
          --kafka-exporter-sasl-mechanism "SCRAM-SHA-256" \
          --kafka-exporter-security-protocol "SASL_SSL" \
          --kafka-exporter-compression "gzip" \
          --kafka-exporter-acks "all""#;
    let kafka = receiver(&drafted(secured), &[(ROTEL_PASSWORD, "p")])
        .traces
        .kafka;
    assert_eq!(kafka.producer.acks, Acks::All);
    let idempotent = r#"
        rotel start --exporter kafka \
          --kafka-exporter-custom-config "enable.idempotence=true,max.in.flight.requests.per.connection=1" \
          --kafka-exporter-brokers "broker1:9092,broker2:9092""#;
    let kafka = receiver(&drafted(idempotent), &[]).traces.kafka;
    assert_eq!(kafka.producer.acks, Acks::All);
    let sizes = r#"
        rotel start --exporter kafka \
          --kafka-exporter-batch-size 500000 \
          --kafka-exporter-custom-config "batch.size=2000000""#;
    let kafka = receiver(&drafted(sizes), &[]).traces.kafka;
    assert_eq!(
        kafka.producer.custom_config["batch.size"].expose(),
        "2000000"
    );
}
