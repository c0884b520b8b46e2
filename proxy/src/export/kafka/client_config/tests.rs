use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::export::testing::kafka;

fn with_custom(custom: &[(&str, &str)]) -> Kafka {
    let mut config = kafka("127.0.0.1:1", "traces");
    let secret = |value: &&str| Secret::new((*value).to_owned());
    let custom = custom
        .iter()
        .map(|(name, value)| ((*name).to_owned(), secret(value)));
    config.producer.custom_config = custom.collect();
    config
}

#[test]
fn custom_properties_win_by_either_of_two_names() {
    for (name, value) in [
        ("linger.ms", "7"),
        ("queue.buffering.max.ms", "7"),
        ("retries", "3"),
        ("compression.codec", "gzip"),
        ("request.required.acks", "1"),
        ("acks", "1"),
        ("delivery.timeout.ms", "5000"),
        ("max.in.flight", "2"),
        ("metadata.broker.list", "127.0.0.1:2"),
        ("sasl.mechanisms", "PLAIN"),
    ] {
        let mut config = with_custom(&[(name, value)]);
        config.sasl = Some(Sasl {
            mechanism: "SCRAM-SHA-256",
            username: Secret::new("weir".to_owned()),
            password: Secret::new("weir".to_owned()),
        });
        // A map's order is another each time.
        for _ in 0..20 {
            let native = producer(&config, 1000).create_native_config().unwrap();
            assert_eq!(native.get(name).unwrap(), value, "{name}");
        }
    }
}

#[test]
fn what_a_topic_takes_rules_over_a_custom_batch() {
    let mut config = with_custom(&[("batch.size", "2000000")]);
    config.producer.batch_bytes = 2_000_000;
    assert_eq!(
        producer(&config, 2_000_000).get("batch.size"),
        Some("2000000")
    );
    assert_eq!(producer(&config, 1000).get("batch.size"), Some("1000"));
}

#[test]
fn a_linger_is_told_of_an_idempotent_producer_alone() {
    let mut config = with_custom(&[("linger.ms", "7")]);
    assert_eq!(linger(&config), Some(Duration::from_millis(7)));
    let part = with_custom(&[("linger.ms", "0.5")]);
    assert_eq!(linger(&part), Some(Duration::from_micros(500)));
    assert_eq!(check_together(&part), Ok(()));
    config.producer.acks = Acks::One;
    assert_eq!(linger(&config), None);
}

#[test]
fn the_last_of_two_names_wins() {
    let config = with_custom(&[("linger.ms", "7"), ("queue.buffering.max.ms", "9")]);
    let client = producer(&config, 1000);
    assert_eq!(client.get("queue.buffering.max.ms"), Some("9"));
    assert_eq!(client.get("linger.ms"), None);
    assert_eq!(patience(&config), Duration::from_millis(30_009));
}

/// Names of librdkafka's properties that the schema has at keys.
fn shown(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            let names = map.get("x-librdkafka").and_then(Value::as_array);
            let names = names.into_iter().flatten().filter_map(Value::as_str);
            found.extend(names.map(str::to_owned));
            map.values().for_each(|value| shown(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| shown(value, found)),
        _ => {}
    }
}

#[test]
fn each_property_is_shown_at_its_key_and_what_is_shown_is_set() {
    let mut config = kafka("127.0.0.1:1", "traces");
    let secret = || Secret::new("secret".to_owned());
    config.tls = Some(Tls {
        ca_cert: Some(secret()),
        client: Some(("certificate".to_owned(), secret())),
    });
    config.sasl = Some(Sasl {
        mechanism: "PLAIN",
        username: secret(),
        password: secret(),
    });
    let mut found = BTreeSet::new();
    shown(crate::config::schema(), &mut found);
    // What Weir needs for its promises, whatever the configuration says.
    let own = [
        "allow.auto.create.topics",
        GAPLESS,
        "reconnect.backoff.max.ms",
        "socket.connection.setup.timeout.ms",
        "socket.keepalive.enable",
        "ssl.endpoint.identification.algorithm",
        "statistics.interval.ms",
    ];
    let client = producer(&config, 1000);
    let set: BTreeSet<String> = client
        .config_map()
        .keys()
        .map(|key| (*key).to_owned())
        .collect();
    let own: BTreeSet<String> = own.into_iter().map(str::to_owned).collect();
    assert_eq!(&set - &own, found);
    assert_eq!(&own - &set, BTreeSet::new());
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let client = producer(&kafka("127.0.0.1:1", "traces"), 1_000_000);
    for (property, value) in [
        ("acks", "all"),
        ("enable.idempotence", "true"),
        ("client.id", "weir"),
        ("message.max.bytes", "1000000"),
        ("message.send.max.retries", "2147483647"),
        ("retry.backoff.ms", "100"),
        ("retry.backoff.max.ms", "1000"),
        ("message.timeout.ms", "300000"),
        ("request.timeout.ms", "30000"),
        ("batch.size", "1000000"),
        ("partitioner", "consistent_random"),
        ("security.protocol", "plaintext"),
    ] {
        assert_eq!(client.get(property), Some(value), "{property}");
    }
}

