//! The OTLP receiver: its addresses and bounds, and the three topics.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use super::Resolver;
use super::producer::custom;
use crate::config::fault::Code;
use crate::config::otlp::{Cors, Destination, Format, Grpc, Http, Otlp};
use crate::config::path::Path;
use crate::config::raw::otlp as keys;
use crate::config::raw::tls::Alpn;
use crate::config::units::ByteSize;
use crate::config::{DeadLetter, Format as KafkaFormat, Kafka, Partitioner, Spool};
use crate::export;
use crate::otlp::Signal;

/// Most bytes of requests in memory, and most requests, where nobody says otherwise.
const QUEUE_BYTES: ByteSize = ByteSize::mib(256);
const QUEUE_SIZE: u64 = 10_000;

/// Without a spool, requests wait for Kafka, and exporters for their answer 10 s by default: a batch
/// has to be sent long before that.
const LONGEST_LINGER: Duration = Duration::from_secs(5);

/// Smallest file of a spool.
const LEAST_SEGMENT: ByteSize = ByteSize::mib(2);

/// What a spool is, beside the receiver's own keys.
pub(super) struct Disk<'s> {
    pub(super) has_data_dir: bool,
    pub(super) spool: &'s Spool,
    pub(super) workers: NonZeroUsize,
}

