//! What `--connect` tries: each endpoint, and each exporter's destination.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::{Config, Endpoint, Unreachable};
use crate::export::Exporters;
use crate::export::status::{State, Status};

/// Longest wait for exporters to say how they fare; each has a shorter one for each step.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at them.
const STEP: Duration = Duration::from_millis(20);

/// All that does not answer, and why.
pub(super) fn try_all(config: &Config) -> Vec<Unreachable> {
    let exporters = Exporters::start(&config.exporters, None);
    let mut found = endpoints(config);
    found.extend(destinations(&exporters, config));
    exporters.shutdown(Instant::now());
    found
}

fn endpoints(config: &Config) -> Vec<Unreachable> {
    thread::scope(|scope| {
        let mut tries = Vec::new();
        for (name, upstream) in &config.upstreams {
            let limit = upstream.timeouts.connect;
            for (index, endpoint) in upstream.endpoints.iter().enumerate() {
                let attempt = scope.spawn(move || connect(endpoint, limit));
                tries.push((name, index, endpoint, attempt));
            }
        }
        let failed = tries
            .into_iter()
            .filter_map(|(name, index, endpoint, attempt)| {
                let cause = attempt.join().ok()?.err()?;
                Some(Unreachable {
                    keys: vec!["upstreams".into(), name.clone(), "endpoints".into()],
                    index: Some(index),
                    cause: format!("{}:{}: {cause}", endpoint.host, endpoint.port),
                })
            });
        failed.collect()
    })
}

/// Tries the addresses of an endpoint one after the other.
fn connect(endpoint: &Endpoint, limit: Duration) -> io::Result<()> {
    let mut last = io::Error::other("the host name has no address");
    for address in (endpoint.host.as_str(), endpoint.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, limit) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The first state of each exporter that is not that of the start.
fn destinations(exporters: &Exporters, config: &Config) -> Vec<Unreachable> {
    let deadline = Instant::now() + PATIENCE;
    let settled = |status: &[Status]| status.iter().all(|one| one.state != State::Starting);
    let mut status = exporters.status();
    while !settled(&status) && Instant::now() < deadline {
        thread::sleep(STEP);
        status = exporters.status();
    }
    let failed = status.into_iter().filter_map(|one| {
        let cause = match one.state {
            State::Ok => return None,
            State::Starting => format!("no answer within {PATIENCE:?}"),
            State::Degraded(cause) => cause,
        };
        let kind = config.exporters.get(&one.exporter)?.kind();
        Some(Unreachable {
            keys: vec!["exporters".into(), one.exporter, kind.into()],
            index: None,
            cause,
        })
    });
    failed.collect()
}
