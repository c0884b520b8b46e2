//! Reads a topic from its beginning, message by message, as they arrive.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// How long a broker may take to know a topic.
const PATIENCE: Duration = Duration::from_secs(10);

const AGAIN: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
#[error("the topic cannot be read")]
pub struct Error(#[from] KafkaError);

/// A message as a consumer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub key: Vec<u8>,
    /// In order; names may repeat.
    pub headers: Vec<(String, Vec<u8>)>,
    pub payload: Vec<u8>,
    pub partition: i32,
}

impl Message {
    /// The text of the first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        std::str::from_utf8(value).ok()
    }
}

/// Follows all partitions of one topic, without a consumer group.
pub struct Consumer(BaseConsumer);

impl Consumer {
    /// `brokers` is a list of `host:port`, separated by commas; the topic must be there, or come soon.
    pub fn new(brokers: &str, topic: &str) -> Result<Self, Error> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("client.id", "weir-demo")
            // Never used: partitions are assigned, nothing is committed.
            .set("group.id", "weir-demo")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "20")
            .set("fetch.error.backoff.ms", "20")
            .create()?;
        let mut assignment = TopicPartitionList::new();
        for partition in partitions(&consumer, topic)? {
            assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&assignment)?;
        Ok(Self(consumer))
    }

    /// The next message; `None` where none comes in time.
    pub fn recv(&self, timeout: Duration) -> Result<Option<Message>, Error> {
        let Some(message) = self.0.poll(timeout) else {
            return Ok(None);
        };
        let message = message?;
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers
                .iter()
                .map(|header| {
                    let value = header.value.unwrap_or_default().to_vec();
                    (header.key.to_owned(), value)
                })
                .collect()
        });
        Ok(Some(Message {
            key: message.key().unwrap_or_default().to_vec(),
            headers,
            payload: message.payload().unwrap_or_default().to_vec(),
            partition: message.partition(),
        }))
    }
}

/// A topic's partitions. A broker that was not told yet of a topic that is new is asked again, as is one that
/// hangs up.
fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<Vec<i32>, KafkaError> {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = consumer.fetch_metadata(Some(topic), PATIENCE);
        let found = found.map(|metadata| {
            let topics = metadata.topics().iter();
            let partitions = topics.flat_map(MetadataTopic::partitions);
            partitions.map(MetadataPartition::id).collect::<Vec<i32>>()
        });
        match found {
            Ok(partitions) if !partitions.is_empty() => return Ok(partitions),
            found if Instant::now() >= until => {
                let code = RDKafkaErrorCode::UnknownTopicOrPartition;
                return Err(found.err().unwrap_or(KafkaError::MetadataFetch(code)));
            }
            _ => {}
        }
        std::thread::sleep(AGAIN);
    }
}
