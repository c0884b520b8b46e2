//! Upstreams and their endpoints.

mod endpoints;

use std::net::{IpAddr, SocketAddr};

use http::Uri;
use http::uri::Authority;
use indexmap::IndexMap;

use super::Resolver;
use crate::config::fault::Code;
use crate::config::path::Path;
use crate::config::{Dns, Endpoint, Entry, Upstream, UpstreamLimits, UpstreamTimeouts, raw};

impl Resolver<'_> {
    pub(super) fn upstreams(
        &mut self,
        raw: IndexMap<String, raw::upstream::Upstream>,
    ) -> IndexMap<String, Upstream> {
        let at = Path::root().key("upstreams");
        raw.into_iter()
            .map(|(name, raw)| {
                let upstream = self.upstream(&at.key(&name), &raw);
                (name, upstream)
            })
            .collect()
    }

    fn upstream(&mut self, at: &Path, raw: &raw::upstream::Upstream) -> Upstream {
        let timeouts = at.key("timeouts");
        let balance = self.balance(at, raw);
        let ejection = self.ejection(&at.key("ejection"), &raw.ejection);
        let health = self.health(&at.key("health"), raw.health.as_ref());
        let retries = self.retries(&at.key("retries"), &raw.retries);
        let slow_start = raw.slow_start;
        let slow_start = slow_start.map(|time| self.positive(&at.key("slow_start"), time));
        let interval = self.positive(&at.key("resolve_interval"), raw.resolve_interval);
        let endpoints_at = at.key("endpoints");
        let endpoints = raw.endpoints.iter().enumerate();
        let endpoints: Vec<_> = endpoints
            .filter_map(|(index, one)| {
                let alone = raw.endpoints.len() == 1;
                self.entry(&endpoints_at.index(index), one, alone)
            })
            .collect();
        if let [(entry, true)] = endpoints.as_slice()
            && entry.srv
        {
            let (tls, name) = (at.key("tls"), at.key("tls").key("server_name"));
            if raw.tls.server_name.is_none() && !self.is_judged(&name) && !self.is_judged(&tls) {
                let message = "is needed with `srv`: the hosts that certificates are to name come \
                               from DNS, which proves nothing";
                self.fault(Code::MissingKey, &name, message);
            }
        }
        let weightless = endpoints.iter().all(|(entry, _)| entry.weight == 0);
        if weightless && endpoints.len() == raw.endpoints.len() && !endpoints.is_empty() {
            let message = "must have a weight that is not 0";
            self.fault(Code::InvalidValue, &endpoints_at, message);
        }
        Upstream {
            endpoints: self.upstream_tls(at, raw, endpoints),
            timeouts: UpstreamTimeouts {
                connect: self.positive(&timeouts.key("connect"), raw.timeouts.connect),
                response: self.positive(&timeouts.key("response"), raw.timeouts.response),
                body: self.positive(&timeouts.key("body"), raw.timeouts.body),
                idle: self.positive(&timeouts.key("idle"), raw.timeouts.idle),
                tunnel: self.positive(&timeouts.key("tunnel"), raw.timeouts.tunnel),
            },
            upgrades: self.upgrades(&at.key("upgrades"), &raw.upgrades),
            max_requests: raw.max_requests,
            limits: UpstreamLimits {
                connections: raw.limits.connections,
                pending: raw.limits.pending,
            },
            balance,
            health,
            ejection,
            slow_start,
            retries,
            resolve_interval: interval,
        }
    }

    pub(super) fn dns(&mut self, raw: &raw::upstream::Dns) -> Dns {
        let at = Path::root().key("dns").key("servers");
        let mut servers = Vec::new();
        for (index, text) in raw.servers.iter().enumerate() {
            let bare = || Some(SocketAddr::new(text.parse().ok()?, 53));
            match text.parse().ok().or_else(bare) {
                Some(server) => servers.push(server),
                None => {
                    let message = "must be an IP address, with a port where that is not 53";
                    self.fault(Code::InvalidValue, &at.index(index), message);
                }
            }
        }
        Dns { servers }
    }

    /// Says whether it is `https`.
    fn entry(
        &mut self,
        at: &Path,
        raw: &raw::upstream::Endpoint,
        alone: bool,
    ) -> Option<(Entry, bool)> {
        let keys = match raw {
            raw::upstream::Endpoint::Url(url) => {
                return self.address_entry(at, url, 1);
            }
            raw::upstream::Endpoint::Keys(keys) => keys,
        };
        match (&keys.address, &keys.srv) {
            (Some(address), srv) => {
                if srv.is_some() {
                    let message = "`address` is given already";
                    self.fault(Code::Conflict, &at.key("srv"), message);
                }
                self.address_entry(&at.key("address"), address, keys.weight.unwrap_or(1))
            }
            (None, Some(srv)) => {
                if keys.weight.is_some() {
                    let message = "the records of `srv` have weights of their own";
                    self.fault(Code::Conflict, &at.key("weight"), message);
                }
                if !alone {
                    let message = "must be the upstream's only entry: its records have weights and \
                                   priorities among themselves";
                    self.fault(Code::Conflict, at, message);
                }
                self.srv_entry(&at.key("srv"), srv)
            }
            // What is missing or wrong was told already.
            (None, None) => None,
        }
    }

    fn address_entry(&mut self, at: &Path, url: &str, weight: u32) -> Option<(Entry, bool)> {
        let (endpoint, encrypted) = self.endpoint(at, url)?;
        let entry = Entry {
            endpoint,
            weight,
            srv: false,
        };
        Some((entry, encrypted))
    }

    fn srv_entry(&mut self, at: &Path, url: &str) -> Option<(Entry, bool)> {
        let uri = url.parse::<Uri>().ok();
        let scheme = uri.as_ref().and_then(Uri::scheme_str);
        let encrypted = scheme == Some("https");
        let name = uri.as_ref().filter(|_| encrypted || scheme == Some("http"));
        // A port is none, whatever it is: the records say it.
        let name = name.filter(|uri| uri.port().is_none());
        let name = name.and_then(|uri| endpoint(uri, encrypted));
        let name = name.filter(|name| name.host.parse::<IpAddr>().is_err());
        let Some(name) = name else {
            let message = "must have the form `http://name` or `https://name`, without a port";
            self.fault(Code::InvalidValue, at, message);
            self.hint("such as `http://_api._tcp.example.com`");
            return None;
        };
        let entry = Entry {
            endpoint: Endpoint { port: 0, ..name },
            weight: 1,
            srv: true,
        };
        Some((entry, encrypted))
    }

    /// Messages do not quote the URL: it may have a password. Says whether it is `https`.
    fn endpoint(&mut self, at: &Path, url: &str) -> Option<(Endpoint, bool)> {
        let uri = url.parse::<Uri>().ok();
        let encrypted = match uri.as_ref().and_then(Uri::scheme_str) {
            Some("http") => Some(false),
            Some("https") => Some(true),
            _ => None,
        };
        let endpoint = uri
            .as_ref()
            .zip(encrypted)
            .and_then(|(uri, encrypted)| Some((endpoint(uri, encrypted)?, encrypted)));
        if endpoint.is_none() {
            self.fault(
                Code::InvalidValue,
                at,
                "must have the form `http://host:port` or `https://host:port`",
            );
            match (&uri, encrypted) {
                (Some(_), None) => self.hint("begin it with `http://` or `https://`"),
                (Some(uri), _) if !is_bare(uri) => {
                    self.hint("leave the path out: `rewrite.path` of a route sets it");
                }
                _ => {}
            }
            self.hint_variable(at);
        }
        endpoint
    }
}

/// Whether it has neither path nor query.
fn is_bare(uri: &Uri) -> bool {
    matches!(uri.path(), "" | "/") && uri.query().is_none()
}

/// What a URL without a path leads to.
pub(super) fn endpoint(uri: &Uri, encrypted: bool) -> Option<Endpoint> {
    let port = if encrypted { 443 } else { 80 };
    host_and_port(uri.authority()?, port).filter(|_| is_bare(uri))
}

/// An unencrypted endpoint; `port` is that of an authority without one.
pub(super) fn host_and_port(authority: &Authority, port: u16) -> Option<Endpoint> {
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    // Nothing may stand before the host, such as a password, and nothing but a port behind it.
    let port = match authority.as_str().strip_prefix(authority.host())? {
        "" => port,
        port => port.strip_prefix(':')?.parse().ok()?,
    };
    (!host.is_empty() && port != 0).then(|| Endpoint::new(host.to_ascii_lowercase(), port))
}
