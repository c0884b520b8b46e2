//! What the hosts of endpoints resolve to.
//!
//! Names are resolved at the start, on a reload, and again each interval, by the system's resolver
//! on a blocking thread, or where they have SRV records by [`super::srv`]; no request waits for it. A
//! name that does not resolve keeps what it last resolved to; a host that never did is resolved when a
//! connection is made.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::srv::{self, Target};
use crate::config::{Config, Endpoint, Entry};
use crate::lock::lock;

/// How long a start or a reload waits for names.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Longest time that a resolution may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What names resolved to, and when.
#[derive(Debug, Default)]
pub struct Names {
    known: Mutex<HashMap<Name, Resolved>>,
    /// Those that are being looked up.
    asked: Arc<Mutex<HashSet<Name>>>,
}

/// Names that are being looked up; dropped, what has not come is due as before.
#[derive(Debug)]
pub struct Lookups {
    tasks: JoinSet<(Name, io::Result<Vec<Target>>)>,
    since: Instant,
}

/// A name that is being looked up, until this is dropped.
struct Asked {
    name: Name,
    all: Arc<Mutex<HashSet<Name>>>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        lock(&self.all).remove(&self.name);
    }
}

/// What is resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Name {
    host: String,
    port: u16,
    srv: bool,
}

impl Name {
    fn of(entry: &Entry) -> Self {
        Self {
            host: entry.endpoint.host.clone(),
            port: entry.endpoint.port,
            srv: entry.srv,
        }
    }
}

#[derive(Debug)]
struct Resolved {
    targets: Vec<Target>,
    asked: Instant,
    /// The last resolution failed.
    stale: bool,
}

/// An endpoint that an entry stands for.
pub struct Place {
    pub endpoint: Endpoint,
    /// To try in order; empty where they are not known yet.
    pub addresses: Vec<SocketAddr>,
    /// Its host has more places than this.
    pub several: bool,
    pub weight: u32,
    pub priority: u16,
}

impl Names {
    /// The endpoints that an entry stands for; at least one.
    pub fn places(&self, entry: &Entry) -> Vec<Place> {
        let mut places = Vec::new();
        for target in self.targets(entry) {
            let mut spread = spread(&target.addresses);
            if spread.is_empty() {
                spread.push(Vec::new());
            }
            let several = spread.len() > 1;
            places.extend(spread.into_iter().map(|addresses| Place {
                endpoint: Endpoint {
                    host: target.host.clone(),
                    port: target.port,
                    ..entry.endpoint.clone()
                },
                addresses,
                several,
                weight: target.weight,
                priority: target.priority,
            }));
        }
        places
    }

    fn targets(&self, entry: &Entry) -> Vec<Target> {
        let Entry {
            endpoint, weight, ..
        } = entry;
        let target = |addresses| Target {
            host: endpoint.host.clone(),
            port: endpoint.port,
            priority: 0,
            weight: *weight,
            addresses,
        };
        if let Ok(ip) = endpoint.host.parse() {
            return vec![target(vec![SocketAddr::new(ip, endpoint.port)])];
        }
        match self.known().get(&Name::of(entry)) {
            Some(known) if entry.srv && !known.targets.is_empty() => known.targets.clone(),
            // The name itself, to which no connection can be made.
            _ if entry.srv => vec![target(Vec::new())],
            Some(known) => {
                let known = known.targets.iter();
                vec![target(
                    known.flat_map(|one| one.addresses.clone()).collect(),
                )]
            }
            None => vec![target(Vec::new())],
        }
    }

    /// Begins to resolve the names of this configuration that are due at `now`, and are not being looked
    /// up already.
    pub fn ask(&self, config: &Config, now: Instant) -> Lookups {
        let mut due: Vec<Name> = Vec::new();
        for upstream in config.upstreams.values() {
            for entry in &upstream.endpoints {
                let name = Name::of(entry);
                if self.is_due(&name, upstream.resolve_interval, now) && !due.contains(&name) {
                    due.push(name);
                }
            }
        }
        self.look_up(due, &config.dns.servers, now)
    }

    fn look_up(&self, names: Vec<Name>, servers: &[SocketAddr], now: Instant) -> Lookups {
        let mut tasks = JoinSet::new();
        for name in names {
            if !lock(&self.asked).insert(name.clone()) {
                continue;
            }
            let asked = Asked {
                name: name.clone(),
                all: Arc::clone(&self.asked),
            };
            let before = self.known().get(&name).map(|known| known.targets.clone());
            let servers = servers.to_vec();
            tasks.spawn(async move {
                let _asked = asked;
                let look_up = look_up(&name, &servers, before.unwrap_or_default());
                let found = tokio::time::timeout(LIMIT, look_up).await;
                let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                (name, found)
            });
        }
        Lookups { tasks, since: now }
    }

