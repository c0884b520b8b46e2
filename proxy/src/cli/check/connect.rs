//! What `--connect` tries: each endpoint, where each exporter and the receiver deliver, and the Redis of
//! plugins' values.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use crate::config::fault::Code;
use crate::config::{Config, Endpoint, Entry, Exporter, Finding, KeyPath};
use crate::otlp::Signal;
use crate::plugin::kv::redis;
use crate::tls::client::Client;
use crate::upstream::{Error, proxy_protocol, srv};

/// All that does not answer, and why.
pub(super) fn try_all(config: &Config) -> Vec<Finding> {
    let mut found = endpoints(config);
    found.extend(destinations(config));
    found.extend(values(config));
    found
}

fn values(config: &Config) -> Option<Finding> {
    let config = config.kv.as_ref()?;
    let cause = redis::probe(config).err()?;
    let at = KeyPath::root().key("kv").key("redis").key("url");
    let message = format!("{}: {cause}", config.endpoint.authority());
    Some(unreachable(at, message))
}

fn endpoints(config: &Config) -> Vec<Finding> {
    thread::scope(|scope| {
        let mut tries = Vec::new();
        for (name, upstream) in &config.upstreams {
            let limit = upstream.timeouts.connect;
            for (index, entry) in upstream.endpoints.iter().enumerate() {
                let servers = &config.dns.servers;
                let attempt = scope.spawn(move || reach(entry, servers, limit));
                tries.push((name, index, attempt));
            }
        }
        let failed = tries.into_iter().filter_map(|(name, index, attempt)| {
            let cause = attempt.join().ok()?.err()?;
            let at = KeyPath::root().key("upstreams").key(name).key("endpoints");
            Some(unreachable(at.index(index), cause))
        });
        failed.collect()
    })
}

/// Tries an endpoint, or all that the records of a name lead to.
fn reach(entry: &Entry, servers: &[SocketAddr], limit: Duration) -> Result<(), String> {
    let endpoint = &entry.endpoint;
    if !entry.srv {
        let (host, port) = (endpoint.host.as_str(), endpoint.port);
        let addresses = (host, port).to_socket_addrs();
        return addresses
            .and_then(|mut addresses| connect(endpoint, &mut addresses, limit))
            .map_err(|cause| format!("{}: {cause}", endpoint.authority()));
    }
    let name = &endpoint.host;
    let targets = srv::look_up_within(limit, name, servers);
    let targets = targets.map_err(|cause| format!("{name}: {cause}"))?;
    if targets.is_empty() {
        return Err(format!("{name}: no SRV record leads to a host"));
    }
    for target in targets {
        let mut addresses = target.addresses.iter().copied();
        connect(endpoint, &mut addresses, limit)
            .map_err(|cause| format!("{}:{}: {cause}", target.host, target.port))?;
    }
    Ok(())
}

/// Tries the addresses of an endpoint one after the other.
fn connect(
    endpoint: &Endpoint,
    addresses: &mut dyn Iterator<Item = SocketAddr>,
    limit: Duration,
) -> io::Result<()> {
    let mut last = io::Error::other("the host name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, limit) {
            Ok(mut stream) => {
                let version = endpoint.proxy_protocol;
                let header = version.map(|version| proxy_protocol::header(version, None));
                stream.write_all(&header.unwrap_or_default())?;
                return match &endpoint.tls {
                    Some(tls) => shake_hands(tls, &endpoint.host, stream, limit),
                    None => Ok(()),
                };
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Whether the endpoint speaks TLS, and shows a certificate that is accepted.
fn shake_hands(tls: &Client, host: &str, stream: TcpStream, limit: Duration) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::from_std(stream)?;
        let made = tokio::time::timeout(limit, tls.connect(host, stream, false)).await;
        // In the words of the log.
        match made {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(io::Error::other(Error::Tls(error).to_string())),
            Err(_) => Err(io::Error::other(Error::ConnectTimeout(limit).to_string())),
        }
    })
}

fn destinations(config: &Config) -> Vec<Finding> {
    let exporters = config
        .exporters
        .iter()
        .filter(|(_, exporter)| exporter.is_enabled());
    let exporters = exporters.map(|(name, exporter)| {
        let at = KeyPath::root().key("exporters").key(name);
        (at.key(exporter.kind()), exporter.clone())
    });
    let received = config.otlp.iter().flat_map(|otlp| {
        Signal::ALL.map(|signal| {
            let at = KeyPath::root().key("receivers").key("otlp");
            let exporter = Exporter::Kafka(Box::new(otlp.destination(signal).kafka.clone()));
            (at.key("exporter").key(exporter.kind()), exporter)
        })
    });
    let mut found = thread::scope(|scope| {
        let tries = exporters.chain(received);
        let tries = tries.map(|(at, exporter)| (at, scope.spawn(move || exporter.probe())));
        let tries: Vec<_> = tries.collect();
        let failed = tries.into_iter().filter_map(|(at, attempt)| {
            let cause = attempt.join().ok()?.err()?;
            Some(unreachable(at, cause))
        });
        failed.collect::<Vec<_>>()
    });
    // Of brokers, three signals say the same.
    found.dedup();
    found
}

fn unreachable(path: KeyPath, message: String) -> Finding {
    Finding {
        code: Code::Unreachable,
        path,
        message,
        hint: None,
    }
}
