//! Listening sockets that outlive their process: by name, as one hands them over to the next.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};

use super::Id;

/// The sockets of each place where Weir listens. What nobody takes is closed.
#[derive(Debug, Default)]
pub struct Sockets(BTreeMap<String, Vec<TcpListener>>);

impl Sockets {
    /// Adds the sockets of a place; the caller keeps its own.
    pub fn add<'s>(
        &mut self,
        name: String,
        sockets: impl IntoIterator<Item = &'s TcpListener>,
    ) -> io::Result<()> {
        let sockets = sockets.into_iter().map(TcpListener::try_clone);
        let sockets = sockets.collect::<io::Result<Vec<_>>>()?;
        self.0.insert(name, sockets);
        Ok(())
    }

    /// The sockets of a place; none where it is new.
    pub fn take(&mut self, name: &str) -> Vec<TcpListener> {
        self.0.remove(name).unwrap_or_default()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &[TcpListener])> {
        self.0
            .iter()
            .map(|(name, sockets)| (name.as_str(), sockets.as_slice()))
    }
}

impl FromIterator<(String, Vec<TcpListener>)> for Sockets {
    fn from_iter<I: IntoIterator<Item = (String, Vec<TcpListener>)>>(sockets: I) -> Self {
        Self(sockets.into_iter().collect())
    }
}

/// Names are made of what the configuration says, so that port 0 leads to the port that it was.
impl Id {
    pub fn name(&self) -> String {
        format!("listener {} {}", self.address, self.nth)
    }
}

pub fn otlp(address: SocketAddr) -> String {
    format!("otlp {address}")
}

pub fn admin(address: SocketAddr) -> String {
    format!("admin {address}")
}