    /// Waits for the next name, and takes what has come beside it; true where one resolves to something
    /// else than before, `None` where there are no more. Cancel safe.
    pub async fn hear(&self, lookups: &mut Lookups) -> Option<bool> {
        let mut done = Some(lookups.tasks.join_next().await?);
        let mut changed = false;
        while let Some(one) = done {
            if let Ok((name, found)) = one {
                changed |= self.note(name, found, lookups.since);
            }
            done = lookups.tasks.try_join_next();
        }
        Some(changed)
    }

    fn is_due(&self, name: &Name, interval: Duration, now: Instant) -> bool {
        if name.host.parse::<std::net::IpAddr>().is_ok() {
            return false;
        }
        self.known()
            .get(name)
            .is_none_or(|resolved| now.saturating_duration_since(resolved.asked) >= interval)
    }

    fn note(&self, name: Name, found: io::Result<Vec<Target>>, now: Instant) -> bool {
        let mut known = self.known();
        let empty = || Resolved {
            targets: Vec::new(),
            asked: now,
            stale: false,
        };
        let host = name.host.clone();
        let resolved = known.entry(name).or_insert_with(empty);
        resolved.asked = now;
        let was_stale = resolved.stale;
        let addresses = |targets: &[Target]| -> Vec<SocketAddr> {
            let addresses = targets.iter().flat_map(|one| &one.addresses);
            addresses.copied().collect()
        };
        match found {
            Ok(found) if !addresses(&found).is_empty() => {
                resolved.stale = false;
                if same(&resolved.targets, &found) {
                    return false;
                }
                tracing::info!(host, addresses = ?addresses(&found), "endpoint resolved");
                resolved.targets = found;
                true
            }
            failed => {
                resolved.stale = true;
                if !was_stale {
                    let error = failed.err().map(|error| error.to_string());
                    let error = error.unwrap_or_else(|| "no address".to_owned());
                    let kept = addresses(&resolved.targets).len();
                    tracing::warn!(host, error, kept, "endpoint does not resolve");
                }
                false
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Name, Resolved>> {
        lock(&self.known)
    }
}

async fn look_up(
    name: &Name,
    servers: &[SocketAddr],
    before: Vec<Target>,
) -> io::Result<Vec<Target>> {
    if name.srv {
        return srv::look_up(&name.host, servers, &before).await;
    }
    let found = tokio::net::lookup_host((name.host.as_str(), name.port)).await?;
    Ok(vec![Target {
        host: name.host.clone(),
        port: name.port,
        priority: 0,
        weight: 1,
        addresses: found.collect(),
    }])
}

/// Whether these are the same targets with the same addresses, in any order.
fn same(one: &[Target], other: &[Target]) -> bool {
    let sorted = |targets: &[Target]| {
        let mut targets = targets.to_vec();
        for target in &mut targets {
            target.addresses.sort_unstable();
            target.addresses.dedup();
        }
        targets.sort_unstable();
        targets.dedup();
        targets
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

    fn entry(host: &str, srv: bool) -> Entry {
        Entry {
            endpoint: Endpoint::new(host, if srv { 0 } else { 80 }),
            weight: 3,
            srv,
        }
    }

    fn host() -> Entry {
        entry("api.test", false)
    }

    fn note(names: &Names, entry: &Entry, found: io::Result<Vec<Target>>) -> bool {
        names.note(Name::of(entry), found, Instant::now())
    }

    /// Of a host, as the system's resolver has it.
    fn found(texts: &[&str]) -> io::Result<Vec<Target>> {
        Ok(vec![target("api.test", 0, 1, texts)])
    }

    fn target(host: &str, priority: u16, weight: u32, texts: &[&str]) -> Target {
        Target {
            host: host.to_owned(),
            port: 80,
            priority,
            weight,
            addresses: addresses(texts),
        }
    }

    /// Addresses of the places that an entry stands for.
    fn places(names: &Names, entry: &Entry) -> Vec<Vec<SocketAddr>> {
        let places = names.places(entry).into_iter();
        places.map(|place| place.addresses).collect()
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
        let (names, host) = (Names::default(), host());
        assert_eq!(places(&names, &host), [vec![]]);
        assert!(note(&names, &host, found(&["10.0.0.1:80"])));
        assert!(!note(&names, &host, Err(io::Error::other("down"))));
        assert!(!note(&names, &host, Ok(vec![])));
        assert!(!note(&names, &host, found(&[])));
        assert_eq!(places(&names, &host), [addresses(&["10.0.0.1:80"])]);
        assert!(!note(&names, &host, found(&["10.0.0.1:80"])));
        assert!(note(&names, &host, found(&["10.0.0.2:80"])));
        assert_eq!(places(&names, &host), [addresses(&["10.0.0.2:80"])]);
    }

    #[test]
    fn a_name_that_gets_no_answer_holds_up_no_other() {
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let servers = [silent.local_addr().unwrap()];
        let (names, now) = (Names::default(), Instant::now());
        let (hangs, comes) = (entry("_api._tcp.test", true), entry("localhost", false));
        let due = || vec![Name::of(&hangs), Name::of(&comes)];
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut first = names.look_up(due(), &servers, now);
            assert_eq!(names.hear(&mut first).await, Some(true));
            assert!(!places(&names, &comes)[0].is_empty());
            assert_eq!(first.tasks.len(), 1, "the other is still looked up");
            // Nor is it asked again meanwhile.
            let mut second = names.look_up(due(), &servers, now);
            assert_eq!(second.tasks.len(), 1);
            assert_eq!(names.hear(&mut second).await, Some(false));
            assert_eq!(names.hear(&mut second).await, None);
            // It is as soon as nobody waits for the first answer.
            first.tasks.shutdown().await;
            assert_eq!(names.look_up(due(), &servers, now).tasks.len(), 2);
        });
    }

    #[test]
    fn names_are_due_after_the_interval_and_addresses_never() {
        let (names, now) = (Names::default(), Instant::now());
        let interval = Duration::from_secs(30);
        let name = Name::of(&host());
        assert!(names.is_due(&name, interval, now));
        names.note(name.clone(), Err(io::Error::other("down")), now);
        assert!(!names.is_due(&name, interval, now + Duration::from_secs(29)));
        assert!(names.is_due(&name, interval, now + interval));
        let address = entry("10.0.0.1", false);
        assert!(!names.is_due(&Name::of(&address), interval, now));
        assert_eq!(places(&names, &address), [addresses(&["10.0.0.1:80"])]);
    }

    #[test]
    fn an_entry_gives_each_of_its_addresses_its_weight() {
        let (names, host) = (Names::default(), host());
        note(&names, &host, found(&["10.0.0.1:80", "10.0.0.2:80"]));
        for place in names.places(&host) {
            assert_eq!(place.endpoint, host.endpoint);
            assert_eq!((place.weight, place.priority, place.several), (3, 0, true));
        }
    }

    #[test]
    fn records_say_hosts_ports_weights_and_priorities() {
        let (names, entry) = (Names::default(), entry("_api._tcp.test", true));
        // Until there are some, the name stands for itself, and leads nowhere.
        let [place] = <[Place; 1]>::try_from(names.places(&entry)).ok().unwrap();
        assert_eq!(place.endpoint, entry.endpoint);
        assert!(place.addresses.is_empty());

        let records = vec![
            target("a.test", 1, 500, &["10.0.0.1:80"]),
            target("b.test", 2, 100, &["10.0.0.2:80", "10.0.0.3:80"]),
        ];
        assert!(note(&names, &entry, Ok(records.clone())));
        let places = names.places(&entry);
        let seen: Vec<_> = places
            .iter()
            .map(|place| {
                let host = place.endpoint.authority();
                (host, place.weight, place.priority, place.several)
            })
            .collect();
        let expected = [
            ("a.test:80".to_owned(), 500, 1, false),
            ("b.test:80".to_owned(), 100, 2, true),
            ("b.test:80".to_owned(), 100, 2, true),
        ];
        assert_eq!(seen, expected);
        // Another order is the same; another weight is not.
        let mut turned = records.clone();
        turned.reverse();
        turned[0].addresses.reverse();
        assert!(!note(&names, &entry, Ok(turned.clone())));
        turned[0].weight = 7;
        assert!(note(&names, &entry, Ok(turned)));
        // None at all is a failure: what was good stays.
        assert!(!note(&names, &entry, Ok(vec![])));
        assert_eq!(names.places(&entry).len(), 3);
    }
}
