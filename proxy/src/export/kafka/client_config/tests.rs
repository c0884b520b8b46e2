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
    // What Weir needs for its promises, whatever the configuration says, or what follows from
    // `buffer_bytes`.
    let own = [
        "allow.auto.create.topics",
        GAPLESS,
        "queue.buffering.max.kbytes",
        "queue.buffering.max.messages",
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