impl Resolver<'_> {
    pub(super) fn otlp(&mut self, raw: keys::Receivers, disk: &Disk<'_>) -> Option<Otlp> {
        let raw = raw.otlp?;
        let at = &Path::root().key("receivers").key("otlp");
        if !raw.grpc.enabled && !raw.http.enabled {
            self.fault(Code::Conflict, at, "neither `grpc` nor `http` is enabled");
        }
        let grpc = self.grpc(&at.key("grpc"), raw.grpc);
        let http = self.http(&at.key("http"), raw.http);
        let token = raw
            .token
            .and_then(|token| self.secret(&at.key("token"), &token));
        let spool = self.otlp_spool(at, raw.queue_bytes, disk);
        let kafka = raw.exporter.kafka?;
        let format = match kafka.format {
            keys::Format::Json => Format::Json,
            keys::Format::Protobuf => Format::Protobuf,
            keys::Format::JsonSnakeCase => Format::JsonSnakeCase,
        };
        let traces = (kafka.traces_topic.clone(), kafka.partition_traces_by_id);
        let metrics = (
            kafka.metrics_topic.clone(),
            kafka.partition_metrics_by_resource_attributes,
        );
        let logs = (
            kafka.logs_topic.clone(),
            kafka.partition_logs_by_resource_attributes,
        );
        let at = at.key("exporter").key("kafka");
        let topics = [&traces, &metrics, &logs].map(|(topic, _)| topic.clone());
        for (key, topic) in ["traces_topic", "metrics_topic", "logs_topic"]
            .iter()
            .zip(&topics)
        {
            self.topic(&at.key(key), topic);
        }
        let mut connection = self.kafka(&at, kafka.into_connection());
        if let Some(DeadLetter::Topic(to)) = &connection.dead_letter
            && topics.contains(to)
        {
            let message = "is the topic that refuses them";
            let at = at.key("dead_letter").key("topic");
            self.fault(Code::Conflict, &at, message);
        }
        if disk.has_data_dir {
            // A message lies in one file of the spool.
            let most = usize::try_from(spool.segment_bytes).unwrap_or(usize::MAX) / 2;
            let producer = &mut connection.producer;
            producer.max_message_bytes = producer.max_message_bytes.min(most);
        }
        let memory = raw.queue_bytes.unwrap_or(QUEUE_BYTES);
        if !disk.has_data_dir {
            self.linger(&at, &connection);
            // The receiver has its own bound; this one is not to be met before.
            let room = 2 * memory.bytes() + ByteSize::mib(128).bytes();
            connection.buffer_bytes = connection.buffer_bytes.max(room);
        }
        let destination = |signal: Signal, (topic, keyed): (String, bool)| {
            let mut kafka = connection.clone();
            kafka.topic = topic;
            kafka.format = KafkaFormat::Prepared(signal);
            if let Some(DeadLetter::File { path, .. }) = &mut kafka.dead_letter {
                *path = of_signal(path, signal);
            }
            if keyed && signal != Signal::Traces {
                kafka.producer.partitioner = Partitioner::Murmur2;
            }
            Destination { kafka, keyed }
        };
        Some(Otlp {
            grpc,
            http,
            token,
            queue_size: match raw.queue_size {
                Some(size) => Some(size.get().into()),
                None => (!disk.has_data_dir).then_some(QUEUE_SIZE),
            },
            queue_bytes: if disk.has_data_dir {
                // Of requests that are being received.
                QUEUE_BYTES.bytes()
            } else {
                memory.bytes()
            },
            spool,
            format,
            traces: destination(Signal::Traces, traces),
            metrics: destination(Signal::Metrics, metrics),
            logs: destination(Signal::Logs, logs),
        })
    }

    /// A batch that waits longer than its requests would be sent, refused and sent again for ever.
    fn linger(&mut self, at: &Path, connection: &Kafka) {
        if export::kafka::batch_wait(connection) < LONGEST_LINGER {
            return;
        }
        let producer = at.key("producer");
        let linger = producer.key("linger_ms");
        let at = match custom(&connection.producer, "queue.buffering.max.ms") {
            Some((name, _)) => producer.key("custom_config").key(name),
            None if self.is_present(&linger) => linger,
            None => at.key("flush_interval_ms"),
        };
        let message = format!(
            "must be less than {} without `data_dir`: requests wait for their batch",
            LONGEST_LINGER.as_millis()
        );
        self.fault(Code::Conflict, &at, message);
        self.hint("make it shorter, or give `data_dir` a folder");
    }

    fn grpc(&mut self, at: &Path, raw: keys::Grpc) -> Option<Grpc> {
        if !raw.enabled {
            return None;
        }
        let max_body_bytes = self.max_body_bytes(at, raw.max_body_bytes);
        let tls = raw.tls.map(|tls| {
            let reason = "gRPC is spoken over HTTP/2";
            self.tls_of_one(&at.key("tls"), tls, Alpn::Http2, reason)
        });
        let at = at.key("address");
        let address = self.address(&at, &raw.address)?;
        self.take(address, &at);
        Some(Grpc {
            address,
            // One whose certificates are at fault is not served at all.
            tls: tls.flatten(),
            max_body_bytes,
            max_connections: raw.max_connections,
        })
    }

    fn http(&mut self, at: &Path, raw: keys::Http) -> Option<Http> {
        if !raw.enabled {
            return None;
        }
        let max_body_bytes = self.max_body_bytes(at, raw.max_body_bytes);
        let cors = raw.cors.map(|cors| self.cors(&at.key("cors"), cors));
        let tls = raw.tls.map(|tls| self.listener_tls(&at.key("tls"), &tls));
        let at = at.key("address");
        let address = self.address(&at, &raw.address)?;
        self.take(address, &at);
        Some(Http {
            address,
            tls: tls.flatten(),
            max_body_bytes,
            max_connections: raw.max_connections,
            cors,
        })
    }

    fn max_body_bytes(&mut self, at: &Path, size: ByteSize) -> usize {
        let at = &at.key("max_body_bytes");
        self.at_least(at, size, ByteSize::kib(1));
        if size.0 > ByteSize::mib(1024).0 {
            self.fault(Code::InvalidValue, at, "must be at most 1GiB");
        }
        size.bytes()
    }

    fn cors(&mut self, at: &Path, raw: keys::Cors) -> Cors {
        let headers = at.key("allowed_headers");
        for (index, name) in raw.allowed_headers.iter().enumerate() {
            if name != "*" && HeaderName::try_from(name).is_err() {
                let message = "is no name of a header";
                self.fault(Code::InvalidValue, &headers.index(index), message);
            }
        }
        Cors {
            allowed_origins: raw.allowed_origins,
            allowed_headers: raw.allowed_headers,
            max_age: raw.max_age.0,
        }
    }

    /// The spool of one signal: as the others, or as large as `queue_bytes`.
    fn otlp_spool(&mut self, at: &Path, queue_bytes: Option<ByteSize>, disk: &Disk<'_>) -> Spool {
        let mut spool = disk.spool.clone();
        let Some(queue_bytes) = queue_bytes else {
            return spool;
        };
        let at = at.key("queue_bytes");
        if !disk.has_data_dir {
            self.at_least(&at, queue_bytes, ByteSize::kib(1));
            return spool;
        }
        let segments = 4 * disk.workers.get() as u64;
        let least = segments * LEAST_SEGMENT.0;
        if queue_bytes.0 < least {
            let message = format!(
                "must be at least {}: with `data_dir`, four files for each of {} workers",
                ByteSize(least),
                disk.workers
            );
            self.fault(Code::InvalidValue, &at, message);
        }
        spool.max_bytes = queue_bytes.0;
        spool.segment_bytes = spool.segment_bytes.min(queue_bytes.0 / segments);
        spool
    }
}

/// `letters.jsonl` of one signal is `letters-traces.jsonl`: exporters do not share a file.
fn of_signal(path: &std::path::Path, signal: Signal) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push("-");
    name.push(signal.as_str());
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}
