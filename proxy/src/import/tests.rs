//! What each key of the sources becomes.

use serde_json::{Value, json};

mod kafka_connect;

use super::*;
use crate::config::{Acks, Compression, Exporter, Format as MessageFormat, Kafka, Partitioner};

type Import = fn(&str, &mut Draft) -> Result<(), String>;

fn draft(import: Import, text: &str) -> Draft {
    let mut draft = Draft::new("127.0.0.1:0", "http://127.0.0.1:9000");
    import(text, &mut draft).unwrap();
    draft
}

fn loaded(draft: &Draft, environment: &[(&str, &str)]) -> Kafka {
    let environment = environment.iter().copied().collect();
    let loaded = config::parse(&draft.yaml(), Path::new("weir.yaml"), &[], &environment);
    let loaded = loaded.unwrap_or_else(|faults| panic!("{}\n{faults}", draft.yaml()));
    let Exporter::Kafka(kafka) = loaded.config.exporters["traces"].clone() else {
        panic!("a Kafka exporter");
    };
    *kafka
}

fn has(draft: &Draft, begin: &str) -> bool {
    draft
        .findings()
        .iter()
        .any(|finding| finding.starts_with(begin))
}

#[test]
fn every_key_of_bifrost_is_taken_over() {
    let connector = json!({
        "brokers": ["one:9092", "two:9092"],
        "topic": "bifrost-traces",
        "tls_enabled": true,
        "ca_cert": "env.KAFKA_CA",
        "sasl_enabled": true,
        "sasl": { "mechanism": "SCRAM-SHA-512", "username": "env.KAFKA_USER", "password": "hunter2" },
        "compression": "zstd",
        "batch_size": 50,
        "flush_interval_ms": 250,
        "auto_create_topic": true,
        "disable_content_logging": true,
        "request_headers": ["x-custom-*"],
        "plugin_span_filter": { "mode": "exclude", "plugins": ["governance"] },
    });
    let file = json!({
        "providers": {},
        "plugins": [{ "name": "kafka", "enabled": false, "config": connector }],
    });
    let draft = draft(bifrost::import, &file.to_string());
    let pem = rcgen_pem();
    let kafka = loaded(
        &draft,
        &[
            ("KAFKA_CA", &pem),
            ("KAFKA_USER", "me"),
            ("WEIR_KAFKA_PASSWORD", "secret"),
        ],
    );
    assert!(!kafka.enabled);
    assert_eq!(kafka.brokers, ["one:9092", "two:9092"]);
    assert_eq!(kafka.topic, "bifrost-traces");
    assert!(kafka.tls.unwrap().ca_cert.is_some());
    let sasl = kafka.sasl.unwrap();
    assert_eq!(
        (sasl.mechanism, sasl.username.expose()),
        ("SCRAM-SHA-512", "me")
    );
    assert_eq!(sasl.password.expose(), "secret");
    assert_eq!(kafka.compression, Compression::Zstd);
    assert_eq!(kafka.batch_size, 50);
    assert_eq!(kafka.flush_interval.as_millis(), 250);
    assert!(kafka.auto_create_topic);
    assert!(kafka.filters.disable_content_logging);
    assert_eq!(kafka.filters.request_headers, ["x-custom-*"]);
    assert!(!kafka.filters.redact_headers);
    let filter = kafka.filters.plugin_span_filter.unwrap();
    assert_eq!(
        (filter.include, filter.plugins),
        (false, vec!["governance".to_owned()])
    );
    for finding in [
        "sasl.password: is not copied",
        "request_headers: ",
        "plugin_span_filter: ",
        "providers: is not of the Kafka connector",
    ] {
        assert!(has(&draft, finding), "{:?}", draft.findings());
    }
    assert!(!draft.yaml().contains("hunter2"));
}

/// Any certificate: it is only looked at for being PEM.
fn rcgen_pem() -> String {
    "-----BEGIN CERTIFICATE-----\nMIIBhTCCASugAwIBAgIQIRi6zePL6mKjOipn+dNuaTAKBggqhkjOPQQDAjASMRAw\n-----END CERTIFICATE-----\n".to_owned()
}

#[test]
fn the_least_of_bifrost_has_its_defaults() {
    let least = r#"{ "brokers": ["localhost:9092"], "topic": "t", "mystery": 1 }"#;
    let draft = draft(bifrost::import, least);
    let kafka = loaded(&draft, &[]);
    assert_eq!(kafka.format, MessageFormat::Json);
    assert_eq!(kafka.compression, Compression::None);
    assert_eq!(
        (kafka.batch_size, kafka.flush_interval.as_millis()),
        (100, 1000)
    );
    assert!(has(&draft, "mystery: has no equal"));
}

#[test]
fn secrets_of_bifrost_may_be_objects() {
    let sasl = json!({
        "mechanism": "PLAIN",
        "username": { "value": "me", "env_var": "", "from_env": false },
        "password": { "value": "", "env_var": "env.KAFKA_PASSWORD", "from_env": true },
    });
    let connector = json!({ "brokers": ["a:1"], "topic": "t", "sasl_enabled": true, "sasl": sasl });
    let kafka = loaded(
        &draft(bifrost::import, &connector.to_string()),
        &[("KAFKA_PASSWORD", "secret")],
    );
    let sasl = kafka.sasl.unwrap();
    assert_eq!(
        (sasl.username.expose(), sasl.password.expose()),
        ("me", "secret")
    );
}

