//! One try to reach brokers and topic, for somebody who waits for the answer.

use std::sync::Arc;

use super::client::Producer;
use super::delivery::Desk;
use super::errors::Problem;
use super::topic;
use crate::config;
use crate::export::stop::Stop;
use crate::export::{Feed, source};

/// Connects as the exporter would and looks for its topic, which is not created here. Says how it
/// went, in the words of the exporter where it did not.
pub(crate) fn probe(config: &config::Kafka) -> Result<String, String> {
    let meter = Arc::default();
    let (_sender, source) = source::memory(0, &meter, false);
    let feed = Feed {
        exporter: "test".to_owned(),
        source,
        meter,
        health: Arc::default(),
        stop: Stop::new(Arc::default()),
    };
    let creates = config.auto_create_topic;
    let config = config::Kafka {
        auto_create_topic: false,
        ..config.clone()
    };
    let topic = &config.topic;
    let producer = Producer::new(&config, Desk::new(&config, &feed));
    let producer = producer.map_err(|problem| problem.to_string())?;
    match topic::verify(&producer, &config, &feed.stop) {
        Ok(()) => Ok(format!("connected, and topic \"{topic}\" is there")),
        Err(Problem::MissingTopic(_)) if creates => {
            Ok(format!("connected; topic \"{topic}\" will be created"))
        }
        Err(problem) => Err(problem.to_string()),
    }
}
