//! SRV records (RFC 2782): on which hosts and ports a service is, in which order, and by which weights.
//!
//! DNS servers are asked for them directly, because the system's resolver knows no such records: the
//! servers of `dns`, or those of `/etc/resolv.conf`, which is read each time. For its targets' addresses
//! the same ones are asked.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::{Resolver, TokioResolver};

/// Most targets of a name that are used.
const MOST: usize = 256;

/// A host that a name leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    pub host: String,
    pub port: u16,
    /// The lowest is used, as long as one of its hosts can be.
    pub priority: u16,
    /// Among those of the same priority.
    pub weight: u32,
    pub addresses: Vec<SocketAddr>,
}

/// What the records of a name lead to. A host whose addresses cannot be had now keeps those of `before`,
/// and is left out where it had none.
pub(super) async fn look_up(
    name: &str,
    servers: &[SocketAddr],
    before: &[Target],
) -> io::Result<Vec<Target>> {
    let resolver = resolver(servers)?;
    let answer = resolver.srv_lookup(name).await.map_err(io::Error::other)?;
    let mut targets: Vec<Target> = Vec::new();
    let mut failure = None;
    let records = answer
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            // A root as the target says that there is no such service.
            RData::SRV(record) if record.port != 0 && !record.target.is_root() => Some(record),
            _ => None,
        });
    for record in records.take(MOST) {
        let host = record.target.to_ascii().to_ascii_lowercase();
        let host = host.trim_end_matches('.').to_owned();
        let is_there = |one: &Target| one.host == host && one.port == record.port;
        if targets.iter().any(is_there) {
            continue;
        }
        let addresses = match resolver.lookup_ip(record.target.clone()).await {
            Ok(found) => {
                let found = found.iter();
                found.map(|ip| SocketAddr::new(ip, record.port)).collect()
            }
            Err(error) => {
                failure = Some(io::Error::other(format!("{host}: {error}")));
                let known = before.iter().find(|one| is_there(one));
                known.map_or_else(Vec::new, |known| known.addresses.clone())
            }
        };
        if !addresses.is_empty() {
            targets.push(Target {
                host,
                port: record.port,
                priority: record.priority,
                weight: weight(record.weight),
                addresses,
            });
        }
    }
    match failure {
        Some(error) if targets.is_empty() => Err(error),
        _ => Ok(targets),
    }
}

/// As [`look_up`], on a thread without a runtime.
pub fn look_up_within(
    limit: Duration,
    name: &str,
    servers: &[SocketAddr],
) -> io::Result<Vec<Target>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let found = tokio::time::timeout(limit, look_up(name, servers, &[])).await;
        found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    })
}

fn resolver(servers: &[SocketAddr]) -> io::Result<TokioResolver> {
    let builder = if servers.is_empty() {
        Resolver::builder_tokio().map_err(io::Error::other)?
    } else {
        let servers = servers.iter().map(|server| {
            let mut config = NameServerConfig::udp_and_tcp(server.ip());
            for connection in &mut config.connections {
                connection.port = server.port();
            }
            config
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        Resolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    builder.build().map_err(io::Error::other)
}

/// One of 0 has a very small chance beside others, and an even one among its like.
fn weight(of_record: u16) -> u32 {
    match of_record {
        0 => 1,
        weight => 100 * u32::from(weight),
    }
}
