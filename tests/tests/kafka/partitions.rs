//! Which partition a key leads to, held against clients that others wrote: Kafka's own in Java, and kafka-go
//! and Sarama in Go.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use weir::config::{Exporter, Partitioner};
use weir::export::Exporters;
use weir_tests::kafka::{partitions_by_java, shared, unique};
use weir_tests::service::service;

use crate::{config, hand_over};

/// Each, with librdkafka's name of it.
const PARTITIONERS: [(Partitioner, &str); 6] = [
    (Partitioner::Consistent, "consistent"),
    (Partitioner::ConsistentRandom, "consistent_random"),
    (Partitioner::Murmur2, "murmur2"),
    (Partitioner::Murmur2Random, "murmur2_random"),
    (Partitioner::Fnv1a, "fnv1a"),
    (Partitioner::Fnv1aRandom, "fnv1a_random"),
];

/// Numbers of partitions: a power of two hides what a hash has in its upper bits, and is not all there is.
const COUNTS: [i32; 3] = [3, 16, 50];

fn topic_of(count: i32) -> String {
    let topic = unique("partitions");
    shared().create_partitions(&topic, count, &[]);
    topic
}

/// What arrived in a topic: keys with their partitions.
fn arrived(topic: &str, messages: usize) -> HashMap<Vec<u8>, i32> {
    let messages = shared().read(topic, messages).into_iter();
    messages
        .map(|message| (message.key, message.partition))
        .collect()
}

/// The partition of each key that a client in Go chooses, by kafka-go under librdkafka's names of partitioners,
/// or by `sarama`; `None` is for a message without a key.
fn by_go(partitioner: &str, count: i32, keys: &[Option<Vec<u8>>]) -> Vec<i32> {
    let mut asked = String::new();
    for key in keys {
        match key {
            Some(key) => key.iter().for_each(|byte| {
                write!(asked, "{byte:02x}").expect("a string takes all");
            }),
            None => asked.push('-'),
        }
        asked.push('\n');
    }
    let mut command = Command::new(service("go/bin/partitions"));
    command.args([partitioner, &count.to_string()]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    let writer = std::thread::spawn(move || stdin.write_all(asked.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads all");
    assert!(output.status.success(), "{partitioner} {count}");
    let lines = String::from_utf8(output.stdout).expect("numbers");
    let chosen: Vec<i32> = lines
        .lines()
        .map(|line| line.parse().expect("a number"))
        .collect();
    assert_eq!(chosen.len(), keys.len());
    chosen
}

#[test]
fn every_partitioner_puts_traces_where_clients_of_others_put_them() {
    let mut exporters = IndexMap::new();
    let mut topics = Vec::new();
    for (partitioner, name) in PARTITIONERS {
        for count in COUNTS {
            let topic = topic_of(count);
            let mut config = config(shared().address(), &topic);
            config.producer.partitioner = partitioner;
            exporters.insert(topic.clone(), Exporter::Kafka(Box::new(config)));
            topics.push((name, count, topic));
        }
    }
    let exporters = Exporters::start(&exporters, None);
    let ids = hand_over(&exporters, 300);
    let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let keys: Vec<_> = texts
        .iter()
        .map(|text| Some(text.clone().into_bytes()))
        .collect();
    for (name, count, topic) in topics {
        let found = arrived(&topic, keys.len());
        let found: Vec<i32> = texts.iter().map(|key| found[key.as_bytes()]).collect();
        assert_eq!(found, by_go(name, count, &keys), "{name} {count}");
        if name.starts_with("fnv1a") {
            assert_eq!(found, by_go("sarama", count, &keys), "{name} {count}");
        }
        if name.starts_with("murmur2") {
            let partitions = usize::try_from(count).expect("few");
            let by_java = partitions_by_java(&texts, partitions);
            assert_eq!(found, by_java, "{name} {count}");
        }
    }
    exporters.shutdown(Instant::now() + Duration::from_secs(10));
}

/// Of every length up to 100, of any bytes, in words of some scripts, and a long one.
fn keys_of_all_kinds() -> Vec<Option<Vec<u8>>> {
    let byte = |number: usize| u8::try_from(number * 131 % 256).expect("a byte");
    let lengths = (1..=100).map(|length| (length..2 * length).map(byte).collect());
    let numbers = (0..200).map(|number| format!("key-{number}").into_bytes());
    let words = ["é", "ключ", "鍵", "🔑", "a\0b", " ", "\u{feff}"];
    let words = words.map(|word| word.as_bytes().to_vec());
    let long = "0123456789abcdef".repeat(1000).into_bytes();
    let all = lengths.chain(numbers).chain(words).chain([long]);
    all.map(Some).collect()
}

/// Weir's own keys are ids of traces; what comes by its client with others, such as none, is librdkafka's.
#[test]
fn keys_of_every_kind_lead_where_clients_of_others_lead_them() {
    for (_, name) in PARTITIONERS {
        let mut keys = keys_of_all_kinds();
        // An empty key is none for this one, which takes any partition then.
        if name != "consistent_random" {
            keys.push(Some(Vec::new()));
        }
        for count in COUNTS {
            let topic = topic_of(count);
            let producer: BaseProducer = ClientConfig::new()
                .set("bootstrap.servers", shared().address())
                .set("partitioner", name)
                .create()
                .expect("a producer");
            for key in &keys {
                let mut record = BaseRecord::<[u8], [u8]>::to(&topic).payload(b"");
                record.key = key.as_deref();
                producer
                    .send(record)
                    .map_err(|(error, _)| error)
                    .expect("room");
            }
            producer.flush(Duration::from_mins(1)).expect("all is sent");
            let found = arrived(&topic, keys.len());
            let found: Vec<i32> = keys
                .iter()
                .map(|key| found[key.as_deref().unwrap_or_default()])
                .collect();
            assert_eq!(found, by_go(name, count, &keys), "{name} {count}");
            if name.starts_with("fnv1a") {
                assert_eq!(found, by_go("sarama", count, &keys), "{name} {count}");
            }
        }
    }
}

#[test]
fn without_a_key_only_the_random_partitioners_spread() {
    let count = 16;
    for (_, name) in PARTITIONERS {
        let topic = topic_of(count);
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", shared().address())
            .set("partitioner", name)
            // A partition is kept for so long.
            .set("sticky.partitioning.linger.ms", "0")
            .create()
            .expect("a producer");
        for _ in 0..200 {
            let record = BaseRecord::<[u8], [u8]>::to(&topic).payload(b"");
            producer
                .send(record)
                .map_err(|(error, _)| error)
                .expect("room");
        }
        producer.flush(Duration::from_mins(1)).expect("all is sent");
        let mut found: Vec<i32> = shared()
            .read(&topic, 200)
            .iter()
            .map(|message| message.partition)
            .collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!(
            found.len() > 1,
            name.ends_with("_random"),
            "{name} {found:?}"
        );
        if matches!(name, "consistent" | "murmur2") {
            assert_eq!(found, by_go(name, count, &[None]), "{name}");
        }
    }
}
