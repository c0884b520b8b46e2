//! A real Kafka broker, by `services/kafka.py`.
//!
//! [`shared`] is one broker for all tests of a test program, each with topics of its own;
//! [`Kafka::start`] is a broker that a test may stop and start again. A broker ends with the test
//! program, however that ends: its starter stops it when its standard input closes.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;
use serde::Deserialize;
use tempfile::TempDir;
use weir::config;
use weir::demo::consumer::{Consumer, Message};

use crate::trace::Trace;
use crate::wait::eventually;

/// A user of the SASL listeners.
pub const USER: &str = "weir";
pub const PASSWORD: &str = "weir-secret";

/// A running broker.
#[derive(Debug)]
pub struct Kafka {
    addresses: Addresses,
    child: Child,
    /// Closing it stops the broker.
    stdin: Option<ChildStdin>,
}

#[derive(Debug, Deserialize)]
struct Addresses {
    /// The broker's own process.
    pid: u32,
    bootstrap: HashMap<String, String>,
    #[serde(default)]
    ca: PathBuf,
    #[serde(default)]
    client_cert: PathBuf,
    #[serde(default)]
    client_key: PathBuf,
}

/// An exporter's, which sends soon and else has the defaults.
pub fn settings(brokers: &str, topic: &str) -> config::Kafka {
    config::Kafka {
        enabled: true,
        brokers: vec![brokers.to_owned()],
        topic: topic.to_owned(),
        format: config::Format::Json,
        tls: None,
        sasl: None,
        compression: config::Compression::None,
        batch_size: 100,
        flush_interval: Duration::from_millis(20),
        auto_create_topic: false,
        producer: config::Producer::default(),
        dead_letter: None,
        buffer_bytes: 64 << 20,
        filters: config::Filters::default(),
    }
}

/// The broker that all tests of this program share, with a listener of every kind.
///
/// # Panics
///
/// When it does not start.
pub fn shared() -> &'static Kafka {
    static SHARED: OnceLock<(Kafka, TempDir)> = OnceLock::new();
    let (kafka, _folder) = SHARED.get_or_init(|| {
        let folder = TempDir::new().expect("a temporary folder");
        let listeners = ["SSL", "MTLS", "SASL_PLAINTEXT", "SASL_SSL"];
        let arguments = listeners.map(|name| format!("--listener={name}"));
        (Kafka::start(&folder, &arguments), folder)
    });
    kafka
}