#[test]
fn rotels_defaults_are_written_out_where_weirs_differ() {
    let draft = draft(rotel::import, "rotel start --exporter kafka");
    let kafka = loaded(&draft, &[]);
    assert_eq!(kafka.brokers, ["localhost:9092"]);
    assert_eq!(kafka.topic, "otlp_traces");
    assert_eq!(kafka.format, MessageFormat::OtlpProtobuf);
    assert_eq!(kafka.compression, Compression::None);
    assert_eq!(kafka.batch_size, 10_000);
    assert_eq!(kafka.flush_interval.as_millis(), 5);
    let producer = kafka.producer;
    assert_eq!(producer.acks, Acks::One);
    assert_eq!(producer.client_id, "rotel");
    assert_eq!(producer.max_message_bytes, 1_000_000);
    assert_eq!(producer.retries, 2_147_483_647);
    assert_eq!(producer.message_timeout.as_millis(), 300_000);
    assert_eq!(producer.batch_bytes, 1_000_000);
    assert_eq!(producer.partitioner, Partitioner::ConsistentRandom);
    for name in [
        "brokers",
        "traces-topic",
        "format",
        "acks",
        "client-id",
        "linger-ms",
    ] {
        let begin = format!("--kafka-exporter-{name}: was not given");
        assert!(has(&draft, &begin), "{begin}");
    }
    assert!(has(&draft, "--kafka-exporter-metrics-topic: has no equal"));
    assert!(has(&draft, "--kafka-exporter-logs-topic: has no equal"));
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
    let draft = draft(rotel::import, text);
    let kafka = loaded(&draft, &[(ROTEL_PASSWORD, "secret")]);
    assert_eq!(kafka.brokers, ["broker1:9092", "broker2:9092"]);
    assert_eq!(kafka.topic, "t");
    assert_eq!(kafka.format, MessageFormat::OtlpJson);
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
    for name in [
        "metrics-topic",
        "logs-topic",
        "request-timeout",
        "partition-metrics-by-resource-attributes",
        "partition-logs-by-resource-attributes",
    ] {
        let begin = format!("--kafka-exporter-{name}: has no equal");
        assert!(has(&draft, &begin), "{begin} {:?}", draft.findings());
    }
    assert!(has(&draft, "--kafka-exporter-sasl-password: is not copied"));
    assert!(!draft.yaml().contains("hunter2"));
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
    let kafka = loaded(&draft(rotel::import, secured), &[(ROTEL_PASSWORD, "p")]);
    assert_eq!(kafka.producer.acks, Acks::All);
    let idempotent = r#"
        rotel start --exporter kafka \
          --kafka-exporter-custom-config "enable.idempotence=true,max.in.flight.requests.per.connection=1" \
          --kafka-exporter-brokers "broker1:9092,broker2:9092""#;
    let kafka = loaded(&draft(rotel::import, idempotent), &[]);
    assert_eq!(kafka.producer.acks, Acks::All);
    let sizes = r#"
        rotel start --exporter kafka \
          --kafka-exporter-batch-size 500000 \
          --kafka-exporter-custom-config "batch.size=2000000""#;
    let kafka = loaded(&draft(rotel::import, sizes), &[]);
    assert_eq!(
        kafka.producer.custom_config["batch.size"].expose(),
        "2000000"
    );
}

#[test]
fn what_is_wrong_with_a_source_is_said() {
    let refused = |import: Import, text: &str| {
        let mut draft = Draft::new("127.0.0.1:0", "http://127.0.0.1:9000");
        import(text, &mut draft).unwrap_err()
    };
    assert!(refused(bifrost::import, "brokers: [a]").starts_with("not JSON"));
    assert!(refused(bifrost::import, "{}").contains("no Kafka connector"));
    assert!(refused(rotel::import, "rotel start --exporter otlp").contains("no Kafka exporter"));
    for (option, said) in [
        ("linger-ms soon", "it is a whole number"),
        ("format xml", "it is `json` or `protobuf`"),
        ("custom-config a", "`a` has no `=`"),
        (
            "security-protocol TLS",
            "it is PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL",
        ),
    ] {
        let error = refused(rotel::import, &format!("--kafka-exporter-{option}"));
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn what_is_written_reads_as_it_was() {
    let mut draft = Draft::new("127.0.0.1:0", "http://127.0.0.1:9000");
    draft.set("brokers", json!(["a:1"]));
    draft.set("topic", "t");
    draft.set("ca_cert", "-----BEGIN\nline\n-----END\n");
    draft.set_property("Odd: key", "va\"lue: #");
    draft.note("key", "first\nsecond");
    let yaml = draft.yaml();
    let read: Value = serde_saphyr::from_str(&yaml).unwrap();
    let kafka = &read["exporters"]["traces"]["kafka"];
    assert_eq!(kafka["ca_cert"], "-----BEGIN\nline\n-----END\n");
    assert_eq!(kafka["producer"]["custom_config"]["Odd: key"], "va\"lue: #");
}
