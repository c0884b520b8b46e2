//! SRV records (RFC 2782): on which hosts and ports a service is, in which order, and by which weights.
//!
//! DNS servers are asked for them directly, because the system's resolver knows no such records: the
//! servers of `dns`, or those of `/etc/resolv.conf`, which is read each time. For its targets' addresses
//! the same ones are asked.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::{Resolver, TokioResolver};
use tokio::task::JoinSet;

/// Most targets of a name that are used, and most addresses of each.
const MOST: usize = 256;
const MOST_ADDRESSES: usize = 16;

/// How long the addresses of a target may take: less than a start waits for all.
const PATIENCE: Duration = Duration::from_millis(1500);

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

/// What the records of a name lead to, whatever their order. A host whose addresses cannot be had soon
/// keeps those of `before`, and is left out where it had none; it holds up no other.
pub(super) async fn look_up(
    name: &str,
    servers: &[SocketAddr],
    before: &[Target],
) -> io::Result<Vec<Target>> {
    let resolver = resolver(servers)?;
    let answer = resolver.srv_lookup(name).await.map_err(io::Error::other)?;
    let records = answer
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(record) => Some(record.clone()),
            _ => None,
        });
    let mut lookups = JoinSet::new();
    for (host, record) in chosen(records) {
        let resolver = resolver.clone();
        lookups.spawn(async move {
            let found = addresses(&resolver, &record).await;
            (host, record, found)
        });
    }
    let mut targets: Vec<Target> = Vec::new();
    let mut failure = None;
    while let Some(done) = lookups.join_next().await {
        let (host, record, found) = done.map_err(io::Error::other)?;
        let is_it = |one: &&Target| one.host == host && one.port == record.port;
        let addresses = found.unwrap_or_else(|error| {
            failure = Some(io::Error::other(format!("{host}: {error}")));
            let known = before.iter().find(is_it);
            known.map_or_else(Vec::new, |known| known.addresses.clone())
        });
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
        _ => {
            targets.sort_unstable();
            Ok(targets)
        }
    }
}

/// The records that are used, each host and port once, with the host in lower case.
fn chosen(records: impl Iterator<Item = SRV>) -> Vec<(String, SRV)> {
    let mut records: Vec<_> = records
        // A root as the target says that there is no such service.
        .filter(|record| record.port != 0 && !record.target.is_root())
        .map(|record| {
            let host = record.target.to_ascii().to_ascii_lowercase();
            (host.trim_end_matches('.').to_owned(), record)
        })
        .collect();
    records.sort_by_cached_key(|(host, record)| {
        (record.priority, host.clone(), record.port, record.weight)
    });
    let mut seen = HashSet::new();
    records.retain(|(host, record)| seen.insert((host.clone(), record.port)));
    records.truncate(MOST);
    records
}

async fn addresses(resolver: &TokioResolver, record: &SRV) -> io::Result<Vec<SocketAddr>> {
    let found = resolver.lookup_ip(record.target.clone());
    let found = tokio::time::timeout(PATIENCE, found)
        .await?
        .map_err(io::Error::other)?;
    let found = found.iter().map(|ip| SocketAddr::new(ip, record.port));
    let mut found: Vec<_> = found.collect();
    if found.len() > MOST_ADDRESSES {
        // Servers turn them round.
        found.sort_unstable();
        found.truncate(MOST_ADDRESSES);
    }
    Ok(found)
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

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::Name;

    use super::*;

    fn record(priority: u16, weight: u16, port: u16, host: &str) -> SRV {
        SRV::new(priority, weight, port, Name::from_ascii(host).unwrap())
    }

    #[test]
    fn whatever_their_order_the_same_records_are_used() {
        let mut records = [
            record(2, 1, 80, "A.test."),
            record(1, 5, 80, "a.test."),
            record(1, 9, 80, "a.test."),
            record(1, 7, 81, "a.test."),
            record(1, 1, 80, "b.test."),
            record(0, 1, 0, "c.test."),
            record(0, 1, 80, "."),
        ];
        let expected = [
            ("a.test", 80, 1, 5),
            ("a.test", 81, 1, 7),
            ("b.test", 80, 1, 1),
        ];
        for _ in 0..records.len() {
            records.rotate_left(1);
            let chosen = chosen(records.iter().cloned());
            let seen: Vec<_> = chosen
                .iter()
                .map(|(host, one)| (host.as_str(), one.port, one.priority, one.weight))
                .collect();
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn of_many_records_those_with_the_first_priorities_are_used() {
        let one = |number: u16| record(number, 1, 80, &format!("h{number}.test."));
        let chosen = chosen((0..1000).rev().map(one));
        assert_eq!(chosen.len(), MOST);
        assert!(chosen.iter().all(|(_, record)| record.priority < 256));
    }
}
