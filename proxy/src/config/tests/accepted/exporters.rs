//! Exporters to Kafka and by OTLP.

use super::*;

fn kafka_of(config: &Config) -> &Kafka {
    let Exporter::Kafka(kafka) = &config.exporters["traces"] else {
        panic!("a Kafka exporter");
    };
    kafka
}

#[test]
fn mutual_tls_takes_pem_from_text_files_and_variables() {
    const PEM: &str = "-----BEGIN CERTIFICATE-----";
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ca.pem"), PEM).unwrap();
    let file = folder.path().join("weir.yaml");
    let yaml = kafka(&format!(
        "      tls_enabled: true\n      ca_cert: ca.pem\n      client_cert: {PEM:?}\n      \
         client_key: env.KEY\n"
    ));
    fs::write(&file, yaml).unwrap();
    let config = load(&file, &[], &[("KEY", PEM)].into_iter().collect());
    let config = config.unwrap().config;
    let pem = Secret::new(PEM.to_owned());
    let tls = kafka_of(&config).tls.as_ref().unwrap();
    assert_eq!(tls.ca_cert, Some(pem.clone()));
    assert_eq!(tls.client, Some((PEM.to_owned(), pem)));
}

#[test]
fn what_is_switched_off_asks_for_no_secret() {
    let config = accepted(&kafka(
        "      ca_cert: missing.pem\n      sasl_enabled: false\n      sasl: { password: env.UNSET }\n",
    ));
    assert_eq!(kafka_of(&config).tls, None);
    assert_eq!(kafka_of(&config).sasl, None);
}

#[test]
fn names_in_filters_are_as_the_filters_compare_them() {
    let config = accepted(&kafka(
        "      request_headers: [X-Custom-*]\n      \
         plugin_span_filter: { mode: include, plugins: [My Id] }\n\
         plugins: { my id: { module: 'builtin:request-id' } }\n",
    ));
    let filters = &kafka_of(&config).filters;
    assert_eq!(filters.request_headers, ["x-custom-*"]);
    let filter = filters.plugin_span_filter.as_ref().unwrap();
    assert!(filter.include);
    assert_eq!(filter.plugins, ["my-id"]);
}

#[test]
fn every_key_of_the_producer_is_read() {
    let config = accepted_with(
        &kafka(
            "      flush_interval_ms: 7
      producer:
        acks: one
        client_id: edge-1
        max_message_bytes: 2000000
        linger_ms: 5
        retries: 3
        retry_backoff_ms: 20
        retry_backoff_max_ms: 30
        message_timeout_ms: 0
        request_timeout_ms: 40
        batch_size: 50
        partitioner: fnv1a-random
        security_protocol: PLAINTEXT
        custom_config: { queue.buffering.max.kbytes: 2048, socket.nagle.disable: true, debug: env.DEBUG }",
        ),
        &[],
        &[("DEBUG", "broker")],
    );
    let kafka = kafka_of(&config);
    assert_eq!(kafka.flush_interval, Duration::from_millis(5));
    let custom = [
        ("queue.buffering.max.kbytes", "2048"),
        ("socket.nagle.disable", "true"),
        ("debug", "broker"),
    ];
    let custom = custom.map(|(name, value)| (name.to_owned(), Secret::new(value.to_owned())));
    assert_eq!(
        kafka.producer,
        Producer {
            acks: Acks::One,
            client_id: "edge-1".to_owned(),
            max_message_bytes: 2_000_000,
            retries: 3,
            retry_backoff: Duration::from_millis(20),
            retry_backoff_max: Duration::from_millis(30),
            message_timeout: Duration::ZERO,
            request_timeout: Duration::from_millis(40),
            batch_bytes: 50,
            partitioner: Partitioner::Fnv1aRandom,
            custom_config: IndexMap::from(custom),
        }
    );
}

#[test]
fn sizes_of_librdkafkas_own_are_what_weir_goes_by() {
    let config = accepted(&kafka(
        "      producer: { custom_config: { message.max.bytes: 5000, batch.size: 7000 } }",
    ));
    let producer = &kafka_of(&config).producer;
    assert_eq!(
        (producer.max_message_bytes, producer.batch_bytes),
        (5000, 7000)
    );
}

#[test]
fn a_message_lives_longer_than_its_batch_waits() {
    let config = accepted(&kafka("      flush_interval_ms: 900000"));
    let producer = &kafka_of(&config).producer;
    assert_eq!(producer.message_timeout, Duration::from_mins(20));
}

#[test]
fn an_otlp_exporter_needs_only_its_endpoint() {
    let config = accepted(&minimal(
        "exporters: { out: { otlp: { endpoint: 'http://Collector:4317' } } }",
    ));
    let seconds = Duration::from_secs;
    let expected = OtlpExporter {
        enabled: true,
        to: Destination {
            endpoint: Endpoint {
                protocol: Protocol::Http2,
                ..Endpoint::new("collector", 4317)
            },
            path: "/opentelemetry.proto.collector.trace.v1.TraceService/Export".to_owned(),
            protocol: OtlpProtocol::Grpc,
            headers: vec![],
            compression: OtlpCompression::Gzip,
            timeout: seconds(10),
        },
        batch_spans: 8192,
        batch_bytes: 2 << 20,
        flush_interval: seconds(1),
        retry_backoff: Duration::from_millis(500),
        retry_backoff_max: seconds(30),
        dead_letter: None,
        buffer_bytes: 64 << 20,
        filters: Filters::default(),
    };
    assert_eq!(expected.to.url(), "http://collector:4317");
    assert_eq!(config.exporters["out"], Exporter::Otlp(Box::new(expected)));
}

#[test]
fn an_otlp_endpoint_has_the_path_of_traces_behind_its_own() {
    for (endpoint, url) in [
        ("http://a:4318", "http://a:4318/v1/traces"),
        ("http://a:4318/", "http://a:4318/v1/traces"),
        ("http://a/v1/traces", "http://a:80/v1/traces"),
        ("http://a:1/api/otel/", "http://a:1/api/otel/v1/traces"),
        (
            "http://[::1]:4318/x/v1/traces/",
            "http://[::1]:4318/x/v1/traces",
        ),
    ] {
        let config = accepted(&minimal(&format!(
            "exporters: {{ out: {{ otlp: {{ endpoint: '{endpoint}', protocol: http_json }} }} }}"
        )));
        let Exporter::Otlp(otlp) = &config.exporters["out"] else {
            panic!("an OTLP exporter");
        };
        assert_eq!(otlp.to.url(), url);
    }
}
