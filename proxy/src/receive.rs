//! OTLP in: what others send over gRPC and HTTP is checked, made into messages and left where it is
//! safe; only then it is acknowledged.
//!
//! Each worker has its own socket for each protocol ([`accept`]), and serves its connections by
//! itself ([`http`], [`grpc`]); what both do with a request is [`intake`]. Behind it, each signal
//! has a [`lane`] of its own: a Kafka exporter with its bounds, and with a `data_dir` its spool.

mod accept;
mod body;
pub mod cells;
mod cors;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod grpc;
mod http;
mod intake;
pub mod lane;
mod refusal;
mod reply;

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use ::http::HeaderMap;
use ::http::header::AUTHORIZATION;
use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};

use crate::config::otlp::Otlp;
use crate::export::outlet::Outlet;
use crate::export::prepared::Origin;
use crate::export::spool;
use crate::listener::drain::Drain;
use crate::otlp::Signal;
use crate::otlp::messages::Plan;
use crate::tls;
use cells::Cells;
use lane::Lane;

pub use accept::accept;

/// How requests come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Grpc,
    HttpProtobuf,
    HttpJson,
}

impl Protocol {
    pub const ALL: [Self; 3] = [Self::Grpc, Self::HttpProtobuf, Self::HttpJson];

    /// Of its messages: one more than its place among all.
    fn origin(self) -> Origin {
        self as Origin + 1
    }

    /// As in `OTEL_EXPORTER_OTLP_PROTOCOL`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::HttpProtobuf => "http/protobuf",
            Self::HttpJson => "http/json",
        }
    }
}

/// What a socket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Grpc,
    Http,
}

impl Door {
    pub const ALL: [Self; 2] = [Self::Grpc, Self::Http];

    /// As in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        }
    }
}

/// The receiver of this process: what all workers share.
#[derive(Debug)]
pub struct Receiver {
    current: ArcSwap<Current>,
    lanes: [Lane; 3],
    cells: Box<[Cells]>,
}

/// What a reload may change. A request keeps that with which it began.
#[derive(Debug)]
struct Current {
    config: Otlp,
    token: Option<[u8; 32]>,
}

impl Receiver {
    /// Starts the exporters. Nothing is received yet.
    pub fn start(
        config: &Otlp,
        data_dir: Option<&Path>,
        workers: usize,
        claim: spool::Claim,
    ) -> Result<Arc<Self>, spool::Error> {
        let lane = |signal| Lane::start(config, signal, data_dir, claim);
        Ok(Arc::new(Self {
            current: ArcSwap::from_pointee(Current::new(config)),
            lanes: [
                lane(Signal::Traces)?,
                lane(Signal::Metrics)?,
                lane(Signal::Logs)?,
            ],
            cells: (0..workers).map(|_| Cells::default()).collect(),
        }))
    }

    /// Goes on with another configuration, at the places of before ([`Otlp::keep_places`]).
    pub fn apply(&self, config: &Otlp) {
        for lane in &self.lanes {
            lane.apply(config);
        }
        self.current.store(Arc::new(Current::new(config)));
    }

    fn current(&self) -> Arc<Current> {
        self.current.load_full()
    }

    pub fn config(&self) -> Otlp {
        self.current().config.clone()
    }

    pub fn lane(&self, signal: Signal) -> &Lane {
        &self.lanes[signal as usize]
    }

    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// By worker.
    pub fn cells(&self) -> &[Cells] {
        &self.cells
    }

    /// Delivers what there is until `deadline`; blocks. To be called once the workers have ended.
    pub fn shutdown(&self, deadline: Instant) {
        for lane in &self.lanes {
            lane.shutdown(deadline);
        }
    }
}

impl Current {
    fn new(config: &Otlp) -> Self {
        let token = config.token.as_ref();
        Self {
            token: token.map(|token| Sha256::digest(token.expose()).into()),
            config: config.clone(),
        }
    }

    fn tls(&self, door: Door) -> Option<&Arc<tls::Server>> {
        match door {
            Door::Grpc => self.config.grpc.as_ref()?.tls.as_ref(),
            Door::Http => self.config.http.as_ref()?.tls.as_ref(),
        }
    }

    /// Most connections over all workers.
    fn max_connections(&self, door: Door) -> Option<u64> {
        match door {
            Door::Grpc => self.config.grpc.as_ref()?.max_connections,
            Door::Http => self.config.http.as_ref()?.max_connections,
        }
    }

    /// How a signal's requests become messages.
    fn plan(&self, signal: Signal) -> Plan {
        let destination = self.config.destination(signal);
        let limit = destination.kafka.producer.max_message_bytes - lane::OVERHEAD;
        Plan {
            signal,
            format: self.config.format,
            keyed: destination.keyed,
            limit,
            alone: limit,
        }
    }

    /// Whether a request may come in. Compared by digest, so that the time taken says nothing.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        let given = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        given.is_some_and(|(_, given)| <[u8; 32]>::from(Sha256::digest(given.trim())) == *token)
    }
}

/// One worker's side of the receiver.
pub struct Local {
    shared: Arc<Receiver>,
    worker: usize,
    outlets: [Rc<Outlet>; 3],
    drain: Drain,
}

impl Local {
    /// Belongs to the worker's thread, and has tasks there.
    pub fn new(shared: Arc<Receiver>, worker: usize, drain: Drain) -> Rc<Self> {
        let outlet = |signal| {
            let outlet = Rc::new(shared.lane(signal).outlet());
            let waking = Rc::clone(&outlet);
            tokio::task::spawn_local(async move { waking.wake_loop().await });
            outlet
        };
        let outlets = Signal::ALL.map(outlet);
        Rc::new(Self {
            shared,
            worker,
            outlets,
            drain,
        })
    }

    fn outlet(&self, signal: Signal) -> &Outlet {
        &self.outlets[signal as usize]
    }

    fn cells(&self) -> &Cells {
        &self.shared.cells[self.worker]
    }
}
