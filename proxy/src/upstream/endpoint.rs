//! An endpoint of an upstream: where it is, and what is known of it on all workers.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use http::header::HOST;
use http::{HeaderMap, HeaderValue};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::{balance, eject, places, proxy_protocol};
use crate::config;
use crate::listener::proxy_protocol::Addresses;
use crate::lock::lock;

/// Where connections go.
pub struct Endpoint {
    pub config: config::Endpoint,
    /// What is connected to, the first that accepts; where none is known, the host is resolved.
    pub(super) addresses: Vec<SocketAddr>,
    /// In metrics and logs: as in the configuration, with the address where the host has several.
    pub label: String,
    /// Of the label, by which a consistent hash chooses.
    pub hash: u64,
    pub state: eject::State,
    /// Connections to it, and who waits for one.
    pub(super) places: Arc<places::Total>,
    /// What the last active check found wrong; `None` before the first.
    last_check: Mutex<Option<Result<(), String>>>,
    /// When the certificate that it showed last expires, in seconds since 1970; 0 before the first.
    certificate_expires: AtomicI64,
}

impl Endpoint {
    pub(super) fn new(
        config: &config::Endpoint,
        addresses: Vec<SocketAddr>,
        several: bool,
    ) -> Self {
        let authority = config.authority();
        let label = match addresses.first() {
            Some(address) if several => format!("{authority} ({})", address.ip()),
            _ => authority,
        };
        Self {
            config: config.clone(),
            addresses,
            hash: balance::hash(label.as_bytes()),
            label,
            state: eject::State::default(),
            places: Arc::default(),
            last_check: Mutex::default(),
            certificate_expires: AtomicI64::new(0),
        }
    }

    #[cfg(test)]
    pub(super) fn for_test(port: u16) -> Self {
        Self::new(&config::Endpoint::new("127.0.0.1", port), Vec::new(), false)
    }

    /// A connection for this client or for none, for as long as it takes.
    pub(super) async fn open(&self, client: Option<Addresses>) -> io::Result<TcpStream> {
        if self.config.port == 0 {
            return Err(io::Error::other("no SRV records are known"));
        }
        let mut stream = if self.addresses.is_empty() {
            TcpStream::connect((self.config.host.as_str(), self.config.port)).await?
        } else {
            TcpStream::connect(self.addresses.as_slice()).await?
        };
        stream.set_nodelay(true)?;
        if let Some(version) = self.config.proxy_protocol {
            let header = proxy_protocol::header(version, client);
            stream.write_all(&header).await?;
        }
        Ok(stream)
    }

    /// Names it as the host of a request that names none.
    pub fn name_in(&self, headers: &mut HeaderMap) {
        // A host that was configured is a field's value.
        if let Ok(host) = HeaderValue::try_from(self.config.authority()) {
            headers.insert(HOST, host);
        }
    }

    /// Whether an active check was made.
    pub(super) fn checked(&self) -> bool {
        self.last_check().is_some()
    }

    /// What the last active check found wrong, if there was one.
    pub fn last_check(&self) -> Option<Result<(), String>> {
        lock(&self.last_check).clone()
    }

    /// When the certificate that it showed last expires, in seconds since 1970.
    pub fn certificate_expires(&self) -> Option<i64> {
        Some(self.certificate_expires.load(Relaxed)).filter(|seconds| *seconds != 0)
    }

    pub(super) fn note_certificate(&self, expires: i64) {
        self.certificate_expires.store(expires, Relaxed);
    }

    pub(super) fn note_check(&self, problem: Option<String>) {
        *lock(&self.last_check) = Some(problem.map_or(Ok(()), Err));
    }
}
