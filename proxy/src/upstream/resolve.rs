//! What the hosts of endpoints resolve to.
//!
//! Names are resolved at the start, on a reload, and again each interval, by the system's resolver
//! on a blocking thread; no request waits for it. A name that does not resolve keeps what it last
//! resolved to; one that never did is resolved when a connection is made.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::{self, Endpoint};

/// How long a start or a reload waits for names.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Longest time that a resolution may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What names resolved to, and when.
#[derive(Debug, Default)]
pub struct Names(Mutex<HashMap<Endpoint, Resolved>>);

#[derive(Debug)]
struct Resolved {
    addresses: Vec<SocketAddr>,
    asked: Instant,
    /// The last resolution failed.
    stale: bool,
}

impl Names {
    /// Where connections to an endpoint go: an entry for each endpoint that it stands for, with the
    /// addresses to try in order. Empty where that is not known yet.
    pub fn addresses(&self, endpoint: &Endpoint) -> Vec<Vec<SocketAddr>> {
        if let Ok(ip) = endpoint.host.parse() {
            return vec![vec![SocketAddr::new(ip, endpoint.port)]];
        }
        let known = self.known();
        known
            .get(endpoint)
            .map(|resolved| spread(&resolved.addresses))
            .unwrap_or_default()
    }

    /// Resolves the names of these upstreams that are due at `now`; true where one resolves to
    /// something else than before.
    pub async fn refresh<'u>(
        &self,
        upstreams: impl IntoIterator<Item = &'u config::Upstream>,
        now: Instant,
    ) -> bool {
        let mut due: Vec<Endpoint> = Vec::new();
        for upstream in upstreams {
            let interval = upstream.resolve_interval;
            for config::Entry { endpoint, .. } in &upstream.endpoints {
                if self.is_due(endpoint, interval, now) && !due.contains(endpoint) {
                    due.push(endpoint.clone());
                }
            }
        }
        let lookups: Vec<_> = due
            .into_iter()
            .map(|endpoint| {
                tokio::spawn(async move {
                    let found = tokio::time::timeout(LIMIT, look_up(&endpoint)).await;
                    let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                    (endpoint, found)
                })
            })
            .collect();
        let mut changed = false;
        for lookup in lookups {
            if let Ok((endpoint, found)) = lookup.await {
                changed |= self.note(endpoint, found, now);
            }
        }
        changed
    }

    fn is_due(&self, endpoint: &Endpoint, interval: Duration, now: Instant) -> bool {
        if endpoint.host.parse::<std::net::IpAddr>().is_ok() {
            return false;
        }
        self.known()
            .get(endpoint)
            .is_none_or(|resolved| now.saturating_duration_since(resolved.asked) >= interval)
    }

    fn note(&self, endpoint: Endpoint, found: io::Result<Vec<SocketAddr>>, now: Instant) -> bool {
        let mut known = self.known();
        let empty = || Resolved {
            addresses: Vec::new(),
            asked: now,
            stale: false,
        };
        let host = endpoint.host.clone();
        let resolved = known.entry(endpoint).or_insert_with(empty);
        resolved.asked = now;
        let was_stale = resolved.stale;
        match found {
            Ok(found) if !found.is_empty() => {
                resolved.stale = false;
                if same(&resolved.addresses, &found) {
                    return false;
                }
                tracing::info!(host, addresses = ?found, "endpoint resolved");
                resolved.addresses = found;
                true
            }
            failed => {
                resolved.stale = true;
                if !was_stale {
                    let error = failed.err().map(|error| error.to_string());
                    let error = error.unwrap_or_else(|| "no address".to_owned());
                    let kept = resolved.addresses.len();
                    tracing::warn!(host, error, kept, "endpoint does not resolve");
                }
                false
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Endpoint, Resolved>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn look_up(endpoint: &Endpoint) -> io::Result<Vec<SocketAddr>> {
    let host = endpoint.host.as_str();
    Ok(tokio::net::lookup_host((host, endpoint.port))
        .await?
        .collect())
}

/// Whether these are the same addresses in any order.
fn same(one: &[SocketAddr], other: &[SocketAddr]) -> bool {
    let sorted = |addresses: &[SocketAddr]| {
        let mut addresses = addresses.to_vec();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    };
    sorted(one) == sorted(other)
}

/// Addresses that are one endpoint each. An IPv4 and an IPv6 address are two ways to the same one,
/// tried in the resolver's order; where a family has more, each of that family is one.
fn spread(addresses: &[SocketAddr]) -> Vec<Vec<SocketAddr>> {
    let family = |wanted: fn(&SocketAddr) -> bool| {
        let mut found: Vec<SocketAddr> = addresses.iter().copied().filter(wanted).collect();
        found.sort_unstable();
        found.dedup();
        found
    };
    let (four, six) = (family(SocketAddr::is_ipv4), family(SocketAddr::is_ipv6));
    if four.len() <= 1 && six.len() <= 1 {
        let mut both: Vec<SocketAddr> = Vec::new();
        for address in addresses {
            if !both.contains(address) {
                both.push(*address);
            }
        }
        return if both.is_empty() { vec![] } else { vec![both] };
    }
    let larger = if six.len() > four.len() { six } else { four };
    larger.into_iter().map(|address| vec![address]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Endpoint {
        Endpoint::new("api.test", 80)
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn several_addresses_of_a_family_are_as_many_endpoints() {
        for (found, expected) in [
            (
                &["10.0.0.2:80", "10.0.0.1:80"][..],
                &[&["10.0.0.1:80"][..], &["10.0.0.2:80"]][..],
            ),
            (
                &["[::1]:80", "127.0.0.1:80"],
                &[&["[::1]:80", "127.0.0.1:80"]],
            ),
            (&["127.0.0.1:80", "127.0.0.1:80"], &[&["127.0.0.1:80"]]),
            (
                &["[::1]:80", "[::2]:80", "10.0.0.1:80"],
                &[&["[::1]:80"], &["[::2]:80"]],
            ),
            (&[], &[]),
        ] {
            let expected: Vec<_> = expected.iter().map(|one| addresses(one)).collect();
            assert_eq!(spread(&addresses(found)), expected, "{found:?}");
        }
    }

    #[test]
    fn a_name_that_fails_keeps_its_last_addresses() {
        let (names, now) = (Names::default(), Instant::now());
        assert_eq!(names.addresses(&name()), Vec::<Vec<SocketAddr>>::new());
        assert!(names.note(name(), Ok(addresses(&["10.0.0.1:80"])), now));
        assert!(!names.note(name(), Err(io::Error::other("down")), now));
        assert!(!names.note(name(), Ok(vec![]), now));
        assert_eq!(names.addresses(&name()), [addresses(&["10.0.0.1:80"])]);
        assert!(!names.note(name(), Ok(addresses(&["10.0.0.1:80"])), now));
        assert!(names.note(name(), Ok(addresses(&["10.0.0.2:80"])), now));
        assert_eq!(names.addresses(&name()), [addresses(&["10.0.0.2:80"])]);
    }

    #[test]
    fn names_are_due_after_the_interval_and_addresses_never() {
        let (names, now) = (Names::default(), Instant::now());
        let interval = Duration::from_secs(30);
        assert!(names.is_due(&name(), interval, now));
        names.note(name(), Err(io::Error::other("down")), now);
        assert!(!names.is_due(&name(), interval, now + Duration::from_secs(29)));
        assert!(names.is_due(&name(), interval, now + interval));
        let address = Endpoint::new("10.0.0.1", 80);
        assert!(!names.is_due(&address, interval, now));
        assert_eq!(names.addresses(&address), [addresses(&["10.0.0.1:80"])]);
    }
}
