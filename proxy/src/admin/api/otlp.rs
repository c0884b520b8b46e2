//! How the OTLP receiver fares: by signal, and by the protocol that requests came by.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::Answer;
use crate::admin::{body, lane_state};
use crate::app::App;
use crate::config::otlp::Otlp;
use crate::receive::cells::{Received, received};
use crate::receive::lane::Lane;
use crate::receive::{Protocol, Receiver};

/// What `/api/otlp` answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct Fares {
    /// `null` where nothing is received.
    receiver: Option<Doors>,
    signals: Vec<Signal>,
}

/// Where telemetry is sent to, and what becomes of it.
#[derive(Serialize, JsonSchema)]
struct Doors {
    /// Where gRPC is taken, such as `https://0.0.0.0:4317`.
    grpc: Option<String>,
    /// Where HTTP is taken, in the same form.
    http: Option<String>,
    /// Whether requests must have a token.
    token: bool,
    format: &'static str,
    brokers: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Signal {
    signal: &'static str,
    topic: String,
    /// `starting`, `ok` or `degraded`.
    state: &'static str,
    /// What is wrong, where something is.
    message: Option<String>,
    queue: Queue,
    /// `null` without `data_dir`.
    spool: Option<Spool>,
    /// Messages that Kafka has acknowledged.
    produced: u64,
    /// Messages that Kafka refused for good, by reason.
    dropped: BTreeMap<&'static str, u64>,
    protocols: Vec<Received>,
}

/// What is held in memory.
#[derive(Serialize, JsonSchema)]
struct Queue {
    requests: u64,
    bytes: u64,
    /// `null` where there is no bound.
    max_requests: Option<u64>,
    max_bytes: u64,
}

#[derive(Serialize, JsonSchema)]
struct Spool {
    bytes: u64,
    max_bytes: u64,
    full: bool,
}

pub(super) fn fares(app: &App) -> Answer {
    let fares = Fares {
        receiver: app.receiver().map(|receiver| doors(&receiver.config())),
        signals: app.receiver().map_or_else(Vec::new, |receiver| {
            let lanes = receiver.lanes().iter();
            lanes.map(|lane| signal(receiver, lane)).collect()
        }),
    };
    body(StatusCode::OK, &fares)
}

fn doors(config: &Otlp) -> Doors {
    Doors {
        grpc: (config.grpc.as_ref()).map(|grpc| url(grpc.tls.is_some(), grpc.address)),
        http: (config.http.as_ref()).map(|http| url(http.tls.is_some(), http.address)),
        token: config.token.is_some(),
        format: config.format.as_str(),
        brokers: config.traces.kafka.brokers.clone(),
    }
}

fn url(tls: bool, address: SocketAddr) -> String {
    format!("{}://{address}", if tls { "https" } else { "http" })
}

fn signal(receiver: &Receiver, lane: &Lane) -> Signal {
    let config = receiver.config();
    let status = lane.status();
    let (requests, bytes) = lane.held();
    let (state, message) = lane_state(lane);
    let dropped = status.iter().flat_map(|status| &status.dropped);
    Signal {
        signal: lane.signal.as_str(),
        topic: config.destination(lane.signal).kafka.topic.clone(),
        state,
        message,
        queue: Queue {
            requests,
            bytes,
            max_requests: config.queue_size,
            max_bytes: config.queue_bytes as u64,
        },
        spool: lane.spool().map(|spool| Spool {
            bytes: spool.bytes,
            max_bytes: spool.max_bytes,
            full: spool.is_full(),
        }),
        produced: status.as_ref().map_or(0, |status| status.delivered),
        dropped: dropped
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| (reason.as_str(), *count))
            .collect(),
        protocols: Protocol::ALL
            .into_iter()
            .map(|protocol| received(receiver, lane.signal, protocol))
            .collect(),
    }
}
