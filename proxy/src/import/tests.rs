//! What each key of the sources becomes.

use serde_json::{Value, json};

mod kafka_connect;
mod rotel;

use super::*;
use crate::config::otlp::Otlp;
use crate::config::{Compression, Exporter, Format as MessageFormat, Kafka};

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

fn receiver(draft: &Draft, environment: &[(&str, &str)]) -> Otlp {
    let environment = environment.iter().copied().collect();
    let loaded = config::parse(&draft.yaml(), Path::new("weir.yaml"), &[], &environment);
    let loaded = loaded.unwrap_or_else(|faults| panic!("{}\n{faults}", draft.yaml()));
    loaded.config.otlp.unwrap()
}

fn addresses(otlp: &Otlp) -> Vec<String> {
    let grpc = otlp.grpc.iter().map(|grpc| grpc.address);
    let http = otlp.http.iter().map(|http| http.address);
    grpc.chain(http)
        .map(|address| address.to_string())
        .collect()
}

/// The part of the page on moving to Weir with this heading.
fn section(heading: &str) -> &'static str {
    let page = include_str!("../../../docs/migrating.md");
    let mut sections = page.split("\n## ");
    let found = sections.find(|section| section.starts_with(heading));
    found.expect(heading)
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

#[test]
fn the_page_on_moving_has_every_key_of_bifrosts() {
    let section = section("From Bifrost's Kafka connector");
    for key in [
        "enabled",
        "brokers",
        "topic",
        "tls_enabled",
        "ca_cert",
        "sasl_enabled",
        "sasl.mechanism",
        "sasl.username",
        "sasl.password",
        "compression",
        "batch_size",
        "flush_interval_ms",
        "auto_create_topic",
        "disable_content_logging",
        "request_headers",
        "plugin_span_filter",
    ] {
        assert!(section.contains(&format!("`{key}`")), "{key}");
    }
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
fn what_is_wrong_with_a_source_is_said() {
    let refused = |import: Import, text: &str| {
        let mut draft = Draft::new("127.0.0.1:0", "http://127.0.0.1:9000");
        import(text, &mut draft).unwrap_err()
    };
    assert!(refused(bifrost::import, "brokers: [a]").starts_with("not JSON"));
    assert!(refused(bifrost::import, "{}").contains("no Kafka connector"));
    assert!(
        refused(super::rotel::import, "rotel start --exporter otlp").contains("no Kafka exporter")
    );
    for (option, said) in [
        ("linger-ms soon", "it is a whole number"),
        ("format xml", "it is `json` or `protobuf`"),
        (
            "partition-logs-by-resource-attributes maybe",
            "it is `true` or `false`",
        ),
        ("custom-config a", "`a` has no `=`"),
        (
            "security-protocol TLS",
            "it is PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL",
        ),
    ] {
        let error = refused(super::rotel::import, &format!("--kafka-exporter-{option}"));
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn what_is_written_reads_as_it_was() {
    let mut draft = Draft::new("127.0.0.1:0", "http://127.0.0.1:9000");
    draft.set("brokers", json!(["a:1"]));
    draft.set("topic", "t");
    draft.set("ca_cert", "-----BEGIN\nline\n-----END\n");
    draft.set_property("producer.custom_config", "Odd: key", "va\"lue: #");
    draft.note("key", "first\nsecond");
    let yaml = draft.yaml();
    let read: Value = serde_saphyr::from_str(&yaml).unwrap();
    let kafka = &read["exporters"]["traces"]["kafka"];
    assert_eq!(kafka["ca_cert"], "-----BEGIN\nline\n-----END\n");
    assert_eq!(kafka["producer"]["custom_config"]["Odd: key"], "va\"lue: #");
}