/// Each key at a value that is not its default.
#[test]
fn each_key_sets_its_property_to_its_value() {
    let millis = Duration::from_millis;
    let mut config = kafka("one:9092", "traces");
    config.brokers.push("two:9093".to_owned());
    config.tls = Some(Tls {
        ca_cert: Some(Secret::new("authority".to_owned())),
        client: Some(("certificate".to_owned(), Secret::new("key".to_owned()))),
    });
    config.sasl = Some(Sasl {
        mechanism: "SCRAM-SHA-512",
        username: Secret::new("user".to_owned()),
        password: Secret::new("secret".to_owned()),
    });
    config.compression = Compression::Zstd;
    config.batch_size = 77;
    config.flush_interval = millis(78);
    config.buffer_bytes = 80 << 20;
    config.producer = Producer {
        acks: Acks::One,
        client_id: "me".to_owned(),
        max_message_bytes: 2_000_001,
        retries: 9,
        retry_backoff: millis(101),
        retry_backoff_max: millis(1002),
        message_timeout: millis(300_003),
        request_timeout: millis(30_004),
        batch_bytes: 900_005,
        partitioner: Partitioner::Fnv1aRandom,
        ..Producer::default()
    };
    let client = producer(&config, config.producer.batch_bytes);
    for (property, value) in [
        ("bootstrap.servers", "one:9092,two:9093"),
        ("security.protocol", "sasl_ssl"),
        ("ssl.ca.pem", "authority"),
        ("ssl.certificate.pem", "certificate"),
        ("ssl.key.pem", "key"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", "user"),
        ("sasl.password", "secret"),
        ("compression.type", "zstd"),
        ("batch.num.messages", "77"),
        ("queue.buffering.max.ms", "78"),
        ("queue.buffering.max.kbytes", "10240"),
        ("acks", "1"),
        ("enable.idempotence", "false"),
        ("client.id", "me"),
        ("message.max.bytes", "2000001"),
        ("message.send.max.retries", "9"),
        ("retry.backoff.ms", "101"),
        ("retry.backoff.max.ms", "1002"),
        ("message.timeout.ms", "300003"),
        ("request.timeout.ms", "30004"),
        ("socket.timeout.ms", "30004"),
        ("batch.size", "900005"),
        ("partitioner", "fnv1a_random"),
    ] {
        assert_eq!(client.get(property), Some(value), "{property}");
    }
}

#[test]
fn each_choice_of_a_key_is_one_of_librdkafkas() {
    let of = |change: &dyn Fn(&mut Kafka), property: &str| {
        let mut config = kafka("127.0.0.1:1", "traces");
        change(&mut config);
        let client = producer(&config, 1000);
        client.create_native_config().expect("librdkafka takes it");
        client.get(property).unwrap().to_owned()
    };
    for (acks, value) in [(Acks::None, "0"), (Acks::One, "1"), (Acks::All, "all")] {
        let set = |config: &mut Kafka| config.producer.acks = acks;
        assert_eq!(of(&set, "acks"), value);
    }
    for (compression, value) in [
        (Compression::None, "none"),
        (Compression::Gzip, "gzip"),
        (Compression::Snappy, "snappy"),
        (Compression::Lz4, "lz4"),
        (Compression::Zstd, "zstd"),
    ] {
        let set = |config: &mut Kafka| config.compression = compression;
        assert_eq!(of(&set, "compression.type"), value);
    }
    for (partitioner, value) in [
        (Partitioner::Consistent, "consistent"),
        (Partitioner::ConsistentRandom, "consistent_random"),
        (Partitioner::Murmur2, "murmur2"),
        (Partitioner::Murmur2Random, "murmur2_random"),
        (Partitioner::Fnv1a, "fnv1a"),
        (Partitioner::Fnv1aRandom, "fnv1a_random"),
    ] {
        let set = |config: &mut Kafka| config.producer.partitioner = partitioner;
        assert_eq!(of(&set, "partitioner"), value);
    }
}

#[test]
fn properties_that_contradict_others_are_refused_without_their_values() {
    for (custom, said) in [
        (
            &[("max.in.flight", "6")][..],
            "`max.in.flight` must be set <= 5",
        ),
        (
            &[("acks", "1"), ("enable.idempotence", "true")],
            "`acks` must be set to `all`",
        ),
        (
            &[("message.timeout.ms", "3")],
            "`message.timeout.ms` must be greater than `linger.ms`",
        ),
    ] {
        let refused = check_together(&with_custom(custom)).unwrap_err();
        assert!(refused.contains(said), "{refused}");
    }
    assert_eq!(
        check_together(&with_custom(&[("max.in.flight", "5")])),
        Ok(())
    );
    assert_eq!(
        check_together(&with_custom(&[("enable.idempotence", "false")])),
        Ok(())
    );
}

#[test]
fn properties_that_would_break_delivery_in_silence_are_refused() {
    for (name, value) in [
        ("delivery.report.only.error", "true"),
        ("transactional.id", "weir"),
    ] {
        assert!(check_property(name, value).is_err(), "{name}");
    }
    assert_eq!(
        check_property("delivery.report.only.error", "false"),
        Ok(())
    );
}
