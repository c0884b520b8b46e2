//! What each key of Conduktor's connector becomes.

use super::*;
use crate::config::Acks;
use crate::config::otlp::Format as OtlpFormat;
use crate::import::kafka_connect;

fn drafted(connector: &Value, brokers: &[String]) -> Result<Draft, String> {
    let mut draft = Draft::receiver();
    kafka_connect::import(&connector.to_string(), brokers, &mut draft)?;
    Ok(draft)
}

/// The connector with these keys, as it is sent to Kafka Connect.
fn connector(more: &Value) -> Value {
    let mut config = json!({
        "connector.class": "io.conduktor.connect.otel.OpenTelemetrySourceConnector",
        "tasks.max": "1",
    });
    let keys = config.as_object_mut().unwrap();
    keys.extend(more.as_object().unwrap().clone());
    json!({ "name": "otlp-source", "config": config })
}

#[test]
fn the_connectors_defaults_are_written_out() {
    let draft = drafted(&connector(&json!({})), &[]).unwrap();
    let otlp = receiver(&draft, &[]);
    assert_eq!(addresses(&otlp), ["0.0.0.0:4317", "0.0.0.0:4318"]);
    assert_eq!(otlp.format, OtlpFormat::JsonSnakeCase);
    assert_eq!(otlp.queue_size, Some(10_000));
    assert!(otlp.token.is_none());
    for (destination, topic) in [
        (&otlp.traces, "otlp-traces"),
        (&otlp.metrics, "otlp-metrics"),
        (&otlp.logs, "otlp-logs"),
    ] {
        assert_eq!(destination.kafka.topic, topic);
        assert_eq!(destination.kafka.brokers, ["localhost:9092"]);
        assert_eq!(destination.kafka.producer.max_message_bytes, 1_048_576);
        assert!(destination.kafka.auto_create_topic);
        assert!(!destination.keyed);
    }
    for written in ["traces_topic", "format", "queue_size", "address"] {
        assert!(draft.yaml().contains(written), "{}", draft.yaml());
    }
    assert!(has(&draft, "otlp.message.format: "));
    assert!(!draft.yaml().contains("listeners"));
}

#[test]
fn every_key_of_the_connector_is_taken_over() {
    let draft = drafted(
        &connector(&json!({
            "otlp.grpc.enabled": false,
            "otlp.http.port": 5318,
            "otlp.bind.address": "127.0.0.1",
            "kafka.topic.traces": "prod-traces",
            "kafka.topic.metrics": "prod-metrics",
            "kafka.topic.logs": "prod-logs",
            "otlp.message.format": "protobuf",
            "otlp.message.queue.size": "50000",
            "otlp.auth.enabled": "true",
            "otlp.auth.methods": "api-key,oidc",
            "otlp.auth.api-key": "hunter2",
            "otlp.auth.api-key.header": "x-api-key",
            "otlp.auth.oidc.issuer": "https://idp.example",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "transforms": "mask",
            "transforms.mask.type": "org.apache.kafka.connect.transforms.MaskField$Value",
            "topic.creation.default.partitions": "6",
            "errors.tolerance": "all",
            "otlp.mystery": "1",
            "producer.override.bootstrap.servers": "a:1, b:2",
            "producer.override.acks": "1",
            "producer.override.compression.type": "lz4",
            "producer.override.linger.ms": "7",
            "producer.override.batch.size": "500000",
            "producer.override.max.request.size": "2000000",
            "producer.override.client.id": "me",
            "producer.override.retries": "9",
            "producer.override.security.protocol": "SASL_SSL",
            "producer.override.sasl.mechanism": "SCRAM-SHA-512",
            "producer.override.sasl.jaas.config":
                "org.apache.kafka.common.security.scram.ScramLoginModule required \
                 username=\"user\" password=\"hunter3\";",
            "producer.override.interceptor.classes": "a.B",
        })),
        &[],
    );
    let draft = draft.unwrap();
    let environment = [("WEIR_OTLP_TOKEN", "t"), ("WEIR_KAFKA_PASSWORD", "p")];
    let otlp = receiver(&draft, &environment);
    assert_eq!(addresses(&otlp), ["127.0.0.1:5318"]);
    assert_eq!(otlp.format, OtlpFormat::Protobuf);
    assert_eq!(otlp.queue_size, Some(50_000));
    assert_eq!(otlp.token.as_ref().unwrap().expose(), "t");
    assert_eq!(otlp.metrics.kafka.topic, "prod-metrics");
    assert_eq!(otlp.logs.kafka.topic, "prod-logs");
    let kafka = &otlp.traces.kafka;
    assert_eq!(kafka.topic, "prod-traces");
    assert_eq!(kafka.brokers, ["a:1", "b:2"]);
    assert_eq!(kafka.compression, Compression::Lz4);
    assert_eq!(kafka.flush_interval.as_millis(), 7);
    assert!(kafka.tls.is_some());
    let sasl = kafka.sasl.as_ref().unwrap();
    assert_eq!(
        (sasl.mechanism, sasl.username.expose()),
        ("SCRAM-SHA-512", "user")
    );
    assert_eq!(sasl.password.expose(), "p");
    let producer = &kafka.producer;
    assert_eq!(producer.acks, Acks::One);
    assert_eq!(producer.batch_bytes, 500_000);
    assert_eq!(producer.max_message_bytes, 2_000_000);
    assert_eq!((producer.client_id.as_str(), producer.retries), ("me", 9));
    for finding in [
        "otlp.auth.methods: ",
        "otlp.auth.api-key: is not copied",
        "otlp.auth.api-key.header: has no equal",
        "otlp.auth.oidc.issuer: has no equal",
        "value.converter: has no equal",
        "transforms: has no equal",
        "transforms.mask.type: has no equal",
        "topic.creation.default.partitions: has no equal",
        "errors.tolerance: has no equal",
        "otlp.mystery: has no equal: it is no key",
        "producer.override.interceptor.classes: has no equal",
        "producer.override.sasl.jaas.config: is not copied",
    ] {
        assert!(has(&draft, finding), "{finding} {:?}", draft.findings());
    }
    assert!(!has(&draft, "key.converter"));
    assert!(!draft.yaml().contains("hunter"));
}

