//! What `receivers.otlp` becomes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Kafka, Secret, Spool};
use crate::otlp::Signal;
use crate::tls;

/// The OTLP receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Otlp {
    /// `None` where it is off.
    pub grpc: Option<Grpc>,
    pub http: Option<Http>,
    /// Demanded as `Authorization: Bearer` on every request.
    pub token: Option<Secret>,
    /// Most requests of a signal that wait for Kafka; `None` is no bound.
    pub queue_size: Option<u64>,
    /// Most bytes of a signal that wait in memory.
    pub queue_bytes: usize,
    /// How each signal's messages wait on the disk, where there is a `data_dir`.
    pub spool: Spool,
    pub format: Format,
    pub traces: Destination,
    pub metrics: Destination,
    pub logs: Destination,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Grpc {
    pub address: SocketAddr,
    pub tls: Option<Arc<tls::Server>>,
    /// Most bytes of a message after decompression.
    pub max_body_bytes: usize,
    pub max_connections: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    pub address: SocketAddr,
    pub tls: Option<Arc<tls::Server>>,
    /// Most bytes of a body after decompression.
    pub max_body_bytes: usize,
    pub max_connections: Option<u64>,
    /// `None`: no answers for browsers.
    pub cors: Option<Cors>,
}

/// Which web pages may send telemetry.
#[derive(Clone, Debug, PartialEq)]
pub struct Cors {
    /// Such as `https://app.example.com`; `*` stands for any run of characters.
    pub allowed_origins: Vec<String>,
    /// Beside those that OTLP needs.
    pub allowed_headers: Vec<String>,
    /// How long a browser may remember the answer.
    pub max_age: Duration,
}

/// Where a signal goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Destination {
    pub kafka: Kafka,
    /// Whether messages have keys: traces by their ids, the others by their resources' attributes.
    pub keyed: bool,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Protobuf,
    JsonSnakeCase,
}

impl Format {
    /// As in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "otlp_json",
            Self::Protobuf => "otlp_protobuf",
            Self::JsonSnakeCase => "otlp_json_snake_case",
        }
    }
}

impl Otlp {
    /// Its addresses with their TLS.
    pub fn tls(&self) -> impl Iterator<Item = (SocketAddr, Option<&Arc<tls::Server>>)> {
        let grpc = self
            .grpc
            .iter()
            .map(|grpc| (grpc.address, grpc.tls.as_ref()));
        let http = self
            .http
            .iter()
            .map(|http| (http.address, http.tls.as_ref()));
        grpc.chain(http)
    }

    pub fn destination(&self, signal: Signal) -> &Destination {
        match signal {
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
            Signal::Logs => &self.logs,
        }
    }

    /// Makes what is laid out once, at the start, as it was: sockets, and the disk. Says whether
    /// that was to be another.
    pub fn keep_places(&mut self, before: &Self) -> bool {
        let places = |of: &Self| {
            let grpc = of.grpc.as_ref().map(|grpc| grpc.address);
            let http = of.http.as_ref().map(|http| http.address);
            (grpc, http, of.spool.clone())
        };
        if places(self) == places(before) {
            return false;
        }
        if self.spool != before.spool {
            // A message lies in one file of the spool.
            let most = usize::try_from(before.spool.segment_bytes).unwrap_or(usize::MAX) / 2;
            for signal in [&mut self.traces, &mut self.metrics, &mut self.logs] {
                let producer = &mut signal.kafka.producer;
                producer.max_message_bytes = producer.max_message_bytes.min(most);
            }
            self.spool = before.spool.clone();
        }
        self.grpc = match (self.grpc.take(), &before.grpc) {
            (Some(now), Some(Grpc { address, .. })) => Some(Grpc {
                address: *address,
                ..now
            }),
            (_, before) => before.clone(),
        };
        self.http = match (self.http.take(), &before.http) {
            (Some(now), Some(Http { address, .. })) => Some(Http {
                address: *address,
                ..now
            }),
            (_, before) => before.clone(),
        };
        true
    }
}