/// A name that no other test uses.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Kafka {
    /// Starts a broker whose data is in `folder`; `arguments` are those of `kafka.py run`.
    ///
    /// # Panics
    ///
    /// When it does not start: a missing service fails a test.
    pub fn start(folder: &TempDir, arguments: &[String]) -> Self {
        // Somebody's connection may have the port that it had, for a moment.
        eventually("Kafka starts, as its log would say otherwise", || {
            Self::try_start(folder, arguments)
        })
    }

    fn try_start(folder: &TempDir, arguments: &[String]) -> Option<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/services/kafka.py");
        let mut child = Command::new(script)
            .args(["run", "--stop-on-eof", "--dir"])
            .arg(folder.path())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("kafka.py runs: Python 3 is needed");
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("standard output is piped");
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("kafka.py speaks UTF-8");
        let Ok(addresses) = serde_json::from_str(&line) else {
            child.wait().expect("it has ended");
            return None;
        };
        Some(Self {
            addresses,
            child,
            stdin,
        })
    }

    /// Stops it in good order, and waits until it has ended.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stdin.take();
        let _ = self.child.wait();
    }

    /// Sends a signal to the broker, such as `"STOP"`.
    ///
    /// # Panics
    ///
    /// When there is no `kill`.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args(["-s", signal, &self.addresses.pid.to_string()])
            .status()
            .expect("kill");
        assert!(status.success());
    }

    /// Changes what users may do, by Kafka's own command; the broker needs an authorizer.
    ///
    /// # Panics
    ///
    /// When the command fails.
    pub fn acl(&self, arguments: &[&str]) {
        let output = Command::new("java")
            .args(["-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args(["-cp", &format!("{}/*", jars().display())])
            .args(["org.apache.kafka.tools.AclCommand", "--bootstrap-server"])
            .arg(self.address())
            .args(arguments)
            .output()
            .expect("java runs");
        assert!(output.status.success(), "{output:?}");
    }

    /// `host:port` of the listener without TLS or SASL.
    pub fn address(&self) -> &str {
        self.listener("PLAINTEXT")
    }

    /// `host:port` of `SSL`, `MTLS`, `SASL_PLAINTEXT` or `SASL_SSL`.
    ///
    /// # Panics
    ///
    /// When the broker was started without it.
    pub fn listener(&self, name: &str) -> &str {
        &self.addresses.bootstrap[name]
    }

    /// PEM of the authority that signed the broker's certificate.
    pub fn ca(&self) -> String {
        read(&self.addresses.ca)
    }

    /// PEM of a client's certificate and key that the broker accepts.
    pub fn client(&self) -> (String, String) {
        (
            read(&self.addresses.client_cert),
            read(&self.addresses.client_key),
        )
    }

    /// Makes a topic of one partition; `settings` are the topic's own.
    ///
    /// # Panics
    ///
    /// When the broker does not.
    pub fn create_topic(&self, topic: &str, settings: &[(&str, &str)]) {
        self.create_partitions(topic, 1, settings);
    }

    /// As [`Kafka::create_topic`], of so many partitions.
    ///
    /// # Panics
    ///
    /// When the broker does not.
    pub fn create_partitions(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for (key, value) in settings {
            new = new.set(key, value);
        }
        let admin = self.admin();
        let created = eventually("there is a broker for the topic", || {
            let created = admin.create_topics([&new], &AdminOptions::new());
            // Of a broker that was too busy to answer in time, or to report to its controller, which it
            // will again.
            let created = block_on(created).ok()?;
            let fenced =
                |one: &_| matches!(one, Err((_, RDKafkaErrorCode::InvalidReplicationFactor)));
            (!created.iter().any(fenced)).then_some(created)
        });
        // One that was not answered in time may have made it.
        let is_there =
            |one: &_| matches!(one, Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)));
        assert!(created.iter().all(is_there), "{created:?}");
    }

    /// A topic that refuses for good what anybody sends: one of Kafka's own.
    pub fn refusing_topic(&self) -> String {
        let topic = "__consumer_offsets";
        self.create_topic(topic, &[]);
        topic.to_owned()
    }

    /// Gives a topic other settings.
    ///
    /// # Panics
    ///
    /// When the broker does not.
    pub fn configure_topic(&self, topic: &str, settings: &[(&str, &str)]) {
        let mut new = AlterConfig::new(ResourceSpecifier::Topic(topic));
        for (key, value) in settings {
            new = new.set(key, value);
        }
        let admin = self.admin();
        let altered = block_on(admin.alter_configs([&new], &AdminOptions::new()));
        let altered = altered.expect("the broker answers");
        assert!(altered.iter().all(Result::is_ok), "{altered:?}");
    }

    /// Deletes a topic.
    ///
    /// # Panics
    ///
    /// When the broker does not.
    pub fn delete_topic(&self, topic: &str) {
        let admin = self.admin();
        let deleted = block_on(admin.delete_topics(&[topic], &AdminOptions::new()));
        let deleted = deleted.expect("the broker answers");
        assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    }

    /// The first `count` messages of a topic, once they are there.
    ///
    /// # Panics
    ///
    /// When they do not come.
    pub fn read(&self, topic: &str, count: usize) -> Vec<Message> {
        let consumer = Consumer::new(self.address(), topic).expect("the topic can be read");
        (0..count)
            .map(|index| {
                eventually(&format!("message {index} of {count} arrives"), || {
                    consumer
                        .recv(Duration::from_millis(100))
                        .expect("the topic can be read")
                })
            })
            .collect()
    }

    /// Makes a topic that no other test uses, and gives its name.
    pub fn topic(&self) -> String {
        let topic = unique("traces");
        self.create_topic(&topic, &[]);
        topic
    }

    /// The first `count` messages of a topic as traces, once they are there.
    pub fn traces(&self, topic: &str, count: usize) -> Vec<Trace> {
        let messages = self.read(topic, count);
        messages
            .iter()
            .map(|message| Trace::new(&message.payload))
            .collect()
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new()
            .set("bootstrap.servers", self.address())
            .create()
            .expect("a client of Kafka")
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.end();
    }
}

fn read(path: &PathBuf) -> String {
    std::fs::read_to_string(path).expect("kafka.py writes its certificates")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// Kafka's jars, where `tests/services/kafka.py` puts them.
fn jars() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../target").into());
    target.join("services/kafka/jars")
}

/// The partition, of so many, that the producer of Kafka's own Java client chooses for each key.
///
/// # Panics
///
/// When Java does not run.
pub fn partitions_by_java(keys: &[String], partitions: usize) -> Vec<i32> {
    let services = concat!(env!("CARGO_MANIFEST_DIR"), "/services");
    let output = Command::new("java")
        .args(["-cp", &format!("{}/*", jars().display())])
        .arg(format!("{services}/Partition.java"))
        .arg(partitions.to_string())
        .args(keys)
        .output()
        .expect("java runs");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .map(|line| line.parse().expect("a number"))
        .collect()
}