#[test]
fn brokers_may_be_given_and_references_are_told() {
    let keys = json!({ "kafka.topic.traces": "${file:/secrets:topic}" });
    let given = ["one:9092".to_owned()];
    let draft = drafted(&connector(&keys)["config"], &given).unwrap();
    let otlp = receiver(&draft, &[]);
    assert_eq!(otlp.traces.kafka.brokers, given);
    assert_eq!(otlp.traces.kafka.topic, "otlp-traces");
    assert!(has(&draft, "kafka.topic.traces: `${…}`"));
}

#[test]
fn what_asked_for_something_is_not_left_open() {
    let oidc = json!({ "otlp.auth.enabled": "true", "otlp.auth.methods": "oidc" });
    let draft = drafted(&connector(&oidc), &[]).unwrap();
    assert!(
        receiver(&draft, &[("WEIR_OTLP_TOKEN", "t")])
            .token
            .is_some()
    );
    let off = json!({ "otlp.auth.enabled": "false", "otlp.auth.api-key": "k" });
    let draft = drafted(&connector(&off), &[]).unwrap();
    assert!(receiver(&draft, &[]).token.is_none());
    assert!(has(&draft, "otlp.auth.api-key: has no equal"));
}

#[test]
fn what_is_wrong_with_a_connector_is_said() {
    let refused = |connector: &Value| drafted(connector, &[]).err().unwrap();
    assert!(refused(&json!({})).contains("no OTLP source connector"));
    let other = json!({ "connector.class": "org.apache.kafka.connect.file.FileStreamSource" });
    assert!(refused(&other).contains("no OTLP source connector"));
    for (key, value, said) in [
        ("otlp.grpc.port", "many", "it is a whole number"),
        ("otlp.http.enabled", "yes", "it is true or false"),
        ("otlp.message.format", "avro", "it is `json` or `protobuf`"),
        ("producer.override.acks", "2", "it is 0, 1 or all"),
    ] {
        let error = refused(&connector(&json!({ key: value })));
        assert!(error.contains(said), "{error}");
    }
    let nested = refused(&connector(&json!({ "otlp.grpc.port": [1] })));
    assert!(nested.contains("otlp.grpc.port"), "{nested}");
}
