//! A Kafka-protocol broker inside the process: librdkafka's mock cluster.
//!
//! It keeps 5 MiB a partition and forgets everything with the process: for the demo and for tests
//! that are not about loss.

use std::convert::Infallible;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the embedded broker did not start")]
    Kafka(#[from] KafkaError),
    #[error("no thread for the embedded broker")]
    Thread(#[from] std::io::Error),
}

/// A running broker; it ends when dropped.
#[derive(Debug)]
pub struct Broker {
    bootstrap_servers: String,
    /// The thread lives as long as this.
    alive: Option<mpsc::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Broker {
    /// Starts a broker on a free port of the loopback interface, with `topics` of one partition.
    pub fn start(topics: &[&str]) -> Result<Self, Error> {
        let (alive, ended) = mpsc::channel::<Infallible>();
        let (ready, started) = mpsc::sync_channel(1);
        let topics: Vec<String> = topics.iter().map(|&topic| topic.to_owned()).collect();
        // The cluster cannot change threads, so it gets its own.
        let thread = thread::Builder::new()
            .name("demo-broker".to_owned())
            .spawn(move || match cluster(&topics) {
                Ok(cluster) => {
                    let _ = ready.send(Ok(cluster.bootstrap_servers()));
                    let _ = ended.recv();
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            })?;
        let bootstrap_servers = started.recv().unwrap_or(Err(KafkaError::Canceled))?;
        Ok(Self {
            bootstrap_servers,
            alive: Some(alive),
            thread: Some(thread),
        })
    }

    /// `host:port`, as `brokers` of an exporter.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }
}

fn cluster(
    topics: &[String],
) -> Result<MockCluster<'static, impl rdkafka::ClientContext + use<>>, KafkaError> {
    let cluster = MockCluster::new(1)?;
    for topic in topics {
        cluster.create_topic(topic, 1, 1)?;
    }
    Ok(cluster)
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.alive.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
